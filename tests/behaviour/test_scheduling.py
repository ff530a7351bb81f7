"""Where the scheduler places pods, why they are pending, and preemption.  The nodes here are only objects."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kube import MERGE, Json, Kube, config_map, eventually, pod

# On a cluster that all tests share, they would read of each other's nodes: only one process may run this file.

POOL = "behaviour.example.com/pool"
NO_CLAIMS = "no new claims to deallocate"
# Taints that the node controller gives, while other tests' nodes come and go.
TROUBLES = [f"node.kubernetes.io/{state}" for state in ("not-ready", "unreachable")]
PREEMPTED = "default-scheduler: preempting to accommodate a higher priority pod"


@asynccontextmanager
async def node(kube: Kube, cpu: str = "2", pods: str = "10", **spec: Any) -> AsyncIterator[str]:
    """Create a node that only pods of this test can use."""
    name = kube.namespace
    body = {"metadata": {"name": name, "labels": {POOL: name}}, "spec": spec}
    assert (await kube.call("POST", "/api/v1/nodes", body)).status == 201
    room = {"cpu": cpu, "memory": "4Gi", "pods": pods, "example.com/gpu": "1"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is ready"}
    status = {"capacity": room, "allocatable": room, "conditions": [ready]}
    assert (await kube.call("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, MERGE)).status == 200

    async def taints() -> list[Json]:
        return (await kube.call("GET", f"/api/v1/nodes/{name}")).body["spec"].get("taints", [])

    try:
        # An API server takes no node for ready until its controller has seen that it is.
        await eventually(taints, spec.get("taints", []))
        yield name
    finally:
        await kube.call("DELETE", f"{kube.here}/pods", gracePeriodSeconds="0")
        await kube.call("DELETE", f"/api/v1/nodes/{name}")


@asynccontextmanager
async def priority(kube: Kube, value: int, **more: Any) -> AsyncIterator[str]:
    name, path = f"{kube.namespace}-{value}", "/apis/scheduling.k8s.io/v1/priorityclasses"
    assert (await kube.call("POST", path, {"metadata": {"name": name}, "value": value, **more})).status == 201
    try:
        yield name
    finally:
        await kube.call("DELETE", f"{path}/{name}")


def waiting(kube: Kube, name: str, cpu: str = "1", **spec: Any) -> Json:
    """Return a pod that tolerates all taints, so that only its selector keeps it from other nodes."""
    bearing = [{"key": key, "operator": "Exists"} for key in TROUBLES] + spec.pop("tolerations", [])
    body = pod(
        name, schedulerName="default-scheduler", nodeSelector={POOL: kube.namespace}, tolerations=bearing, **spec
    )
    body["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return body


async def told(kube: Kube, name: str) -> tuple[str, str]:
    """Return reason and message of the pod's condition PodScheduled, or ("bound", node) if it is true."""
    found = (await kube.get(f"pods/{name}")).body
    if found["spec"].get("nodeName"):
        return "bound", found["spec"]["nodeName"]
    conditions = found["status"].get("conditions") or []
    mine = next((one for one in conditions if one["type"] == "PodScheduled"), {})
    return mine.get("reason", ""), mine.get("message", "")


async def why(kube: Kube, name: str) -> str:
    """Return why the pod is pending on this test's node.  Other nodes do not match its selector."""

    async def reason() -> str:
        return (await told(kube, name))[0]

    await eventually(reason, "Unschedulable")
    return of_one_node((await told(kube, name))[1])


ELSEWHERE = re.compile(r"(\d+) node\(s\) didn't match Pod's node affinity/selector(?:, )?")
HELPLESS = re.compile(r"(?:, )?(\d+) (Preemption is not helpful for scheduling)")


def of_one_node(message: str) -> str:
    """Return the scheduler's message without the part about other nodes."""
    others = sum(int(found) for found in ELSEWHERE.findall(message))

    def helpless(found: re.Match[str]) -> str:
        own = int(found[1]) - others
        return f"{own} {found[2]}" if own else ""

    message = re.sub(r"0/\d+ nodes", "0/N nodes", message)
    return HELPLESS.sub(helpless, ELSEWHERE.sub("", message)).replace(", .", ".").replace(", no new", " no new")


def test_what_is_said_of_other_nodes_is_left_out() -> None:
    said = (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. "
        f"{NO_CLAIMS}, preemption: 0/3 nodes are available: "
    )
    one = f"0/N nodes are available: 1 Insufficient cpu. {NO_CLAIMS}, preemption: 0/N nodes are available: "
    helpless = "3 Preemption is not helpful for scheduling."
    assert of_one_node(said + helpless) == one + "1 Preemption is not helpful for scheduling."
    victims = "1 No preemption victims found for incoming pod"
    assert of_one_node(f"{said}{victims}, 2 Preemption is not helpful for scheduling.") == f"{one}{victims}."
    elsewhere = "1 node(s) didn't match Pod's node affinity/selector"
    tainted = "1 node(s) had untolerated taint(s)."
    assert (
        of_one_node(f"0/2 nodes are available: {elsewhere}, {tainted}")
        == "0/N nodes are available: 1 node(s) had untolerated taint(s)."
    )


