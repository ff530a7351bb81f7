"""NUMA placement: which pods the kubelet pins to CPUs.  `lint` and the start report containers that prevent it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import helm_files
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from samples import NOW, Json, decide, notebook_pod, person, raw_site, site_with

from jupyter_research_spawner.cli import lint, main
from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.pod import check, compose, equalize_requests_and_limits, why_not_pinned
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import merge, read

NUMA = decide(site_with(), person("alice"), profile="a100")
PINNED: Json = {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
SMALL = {"cpu": "100m", "memory": "64Mi"}


def pod(*others: Any, init: Any = None, main: Any = None, **spec: Any) -> Json:
    """Return a notebook pod with two CPUs and one sidecar for each of `others`, which are its resources."""
    containers = [{"name": "notebook", "resources": main or PINNED}]
    containers += [{"name": f"proxy-{index}", "resources": amounts} for index, amounts in enumerate(others)]
    before = {} if init is None else {"initContainers": [{"name": "prepare", "resources": init}]}
    return {"spec": {"containers": containers, **before, **spec}}


def where(found: Json) -> list[str]:
    return [path for path, _ in why_not_pinned(found, "notebook")]


@pytest.mark.parametrize(
    "found",
    [
        pod(),
        pod({"requests": SMALL, "limits": SMALL}),
        pod({"limits": SMALL}),
        pod({"limits": {"cpu": "0.1", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "65536Ki"}}),
        pod({"limits": {"cpu": 1, "memory": 67108864}, "requests": {"cpu": "1e0", "memory": "64Mi"}}),
        pod({"limits": {**SMALL, "ephemeral-storage": "1Gi"}, "requests": {**SMALL, "ephemeral-storage": "1Mi"}}),
        pod(init={"limits": SMALL}),
        pod(main={"limits": {"cpu": "2000m", "memory": "4Gi"}}),
        pod(ephemeralContainers=[{"name": "debugger"}]),
    ],
    ids=[
        "alone",
        "with half a CPU, guaranteed",
        "with only limits, which become requests",
        "the same amounts in other notations",
        "the same amounts as numbers",
        "with ephemeral storage, which does not matter",
        "with an init container, guaranteed",
        "whole CPUs in millicores",
        "with an ephemeral container",
    ],
)
def test_a_guaranteed_pod_is_pinned(found: Json) -> None:
    assert why_not_pinned(found, "notebook") == []


NOT_GUARANTEED: dict[str, tuple[Json, str]] = {
    "no resources": ({}, "has no limit for cpu and memory"),
    "only requests": ({"requests": SMALL}, "has no limit for cpu and memory"),
    "no memory": ({"limits": {"cpu": "1"}}, "has no limit for memory"),
    "no CPU": ({"limits": {"memory": "1Gi"}}, "has no limit for cpu"),
    "a limit of 0": ({"limits": {"cpu": "0", "memory": "1Gi"}}, "has no limit for cpu"),
    "an invalid limit": ({"limits": {"cpu": "much", "memory": "1Gi"}}, "has no limit for cpu"),
    "less requested": ({"requests": {"cpu": "50m"}, "limits": SMALL}, "requests cpu 50m, but its limit is 100m"),
    "nothing requested": ({"requests": {"cpu": "0"}, "limits": SMALL}, "requests cpu 0, but its limit is 100m"),
    "less memory": ({"requests": {"memory": "64M"}, "limits": SMALL}, "requests memory 64M, but its limit is 64Mi"),
}


@pytest.mark.parametrize(("amounts", "why"), NOT_GUARANTEED.values(), ids=NOT_GUARANTEED.keys())
def test_one_container_without_equal_requests_and_limits_prevents_pinning(amounts: Json, why: str) -> None:
    guaranteed = {"limits": SMALL}
    for found, path, name in (
        (pod(guaranteed, amounts), "spec.containers[2].resources", "proxy-1"),
        (pod(guaranteed, init=amounts), "spec.initContainers[0].resources", "prepare"),
    ):
        [(at, sentence)] = why_not_pinned(found, "notebook")
        assert at == path
        assert sentence == (
            f"(container {name!r}) {why}: the kubelet would pin no CPUs of the pod. Set limits for cpu and "
            "memory, and set no requests or the same requests"
        )


def test_a_native_sidecar_is_checked_like_other_containers() -> None:
    found = pod(init={})
    found["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    assert where(found) == ["spec.initContainers[0].resources"]


def test_only_the_main_container_needs_whole_cpus() -> None:
    half = {"limits": {"cpu": "1500m", "memory": "1Gi"}}
    assert where(pod(half)) == []
    [(path, sentence)] = why_not_pinned(pod(main=half), "notebook")
    assert path == "spec.containers[0].resources"
    assert sentence == "(container 'notebook') has 1500m CPUs, but the kubelet pins only whole CPUs. Set a whole number"


def test_pod_level_resources_prevent_pinning() -> None:
    assert where(pod(resources={"limits": {"cpu": "4"}})) == ["spec.resources"]


def test_all_containers_that_prevent_pinning_are_reported_at_once() -> None:
    assert where(pod({}, {"limits": SMALL}, {}, init={})) == [
        "spec.initContainers[0].resources",
        "spec.containers[1].resources",
        "spec.containers[3].resources",
    ]


# ComputePodQOS of Kubernetes 1.36.3, for pods whose amounts the API server has filled in.
def is_guaranteed(found: Json) -> bool:
    requests, limits = {"cpu": Decimal(0), "memory": Decimal(0)}, {"cpu": Decimal(0), "memory": Decimal(0)}
    for container in [*found["spec"].get("initContainers", []), *found["spec"]["containers"]]:
        resources = container.get("resources", {})
        limit = resources.get("limits", {})
        request = {**limit, **resources.get("requests", {})}
        if not all(limit.get(name) for name in ("cpu", "memory")):
            return False
        for name in ("cpu", "memory"):
            requests[name] += request[name]
            limits[name] += limit[name]
    return requests == limits


amount = st.integers(0, 3)
amounts = st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), amount, max_size=3)
# The API server rejects a request above its limit.
resources = st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts}).filter(
    lambda found: all(
        found.get("limits", {}).get(name, 3) >= asked for name, asked in found.get("requests", {}).items()
    )
)


@given(st.lists(resources, max_size=3), st.none() | resources)
def test_a_pod_is_pinned_exactly_if_its_qos_class_is_guaranteed(others: list[Json], init: Json | None) -> None:
    found = pod(*others, init=init, main={"limits": {"cpu": 2, "memory": 4}})
    assert (why_not_pinned(found, "notebook") == []) == is_guaranteed(found)


@given(st.lists(resources, max_size=3), st.none() | resources)
def test_every_accepted_numa_pod_is_guaranteed(others: list[Json], init: Json | None) -> None:
    company = pod(*others, init=init)["spec"]
    base = notebook_pod()
    base["spec"]["containers"] += company["containers"][1:]
    base["spec"]["initContainers"] = company.get("initContainers", [])
    try:
        sent = compose(NUMA, base, SLOTS)
        check(NUMA, sent, SLOTS)
    except Refusal:
        return
    assert where(sent) == []
    assert sent["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "16"


def test_a_refusal_names_the_container_without_limits_and_the_remedy() -> None:
    base = notebook_pod()
    base["spec"]["containers"].append({"name": "logger", "image": "logger:1"})
    with pytest.raises(Refusal) as refused:
        check(NUMA, compose(NUMA, base, SLOTS), SLOTS)
    assert refused.value.field == "spec.containers[1].resources"
    assert refused.value.message == (
        "Nothing was started: the pod's spec.containers[1].resources (container 'logger') has no limit for cpu and "
        "memory: the kubelet would pin no CPUs of the pod. Set limits for cpu and memory, and set no "
        "requests or the same requests."
    )


def test_guarantee_completes_requests_and_limits_from_each_other() -> None:
    found = pod({"requests": SMALL}, init={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}})
    assert where(found) != []
    equalize_requests_and_limits(found)
    assert where(found) == []
    assert found["spec"]["containers"][1]["resources"] == {"requests": SMALL, "limits": SMALL}


# Of the example values, with which a hub starts.
BASE = {**merge(read(helm_files.BASE), helm_files.OWN_IMAGE), "custom": {"research": raw_site()}}


def values(tmp_path: Path, **singleuser: Any) -> list[str]:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(merge(BASE, {"singleuser": singleuser})))
    return ["--site", str(file)]


SIDECAR_WITHOUT_CPU_LIMIT = {"name": "logger", "image": "logger:1", "resources": {"limits": {"memory": "64Mi"}}}


@pytest.mark.parametrize("place", ["extraContainers", "initContainers"])
def test_lint_finds_a_container_without_limits_in_helm_values(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = {"name": "proxy", "image": "proxy:1", "resources": {"requests": SMALL}}
    file = values(tmp_path, **{place: [fine, SIDECAR_WITHOUT_CPU_LIMIT]})
    assert main(["lint", *file]) == 1
    lines = Path(file[-1]).read_text().splitlines()
    at = lines.index("  - image: logger:1") + 1
    assert capsys.readouterr().err == (
        f"{file[-1]}:{at}: singleuser.{place}[1]: resources (container 'logger') has no limit for cpu: the kubelet "
        "would pin no CPUs of the pod. Set limits for cpu and memory, and set no requests or the same requests. Add "
        f"limits for cpu and memory, for example singleuser.{place}[1].resources: "
        "{limits: {cpu: 100m, memory: 128Mi}}\n"
    )
    assert main(["lint", *values(tmp_path, **{place: [fine]})]) == 0


def test_lint_reads_sidecars_from_merged_helm_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = tmp_path / "more.yaml"
    # Helm replaces lists, and null removes them.
    more.write_text(yaml.safe_dump({"singleuser": {"extraContainers": None}, "custom": {"research": {}}}))
    unlimited = values(tmp_path, extraContainers=[SIDECAR_WITHOUT_CPU_LIMIT])
    assert main(["lint", *unlimited]) == 1
    assert main(["lint", *unlimited, "--site", str(more)]) == 0


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        ("proxy", "singleuser.extraContainers: must be a list, not text"),
        ([{"image": "proxy:1"}], "singleuser.extraContainers[0]: must have name"),
        ([{"name": "a", "resources": "much"}], "singleuser.extraContainers[0].resources: must be a map, not text"),
    ],
)
def test_lint_reports_invalid_containers(
    given_: Any, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", *values(tmp_path, extraContainers=given_)]) == 1
    assert problem in capsys.readouterr().err


def test_lint_accepts_containers_without_limits_if_no_profile_uses_numa(tmp_path: Path) -> None:
    unlimited = values(tmp_path, extraContainers=[SIDECAR_WITHOUT_CPU_LIMIT])
    assert main(["lint", *unlimited]) == 1
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump({"custom": {"research": {"profiles": {"a100": {"numa": None}}}}}))
    assert main(["lint", *unlimited, "--site", str(more)]) == 0


def test_lint_checks_containers_from_kubespawner_settings_and_hooks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(raw_site()))
    config = tmp_path / "jupyterhub_config.py"
    config.write_text(
        "def hook(spawner, pod):\n"
        "    pod.spec.containers.append({'name': 'logger', 'image': 'logger:1'})\n"
        "    return pod\n"
        "c.KubeSpawner.modify_pod_hook = hook\n"
    )
    assert main(["lint", "--site", str(site), "--config", str(config)]) == 1
    err = capsys.readouterr().err
    # Profile `small` can start with this sidecar, because its pods are not pinned.
    assert err.startswith(
        "c.KubeSpawner.modify_pod_hook: in profile a100: makes the pod invalid: spec.containers[logger]"
    )
    assert "(container 'logger') has no limit for cpu and memory" in err
    assert err.count("\n") == 1
    config.write_text(f"c.KubeSpawner.extra_containers = [{{'name': 'p', 'resources': {{'limits': {SMALL}}}}}]\n")
    assert main(["lint", "--site", str(site), "--config", str(config)]) == 0
    assert capsys.readouterr().out.startswith("No mistakes.\n")


@pytest.mark.parametrize(
    ("more", "path", "words"),
    [
        ({"cpu": 15}, "profiles.a100.cpu", "full-pcpus-only"),
        ({}, "profiles.a100.numa", "memoryManagerPolicy Static"),
        ({"pod": {"nodeSelector": {"numa": "yes"}}}, "profiles.a100.numa", "of the selected nodes"),
    ],
)
def test_lint_advises_what_the_kubelets_must_be_configured_for(more: Json, path: str, words: str) -> None:
    found = {advice.path: advice.message for advice in lint.advice(site_with({"profiles": {"a100": more}}), NOW)}
    assert words in found[path]
    even = {advice.path for advice in lint.advice(site_with(), NOW)}
    assert "profiles.a100.cpu" not in even


def test_lint_advises_about_virtual_gpus_and_numa() -> None:
    gpu = {"gpu": {"kind": "volcano-vgpu", "count": None}}
    site = site_with({"scheduler": {"kind": "volcano"}, "profiles": {"a100": gpu}})
    found = [advice.message for advice in lint.advice(site, NOW) if advice.path == "profiles.a100.gpu"]
    assert len(found) == 2
    assert "enableNumaTopology" in found[0]
    assert "deviceshare.VGPUEnable: true" in found[1]
    assert "profiles.a100.gpu" not in {advice.path for advice in lint.advice(site_with(), NOW)}
