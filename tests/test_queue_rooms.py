"""What the objects of each scheduler's queues say about room for a pod.  Where they do not say it, nothing is said."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import yaml
from samples import DATA, placement

from jupyter_research_spawner.api_object import parse_quantity
from jupyter_research_spawner.node_selection import NodeSelection
from jupyter_research_spawner.resources import DraGpu, Gpu, KaiFraction, WholeGpu
from jupyter_research_spawner.schedulers import SCHEDULERS, Demand, Objects, QueueRoom
from jupyter_research_spawner.shape import Json

GPU = WholeGpu(kind="whole")
DRA = DraGpu(kind="dra", device_class="gpu.nvidia.com")
TOLERATES = ({"key": "nvidia.com/gpu", "operator": "Exists"},)
FREE, WAIT, TOO_LARGE = QueueRoom(True), QueueRoom(False), QueueRoom(False, is_too_large=True)

Edit = Callable[[dict[str, Any]], None]


def objects_of(kind: str, *edits: Edit) -> Objects:
    """Return the objects in tests/data/queues, changed by the edits, which get each kind's objects by their names."""
    found = copy.deepcopy(yaml.safe_load((DATA / "queues" / f"{kind}.yaml").read_text()))
    by_name = {name: {one["metadata"]["name"]: one for one in items} for name, items in found.items()}
    for edit in edits:
        edit(by_name)
    return Objects({name: tuple(items.values()) for name, items in by_name.items()})


def demand(
    cpu: str = "2",
    memory: str = "4Gi",
    *,
    gpu: Gpu | None = None,
    preemptible: bool = False,
    selector: dict[str, str] | None = None,
    tolerations: tuple[Json, ...] = (),
    **more: str,
) -> Demand:
    amounts = {"cpu": cpu, "memory": memory, **(gpu.amounts() if gpu is not None else {}), **more}
    requests = {name: parse_quantity(amount) for name, amount in amounts.items()}
    return Demand(requests, requests, NodeSelection(selector or {}, (), tolerations), gpu, preemptible)


def room(kind: str, wanted: Demand, *edits: Edit, queue: str = "climate") -> QueueRoom | None:
    found = SCHEDULERS[kind].queue_rooms(objects_of(kind, *edits))(placement(kind, options={}, queue=queue), wanted)
    assert found is None or isinstance(found.fits, bool)
    return found


def in_queue(name: str, section: str, kind: str = "Queue", **fields: Any) -> Edit:
    def edit(objects: dict[str, Any]) -> None:
        objects[kind][name][section] |= fields

    return edit


def without(kind: str) -> Edit:
    """Return an edit after which this kind cannot be read."""
    return lambda objects: objects.__delitem__(kind)


def kueue_room(fits: bool, **more: Any) -> QueueRoom:
    return QueueRoom(fits, waiting=3, **more)


