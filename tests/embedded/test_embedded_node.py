"""Pods as processes: what containers with and without isolation have in common."""

# ruff: noqa: ASYNC240  (small files of the test itself)

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest
from embedded_cluster import NAMESPACE, create, ended, events, log_of, now, phase, pod
from patience import eventually

from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.embedded.apimachinery.api_resources import POD
from jupyter_research_spawner.embedded.apimachinery.object_fields import condition
from jupyter_research_spawner.embedded.node.container_environment import expand
from jupyter_research_spawner.embedded.node.container_process import MARK, POD_MARK, marked_processes


def state(cluster: Cluster, name: str, container: int = 0) -> dict[str, Any]:
    statuses = now(cluster, name)["status"].get("containerStatuses") or []
    return statuses[container]["state"] if statuses else {}


def waiting(cluster: Cluster, name: str) -> str:
    return state(cluster, name).get("waiting", {}).get("reason", "")


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_a_pod_runs_to_its_end(cluster: Cluster) -> None:
    await create(cluster, pod("p", "sh", "-c", "echo out; echo err >&2; exit 3"))
    done = await ended(cluster, "p")
    status = done["status"]
    assert (status["phase"], status["containerStatuses"][0]["state"]["terminated"]["exitCode"]) == ("Failed", 3)
    assert status["podIP"].startswith("127.77.")
    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == "Error"
    assert condition(done, "Ready")["reason"] == "PodFailed"
    assert log_of(cluster, "p") == "out\nerr\n"
    assert {"Scheduled", "Pulled", "Created", "Started"} <= events(cluster, "p").keys()


async def test_a_running_pod_never_shows_half_a_status(cluster: Cluster) -> None:
    seen: list[dict[str, Any]] = []
    cluster.store.listeners.append(lambda change: seen.append(change.new["status"]) if change.kind == POD else None)
    await create(cluster, pod("p", "true"))
    await ended(cluster, "p")
    running = [status for status in seen if status["phase"] == "Running"]
    assert running
    assert all(status.get("podIP") and status.get("containerStatuses") for status in running)