async def bound(kube: Kube, name: str) -> None:
    await eventually(lambda: told(kube, name), ("bound", kube.namespace))


async def events(kube: Kube, name: str, reason: str) -> list[str]:
    selector = f"involvedObject.name={name},reason={reason}"
    found = (await kube.get("events", fieldSelector=selector)).body["items"]
    return [event.get("message", "") for event in found]


async def test_a_pod_goes_where_there_is_room(kube: Kube) -> None:
    async with node(kube) as name:
        await kube.made("pods", waiting(kube, "p"))
        await bound(kube, "p")
        found = (await kube.get("pods/p")).body
        [scheduled] = [one for one in found["status"]["conditions"] if one["type"] == "PodScheduled"]
        assert scheduled["status"] == "True"
        assert "reason" not in scheduled
        said = [f"Successfully assigned {kube.namespace}/p to {name}"]
        await eventually(lambda: events(kube, "p", "Scheduled"), said)


async def test_what_is_short_is_named(kube: Kube) -> None:
    async with node(kube):
        await kube.made("pods", waiting(kube, "p", cpu="3"))
        helpless = f"{NO_CLAIMS}, preemption: 0/N nodes are available: 1 Preemption is not helpful for scheduling."
        assert await why(kube, "p") == f"0/N nodes are available: 1 Insufficient cpu. {helpless}"


async def test_nobodys_end_makes_room_for_what_is_too_big(kube: Kube) -> None:
    async with node(kube), priority(kube, 100) as high:
        await kube.made("pods", waiting(kube, "low"))
        await bound(kube, "low")
        await kube.made("pods", waiting(kube, "huge", cpu="3", priorityClassName=high))
        helpless = f"{NO_CLAIMS}, preemption: 0/N nodes are available: 1 Preemption is not helpful for scheduling."
        assert await why(kube, "huge") == f"0/N nodes are available: 1 Insufficient cpu. {helpless}"
        assert "deletionTimestamp" not in (await kube.get("pods/low")).body["metadata"]


async def test_its_events_have_one_time(kube: Kube) -> None:
    """kube-scheduler writes events with eventTime and without lastTimestamp."""
    async with node(kube):
        await kube.made("pods", waiting(kube, "p"))
        await bound(kube, "p")

        async def scheduled() -> list[Json]:
            selector = "involvedObject.name=p,reason=Scheduled"
            return (await kube.get("events", fieldSelector=selector)).body["items"]

        async def count() -> int:
            return len(await scheduled())

        await eventually(count, 1)
        [event] = await scheduled()
        assert (event["firstTimestamp"], event["lastTimestamp"], event["source"]) == (None, None, {})
        assert "count" not in event
        assert "." in event["eventTime"]
        assert event["reportingComponent"] == "default-scheduler"


async def test_a_pod_that_waits_has_an_event(kube: Kube) -> None:
    async with node(kube):
        await kube.made("pods", waiting(kube, "p", cpu="3"))
        await why(kube, "p")

        async def warned() -> bool:
            return any("Insufficient cpu" in message for message in await events(kube, "p", "FailedScheduling"))

        await eventually(warned, True)


