"""Which waiting pods a restarted hub adopts: pod/adoption.py and spawner/pod_creation.py.

tests/data/adoption/ has pods of one notebook as a hub sends them and as real API servers return them, while they wait
and while they run under each scheduler (tests/cluster/test_adoption.py writes and tests them).
"""

from __future__ import annotations

import asyncio
import copy
import functools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import yaml
from samples import DATA, NOW, person, request, site_with
from traitlets.config import Config

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.plan import Plan, plan
from jupyter_research_spawner.pod import check, compose, differences
from jupyter_research_spawner.schedulers import SCHEDULERS
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.spawner.offline_render import render_base_pod
from jupyter_research_spawner.spawner.pod_creation import why_not_adopted

KINDS = ("kueue", "volcano", "yunikorn", "kai")
PRIORITY = 100


def read(kind: str, state: str) -> Json:
    return copy.deepcopy(parsed(kind, state))


@functools.cache
def parsed(kind: str, state: str) -> Json:
    found: Json = yaml.safe_load((DATA / "adoption" / f"{kind}-{state}.yaml").read_text())
    return found


def changed(kind: str, manifest: Json, found: Json, priority: int = PRIORITY) -> dict[str, str]:
    return dict(differences(manifest, found, SCHEDULERS[kind].adds(found), priority))