async def test_deletion_gives_time_to_end(cluster: Cluster) -> None:
    await create(
        cluster, pod("p", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    )
    await eventually(lambda: "ready" in log_of(cluster, "p") if phase(cluster, "p") == "Running" else "")
    last: list[str] = []
    cluster.store.listeners.append(
        lambda change: (
            last.append(change.new["status"]["phase"]) if change.type == "DELETED" and change.kind == POD else None
        )
    )
    cluster.store.delete(POD, now(cluster, "p"))
    assert now(cluster, "p")["metadata"]["deletionGracePeriodSeconds"] == 2
    await eventually(lambda: not now(cluster, "p"))
    assert last == ["Succeeded"]


async def test_who_does_not_end_in_time_is_killed_with_all_children(cluster: Cluster) -> None:
    script = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 600\" & echo ready; while :; do sleep 0.1; done"
    await create(cluster, pod("p", "sh", "-c", script))
    await eventually(lambda: "ready" in log_of(cluster, "p") if phase(cluster, "p") == "Running" else "")
    uid = now(cluster, "p")["metadata"]["uid"]
    assert list(marked_processes(POD_MARK, uid))
    cluster.store.delete(POD, now(cluster, "p"), {"gracePeriodSeconds": 1})
    await eventually(lambda: not now(cluster, "p"))
    assert list(marked_processes(POD_MARK, uid)) == []


async def test_what_the_main_process_leaves_is_killed(cluster: Cluster) -> None:
    await create(cluster, pod("p", "sh", "-c", "setsid sleep 600 & exit 0"))
    uid = (await ended(cluster, "p"))["metadata"]["uid"]
    assert list(marked_processes(POD_MARK, uid)) == []


async def test_a_forced_deletion_kills(cluster: Cluster) -> None:
    await create(cluster, pod("p", "sleep", "600"))
    await eventually(lambda: phase(cluster, "p") == "Running")
    uid = now(cluster, "p")["metadata"]["uid"]
    cluster.store.delete(POD, now(cluster, "p"), {"gracePeriodSeconds": 0})
    assert not now(cluster, "p")
    await eventually(lambda: not list(marked_processes(POD_MARK, uid)))


async def test_the_deadline_ends_a_pod(cluster: Cluster) -> None:
    await create(cluster, pod("p", "sleep", "600", activeDeadlineSeconds=1))
    status = (await ended(cluster, "p"))["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert status["message"] == "Pod was active on the node longer than the specified deadline"
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


async def test_a_deadline_may_come_nearer(cluster: Cluster) -> None:
    await create(cluster, pod("p", "sleep", "600", activeDeadlineSeconds=600))
    await eventually(lambda: phase(cluster, "p") == "Running")
    cluster.store.modify(POD, now(cluster, "p"), lambda p: p["spec"].update(activeDeadlineSeconds=1))
    assert (await ended(cluster, "p"))["status"]["reason"] == "DeadlineExceeded"


async def test_on_failure_restarts_with_growing_pauses(cluster: Cluster) -> None:
    await create(cluster, pod("p", "sh", "-c", "echo again; exit 1", restartPolicy="OnFailure"))
    await eventually(lambda: waiting(cluster, "p") == "CrashLoopBackOff")
    uid = now(cluster, "p")["metadata"]["uid"]
    message = state(cluster, "p")["waiting"]["message"]
    assert message == f"back-off 0.2s restarting failed container=main pod=p_{NAMESPACE}({uid})"
    status = now(cluster, "p")["status"]["containerStatuses"][0]
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 1)
    assert phase(cluster, "p") == "Running"
    assert log_of(cluster, "p", previous=True) == "again\n"
    await eventually(lambda: now(cluster, "p")["status"]["containerStatuses"][0]["restartCount"] >= 2)


async def test_on_failure_leaves_success_alone(cluster: Cluster) -> None:
    await create(cluster, pod("p", "true", restartPolicy="OnFailure"))
    assert (await ended(cluster, "p"))["status"]["phase"] == "Succeeded"


async def test_always_restarts_success_too(cluster: Cluster) -> None:
    await create(cluster, pod("p", "true", restartPolicy="Always"))
    await eventually(lambda: now(cluster, "p")["status"].get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1)


async def test_init_containers_come_first_one_by_one(cluster: Cluster) -> None:
    volume = {"name": "shared", "emptyDir": {}}
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    init = [{"name": f"i{n}", "image": "x/y:1", "command": ["sh", "-c", f"echo {n}"], **mount} for n in (1, 2)]
    await create(cluster, pod("p", "echo", "main", initContainers=init, volumes=[volume]))
    done = await ended(cluster, "p")
    statuses = done["status"]["initContainerStatuses"]
    assert [status["state"]["terminated"]["exitCode"] for status in statuses] == [0, 0]
    assert [log_of(cluster, "p", name) for name in ("i1", "i2", "main")] == ["1\n", "2\n", "main\n"]


async def test_a_failed_init_container_fails_the_pod(cluster: Cluster) -> None:
    init = [{"name": "i", "image": "x/y:1", "command": ["false"]}]
    await create(cluster, pod("p", "echo", "main", initContainers=init))
    assert (await ended(cluster, "p"))["status"]["phase"] == "Failed"
    assert log_of(cluster, "p") == ""


async def test_several_containers_share_the_pods_end(cluster: Cluster) -> None:
    body = pod("p", "true")
    body["spec"]["containers"].append(
        {"name": "second", "image": "x/y:1", "command": ["sh", "-c", "sleep 0.3; exit 2"]}
    )
    await create(cluster, body)
    status = (await ended(cluster, "p"))["status"]
    codes = [container["state"]["terminated"]["exitCode"] for container in status["containerStatuses"]]
    assert (status["phase"], codes) == ("Failed", [0, 2])


async def test_a_missing_image_is_not_pulled_again_and_again(cluster: Cluster) -> None:
    await create(cluster, pod("p", "true", container={"image": "example/missing:1"}))
    await eventually(lambda: waiting(cluster, "p") == "ErrImagePull")
    await eventually(lambda: waiting(cluster, "p") == "ImagePullBackOff")
    said = events(cluster, "p")
    assert phase(cluster, "p") == "Pending"
    assert said["BackOff"] == 'Back-off pulling image "example/missing:1"'
    cluster.store.delete(POD, now(cluster, "p"))
    await eventually(lambda: not now(cluster, "p"))


async def test_a_program_that_is_not_there(cluster: Cluster) -> None:
    await create(cluster, pod("p", "no-such-program"))
    await ended(cluster, "p")
    terminated = state(cluster, "p")["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (128, "StartError")
    assert 'exec: "no-such-program": executable file not found in $PATH' in terminated["message"]
    assert events(cluster, "p")["Failed"].startswith("Error: failed to create containerd task: ")


async def test_run_as_non_root_without_a_user(cluster: Cluster) -> None:
    await create(cluster, pod("p", "true", securityContext={"runAsNonRoot": True}))
    await eventually(lambda: waiting(cluster, "p") == "CreateContainerConfigError")
    assert "container has runAsNonRoot and image will run as root" in state(cluster, "p")["waiting"]["message"]


async def test_a_missing_secret_holds_the_container_until_it_is_there(cluster: Cluster) -> None:
    reference = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    await create(cluster, pod("p", "sh", "-c", 'echo "$A"', container={"env": [{"name": "A", **reference}]}))
    await eventually(lambda: waiting(cluster, "p") == "CreateContainerConfigError")
    assert state(cluster, "p")["waiting"]["message"] == 'secret "s" not found'
    await create(cluster, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}})
    await ended(cluster, "p")
    assert log_of(cluster, "p") == "v\n"


