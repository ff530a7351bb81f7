"""The scheduler of the embedded cluster: order, messages and preemption as in kube-scheduler."""

from __future__ import annotations

from typing import Any

from embedded_cluster import NAMESPACE, create, ended, events, log_of, now, phase, pod
from patience import eventually

from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.embedded.apimachinery.api_resources import POD
from jupyter_research_spawner.embedded.apimachinery.object_fields import condition
from jupyter_research_spawner.embedded.controllers.pod_scheduler import requests_of


def needs(cpu: str, **more: str) -> dict[str, Any]:
    amounts = {"cpu": cpu, **more}
    return {"resources": {"requests": amounts, "limits": amounts}}


def sleeper(name: str, cpu: str, **spec: Any) -> dict[str, Any]:
    return pod(name, "sleep", "600", container=needs(cpu), **spec)


async def priority(cluster: Cluster, name: str, value: int, **more: str) -> None:
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value}
    await cluster.apply({**body, **more})


def why_not(cluster: Cluster, name: str) -> dict[str, Any]:
    return condition(now(cluster, name), "PodScheduled")


async def waits(cluster: Cluster, name: str) -> tuple[str, str]:
    found = await eventually(lambda: why_not(cluster, name))
    assert found["status"] == "False"
    return found["reason"], found["message"]


async def test_a_pod_that_fits_runs(cluster: Cluster) -> None:
    await create(cluster, pod("p", "true", container=needs("4")))
    done = await ended(cluster, "p")
    assert done["spec"]["nodeName"] == "node-1"
    assert events(cluster, "p")["Scheduled"] == f"Successfully assigned {NAMESPACE}/p to node-1"


