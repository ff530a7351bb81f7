"""What the options form says about free capacity: from the objects of queues, from nodes and pods, or nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from patience import eventually
from samples import NOW, site_with
from test_queue_rooms import objects_of

from jupyter_research_spawner.node_selection import NodeSelection, node_selection
from jupyter_research_spawner.schedulers import Demand, QueueRoom
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch import (
    FreeCapacity,
    NodeCache,
    availability,
    free_capacity,
    offered_demands,
    queue_objects,
)
from jupyter_research_spawner.watch.follow import Change
from jupyter_research_spawner.watch.free_nodes import (
    NodeSums,
    bound_pod,
    has_free_node,
    largest_free,
    offered_node,
)
from jupyter_research_spawner.watch.node_sizes import NodeSizes, node_sizes

ANY_NODE = NodeSelection({}, (), ())
GIB = 2**30


def demand(cpu: str = "2", memory: int = 4 * GIB, *, fits_by_sums: bool = True, **more: Any) -> Demand:
    requests = {"cpu": Decimal(cpu), "memory": Decimal(memory), **{name: Decimal(one) for name, one in more.items()}}
    return Demand(requests, requests, ANY_NODE, fits_by_sums=fits_by_sums)


def node(name: str = "a", cpu: str = "16", **fields: Any) -> Json:
    return {
        "metadata": {"name": name, "labels": fields.pop("labels", {})},
        "spec": fields,
        "status": {
            "allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(uid: str, cpu: str, on: str | None = "a", phase: str = "Running") -> Json:
    spec: Json = {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}
    if on is not None:
        spec["nodeName"] = on
    return {"metadata": {"uid": uid, "name": uid}, "spec": spec, "status": {"phase": phase}}


BIG, SMALL_NODES = (
    node_sizes([{"cpu": Decimal(64), "memory": Decimal(512 * GIB)}], (), can_grow=True),
    node_sizes([{"cpu": Decimal(1), "memory": Decimal(512 * GIB)}], (), can_grow=True),
)
FIXED = node_sizes([{"cpu": Decimal(1), "memory": Decimal(512 * GIB)}], (), can_grow=False)
UNKNOWN = NodeSizes()


@pytest.mark.parametrize(
    ("room", "has_node", "sizes", "state", "label"),
    [
        (None, None, UNKNOWN, None, None),
        (None, None, BIG, None, None),
        (None, True, BIG, "free-now", "Free now"),
        (None, False, BIG, "would-wait", "You would wait"),
        (QueueRoom(True), None, UNKNOWN, "free-now", "Free now"),
        (QueueRoom(True, waiting=3), True, BIG, "free-now", "Free now"),
        (QueueRoom(True, waiting=0), False, BIG, "would-wait", "You would wait"),
        (QueueRoom(False, waiting=0), True, BIG, "would-wait", "You would wait"),
        (QueueRoom(False, waiting=3), None, UNKNOWN, "would-wait", "You would wait (3 waiting)"),
        (QueueRoom(False, is_closed=True), True, BIG, "would-wait", "Queue stopped"),
        (QueueRoom(False, is_too_large=True), True, BIG, "too-big", "Larger than its queue"),
        (QueueRoom(True), True, SMALL_NODES, "too-big", "No node is this big now"),
        (None, None, FIXED, "too-big", "No node is this big"),
    ],
)
def test_a_label_for_all_that_is_known_and_none_otherwise(
    room: QueueRoom | None, has_node: bool | None, sizes: NodeSizes, state: str | None, label: str | None
) -> None:
    found = availability(demand(), room, has_node, sizes, NOW)
    assert (found and found.state, found and found.label) == (state, label)
    if found is not None:
        assert found.as_of == NOW
        assert found.can_never_start is (sizes is FIXED or label == "Larger than its queue")
        assert found.waiting == (None if room is None or state == "too-big" else room.waiting)


@pytest.mark.parametrize(
    ("wanted", "sizes", "detail"),
    [
        (demand(), SMALL_NODES, "The largest has 1 CPU. It starts only if such a node is added."),
        (demand(), FIXED, "The largest has 1 CPU. It can never start."),
        (demand(**{"nvidia.com/gpu": 1}), BIG, "No node here has NVIDIA GPUs. It starts only if such a node is added."),
        (
            demand("48", 60 * GIB),
            node_sizes(
                [
                    {"cpu": Decimal(48), "memory": Decimal(GIB)},
                    {"cpu": Decimal(1), "memory": Decimal(64 * GIB)},
                ],
                (),
                can_grow=False,
            ),
            "No node here has 48 CPUs and 60 GiB of memory together. It can never start.",
        ),
    ],
)
def test_what_is_too_big_for_all_nodes_says_how_big_the_largest_is(
    wanted: Demand, sizes: NodeSizes, detail: str
) -> None:
    found = availability(wanted, None, None, sizes, NOW)
    assert found is not None
    assert found.detail == detail


@pytest.mark.parametrize(
    ("wanted", "allocatable", "is_exact", "why"),
    [
        (demand(), [{"cpu": 1, "memory": 512 * GIB}], True, "It requests 2 CPUs, and the largest node has 1 CPU."),
        (
            demand("48", 60 * GIB),
            [{"cpu": 32, "memory": 16 * GIB}],
            False,
            "It requests 48 CPUs and 60 GiB of memory, and the largest nodes have at most 32 CPUs and 16 GiB of "
            "memory.",
        ),
        (
            demand(**{"nvidia.com/gpu": 4}),
            [{"cpu": 64, "memory": 512 * GIB}],
            True,
            "It requests 4 NVIDIA GPUs, and no node has NVIDIA GPUs.",
        ),
        (
            demand("48", 60 * GIB),
            [{"cpu": 48, "memory": GIB}, {"cpu": 1, "memory": 64 * GIB}],
            True,
            "It requests 48 CPUs and 60 GiB of memory, and no node has all of this.",
        ),
    ],
)
def test_what_can_never_start_says_what_it_requests_and_what_the_largest_node_has(
    wanted: Demand, allocatable: list[dict[str, int]], is_exact: bool, why: str
) -> None:
    nodes = [{name: Decimal(amount) for name, amount in node.items()} for node in allocatable]
    for can_grow in (False, True):
        sizes = node_sizes(nodes, () if is_exact else None, can_grow=can_grow)
        found = availability(wanted, None, None, sizes, NOW)
        assert found is not None
        assert found.never == ("" if can_grow else why)


@pytest.mark.parametrize(
    ("made", "takes_pods"),
    [
        (node(), True),
        (node(unschedulable=True), False),
        ({**node(), "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, False),
        ({**node(), "status": {}}, False),
    ],
)
def test_a_node_that_accepts_no_pods_has_nothing_free(made: Json, takes_pods: bool) -> None:
    assert (offered_node(made) is not None) is takes_pods


@pytest.mark.parametrize(
    ("made", "counts"),
    [
        (pod("1", "2"), True),
        (pod("1", "2", phase="Pending"), True),
        (pod("1", "2", on=None), False),
        (pod("1", "2", phase="Succeeded"), False),
        (pod("1", "2", phase="Failed"), False),
    ],
)
def test_only_pods_that_hold_a_place_on_a_node_count(made: Json, counts: bool) -> None:
    assert (bound_pod(made) is not None) is counts


def test_what_is_free_follows_each_pod() -> None:
    sums, (one,) = NodeSums(), [offered_node(node())]
    assert one is not None

    def free() -> tuple[int, int]:
        found = sums.free(one)
        return int(found["cpu"]), int(found["pods"])

    assert free() == (16, 110)
    assert sums.put("1", bound_pod(pod("1", "4")))
    assert sums.put("2", bound_pod(pod("2", "2")))
    sums.put("3", bound_pod(pod("3", "8", on="b")))
    assert free() == (10, 108)
    assert not sums.put("1", bound_pod(pod("1", "4"))), "a change of its status changes nothing"
    sums.put("1", bound_pod(pod("1", "6")))  # resized
    assert free() == (8, 108)
    sums.put("1", None)
    sums.put("unknown", None)
    assert free() == (14, 109)


def test_a_pod_with_requests_of_its_own_counts_with_them() -> None:
    made = pod("1", "2")
    made["spec"]["resources"] = {"requests": {"cpu": "5"}}
    found = bound_pod(made)
    assert found is not None
    assert found.requests == {"cpu": Decimal(5), "pods": Decimal(1)}


TAINT = {"key": "gpu", "value": "a100", "effect": "NoSchedule"}


def affinity(*expressions: Json, **fields: Any) -> Json:
    terms = [{"matchExpressions": list(expressions), **fields}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


def needs(operator: str, *values: str, key: str = "pool") -> Json:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "made", "allowed"),
    [
        ({}, node(), True),
        ({"nodeSelector": {"pool": "gpu"}}, node(labels={"pool": "gpu"}), True),
        ({"nodeSelector": {"pool": "gpu"}}, node(), False),
        ({}, node(taints=[TAINT]), False),
        ({}, node(taints=[{**TAINT, "effect": "PreferNoSchedule"}]), True),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, node(taints=[TAINT]), True),
        ({"tolerations": [{"operator": "Exists"}]}, node(taints=[TAINT]), True),
        ({"tolerations": [{"key": "gpu", "value": "a100"}]}, node(taints=[TAINT]), True),
        ({"tolerations": [{"key": "gpu", "value": "h100"}]}, node(taints=[TAINT]), False),
        ({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]}, node(taints=[TAINT]), False),
        (affinity(needs("In", "gpu", "cpu")), node(labels={"pool": "cpu"}), True),
        (affinity(needs("In", "gpu")), node(labels={"pool": "cpu"}), False),
        (affinity(needs("NotIn", "gpu")), node(), True),
        (affinity(needs("Exists")), node(), False),
        (affinity(needs("DoesNotExist")), node(), True),
        (affinity(needs("Gt", "4", key="cores")), node(labels={"cores": "8"}), True),
        (affinity(needs("Lt", "4", key="cores")), node(labels={"cores": "8"}), False),
        (affinity(needs("Gt", "4", key="cores")), node(labels={"cores": "many"}), False),
        (affinity(needs("Exists"), needs("In", "b", key="zone")), node(labels={"pool": "x", "zone": "a"}), False),
        (affinity(matchFields=[needs("In", "a", key="metadata.name")]), node("a"), True),
        (affinity(matchFields=[needs("In", "a", key="metadata.name")]), node("b"), False),
        (affinity(needs("Near", "a")), node(labels={"pool": "a"}), False),
        (affinity(), node(), False),  # a term without requirements matches no node
    ],
)
def test_only_nodes_that_the_pod_may_use_count(spec: Json, made: Json, allowed: bool) -> None:
    one = offered_node(made)
    assert one is not None
    sums = NodeSums()
    free = largest_free(node_selection(spec), [(one, sums.free(one))])
    assert (len(free) == 1) is allowed
    assert has_free_node(demand(), free) is allowed


def test_a_node_has_room_only_if_it_has_all_of_it() -> None:
    sums = NodeSums()
    for name, cpu in (("a", "15"), ("b", "4")):
        sums.put(name, bound_pod(pod(name, cpu, on=name)))
    nodes = [one for name in "ab" if (one := offered_node(node(name))) is not None]
    free = largest_free(ANY_NODE, [(one, sums.free(one)) for one in nodes])
    assert has_free_node(demand("12"), free) is True
    assert has_free_node(demand("13"), free) is False, "16 are free, but not on one node"
    assert has_free_node(demand("12", fits_by_sums=False), free) is None
    assert has_free_node(demand("13", fits_by_sums=False), free) is False
    assert has_free_node(demand("1"), ()) is False


def test_the_result_is_the_same_in_parts() -> None:
    sums = NodeSums()
    some = [one for number in range(9) if (one := offered_node(node(str(number), cpu=str(number + 1)))) is not None]
    pairs = [(one, sums.free(one)) for one in some]
    assert largest_free(ANY_NODE, pairs[4:], largest_free(ANY_NODE, pairs[:4])) == largest_free(ANY_NODE, pairs)


KAI_FRACTION = {"kind": "kai-fraction", "fraction": 0.5}


def test_the_demand_of_an_offer_is_that_of_its_pod() -> None:
    site = site_with(
        {
            "pods": {"base": {"nodeSelector": {"zone": "a"}}},
            "profiles": {"a100": {"numa": None, "pod": {"nodeSelector": {"gpu": "a100"}}}},
        }
    )
    added = {"nodeSelector": {"use": "notebooks"}, "containers": [{"resources": {"requests": {"cpu": "500m"}}}]}
    found = offered_demands(site, added)
    assert {queue for profile, queue in found if profile == "small"} == {"climate", "teaching", "backfill"}
    assert {queue for profile, queue in found if profile == "a100"} == {"climate"}
    a100 = found["a100", "climate"]
    assert a100.placement.queue == "climate"
    assert a100.demand.nodes.selector == {"use": "notebooks", "zone": "a", "gpu": "a100"}
    assert [one["key"] for one in a100.demand.nodes.tolerations] == ["research"]
    assert a100.demand.requests == {
        "cpu": Decimal("16.5"),
        "memory": Decimal(120 * GIB),
        "nvidia.com/gpu": Decimal(1),
    }
    assert a100.demand.node_requests == a100.demand.requests
    assert (found["small", "backfill"].demand.preemptible, found["small", "climate"].demand.preemptible) == (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("scheduler", "gpu", "counted", "by_sums"),
    [
        ("kueue", {"kind": "whole"}, True, True),
        ("kueue", {"kind": "mig", "resource": "nvidia.com/mig-1g.10gb"}, True, True),
        ("kueue", {"kind": "whole", "resource": "deviceclass.resource.kubernetes.io/a100"}, False, False),
        ("kueue", {"kind": "dra", "device_class": "gpu.nvidia.com"}, True, False),
        ("kai", KAI_FRACTION, True, False),
        ("volcano", {"kind": "volcano-vgpu", "memory": "8Gi"}, False, False),
    ],
)
def test_nodes_do_not_say_whether_parts_of_devices_are_free(
    scheduler: str, gpu: Json, counted: bool, by_sums: bool
) -> None:
    site = site_with({"scheduler": {"kind": scheduler}, "profiles": {"a100": {"numa": None, "gpu": gpu}}})
    wanted = offered_demands(site, {})["a100", "climate"].demand
    assert wanted.fits_by_sums is by_sums
    assert (wanted.node_requests == wanted.requests) is counted


def test_numa_placement_is_not_decided_by_sums() -> None:
    site = site_with()
    assert not offered_demands(site, {})["a100", "climate"].demand.fits_by_sums


class Watches:
    """What each watch delivers, by the last part of its path."""

    def __init__(self) -> None:
        self.changes: dict[str, asyncio.Queue[Change]] = defaultdict(asyncio.Queue)
        self.asked: list[str] = []

    async def follow(self, server: Any, path: str, query: Any, **options: Any) -> AsyncIterator[Change]:
        self.asked.append(path)
        slim = options.get("slim", lambda found: found)
        while True:
            change = await self.changes[path.rpartition("/")[2]].get()
            yield Change(change.kind, tuple(map(slim, change.objects)))

    def send(self, resource: str, kind: Any, *objects: Json) -> None:
        self.changes[resource].put_nowait(Change(kind, objects))


class NoNodes(NodeCache):
    """The sizes of nodes at a hub that may not list nodes."""

    def __init__(self) -> None:
        super().__init__(None, can_grow=True)  # type: ignore[arg-type]

    def sizes(self) -> NodeSizes:
        return NodeSizes()


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watches]:
    found = Watches()
    monkeypatch.setattr(queue_objects, "follow", found.follow)
    monkeypatch.setattr(free_capacity, "REFRESH_SECONDS", 0.01)
    yield found


def capacity(site: Site) -> FreeCapacity:
    return FreeCapacity(None, site, offered_demands(site, {}), NoNodes())  # type: ignore[arg-type]


def label(found: FreeCapacity, profile: str = "small", queue: str = "climate") -> str | None:
    answer = found.answers().get((profile, queue))
    return answer and answer.label


def send_queues(watches: Watches) -> None:
    kueue = objects_of("kueue")
    for kind, resource in (
        ("LocalQueue", "localqueues"),
        ("ClusterQueue", "clusterqueues"),
        ("Cohort", "cohorts"),
        ("ResourceFlavor", "resourceflavors"),
    ):
        watches.send(resource, "listed", *kueue.by_kind[kind])


async def test_answers_come_from_the_watches_of_the_queues(watches: Watches) -> None:
    found = capacity(site_with())
    try:
        assert label(found) is None
        before = datetime.now(timezone.utc)
        send_queues(watches)
        await found.wait_for_first_answer()
        assert label(found) == "Free now"
        assert label(found, "small", "teaching") is None, "it has no LocalQueue"
        answer = found.answers().get(("small", "climate"))
        assert answer is not None and before <= answer.as_of <= datetime.now(timezone.utc)
        assert not [path for path in watches.asked if path.endswith(("/nodes", "/pods"))]
        assert "/apis/kueue.x-k8s.io/v1beta2/namespaces/jhub/localqueues" in watches.asked
        (queue,) = [one for one in objects_of("kueue").by_kind["ClusterQueue"] if one["metadata"]["name"] == "research"]
        for flavor in queue["status"]["flavorsReservation"]:
            flavor["resources"] = [{"name": "cpu", "total": "80"}]
        watches.send("clusterqueues", "modified", queue)
        await eventually(lambda: label(found) == "You would wait (3 waiting)")
        watches.send("clusterqueues", "lost")
        await eventually(lambda: label(found) is None)
        assert len(watches.asked) == 4, "no request of a page"
    finally:
        found.close()


async def test_the_time_is_that_of_the_watch_that_was_silent_for_longest(watches: Watches) -> None:
    found = capacity(site_with())
    try:
        found.answers().get(("small", "climate"))
        send_queues(watches)
        await found.wait_for_first_answer()
        first = found.answers().get(("small", "climate"))
        assert first is not None
        watches.send("clusterqueues", "confirmed")
        await asyncio.sleep(0.05)
        same = found.answers().get(("small", "climate"))
        assert same is not None and same.as_of == first.as_of
        for resource in ("localqueues", "cohorts", "resourceflavors"):
            watches.send(resource, "confirmed")
        await eventually(
            lambda: (now := found.answers().get(("small", "climate"))) is not None and now.as_of > first.as_of
        )
    finally:
        found.close()


PLAIN: Json = {"scheduler": {"kind": "plain"}}


class OneNode(NodeCache):
    """The sizes at a hub whose only node has 4 CPUs."""

    def __init__(self, *, can_grow: bool) -> None:
        super().__init__(None, can_grow=can_grow)  # type: ignore[arg-type]
        self.asked = 0
        self._can_grow = can_grow

    def sizes(self) -> NodeSizes:
        self.asked += 1
        return node_sizes([{"cpu": Decimal(4), "memory": Decimal(512 * GIB)}], (), can_grow=self._can_grow)


@pytest.mark.parametrize("shown", ["queues", "nodes", "none"])
@pytest.mark.parametrize("can_grow", [False, True])
async def test_nodes_say_what_can_never_start_only_where_none_is_added(
    watches: Watches, shown: str, can_grow: bool
) -> None:
    site = site_with(PLAIN, {"availability": shown, "autoscaling": can_grow})
    nodes = OneNode(can_grow=can_grow)
    found = FreeCapacity(None, site, offered_demands(site, {}), nodes)  # type: ignore[arg-type]
    try:
        assert await found.learn_what_never_starts() is (not can_grow)
        if can_grow:
            assert nodes.asked == 0, "a start asks nothing where nothing could say it"
        never = found.why_never("a100", "climate")
        assert never == ("" if can_grow else "It requests 1 NVIDIA GPU, and no node has NVIDIA GPUs.")
        assert found.why_never("small", "climate") == ""
        assert shown != "none" or found.answers().get(("a100", "climate")) is None
    finally:
        found.close()


async def test_queues_say_what_is_larger_than_all_that_they_have(watches: Watches) -> None:
    site = site_with({"profiles": {"a100": {"cpu": 4000}}})
    found = capacity(site)
    try:
        assert found.why_never("a100", "climate") == ""
        send_queues(watches)
        assert await found.learn_what_never_starts()
        assert found.why_never("small", "climate") == ""
        assert found.why_never("a100", "climate") == "It requests more than its queue has in total."
    finally:
        found.close()


async def test_nodes_and_pods_are_read_only_where_the_site_wants_it(watches: Watches) -> None:
    site = site_with(PLAIN, {"availability": "nodes"})
    found = capacity(site)
    try:
        assert label(found) is None
        watches.send("nodes", "listed", node(cpu="16"))
        await asyncio.sleep(0.05)
        assert label(found) is None, "the pods are not known yet"
        watches.send("pods", "listed", pod("1", "8"), pod("2", "6"))
        await eventually(lambda: label(found) == "Free now")
        watches.send("pods", "added", pod("3", "1"))
        await eventually(lambda: label(found) == "You would wait")
        watches.send("pods", "deleted", pod("1", "8"))
        await eventually(lambda: label(found) == "Free now")
        watches.send("nodes", "modified", node(unschedulable=True))
        await eventually(lambda: label(found) == "You would wait")
        watches.send("nodes", "added", node("b"))
        await eventually(lambda: label(found) == "Free now")
        watches.send("pods", "lost")
        await eventually(lambda: label(found) is None)
    finally:
        found.close()


@pytest.mark.parametrize("more", [{"availability": "none"}, {**PLAIN, "availability": "none"}])
async def test_a_site_can_switch_it_off(watches: Watches, more: Json) -> None:
    found = capacity(site_with(more))
    assert label(found) is None
    await asyncio.sleep(0.02)
    assert watches.asked == []


async def test_objects_of_another_form_make_it_unknown_and_are_logged_once(
    watches: Watches, caplog: pytest.LogCaptureFixture
) -> None:
    found = capacity(site_with())
    try:
        send_queues(watches)
        await found.wait_for_first_answer()
        assert label(found) == "Free now"
        queue = {"metadata": {"name": "research"}, "spec": {"resourceGroups": [{}]}, "status": {}}
        for _ in range(3):
            watches.send("clusterqueues", "modified", queue)
            await eventually(lambda: label(found) is None)
        send_queues(watches)
        await eventually(lambda: label(found) == "Free now")
        assert [record.message for record in caplog.records] == [
            "What is free now cannot be computed, so the options form does not show it"
        ]
    finally:
        found.close()


async def test_without_rights_the_page_does_not_wait_again(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_capacity, "FIRST_ANSWER_SECONDS", 0.05)
    found = capacity(site_with())
    try:
        found.answers().get(("small", "climate"))
        await found.wait_for_first_answer()
        await asyncio.wait_for(found.wait_for_first_answer(), 0.01)
        assert label(found) is None
    finally:
        found.close()


async def test_without_readers_the_watches_end_and_a_reader_starts_them_again(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_capacity, "IDLE_SECONDS", 0.02)
    found = capacity(site_with())
    found.answers().get(("small", "climate"))
    first = found._watching
    assert first is not None
    await eventually(first.done)
    monkeypatch.setattr(free_capacity, "IDLE_SECONDS", 600)
    send_queues(watches)
    await eventually(lambda: label(found) == "Free now")
    found.close()
