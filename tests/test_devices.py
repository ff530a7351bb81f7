"""GPUs in the finished pod: it requests exactly the GPUs of the plan, whatever KubeSpawner or a hook adds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NOW, Json, decide, notebook_pod, person, site_with

from jupyter_research_spawner.cli.why import explained
from jupyter_research_spawner.form import Form, build_form
from jupyter_research_spawner.jobs import job, notebook, parse_submission
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.plan import Plan
from jupyter_research_spawner.pod import check, compose, problems
from jupyter_research_spawner.prerequisite import Prerequisite
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.resources import DraGpu
from jupyter_research_spawner.site import Site

SLOTS = notebook.SLOTS
AMOUNTS = {"limits": {"cpu": "100m", "memory": "64Mi"}}

KINDS: dict[str, tuple[Json, Json]] = {
    "whole": ({"kind": "kueue"}, {"kind": "whole"}),
    "mig": ({"kind": "kueue"}, {"kind": "mig", "resource": "nvidia.com/mig-1g.10gb"}),
    "shared": ({"kind": "kueue"}, {"kind": "shared"}),
    "kai-fraction": ({"kind": "kai"}, {"kind": "kai-fraction", "fraction": 0.5}),
    "kai-memory": ({"kind": "kai"}, {"kind": "kai-fraction", "memory": "8Gi", "count": 2}),
    "volcano-vgpu": ({"kind": "volcano"}, {"kind": "volcano-vgpu", "memory": "3Gi", "mode": "hami-core"}),
    "hami": ({"kind": "plain", "name": "hami-scheduler"}, {"kind": "hami", "memory": "3Gi", "cores": 30}),
    "dra": ({"kind": "plain"}, {"kind": "dra", "device_class": "gpu.nvidia.com"}),
}


def site_of(kind: str) -> Site:
    scheduler, gpu = KINDS[kind]
    return site_with({"scheduler": scheduler, "profiles": {"gpu": {"like": "small", "title": "GPU", "gpu": gpu}}})


PLANS = {kind: decide(site_of(kind), person("alice"), profile="gpu") for kind in KINDS}


def pod_with_sidecars() -> Json:
    """Return a pod with a sidecar before the notebook container, and an init container."""
    pod = notebook_pod()
    pod["spec"]["containers"].insert(0, {"name": "proxy", "image": "proxy:1", "resources": copy.deepcopy(AMOUNTS)})
    pod["spec"]["initContainers"] = [{"name": "prepare", "image": "busybox", "resources": copy.deepcopy(AMOUNTS)}]
    return pod


def main_of(pod: Json, name: str = "notebook") -> Json:
    (found,) = (container for container in pod["spec"]["containers"] if container["name"] == name)
    assert isinstance(found, dict)
    return found


def asked(pod: Json) -> Json:
    """Return every request for GPUs in the pod: resources, claims and annotations."""
    found: Json = {}
    for sort in ("initContainers", "containers"):
        for container in pod["spec"].get(sort, []):
            resources = container.get("resources", {})
            devices = {
                name: amount
                for part in ("requests", "limits")
                for name, amount in resources.get(part, {}).items()
                if name not in ("cpu", "memory")
            }
            claims = [claim["name"] for claim in resources.get("claims", [])]
            if devices or claims:
                found[container["name"]] = {**devices, **({"claims": claims} if claims else {})}
    if "resourceClaims" in pod["spec"]:
        found["claims"] = pod["spec"]["resourceClaims"]
    keys = ("gpu-", "volcano.sh/vgpu", "nvidia.com/", "hami.io/")
    annotations = pod["metadata"]["annotations"]
    marks = {key: value for key, value in annotations.items() if key.startswith(keys)}
    return {**found, **({"annotations": marks} if marks else {})}


TEMPLATE = DraGpu(kind="dra", device_class="gpu.nvidia.com").template
ASKED: dict[str, Json] = {
    "whole": {"notebook": {"nvidia.com/gpu": "1"}},
    "mig": {"notebook": {"nvidia.com/mig-1g.10gb": "1"}},
    "shared": {"notebook": {"nvidia.com/gpu.shared": "1"}},
    "kai-fraction": {"annotations": {"gpu-fraction": "0.5", "gpu-fraction-container-name": "notebook"}},
    "kai-memory": {
        "annotations": {
            "gpu-memory": "8192",
            "gpu-fraction-num-devices": "2",
            "gpu-fraction-container-name": "notebook",
        }
    },
    "volcano-vgpu": {
        "notebook": {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "3072"},
        "annotations": {"volcano.sh/vgpu-mode": "hami-core"},
    },
    "hami": {"notebook": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "3072", "nvidia.com/gpucores": "30"}},
    "dra": {
        "notebook": {"claims": ["gpu"]},
        "claims": [{"name": "gpu", "resourceClaimTemplateName": TEMPLATE}],
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_requests_the_gpu_once_and_in_its_main_container(kind: str) -> None:
    pod = compose(PLANS[kind], pod_with_sidecars(), SLOTS)
    assert asked(pod) == ASKED[kind]
    assert problems(PLANS[kind], pod, SLOTS) == []
    assert compose(PLANS[kind], pod, SLOTS) == pod


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_requests_the_gpu_in_the_same_way_as_a_notebook(kind: str) -> None:
    decided = decide(site_of(kind), person("alice"), "job", profile="gpu")
    manifest = job.manifest(decided, parse_submission({"command": ["train"]}).request, site_of(kind).batch)
    composed = compose(decided, manifest, job.SLOTS)
    check(decided, composed, job.SLOTS)
    in_notebook = copy.deepcopy(ASKED[kind])
    if "notebook" in in_notebook:
        in_notebook["job"] = in_notebook.pop("notebook")
    if "gpu-fraction-container-name" in in_notebook.get("annotations", {}):
        in_notebook["annotations"]["gpu-fraction-container-name"] = "job"
    assert asked(composed["spec"]["template"]) == in_notebook
    # Only the pod template has these annotations, not the Job itself.
    assert not {key for key in composed["metadata"]["annotations"] if key.startswith(("gpu-", "volcano.sh/vgpu"))}


Edit = Callable[[Json], Any]


def more(name: str, amount: str = "1", *, of: str = "notebook", part: str = "limits") -> Edit:
    return lambda pod: main_of(pod, of).setdefault("resources", {}).setdefault(part, {}).update({name: amount})


def annotated(key: str, value: str) -> Edit:
    return lambda pod: pod["metadata"]["annotations"].update({key: value})


def claimed(*names: str) -> Edit:
    claims = [{"name": name, "resourceClaimTemplateName": "another"} for name in names]
    return lambda pod: pod["spec"].update(resourceClaims=claims)


NOT_THE_PLANS: dict[str, Edit] = {
    "a whole GPU": more("nvidia.com/gpu", "7"),
    "a whole GPU for a sidecar": more("nvidia.com/gpu", of="proxy"),
    "a whole GPU for a sidecar, requested": more("amd.com/gpu", of="proxy", part="requests"),
    "a MIG slice": more("nvidia.com/mig-7g.80gb"),
    "a virtual GPU for a sidecar": more("volcano.sh/vgpu-memory", "64", of="proxy"),
    "more memory": more("nvidia.com/gpumem", "80000"),
    "the resource of a device class": more("deviceclass.resource.kubernetes.io/gpu.nvidia.com", "8"),
    "a larger fraction of KAI": annotated("gpu-fraction", "0.9"),
    "GPU memory of KAI": annotated("gpu-memory", "80000"),
    "more devices of KAI": annotated("gpu-fraction-num-devices", "8"),
    "a KAI fraction for the sidecar": annotated("gpu-fraction-container-name", "proxy"),
    "another mode": annotated("volcano.sh/vgpu-mode", "mig"),
    "a slice by annotation": annotated("nvidia.com/mig-7g.80gb", "1"),
    "a claim": claimed("nic"),
    "another claim with the same name": claimed("gpu"),
    "two claims": claimed("gpu", "nic"),
    "an empty list of claims": claimed(),
    "a claim for a sidecar": lambda pod: main_of(pod, "proxy")["resources"].update(claims=[{"name": "gpu"}]),
    "one request of the claim": lambda pod: main_of(pod)["resources"].update(
        claims=[{"name": "gpu", "request": "nic"}]
    ),
    "all devices by environment variable": lambda pod: main_of(pod)["env"].append(
        {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edit", NOT_THE_PLANS.values(), ids=NOT_THE_PLANS.keys())
def test_any_other_gpu_in_the_finished_pod_is_refused(kind: str, edit: Edit) -> None:
    good = compose(PLANS[kind], pod_with_sidecars(), SLOTS)
    bad = copy.deepcopy(good)
    edit(bad)
    assert bad != good
    found = problems(PLANS[kind], bad, SLOTS)
    if edit is NOT_THE_PLANS["an empty list of claims"] and kind != "dra":
        assert found == []  # an empty list requests no claim
    else:
        assert len(found) == 1, found


@pytest.mark.parametrize("kind", KINDS)
@given(edits=st.lists(st.sampled_from(sorted(NOT_THE_PLANS)), max_size=4))
def test_after_any_hook_the_pod_has_the_gpu_of_the_plan_or_is_refused(kind: str, edits: list[str]) -> None:
    pod = pod_with_sidecars()
    for name in edits:
        NOT_THE_PLANS[name](pod)
    try:
        sent = compose(PLANS[kind], pod, SLOTS)
        check(PLANS[kind], sent, SLOTS)
    except Refusal:
        return
    assert asked(sent) == ASKED[kind] or (sent["spec"].get("resourceClaims") == [] and kind != "dra")
    assert env_of(main_of(sent)) == []
    assert env_of(main_of(sent, "proxy")) == VOID


def test_a_claim_that_a_hook_adds_is_refused() -> None:
    pod = pod_with_sidecars()
    claimed("nic")(pod)
    with pytest.raises(Refusal) as refused:
        compose(PLANS["dra"], pod, SLOTS)
    assert refused.value.field == "spec.resourceClaims"
    [(path, why)] = problems(PLANS["whole"], compose(PLANS["whole"], pod, SLOTS), SLOTS)
    assert path == "spec.resourceClaims"
    assert why.endswith("but the profile gives none")


@pytest.mark.parametrize("claims", ["gpu", [{"resourceClaimName": "mine"}], {"gpu": {}}, [None]])
def test_invalid_claims_are_refused(claims: Any) -> None:
    for kind in ("dra", "whole"):
        pod = pod_with_sidecars()
        pod["spec"]["resourceClaims"] = claims
        with pytest.raises(Refusal, match=r"resourceClaims"):
            check(PLANS[kind], compose(PLANS[kind], pod, SLOTS), SLOTS)


def test_device_class_and_claim_template_are_prerequisites() -> None:
    prerequisites = {
        Prerequisite("resource.k8s.io/v1", "DeviceClass", "gpu.nvidia.com"),
        Prerequisite("resource.k8s.io/v1", "ResourceClaimTemplate", TEMPLATE, "jhub"),
    }
    assert prerequisites <= set(PLANS["dra"].prerequisites)
    assert [one.resource for one in sorted(prerequisites)] == ["deviceclasses", "resourceclaimtemplates"]
    for kind in set(KINDS) - {"dra"}:
        assert "resource.k8s.io" not in {one.group for one in PLANS[kind].prerequisites}


HERE = Release(batch_image="hub:1")


def test_manifests_contain_each_different_claim_template_once(golden: Callable[[str], Any]) -> None:
    gpu = {"kind": "dra", "device_class": "gpu.nvidia.com"}
    site = site_with(
        {
            "scheduler": {"kind": "plain"},
            "profiles": {
                "one": {"like": "small", "title": "One", "gpu": gpu},
                "again": {"like": "small", "title": "Again", "gpu": gpu},
                "large": {
                    "like": "small",
                    "title": "Large",
                    "gpu": {
                        **gpu,
                        "count": 2,
                        "selectors": ["device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('40Gi')) >= 0"],
                    },
                },
            },
        }
    )
    objects = everything(site, HERE, ["devices"])
    assert objects == golden("manifests/devices")
    named = {found["metadata"]["name"] for found in objects}
    alice = person("alice")
    for profile in ("one", "again", "large"):
        (claim,) = decide(site, alice, profile=profile).resources.claims()
        assert claim["resourceClaimTemplateName"] in named
    rules = [rule for found in everything(site, HERE, ["rbac"]) for rule in found.get("rules", [])]
    looked_at = {name for rule in rules if rule["apiGroups"] == ["resource.k8s.io"] for name in rule["resources"]}
    assert looked_at == {"deviceclasses", "resourceclaimtemplates"}


def test_without_claims_there_is_no_device_manifest() -> None:
    assert everything(site_with(), HERE, ["devices"]) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [("kai-fraction", "half a GPU"), ("kai-memory", "8Gi of the memory of each of 2 GPUs"), ("dra", "device class")],
)
def test_the_plan_summary_shows_the_gpu_in_plain_words(kind: str, words: str) -> None:
    decided: Plan = PLANS[kind]
    assert words in decided.summary()["resources"]


def test_why_and_the_form_show_the_gpu_in_plain_words() -> None:
    site = site_of("kai-fraction")
    decided = PLANS["kai-fraction"]
    told = " ".join(" ".join(explained(site, decided, compose(decided, pod_with_sidecars(), SLOTS))).split())
    assert "2 CPU, 4Gi, half a GPU" in told
    assert "annotation gpu-fraction: 0.5 (on the pod)" in told
    assert "annotation gpu-fraction-container-name: the main container's name (on the pod)" in told
    form = build_form(site, person("alice"), NOW)
    assert isinstance(form, Form)
    assert "half a GPU" in {offer.gpu for offer in form.offers}


def env_of(container: Json) -> list[Json]:
    """Return the entries of NVIDIA_VISIBLE_DEVICES."""
    return [entry for entry in container.get("env", []) if entry["name"] == "NVIDIA_VISIBLE_DEVICES"]


VOID = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
NONE: Json = {"scheduler": {"kind": "plain"}, "profiles": {"gpu": {"like": "small", "title": "No GPU"}}}


def plan_with(gpu: Json, *, base: Json | None = None) -> Plan:
    profile = {"like": "small", "title": "GPU", "gpu": gpu}
    more = {"scheduler": {"kind": "plain"}, "profiles": {"gpu": profile}, "pods": {"base": base or {}}}
    return decide(site_with(more), person("alice"), profile="gpu")


@pytest.mark.parametrize("kind", KINDS)
def test_containers_without_a_gpu_hide_the_devices_of_nvidia(kind: str) -> None:
    pod = compose(PLANS[kind], pod_with_sidecars(), SLOTS)
    found = {
        container["name"]: env_of(container)
        for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    }
    assert found == {"research-home": VOID, "prepare": VOID, "proxy": VOID, "notebook": []}


def test_all_containers_of_a_pod_without_gpu_hide_the_devices_of_nvidia() -> None:
    decided = decide(site_with(NONE), person("alice"), profile="gpu")
    pod = compose(decided, pod_with_sidecars(), SLOTS)
    for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
        assert env_of(container) == VOID, container["name"]
    assert problems(decided, pod, SLOTS) == []
    assert compose(decided, pod, SLOTS) == pod
    in_job = decide(site_with(NONE), person("alice"), "job", profile="gpu")
    made = job.manifest(in_job, parse_submission({"command": ["train"]}).request, site_with(NONE).batch)
    template = compose(in_job, made, job.SLOTS)["spec"]["template"]["spec"]
    assert [env_of(one) for one in (*template["initContainers"], *template["containers"])] == [VOID, VOID]


@pytest.mark.parametrize(
    ("gpu", "hidden"),
    [
        ({"kind": "whole", "resource": "amd.com/gpu"}, True),
        ({"kind": "whole", "resource": "gpu.intel.com/i915"}, True),
        ({"kind": "whole", "resource": "habana.ai/gaudi"}, True),
        ({"kind": "whole", "resource": "deviceclass.resource.kubernetes.io/gpu.amd.com"}, True),
        ({"kind": "dra", "device_class": "gpu.intel.com"}, True),
        ({"kind": "whole", "resource": "deviceclass.resource.kubernetes.io/gpu.nvidia.com"}, False),
        ({"kind": "whole", "resource": "aliyun.com/gpu-mem"}, False),
        ({"kind": "whole", "resource": "k8s.amazonaws.com/vgpu"}, False),
        ({"kind": "whole", "resource": "aws.amazon.com/neuron"}, True),
        ({"kind": "whole", "resource": "google.com/tpu"}, True),
        ({"kind": "dra", "device_class": "mig.nvidia.com"}, False),
        ({"kind": "dra", "device_class": "a100"}, False),
        ({"kind": "whole", "resource": "notamd.com/gpu"}, False),
    ],
)
def test_devices_of_other_vendors_do_not_show_those_of_nvidia(gpu: Json, hidden: bool) -> None:
    decided = plan_with(gpu)
    pod = compose(decided, pod_with_sidecars(), SLOTS)
    assert env_of(main_of(pod)) == (VOID if hidden else [])
    assert problems(decided, pod, SLOTS) == []


@pytest.mark.parametrize("value", ["void", "none", ""])
def test_settings_that_hide_devices_do_not_hide_the_gpu_of_a_profile(value: str) -> None:
    decided = plan_with({"kind": "whole"}, base={"env": {"NVIDIA_VISIBLE_DEVICES": value}})
    pod = pod_with_sidecars()
    main_of(pod)["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": value})
    composed = compose(decided, pod, SLOTS)
    assert env_of(main_of(composed)) == []
    check(decided, composed, SLOTS)
    main_of(composed)["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": value})
    [(path, why)] = problems(decided, composed, SLOTS)
    assert path.startswith("spec.containers[1].env")
    assert why == "must not set NVIDIA_VISIBLE_DEVICES, which hides the profile's GPU"


@pytest.mark.parametrize("name", ["prepare", "proxy", "notebook"])
@pytest.mark.parametrize("value", [None, "all", "0"])
def test_a_hook_cannot_show_the_devices_of_nvidia_again(name: str, value: str | None) -> None:
    decided = decide(site_with(NONE), person("alice"), profile="gpu")
    pod = compose(decided, pod_with_sidecars(), SLOTS)
    (container,) = (
        found for found in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]] if found["name"] == name
    )
    container["env"] = [entry for entry in container["env"] if entry["name"] != "NVIDIA_VISIBLE_DEVICES"]
    if value is not None:
        container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": value})
    [(path, why)] = problems(decided, pod, SLOTS)
    assert path.endswith(".env" if value is None else f".env[{len(container['env']) - 1}]")
    assert "NVIDIA_VISIBLE_DEVICES" in why


def test_the_home_check_cannot_see_the_devices_of_nvidia() -> None:
    pod = compose(PLANS["whole"], pod_with_sidecars(), SLOTS)
    pod["spec"]["initContainers"][0]["env"] = []
    assert "spec.initContainers[0].env" in [path for path, _ in problems(PLANS["whole"], pod, SLOTS)]