@pytest.mark.parametrize("state", ["waits", "runs"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_real_servers_and_schedulers_add_is_harmless(kind: str, state: str) -> None:
    assert changed(kind, read(kind, "sent"), read(kind, state)) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_scheduler_adds_is_a_difference(kind: str) -> None:
    found = read(kind, "waits")
    added = [path for path in SCHEDULERS[kind].adds(found) if not path.startswith("spec.")]
    assert kind == "yunikorn" or added
    names = differences(read(kind, "sent"), found, (), PRIORITY)
    assert bool(names) == bool(added)


def notebook(pod: Json) -> Json:
    found: Json = pod["spec"]["containers"][0]
    return found


def variable(name: str, value: str) -> Callable[[Json], None]:
    return lambda pod: notebook(pod)["env"].append({"name": name, "value": value})


# What has been withdrawn or added since the pod was created, as a change of the pod that exists.
EDITS: list[tuple[str, Callable[[Json], Any]]] = [
    ("spec.securityContext.runAsUser", lambda pod: pod["spec"]["securityContext"].update(runAsUser=0)),
    ("spec.securityContext.runAsGroup", lambda pod: pod["spec"]["securityContext"].update(runAsGroup=7)),
    ("spec.securityContext.fsGroup", lambda pod: pod["spec"]["securityContext"].update(fsGroup=7)),
    (
        "spec.securityContext.supplementalGroups[31337]",
        lambda pod: pod["spec"]["securityContext"]["supplementalGroups"].append(31337),
    ),
    (
        "spec.securityContext.supplementalGroups[20500]",
        lambda pod: pod["spec"]["securityContext"].pop("supplementalGroups"),
    ),
    (
        "spec.containers[notebook].securityContext.privileged",
        lambda pod: notebook(pod)["securityContext"].update(privileged=True),
    ),
    ("spec.containers[notebook].image", lambda pod: notebook(pod).update(image="example/old:1")),
    ("spec.initContainers[first].image", lambda pod: pod["spec"]["initContainers"][1].update(image="example/old:1")),
    ("spec.containers[notebook].args[0]", lambda pod: notebook(pod)["args"].insert(0, "sudo")),
    ("spec.containers[notebook].resources.limits.cpu", lambda pod: notebook(pod)["resources"]["limits"].update(cpu=3)),
    (
        "spec.containers[notebook].resources.requests.memory",
        lambda pod: notebook(pod)["resources"]["requests"].update(memory="1Mi"),
    ),
    (
        "spec.containers[notebook].resources.limits.nvidia.com/gpu",
        lambda pod: notebook(pod)["resources"]["limits"].update({"nvidia.com/gpu": "1"}),
    ),
    ("spec.containers[notebook].env[TOKEN]", variable("TOKEN", "secret")),
    ("spec.containers[notebook].env[HOME#2]", variable("HOME", "/root")),
    ("spec.containers[notebook].env[HOME].value", lambda pod: notebook(pod)["env"][0].update(value="/secret")),
    ("env of notebook", lambda pod: notebook(pod)["env"].reverse()),
    ("spec.initContainers", lambda pod: pod["spec"]["initContainers"].reverse()),
    (
        "spec.containers[notebook].volumeMounts[/data]",
        lambda pod: notebook(pod)["volumeMounts"].append({"name": "research-claim-home", "mountPath": "/data"}),
    ),
    (
        "spec.containers[notebook].volumeMounts[/home].subPath",
        lambda pod: notebook(pod)["volumeMounts"][1].update(subPath="bob"),
    ),
    (
        "spec.volumes[data]",
        lambda pod: pod["spec"]["volumes"].append({"name": "data", "hostPath": {"path": "/secret", "type": ""}}),
    ),
    ("spec.volumes[empty]", lambda pod: pod["spec"]["volumes"].append({"name": "empty", "emptyDir": {}})),
    ("spec.containers[miner]", lambda pod: pod["spec"]["containers"].append({"name": "miner", "image": "miner"})),
    ("spec.containers[beside]", lambda pod: pod["spec"]["containers"].pop()),
    ("spec.initContainers[research-home]", lambda pod: pod["spec"]["initContainers"].pop(0)),
    ("spec.priorityClassName", lambda pod: pod["spec"].update(priorityClassName="research-urgent")),
    ("spec.priority", lambda pod: pod["spec"].update(priority=1000)),
    ("spec.schedulerName", lambda pod: pod["spec"].update(schedulerName="other")),
    ("spec.hostNetwork", lambda pod: pod["spec"].update(hostNetwork=True)),
    ("spec.automountServiceAccountToken", lambda pod: pod["spec"].pop("automountServiceAccountToken")),
    ("spec.serviceAccountName", lambda pod: pod["spec"].update(serviceAccountName="admin")),
    ("spec.imagePullSecrets[other]", lambda pod: pod["spec"]["imagePullSecrets"].append({"name": "other"})),
    ("spec.runtimeClassName", lambda pod: pod["spec"].update(runtimeClassName="nvidia")),
    (
        "spec.tolerations[dedicated:NoSchedule]",
        lambda pod: pod["spec"]["tolerations"].append({"key": "dedicated", "effect": "NoSchedule"}),
    ),
    ("spec.nodeSelector.pool", lambda pod: pod["spec"]["nodeSelector"].update(pool="a100")),
    ("spec.nodeSelector.gpu", lambda pod: pod["spec"]["nodeSelector"].update(gpu="a100")),
    ("spec.activeDeadlineSeconds", lambda pod: pod["spec"].update(activeDeadlineSeconds=10**6)),
    ("spec.terminationGracePeriodSeconds", lambda pod: pod["spec"].update(terminationGracePeriodSeconds=999)),
    ("spec.ephemeralContainers[x]", lambda pod: pod["spec"].update(ephemeralContainers=[{"name": "x"}])),
    ("metadata.labels.extra", lambda pod: pod["metadata"]["labels"].update(extra="x")),
    ("metadata.labels.app", lambda pod: pod["metadata"]["labels"].update(app="x")),
    (
        "metadata.annotations.research-spawner/groups",
        lambda pod: pod["metadata"]["annotations"].update({"research-spawner/groups": "alice:20001"}),
    ),
    (
        "metadata.annotations.research-spawner/plan",
        lambda pod: pod["metadata"]["annotations"].update({"research-spawner/plan": "{}"}),
    ),
    ("metadata.finalizers[other/one]", lambda pod: pod["metadata"].setdefault("finalizers", []).append("other/one")),
    ("metadata.ownerReferences[u]", lambda pod: pod["metadata"].update(ownerReferences=[{"uid": "u"}])),
    (
        "spec.schedulingGates[other]",
        lambda pod: pod["spec"].setdefault("schedulingGates", []).append({"name": "other"}),
    ),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("path", "edit"), EDITS, ids=[path for path, _ in EDITS])
def test_each_field_that_the_site_would_not_write_today_is_named(
    kind: str, path: str, edit: Callable[[Json], Any]
) -> None:
    found = read(kind, "waits")
    edit(found)
    assert path in changed(kind, read(kind, "sent"), found)


def test_no_secret_is_repeated() -> None:
    found = read("kueue", "waits")
    notebook(found)["env"][0]["value"] = "hunter2"
    notebook(found)["args"][-1] = "hunter2"
    found["metadata"]["annotations"]["research-spawner/passwd"] = "hunter2"
    named = changed("kueue", read("kueue", "sent"), found)
    assert len(named) == 3
    assert "hunter2" not in str(named)


def test_an_admitted_pod_may_have_what_the_flavor_gives_it() -> None:
    """Kueue adds the node labels and tolerations of its flavor when it removes its gate."""
    found = read("kueue", "waits")
    found["spec"]["nodeSelector"]["pool-of-flavor"] = "a"
    assert list(changed("kueue", read("kueue", "sent"), found)) == ["spec.nodeSelector.pool-of-flavor"]
    del found["spec"]["schedulingGates"]
    assert changed("kueue", read("kueue", "sent"), found) == {}


def test_limit_ranges_and_pull_secrets_of_the_cluster_are_harmless() -> None:
    manifest, found = read("kueue", "sent"), read("kueue", "waits")
    del manifest["spec"]["imagePullSecrets"]
    found["spec"]["initContainers"][1]["resources"] = {"limits": {"cpu": "1"}, "requests": {"cpu": "1m"}}
    assert list(changed("kueue", manifest, found)) == ["spec.initContainers[first].resources.limits.cpu"]
    found["metadata"]["annotations"]["kubernetes.io/limit-ranger"] = "LimitRanger plugin set: cpu limit for first"
    assert changed("kueue", manifest, found) == {}
    found["spec"]["initContainers"][1]["resources"]["limits"]["nvidia.com/gpu"] = "1"
    assert len(changed("kueue", manifest, found)) == 1


def test_a_device_tolerates_the_taint_of_its_nodes() -> None:
    """The admission plugin ExtendedResourceToleration adds this."""
    manifest, found = read("kueue", "sent"), read("kueue", "waits")
    found["spec"]["tolerations"].append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    assert list(changed("kueue", manifest, found)) == ["spec.tolerations[nvidia.com/gpu:NoSchedule]"]
    for pod in (manifest, found):
        for amounts in notebook(pod)["resources"].values():
            amounts["nvidia.com/gpu"] = "1"
    assert changed("kueue", manifest, found) == {}


def test_an_upgrade_of_the_hub_and_of_this_project_keeps_the_place() -> None:
    manifest, found = read("kueue", "sent"), read("kueue", "waits")
    metadata = manifest["metadata"]
    metadata["labels"]["chart"] = "jupyterhub-5.0.0"
    metadata["annotations"]["hub.jupyter.org/jupyterhub-version"] = "7.0.0"
    metadata["annotations"]["research-spawner/site"] = "other"
    summary = json.loads(metadata["annotations"]["research-spawner/plan"])
    metadata["annotations"]["research-spawner/plan"] = json.dumps({**summary, "warnings": ["New."], "new": 1})
    assert changed("kueue", manifest, found) == {}


def test_an_upgrade_of_the_notices_and_an_end_that_the_hub_has_written_keep_the_place() -> None:
    manifest = composed(decided(PLAIN), PLAIN)
    found = existing(manifest)
    found["metadata"]["annotations"]["research-spawner/terminal-script"] = "echo"
    found["metadata"]["annotations"]["research-spawner/deadline"] = '{"ends_at": "2026-11-29T16:00:00Z"}'
    by_name = {volume["name"]: volume for volume in found["spec"]["volumes"]}
    by_name["research-notices"]["projected"]["sources"][0]["configMap"]["name"] = "research-notices-0123456789"
    assert changed("plain", manifest, found, 0) == {}
    by_name["research-notices"]["projected"]["sources"][0]["configMap"]["name"] = "notices-of-another"
    assert list(changed("plain", manifest, found, 0)) == [
        "spec.volumes[research-notices].projected.sources[0].configMap.name"
    ]


# Settings before and after the restart of the hub.

PLAIN: Json = {"scheduler": {"kind": "plain"}}


def sidecar(config: Config) -> None:
    config.KubeSpawner.extra_containers = [{"name": "metrics", "image": "example/metrics:1"}]


def volume(config: Config) -> None:
    config.KubeSpawner.volumes = [{"name": "scratch", "hostPath": {"path": "/scratch"}}]
    config.KubeSpawner.volume_mounts = [{"name": "scratch", "mountPath": "/scratch", "readOnly": True}]


def decided(*settings: Json, who: PosixIdentity | None = None, run: str = "run-1", **wishes: Any) -> Plan:
    alice = who or person("alice")
    asked = request(alice, **{"profile": "small", **wishes})
    return plan(site_with(PLAIN, *settings), alice, asked, run_id=run, now=NOW, secret=b"hub")


def composed(wished: Plan, *settings: Json, configure: Callable[[Config], None] = lambda config: None) -> Json:
    config = Config()
    config.KubeSpawner.environment = {"JUPYTERHUB_API_TOKEN": f"token of {wished.run_id}"}
    configure(config)
    base = asyncio.run(render_base_pod(site_with(PLAIN, *settings), wished, config, base=DATA))
    manifest = compose(wished, base, SLOTS)
    check(wished, manifest, SLOTS)
    return manifest


def existing(manifest: Json, priority: int = 0) -> Json:
    found = copy.deepcopy(manifest)
    found["spec"]["priority"] = priority
    return {**found, "status": {"phase": "Pending"}}


def test_the_same_settings_and_rights_adopt_the_pod() -> None:
    found = existing(composed(decided()))
    now = decided(run="run-2")
    assert why_not_adopted(now, composed(now), found) == ""


WITHDRAWN: dict[str, tuple[Json, Json, str]] = {
    "a mount": (
        {"storage": {"mounts": {"data": {"claim": "data", "path": "/more"}}}},
        {},
        "its spec.volumes[research-claim-data] is not part of the pod",
    ),
    "write access to a mount": (
        {"storage": {"mounts": {"data": {"claim": "data", "path": "/more"}}}},
        {"storage": {"mounts": {"data": {"claim": "data", "path": "/more", "read_only": True}}}},
        "volumeMounts[/more].readOnly is missing",
    ),
    "CPUs": (
        {"profiles": {"small": {"cpu": 3}}},
        {"profiles": {"small": {"cpu": 1}}},
        "its spec.containers[notebook].resources.limits.cpu is '3', not '1'",
    ),
    "an image": (
        {"profiles": {"small": {"images": {"default": "example/old:1"}}}},
        {"profiles": {"small": {"images": {"default": "example/new:2"}}}},
        "its spec.containers[notebook].image is 'example/old:1', not 'example/new:2'",
    ),
    "a priority": (
        {"priorities": {"urgent": {"value": 500}}, "queues": {"climate": {"priority": "urgent"}}},
        {"priorities": {"urgent": {"value": 500}}},
        "its spec.priorityClassName is 'research-urgent'",
    ),
    "a toleration": (
        {"profiles": {"small": {"pod": {"tolerations": [{"key": "a100", "operator": "Exists"}]}}}},
        {},
        "its spec.tolerations[a100:] is not part of the pod",
    ),
    "a variable": (
        {"profiles": {"small": {"pod": {"env": {"LICENSE": "1"}}}}},
        {},
        "its spec.containers[notebook].env[LICENSE] is not part of the pod",
    ),
}


@pytest.mark.parametrize(("before", "after", "named"), WITHDRAWN.values(), ids=WITHDRAWN)
def test_what_the_settings_have_withdrawn_is_not_adopted(before: Json, after: Json, named: str) -> None:
    old, now = decided(before, queue="climate"), decided(after, queue="climate", run="run-2")
    found = existing(composed(old, before), old.priority_value)
    assert named in why_not_adopted(now, composed(now, after), found)


def test_a_sidecar_and_an_allowed_volume_that_were_withdrawn_are_not_adopted() -> None:
    allowed = {"pods": {"allow": {"host_paths": {"/scratch": "ro"}}}}
    now = decided(run="run-2")
    for configure, settings, named in ((sidecar, (), "containers[metrics]"), (volume, (allowed,), "volumes[scratch]")):
        old = decided(*settings)
        found = existing(composed(old, *settings, configure=configure))
        assert named in why_not_adopted(now, composed(now), found)


def test_the_value_of_a_priority_class_that_was_changed_is_not_adopted() -> None:
    before, after = ({"priorities": {"normal": {"value": value}}} for value in (0, 5))
    old, now = decided(before), decided(after, run="run-2")
    why = why_not_adopted(now, composed(now, after), existing(composed(old, before), old.priority_value))
    assert why == "its spec.priority is 0, not 5"


def test_a_group_that_was_left_is_not_adopted() -> None:
    alice = person("alice")
    fewer = replace(alice, groups=tuple(group for group in alice.groups if group.name != "climate"))
    now = decided(who=fewer, run="run-2", queue="backfill")
    why = why_not_adopted(now, composed(now), existing(composed(decided(queue="backfill"))))
    assert "another identity" in why
    assert "its spec.securityContext.supplementalGroups[20500] is not part of the pod" in why


def test_only_a_pod_of_this_hub_with_the_same_options_is_adopted() -> None:
    old = decided()
    found = existing(composed(old))

    def why_not(now: Plan) -> str:
        return why_not_adopted(now, composed(old), found)

    assert why_not(replace(decided(), adoption_key="key of another hub")) != ""
    assert why_not(replace(decided(), adoption_key="")) != ""
    assert why_not(decided(server="exp")).startswith("it was created for other options")
    assert why_not(decided(wall_time=timedelta(hours=1))).startswith("it was created for other options")
    manifest = composed(old)
    assert why_not_adopted(old, manifest, {**found, "status": {"phase": "Failed"}}) == "it has ended"
    deleted = {**found, "metadata": {**found["metadata"], "deletionTimestamp": "now"}}
    assert why_not_adopted(old, manifest, deleted) == "it has ended"
    unlike = copy.deepcopy(found)
    notebook(unlike)["env"] = []
    assert why_not_adopted(old, manifest, unlike) == "it has no API token"