async def test_a_pod_that_is_too_big_says_what_is_short(cluster: Cluster) -> None:
    cluster.add_node(NodeSpec("node-2", cpu=1, labels={"zone": "a"}))
    await create(cluster, pod("p", "true", container=needs("5"), nodeSelector={"zone": "a"}))
    said = (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector. "
        "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    assert await waits(cluster, "p") == ("Unschedulable", said)
    assert events(cluster, "p")["FailedScheduling"] == said


async def test_extended_resources_are_counted(cluster: Cluster) -> None:
    cluster.add_node(NodeSpec("gpu", cpu=2, resources={"nvidia.com/gpu": "1"}))
    await create(cluster, pod("p1", "sleep", "600", container=needs("1", **{"nvidia.com/gpu": "1"})))
    await create(cluster, pod("p2", "sleep", "600", container=needs("1", **{"nvidia.com/gpu": "1"})))
    await eventually(lambda: phase(cluster, "p1") == "Running")
    _, message = await waits(cluster, "p2")
    assert now(cluster, "p1")["spec"]["nodeName"] == "gpu"
    assert message.startswith("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")


async def test_a_waiting_pod_runs_when_there_is_room(cluster: Cluster) -> None:
    await create(cluster, sleeper("p1", "3"))
    await create(cluster, pod("p2", "true", container=needs("3")))
    await waits(cluster, "p2")
    cluster.store.delete(POD, now(cluster, "p1"))
    await ended(cluster, "p2")


async def test_gates_come_first(cluster: Cluster) -> None:
    await create(cluster, pod("p", "true", schedulingGates=[{"name": "example.com/gate"}]))
    gated = ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
    assert await waits(cluster, "p") == gated
    cluster.store.modify(POD, now(cluster, "p"), lambda p: p["spec"].pop("schedulingGates"))
    await ended(cluster, "p")


async def test_a_missing_claim_is_named(cluster: Cluster) -> None:
    volume = {"name": "home", "persistentVolumeClaim": {"claimName": "nowhere"}}
    await create(cluster, pod("p", "true", volumes=[volume]))
    reason, message = await waits(cluster, "p")
    assert reason == "Unschedulable"
    assert message == '0/1 nodes are available: persistentvolumeclaim "nowhere" not found. not found'


async def test_other_schedulers_are_left_alone(cluster: Cluster) -> None:
    await create(cluster, pod("theirs", "true", schedulerName="volcano"))
    await create(cluster, pod("ours", "true"))
    await ended(cluster, "ours")
    assert now(cluster, "theirs")["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


async def test_taints_need_tolerations(cluster: Cluster) -> None:
    cluster.add_node(NodeSpec("big", cpu=8, taints=({"key": "research", "effect": "NoSchedule"},)))
    await create(cluster, pod("p1", "true", container=needs("6")))
    assert "1 node(s) had untolerated taint(s)" in (await waits(cluster, "p1"))[1]
    toleration = {"key": "research", "operator": "Exists"}
    await create(cluster, pod("p2", "true", container=needs("6"), tolerations=[toleration]))
    assert (await ended(cluster, "p2"))["spec"]["nodeName"] == "big"


async def test_higher_priority_is_served_first(cluster: Cluster) -> None:
    await priority(cluster, "high", 100, preemptionPolicy="Never")
    await create(cluster, sleeper("first", "4"))
    await eventually(lambda: phase(cluster, "first") == "Running")
    await create(cluster, sleeper("second", "4"))
    await create(cluster, sleeper("important", "4", priorityClassName="high"))
    message = (await waits(cluster, "important"))[1]
    assert message.endswith("preemption: not eligible due to preemptionPolicy=Never.")
    cluster.store.delete(POD, now(cluster, "first"))
    await eventually(lambda: phase(cluster, "important") == "Running")
    assert phase(cluster, "second") == "Pending"


async def test_among_equals_the_first_comes_first(cluster: Cluster) -> None:
    waiting = ["first", "second", "third"]
    for name in waiting:
        await create(cluster, sleeper(name, "4"))
    while waiting:
        running = waiting.pop(0)
        await eventually(lambda name=running: phase(cluster, name) == "Running")
        assert [phase(cluster, name) for name in waiting] == ["Pending"] * len(waiting)
        cluster.store.delete(POD, now(cluster, running))


async def test_preemption(cluster: Cluster) -> None:
    await priority(cluster, "low", -100)
    await priority(cluster, "normal", 0)
    shown: list[dict[str, Any]] = []
    cluster.store.listeners.append(lambda change: shown.append(change.new) if change.kind == POD else None)
    await create(cluster, sleeper("bob-1", "2", priorityClassName="low"))
    await create(cluster, sleeper("bob-2", "2", priorityClassName="low"))
    await eventually(lambda: phase(cluster, "bob-1") == phase(cluster, "bob-2") == "Running")
    await create(cluster, sleeper("alice", "2", priorityClassName="normal"))
    await eventually(lambda: phase(cluster, "alice") == "Running")

    gone = [name for name in ("bob-1", "bob-2") if not now(cluster, name)]
    assert len(gone) == 1, "one victim is enough"
    last = [p for p in shown if p["metadata"]["name"] == gone[0]][-1]
    target = condition(last, "DisruptionTarget")
    assert {key: target[key] for key in ("status", "reason", "message")} == {
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod",
    }
    assert last["status"]["phase"] == "Failed"
    alice = now(cluster, "alice")
    assert events(cluster, gone[0])["Preempted"] == f"Preempted by pod {alice['metadata']['uid']} on node node-1"
    assert alice["status"]["nominatedNodeName"] == "node-1"
    assert events(cluster, "alice")["FailedScheduling"] == "0/1 nodes are available: 1 Insufficient cpu."


async def test_the_lowest_go_first_and_no_more_than_needed(cluster: Cluster) -> None:
    await priority(cluster, "lowest", -200)
    await priority(cluster, "low", -100)
    await create(cluster, sleeper("a", "2", priorityClassName="low"))
    await create(cluster, sleeper("b", "1", priorityClassName="lowest"))
    await create(cluster, sleeper("c", "1", priorityClassName="lowest"))
    await eventually(lambda: {phase(cluster, name) for name in "abc"} == {"Running"})
    await create(cluster, sleeper("d", "2"))
    await eventually(lambda: phase(cluster, "d") == "Running")
    assert [phase(cluster, name) for name in "abc"] == ["Running", "", ""]


async def test_equals_are_never_preempted(cluster: Cluster) -> None:
    await create(cluster, sleeper("p1", "4"))
    await eventually(lambda: phase(cluster, "p1") == "Running")
    await create(cluster, sleeper("p2", "4"))
    assert "No preemption victims found for incoming pod" in (await waits(cluster, "p2"))[1]
    assert phase(cluster, "p1") == "Running"


async def test_room_that_was_made_is_kept_for_whom_it_was_made(cluster: Cluster) -> None:
    """While a second victim terminates, a new pod of lower priority must not use the room of the first."""
    await priority(cluster, "low", -100)
    await create(cluster, sleeper("quick", "2", priorityClassName="low"))
    stubborn = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    await create(cluster, pod("slow", *stubborn, container=needs("2"), priorityClassName="low"))
    await eventually(lambda: phase(cluster, "slow") == "Running" and "ready" in log_of(cluster, "slow"))
    await create(cluster, sleeper("alice", "4"))
    await eventually(lambda: not now(cluster, "quick"))
    await create(cluster, sleeper("newcomer", "2", priorityClassName="low"))
    assert await waits(cluster, "newcomer")
    assert now(cluster, "slow"), "it still ends"
    await eventually(lambda: phase(cluster, "alice") == "Running")
    assert phase(cluster, "newcomer") == "Pending"


def test_a_pod_takes_what_its_biggest_moment_takes() -> None:
    def container(cpu: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}}

    spec = {"containers": [container("500m"), container("1")], "initContainers": [container("2"), container("1")]}
    assert {name: str(amount) for name, amount in requests_of({"spec": spec}).items()} == {"cpu": "2", "pods": "1"}