STOPPED = [{"type": "Active", "status": "False", "reason": "Stopped", "message": "LocalQueue is stopped"}]
CHECKS = {"admissionChecks": [{"name": "provisioning"}]}
POOL = {"pool": "cpu"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        # Own quota: 4 of 16 CPUs are free. The Cohort lends 4 CPUs more.
        (demand("4"), kueue_room(True)),
        (demand("8", selector=POOL), kueue_room(True)),
        (demand("9", selector=POOL), kueue_room(False)),
        # Without a selector, the other flavor would do, but its taint is not tolerated.
        (demand("9"), kueue_room(False)),
        (demand("9", tolerations=TOLERATES), kueue_room(True)),
        (demand("21"), kueue_room(False, is_too_large=True)),
        (demand("4", "49Gi", selector=POOL), kueue_room(False)),
        (demand("4", gpu=GPU, tolerations=TOLERATES), kueue_room(True)),
        (demand("4", gpu=WholeGpu(kind="whole", count=2), tolerations=TOLERATES), kueue_room(False)),
        (demand("4", gpu=WholeGpu(kind="whole", count=5), tolerations=TOLERATES), kueue_room(False, is_too_large=True)),
        # Which flavor it gets cannot be said.
        (demand("1", selector={"pool": "other"}), None),
        # Kueue refuses a resource without quota, unless it is configured to ignore it.
        (demand(**{"example.com/fpga": "1"}), None),
        # Kueue counts devices of a DeviceClass under a name of its configuration.
        (demand(gpu=DRA), None),
    ],
)
def test_kueue_compares_with_the_free_quota_of_each_flavor(wanted: Demand, expected: QueueRoom | None) -> None:
    assert room("kueue", wanted) == expected


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (in_queue("climate", "status", "LocalQueue", conditions=STOPPED), kueue_room(False, is_closed=True)),
        (in_queue("research", "status", "ClusterQueue", conditions=STOPPED), kueue_room(False, is_closed=True)),
        # The first workload keeps those behind it from the quota that is free.
        (in_queue("research", "spec", "ClusterQueue", queueingStrategy="StrictFIFO"), kueue_room(False)),
        # Checks decide besides the quota.
        (in_queue("research", "spec", "ClusterQueue", admissionChecksStrategy=CHECKS), None),
        (without("LocalQueue"), None),
        (without("ClusterQueue"), None),
        # Nobody knows then what the Cohort lends, and which nodes a flavor means.
        (without("Cohort"), None),
        (without("ResourceFlavor"), None),
        (lambda objects: objects["LocalQueue"].clear(), None),
        (lambda objects: objects["ClusterQueue"]["research"].pop("status"), None),
    ],
)
def test_kueue_says_nothing_that_its_objects_do_not_say(edit: Edit, expected: QueueRoom | None) -> None:
    assert room("kueue", demand("2")) == kueue_room(True)
    assert room("kueue", demand("2"), edit) == expected


def test_kueue_counts_what_others_in_the_cohort_have_borrowed() -> None:
    """Teaching has 8 CPUs, lends at most 4 of them, and can use what research leaves."""
    assert room("kueue", demand("8", selector=POOL)) == kueue_room(True)

    def uses(cpu: str) -> Edit:
        used = [{"name": "cpu-nodes", "resources": [{"name": "cpu", "total": cpu}]}]
        return in_queue("teaching", "status", "ClusterQueue", flavorsReservation=used)

    assert room("kueue", demand("8", selector=POOL), uses("4")) == kueue_room(True), "within what it keeps"
    assert room("kueue", demand("7", selector=POOL), uses("5")) == kueue_room(True)
    assert room("kueue", demand("8", selector=POOL), uses("5")) == kueue_room(False)
    assert room("kueue", demand("4", selector=POOL), uses("10")) == kueue_room(False), "it has borrowed two of ours"
    assert room("kueue", demand("2", selector=POOL), uses("10")) == kueue_room(True)


def cohort(name: str, parent: str | None = None, cpu: str = "0", **limits: str) -> Edit:
    quota = {"name": "cpu", "nominalQuota": cpu, **limits}
    groups = [{"coveredResources": ["cpu"], "flavors": [{"name": "cpu-nodes", "resources": [quota]}]}]
    spec = {"resourceGroups": groups, **({"parentName": parent} if parent else {})}

    def edit(objects: dict[str, Any]) -> None:
        objects["Cohort"][name] = {"metadata": {"name": name}, "spec": spec, "status": {}}

    return edit