async def test_a_missing_config_map_holds_the_pod_until_it_is_there(cluster: Cluster) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    await create(cluster, pod("p", "true", container=mount, volumes=[{"name": "v", "configMap": {"name": "c"}}]))
    said = await eventually(lambda: events(cluster, "p").get("FailedMount"))
    assert said == 'MountVolume.SetUp failed for volume "v" : configmap "c" not found'
    await create(cluster, config_map("c"))
    await ended(cluster, "p")


async def test_environment(cluster: Cluster) -> None:
    await create(cluster, config_map("c", K="from map", OTHER="o"))
    secret = {"k": base64.b64encode(b"from secret").decode()}
    await create(cluster, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": secret})
    fields = {
        "NAME": "metadata.name",
        "NODE": "spec.nodeName",
        "IP": "status.podIP",
        "LABEL": "metadata.labels['l']",
        "NOTE": "metadata.annotations['example.com/a']",
    }
    env = [
        {"name": "PLAIN", "value": "x"},
        {"name": "REFERS", "value": "$(PLAIN)-$(MISSING)-$$(PLAIN)"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "OPTIONAL", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
    ]
    resources = {"limits": {"cpu": "1500m"}}
    env_from = [{"configMapRef": {"name": "c"}, "prefix": "MAP_"}]
    container = {"env": env, "envFrom": env_from, "resources": resources, "args": ["$(PLAIN)", "$$(PLAIN)"]}
    body = pod("p", "sh", "-c", 'echo "$0 $1"; env', container=container)
    body["metadata"] |= {"labels": {"l": "label"}, "annotations": {"example.com/a": "note"}}
    await create(cluster, body)
    done = await ended(cluster, "p")
    first, *rest = log_of(cluster, "p").splitlines()
    seen = dict(line.split("=", 1) for line in rest if "=" in line)
    assert first == "x $(PLAIN)"
    wanted = {
        "PLAIN": "x",
        "REFERS": "x-$(MISSING)-$(PLAIN)",
        "SECRET": "from secret",
        "CPU": "2",
        "MAP_K": "from map",
        "MAP_OTHER": "o",
        "NAME": "p",
        "NODE": "node-1",
        "IP": done["status"]["podIP"],
        "LABEL": "label",
        "NOTE": "note",
    }
    assert {name: seen.get(name) for name in wanted} == wanted
    assert "OPTIONAL" not in seen
    assert seen[MARK] == str(cluster.state)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(B)", "$(B)"),
        ("$A", "$A"),
        ("a$", "a$"),
        ("$(A", "$(A"),
        ("$(A)$(A)", "11"),
        ("$()", "$()"),
    ],
)
def test_expansion_is_the_kubelets(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


async def test_pods_have_addresses_of_their_own(cluster: Cluster) -> None:
    for name in ("p1", "p2"):
        await create(cluster, pod(name, "sleep", "600"))
        await eventually(lambda name=name: phase(cluster, name) == "Running")
    addresses = {now(cluster, name)["status"]["podIP"] for name in ("p1", "p2")}
    assert len(addresses) == 2


async def test_a_notebook_listens_on_its_pods_address(cluster: Cluster) -> None:
    env = [{"name": "JUPYTERHUB_SERVICE_URL", "value": "http://0.0.0.0:8888/user/alice/"}]
    await create(cluster, pod("p", "sh", "-c", 'echo "$JUPYTERHUB_SERVICE_URL"', container={"env": env}))
    done = await ended(cluster, "p")
    assert log_of(cluster, "p") == f"http://{done['status']['podIP']}:8888/user/alice/\n"


async def test_two_clusters_at_once_share_no_address(cluster: Cluster, tmp_path: Path) -> None:
    other = await Cluster.start(tmp_path / "other", [NodeSpec("n")], namespace=NAMESPACE)
    try:
        for each in (cluster, other):
            await create(each, pod("p", "true"))
        first, second = [(await ended(each, "p"))["status"]["podIP"] for each in (cluster, other)]
        assert first != second
    finally:
        await other.stop()


async def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "cluster"
    mounts = Path("/proc/self/mountinfo").read_text()
    stopped = await Cluster.start(state, [NodeSpec("n")], namespace=NAMESPACE)
    await create(stopped, pod("p", "sh", "-c", "setsid sleep 600 & sleep 600"))
    await eventually(lambda: phase(stopped, "p") == "Running")
    assert list(marked_processes(MARK, str(state)))
    await stopped.stop()
    assert list(marked_processes(MARK, str(state))) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert sorted(path.name for path in state.iterdir()) == ["ca.crt", "lock"]


async def test_one_state_directory_has_one_cluster(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="another embedded cluster runs in"):
        await Cluster.start(cluster.state)


async def test_what_a_killed_cluster_left_is_ended_at_the_next_start(tmp_path: Path) -> None:
    state = tmp_path / "cluster"
    left = await asyncio.create_subprocess_exec("sleep", "600", env={**os.environ, MARK: str(state)})
    started = await Cluster.start(state, [NodeSpec("n")])
    try:
        assert await asyncio.wait_for(left.wait(), 5) == -9
    finally:
        await started.stop()