async def test_devices_are_counted(kube: Kube) -> None:
    async with node(kube):
        body = waiting(kube, "p")
        body["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "2"}}
        await kube.made("pods", body)
        assert "1 Insufficient example.com/gpu" in await why(kube, "p")


async def test_a_taint_is_told(kube: Kube) -> None:
    taint = {"key": "example.com/kept", "value": "free", "effect": "NoSchedule"}
    async with node(kube, taints=[taint]):
        await kube.made("pods", waiting(kube, "p"))
        helpless = f"{NO_CLAIMS}, preemption: 0/N nodes are available: 1 Preemption is not helpful for scheduling."
        assert await why(kube, "p") == f"0/N nodes are available: 1 node(s) had untolerated taint(s). {helpless}"
        bearing = [{"key": "example.com/kept", "operator": "Exists"}]
        await kube.made("pods", waiting(kube, "q", tolerations=bearing))
        await bound(kube, "q")


async def test_a_node_that_takes_no_more_is_told(kube: Kube) -> None:
    async with node(kube, unschedulable=True, taints=[UNSCHEDULABLE]):
        await kube.made("pods", waiting(kube, "p"))
        assert "1 node(s) were unschedulable" in await why(kube, "p")


UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


async def test_no_node_for_a_selector(kube: Kube) -> None:
    async with node(kube):
        nowhere = {POOL: f"not-{kube.namespace}"}
        await kube.made("pods", pod("p", schedulerName="default-scheduler", nodeSelector=nowhere))

        async def said() -> bool:
            return "didn't match Pod's node affinity/selector" in (await told(kube, "p"))[1]

        await eventually(said, True)


async def test_a_missing_claim_is_told(kube: Kube) -> None:
    async with node(kube):
        volume = {"name": "home", "persistentVolumeClaim": {"claimName": "home"}}
        await kube.made("pods", waiting(kube, "p", volumes=[volume]))
        assert (await why(kube, "p")) == '0/N nodes are available: persistentvolumeclaim "home" not found. not found'


async def test_a_gated_pod_is_let_go(kube: Kube) -> None:
    async with node(kube):
        await kube.made("pods", waiting(kube, "p", schedulingGates=[{"name": "example.com/quota"}]))
        assert (await told(kube, "p"))[0] == "SchedulingGated"
        await kube.patch("pods/p", {"spec": {"schedulingGates": None}}, MERGE)
        await bound(kube, "p")


async def test_the_lower_makes_room_for_the_higher_and_says_why(kube: Kube) -> None:
    async with node(kube), priority(kube, 100) as high:
        await kube.made("pods", waiting(kube, "low", cpu="2"))
        await bound(kube, "low")
        made = await kube.made("pods", waiting(kube, "high", cpu="2", priorityClassName=high))

        async def is_going() -> bool:
            return "deletionTimestamp" in (await kube.get("pods/low")).body["metadata"]

        await eventually(is_going, True)
        victim = (await kube.get("pods/low")).body
        [mark] = [one for one in victim["status"]["conditions"] if one["type"] == "DisruptionTarget"]
        assert (mark["status"], mark["reason"], mark["message"]) == ("True", "PreemptionByScheduler", PREEMPTED)
        assert victim["metadata"]["deletionGracePeriodSeconds"] == 30

        async def nominated() -> str:
            return (await kube.get("pods/high")).body["status"].get("nominatedNodeName", "")

        await eventually(nominated, kube.namespace)
        said = [f"Preempted by pod {made['metadata']['uid']} on node {kube.namespace}"]
        await eventually(lambda: events(kube, "low", "Preempted"), said)
        assert (await told(kube, "high"))[0] == "Unschedulable"
        await kube.delete("pods/low", gracePeriodSeconds="0")
        await bound(kube, "high")


async def test_while_room_is_made_the_higher_waits_for_it(kube: Kube) -> None:
    async with node(kube), priority(kube, 100) as high:
        await kube.made("pods", waiting(kube, "low", cpu="2"))
        await bound(kube, "low")
        await kube.made("pods", waiting(kube, "high", cpu="2", priorityClassName=high))
        await why(kube, "high")
        await kube.made("pods", waiting(kube, "later", cpu="1"))
        full = f"{NO_CLAIMS}, preemption: 0/N nodes are available: 1 No preemption victims found for incoming pod."
        assert await why(kube, "later") == f"0/N nodes are available: 1 Insufficient cpu. {full}"
        await kube.delete("pods/low", gracePeriodSeconds="0")
        await bound(kube, "high")
        assert (await told(kube, "later"))[0] == "Unschedulable"


async def test_who_may_not_preempt_waits(kube: Kube) -> None:
    async with node(kube), priority(kube, 100, preemptionPolicy="Never") as patient:
        await kube.made("pods", waiting(kube, "low", cpu="2"))
        await bound(kube, "low")
        await kube.made("pods", waiting(kube, "high", cpu="2", priorityClassName=patient))
        said = await why(kube, "high")
        patience = f"{NO_CLAIMS}, preemption: not eligible due to preemptionPolicy=Never."
        assert said == f"0/N nodes are available: 1 Insufficient cpu. {patience}"
        assert "deletionTimestamp" not in (await kube.get("pods/low")).body["metadata"]


async def test_equals_are_not_preempted(kube: Kube) -> None:
    async with node(kube):
        await kube.made("pods", waiting(kube, "first", cpu="2"))
        await bound(kube, "first")
        await kube.made("pods", waiting(kube, "second", cpu="2"))
        nobody = f"{NO_CLAIMS}, preemption: 0/N nodes are available: 1 No preemption victims found for incoming pod."
        assert await why(kube, "second") == f"0/N nodes are available: 1 Insufficient cpu. {nobody}"


async def test_a_sidecar_takes_room_beside_the_main_container(kube: Kube) -> None:
    """A sidecar container counts during the whole life of the pod (KEP-753)."""
    async with node(kube):
        side = {"name": "side", "image": "i", "resources": {"requests": {"cpu": "1500m"}}}
        await kube.made("pods", waiting(kube, "staying", initContainers=[{**side, "restartPolicy": "Always"}]))
        assert "1 Insufficient cpu" in await why(kube, "staying")
        await kube.made("pods", waiting(kube, "ending", initContainers=[side]))
        await bound(kube, "ending")


async def test_too_many_pods(kube: Kube) -> None:
    async with node(kube, pods="1"):
        await kube.made("pods", waiting(kube, "p1", cpu="100m"))
        await bound(kube, "p1")
        await kube.made("pods", waiting(kube, "p2", cpu="100m"))
        assert "1 Too many pods" in await why(kube, "p2")


async def test_other_schedulers_pods_are_left_alone(kube: Kube) -> None:
    async with node(kube):
        body = waiting(kube, "p")
        body["spec"]["schedulerName"] = "nobody"
        await kube.made("pods", body)
        await kube.made("pods", waiting(kube, "q"))
        await bound(kube, "q")
        assert await told(kube, "p") == ("", "")
        await kube.made("configmaps", config_map("c"))
