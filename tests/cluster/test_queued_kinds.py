"""Objects of other kinds under the schedulers: without room for all of one, preempted, and when one of its pods dies.

docs/reference/kinds.md has it as a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from alice import Alice
from ground import ground
from kinds import Kind, Kinds, argo, jobset, mpi, ray, trainer
from queued import SECONDS, Queued
from queueing import SCHEDULERS, Queueing
from rig.api import until
from rig.cluster import Cluster
from rig.node import Node

pytestmark = pytest.mark.programs("mpi-operator", "jobset", "trainer", "kuberay", "argo")

KINDS = (mpi.KIND, jobset.KIND, trainer.KIND, ray.KIND, argo.KIND)


@dataclass(frozen=True)
class Seen:
    """As Object.picture, or one of several; each from when all of it ran, but the first.

    short: there is room for all but one worker.  preempted: a notebook took the place of a worker.  back: it ended.
    worker, leader: that pod was deleted while a notebook waited for a place, and what became of that notebook.
    """

    short: str
    preempted: str
    back: str
    worker: tuple[str, str]
    leader: tuple[str, str] | None


ALL_ANEW = "runs-anew, runs-anew runs-anew"
RAY = "HeadPodReady RayClusterProvisioned"
ENDED = ("-, - -: Failed", "running")
OF_JOBS = Seen("-, - -: Suspended", "-, - -: Suspended", f"{ALL_ANEW}: ", ENDED, ENDED)
# Volcano and YuniKorn may take the leader too, which is small, before they see that it does not suffice.
OF_MARKED = Seen(
    "runs, runs waits: ",
    "runs, runs waits-anew:  or runs-anew, runs waits-anew: ",
    "runs, runs runs-anew:  or runs-anew, runs runs-anew: ",
    ENDED,
    ENDED,
)
MPI_WITHOUT_GANG = Seen(
    "runs, runs waits: Created",
    "runs, runs waits-anew: Created Running or -, - -: Created Failed",
    "runs, runs runs-anew: Created Running or -, - -: Created Failed",
    ("runs, runs waits-anew: Created Running", "running"),
    ("-, - -: Created Failed", "running"),
)
RAY_WITHOUT_GANG = Seen(
    "runs, runs waits: HeadPodReady",
    f"runs, runs waits-anew: {RAY} or runs-anew, runs waits-anew: {RAY}",
    f"runs, runs runs-anew: {RAY} or runs-anew, runs runs-anew: {RAY}",
    (f"runs, runs waits-anew: {RAY}", "running"),
    (f"runs-anew, runs runs: {RAY}", "queued"),
)
# Taken away without a word on the pod, which a Job takes for a failure of its own.
OF_UNMARKED = Seen("runs, runs waits: ", "-, - -: Failed", "-, - -: Failed", ENDED, ENDED)
# KAI takes pods of one group as they were created (of one second: in any order) and stops at the first without room.
OF_ONE_BY_ONE = replace(OF_UNMARKED, short="runs, runs waits:  or waits, runs waits: ")
LOST = "- runs: "
# Argo takes PodRunning back as soon as it writes of the step that waits.
STEP = Seen("runs waits: PodRunning or runs waits: ", LOST, LOST, (LOST, "running"), None)
SEEN = {
    "kueue": {
        "MPIJob": Seen(
            "-, - -: Created Suspended",
            "-, - -: Created Suspended",
            f"{ALL_ANEW}: Created Running",
            ("runs, runs runs-anew: Created Running", "queued"),
            ("-, - -: Created Failed", "running"),
        ),
        "JobSet": OF_JOBS,
        "TrainJob": OF_JOBS,
        "RayCluster": Seen(
            "-, - -: RayClusterSuspended",
            "-, - -: RayClusterSuspended",
            f"{ALL_ANEW}: {RAY}",
            (f"runs, runs runs-anew: {RAY}", "queued"),
            (f"runs-anew, runs runs: {RAY}", "queued"),
        ),
        "Workflow": STEP,
    },
    "volcano": {
        "MPIJob": MPI_WITHOUT_GANG,
        "JobSet": OF_MARKED,
        "TrainJob": OF_MARKED,
        "RayCluster": RAY_WITHOUT_GANG,
        "Workflow": STEP,
    },
    "yunikorn": {
        "MPIJob": MPI_WITHOUT_GANG,
        "JobSet": OF_UNMARKED,
        "TrainJob": OF_UNMARKED,
        "RayCluster": RAY_WITHOUT_GANG,
        "Workflow": STEP,
    },
    "kai": {
        "MPIJob": Seen(
            "waits, waits waits: Created",
            "-, - -: Created Failed",
            "-, - -: Created Failed",
            ("runs, runs waits-anew: Created Running", "running"),
            ("-, - -: Created Failed", "running"),
        ),
        "JobSet": OF_ONE_BY_ONE,
        "TrainJob": OF_ONE_BY_ONE,
        "RayCluster": Seen(
            "waits, waits waits: ",
            "waits-anew, waits-anew waits-anew: RayClusterProvisioned",
            f"{ALL_ANEW}: {RAY}",
            (f"runs, runs waits-anew: {RAY}", "running"),
            (f"runs-anew, runs runs: {RAY}", "queued"),
        ),
        "Workflow": STEP,
    },
}


@pytest.fixture(scope="module")
def all_operators(once: Callable[..., object], node: Node) -> None:
    """Start the operators of all kinds. They end with the cluster: to remove their CRDs takes 100 s."""
    for start in dict.fromkeys(start for kind in KINDS for start in kind.operators):
        once(start, node)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(queueing, id=queueing.kind, marks=pytest.mark.programs(queueing.kind)) for queueing in SCHEDULERS
    ],
)
def queued(
    request: pytest.FixtureRequest, all_operators: None, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Queued]:
    queueing: Queueing = request.param
    name = f"queued-{queueing.kind}"
    with ground(cluster, name, tmp_path_factory.mktemp(name) / "storage") as here:
        started = queueing.start(cluster)
        try:
            settings = queueing.settings(here)
            alice = Alice(here, settings)
            alice.api.apply(*alice.priorities(), *queueing.objects(name))
            yield Queued(queueing, alice, Kinds(here, settings, "backfill", queueing.gang))
            alice.clean()
        finally:
            started.stop()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(params=[kind for kind in KINDS if kind.leader], ids=lambda kind: kind.name)
def led(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_it_waits_for_room_gives_way_and_comes_back(queued: Queued, kind: Kind) -> None:
    seen = SEEN[queued.queueing.kind][kind.name]
    with queued.notebook("ballast", "teaching"):
        queued.alice.runs("ballast")
        with queued.made(kind, f"{kind.name.lower()}-waits") as made:
            made.becomes(*seen.short.split(" or "))
            queued.alice.api.remove(queued.alice.pod("ballast"))
            made.runs()
            made.remember()
            with queued.notebook("researcher", "climate"):
                queued.alice.runs("researcher")
                made.becomes(*seen.preempted.split(" or "))
            made.becomes(*seen.back.split(" or "))


def test_a_worker_dies(queued: Queued, kind: Kind) -> None:
    dies(queued, kind, kind.worker, SEEN[queued.queueing.kind][kind.name].worker)


def test_a_leader_dies(queued: Queued, led: Kind) -> None:
    assert led.leader
    dies(queued, led, led.leader, SEEN[queued.queueing.kind][led.name].leader)


def dies(queued: Queued, kind: Kind, pod: str, seen: tuple[str, str]) -> None:
    with queued.made(kind, f"{kind.name.lower()}-{pod}") as made:
        made.runs()
        made.remember()
        with queued.notebook("next", "backfill"):
            time.sleep(SECONDS)
            assert queued.alice.pod("next")["status"]["phase"] == "Pending"
            made.kill(pod)
            made.becomes(seen[0])
            # Whose place it takes is free before it runs.
            until(lambda: queued.alice.phase("next").name == seen[1], f"the next one is {seen[1]}")