def test_kueue_adds_the_quota_of_cohorts_and_of_those_above_them() -> None:
    ask = demand("18", selector=POOL)
    assert room("kueue", ask) == kueue_room(False)
    assert room("kueue", ask, cohort("university", cpu="10")) == kueue_room(True)
    above = cohort("state", cpu="10")
    assert room("kueue", ask, above, cohort("university", "state")) == kueue_room(True)
    assert room("kueue", ask, above, cohort("university", "state", borrowingLimit="9")) == kueue_room(False)
    # In a cycle, Kueue admits nothing.
    assert room("kueue", ask, cohort("state", "university"), cohort("university", "state")) is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (demand("4", "16Gi"), FREE),
        # Above the guarantee, but below the capability: whether it is free depends on other queues and on nodes.
        (demand("5", "16Gi"), None),
        (demand("4", "16Gi", gpu=GPU), None),
        (demand("9", "16Gi"), WAIT),
        (demand("4", "16Gi", gpu=WholeGpu(kind="whole", count=2)), WAIT),
        (demand("17"), TOO_LARGE),
        (demand("4", "16Gi", gpu=DRA), None),
    ],
)
def test_volcano_compares_with_capability_and_guarantee(wanted: Demand, expected: QueueRoom | None) -> None:
    assert room("volcano", wanted) == expected


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (in_queue("climate", "status", state="Closed"), QueueRoom(False, is_closed=True)),
        (in_queue("root", "spec", capability={"cpu": "11"}), WAIT),
        (lambda objects: objects["Queue"]["climate"]["status"].pop("allocated"), None),
        (lambda objects: objects["Queue"].pop("climate"), None),
        (lambda objects: objects["Queue"].pop("root"), None),
        (without("Queue"), None),
    ],
)
def test_volcano_says_nothing_that_its_queues_do_not_say(edit: Edit, expected: QueueRoom | None) -> None:
    assert room("volcano", demand("4", "16Gi")) == FREE
    assert room("volcano", demand("4", "16Gi"), edit) == expected


def half(count: int = 1) -> KaiFraction:
    return KaiFraction(kind="kai-fraction", fraction=Decimal("0.5"), count=count)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (demand("8", "16Gi"), FREE),
        # 64000 megabytes are less than 64 GiB.
        (demand("8", "28Gi"), None),
        (demand("8", "44Gi"), WAIT),
        (demand("8", "44Gi", preemptible=True), None),
        # Above the quota with what is preemptible in the queue.
        (demand("9", preemptible=True), None),
        (demand("9"), None),
        (demand("13"), WAIT),
        (demand("25", preemptible=True), WAIT),
        (demand("33", preemptible=True), TOO_LARGE),
        (demand("17"), TOO_LARGE),
        (demand("2", gpu=GPU), FREE),
        (demand("2", gpu=half()), FREE),
        (demand("2", gpu=half(3)), FREE),
        (demand("2", gpu=half(4), preemptible=True), None),
        (demand("2", gpu=WholeGpu(kind="whole", count=3)), WAIT),
        (demand("2", gpu=WholeGpu(kind="whole", count=3), preemptible=True), WAIT),
        (demand("2", gpu=KaiFraction(kind="kai-fraction", memory=8 * 2**30)), None),
        (demand("2", gpu=DRA), None),
    ],
)
def test_kai_compares_with_quota_and_limit(wanted: Demand, expected: QueueRoom | None) -> None:
    assert room("kai", wanted) == expected


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        # Others of the queue wait, so its quota is not free.
        (in_queue("climate", "status", requested={"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "4"}), None),
        (in_queue("university", "status", allocated={"nvidia.com/gpu": "8"}), WAIT),
        (in_queue("climate", "spec", resources={"gpu": {"quota": -1, "limit": -1}}), TOO_LARGE),
        (lambda objects: objects["Queue"].pop("university"), None),
        (in_queue("climate", "spec", parentQueue=""), None),
        (without("Queue"), None),
    ],
)
def test_kai_says_nothing_that_its_queues_do_not_say(edit: Edit, expected: QueueRoom | None) -> None:
    assert room("kai", demand("2", gpu=GPU)) == FREE
    assert room("kai", demand("2", gpu=GPU), edit) == expected


def test_a_queue_without_quota_for_the_resource_says_nothing() -> None:
    unlimited = {name: {"quota": -1, "limit": -1} for name in ("cpu", "memory", "gpu")}
    edits = [in_queue(name, "spec", resources=unlimited) for name in ("climate", "university")]
    assert room("kai", demand("2", gpu=GPU), *edits) is None


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_without_objects_nothing_is_said(kind: str) -> None:
    assert SCHEDULERS[kind].queue_rooms(Objects())(placement(kind), demand()) is None
    assert SCHEDULERS[kind].queue_uses(Objects())(placement(kind)) is None
    assert len({found.kind for found in SCHEDULERS[kind].queue_kinds}) == len(SCHEDULERS[kind].queue_kinds)
