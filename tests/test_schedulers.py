"""What is special in each scheduler: marks, prerequisites, refusals, queue status and evictions.

What all of them have in common is in test_scheduler_conformance.py.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError
from samples import JOB, NOTEBOOK, person, placement

from jupyter_research_spawner.identity.posix import Group
from jupyter_research_spawner.prerequisite import Prerequisite
from jupyter_research_spawner.resources import (
    DraGpu,
    Gpu,
    HamiGpu,
    KaiFraction,
    MigGpu,
    Resources,
    SharedGpu,
    VolcanoVgpu,
    WholeGpu,
)
from jupyter_research_spawner.schedulers import (
    SCHEDULERS,
    Objects,
    QueueStatus,
    Reason,
    reserved,
    why,
    why_no_gpu,
)
from jupyter_research_spawner.shape import Shape
from jupyter_research_spawner.watch import Phase, classify


def marked(kind: str, *args: Any, **changes: Any) -> dict[str, Any]:
    """Marks as one readable object, without what is empty."""
    whole = asdict(SCHEDULERS[kind].marks(placement(kind, *args, **changes)))
    for part in ("object", "pod"):
        whole[part] = {key: value for key, value in whole[part].items() if value}
    return {key: value for key, value in whole.items() if value}


SLURM = "slurmjob.slinky.slurm.net/"


def test_kueue_limits_a_notebook_after_its_own_deadline_and_a_job_not_at_all() -> None:
    queue = {"kueue.x-k8s.io/queue-name": "climate", "kueue.x-k8s.io/priority-class": "research-normal"}
    assert marked("kueue") == {
        "object": {"labels": {**queue, "kueue.x-k8s.io/max-exec-time-seconds": str(24 * 3600 + 1 + 300)}},
        "priority_class": "research-normal",
    }
    assert marked("kueue", JOB) == {"object": {"labels": queue}, "priority_class": "research-normal"}


@pytest.mark.parametrize("shape", [NOTEBOOK, JOB], ids=["notebook", "job"])
def test_slurm_is_told_on_the_object_who_asks_and_for_how_long(shape: Shape) -> None:
    assert marked("slurm-bridge", shape, {"partition": "gpu", "account": "climate"}) == {
        "object": {
            "annotations": {
                SLURM + "partition": "gpu",
                SLURM + "account": "climate",
                SLURM + "user-id": "alice",
                SLURM + "group-id": "20001",
                SLURM + "timelimit": "1441",
                SLURM + "exclusive": "false",
                SLURM + "job-name": shape.name,
            }
        },
        "scheduler_name": "slurm-bridge-scheduler",
        "priority_class": "research-normal",
    }


def test_slurm_without_options_takes_our_queue_for_the_partition_and_leaves_account_and_qos_to_slurm() -> None:
    annotations = marked("slurm-bridge")["object"]["annotations"]
    assert annotations[SLURM + "partition"] == "climate"
    assert not {SLURM + "account", SLURM + "qos"} & annotations.keys()


@pytest.mark.parametrize(("hard", "minutes"), [(1, "1"), (60, "1"), (61, "2"), (21 * 86400, "30240")])
def test_slurms_limit_is_in_whole_minutes_and_never_shorter(hard: int, minutes: str) -> None:
    annotations = marked("slurm-bridge", wall_time_hard=timedelta(seconds=hard))["object"]["annotations"]
    assert annotations[SLURM + "timelimit"] == minutes


@pytest.mark.parametrize(
    ("kind", "options", "where", "key", "value"),
    [
        ("kueue", {"local_queue": "lq-a"}, ("object", "labels"), "kueue.x-k8s.io/queue-name", "lq-a"),
        ("volcano", {"queue": "a.gpu"}, ("pod", "annotations"), "scheduling.volcano.sh/queue-name", "a.gpu"),
        ("yunikorn", {"queue": "root.a.b"}, ("pod", "labels"), "yunikorn.apache.org/queue", "root.a.b"),
        ("kai", {"queue": "leaf", "parent": "top"}, ("object", "labels"), "kai.scheduler/queue", "leaf"),
        ("slurm-bridge", {"qos": "high"}, ("object", "annotations"), SLURM + "qos", "high"),
    ],
)
def test_a_queue_has_the_name_that_the_scheduler_knows(
    kind: str, options: dict[str, Any], where: tuple[str, str], key: str, value: str
) -> None:
    assert marked(kind, NOTEBOOK, options)[where[0]][where[1]][key] == value


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("plain", {"queue": "x"}, "queue"),
        ("coscheduling", {"queue": "x"}, "queue"),
        ("volcano", {"queue": "A queue"}, "queue"),
        ("volcano", {"queue": "q\n"}, "queue"),
        ("yunikorn", {"queue": "climate"}, "queue"),
        ("yunikorn", {"queue": "root"}, "queue"),
        ("yunikorn", {"queue": "root." + "a" * 59}, "queue"),
        ("kai", {"queue": "a/b"}, "queue"),
        ("kai", {"parent": ""}, "parent"),
        ("kueue", {"local_queue": 7}, "local_queue"),
        ("slurm-bridge", {"partition": "gpu --exclusive"}, "partition"),
        ("slurm-bridge", {"account": "-x"}, "account"),
    ],
)
def test_a_queue_name_that_the_scheduler_could_not_have_is_an_error(
    kind: str, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as error:
        SCHEDULERS[kind].QueueOptions.model_validate(options)
    assert [item["loc"] for item in error.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("kind", "part", "key", "yes", "no"),
    [
        ("volcano", "annotations", "volcano.sh/preemptable", "true", "false"),
        ("yunikorn", "annotations", "yunikorn.apache.org/allow-preemption", "true", "false"),
        ("kai", "labels", "kai.scheduler/preemptibility", "preemptible", "non-preemptible"),
    ],
)
def test_whether_others_may_take_the_place_is_always_said(kind: str, part: str, key: str, yes: str, no: str) -> None:
    assert marked(kind, preemptible=True)["pod"][part][key] == yes
    assert marked(kind, preemptible=False)["pod"][part][key] == no


def test_volcano_is_told_of_one_numa_node_in_the_kubelets_word() -> None:
    together = Resources(Decimal(4), 2**30, numa="single-node")
    annotations = marked("volcano", resources=together)["pod"]["annotations"]
    assert annotations["volcano.sh/numa-topology-policy"] == "single-numa-node"


GANG = Shape("mpi", "sim-abc12", replicas=4, gang=4)


@pytest.mark.parametrize(
    ("kind", "where", "added"),
    [
        ("volcano", ("object", "annotations"), {"scheduling.volcano.sh/group-min-member": "4"}),
        ("kai", ("object", "annotations"), {"kai.scheduler/batch-min-member": "4"}),
        ("coscheduling", ("pod", "labels"), {"scheduling.x-k8s.io/pod-group": "sim-abc12"}),
    ],
)
def test_a_gang_is_marked_as_one(kind: str, where: tuple[str, str], added: dict[str, str]) -> None:
    alone, together = marked(kind, replace(GANG, gang=1)), marked(kind, GANG)
    assert together[where[0]][where[1]] == {**alone.get(where[0], {}).get(where[1], {}), **added}
    assert SCHEDULERS[kind].refuses(placement(kind, GANG)) is None


@pytest.mark.parametrize("kind", ["plain", "yunikorn", "slurm-bridge"])
def test_a_gang_is_refused_where_half_of_it_could_start(kind: str) -> None:
    refusal = SCHEDULERS[kind].refuses(placement(kind, GANG))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("gang-unsupported", "kind")
    assert SCHEDULERS[kind].refuses(placement(kind, replace(GANG, gang=1))) is None


@pytest.mark.parametrize(
    ("gpu", "code"),
    [
        (WholeGpu(kind="whole", count=2), None),
        (WholeGpu(kind="whole", resource="amd.com/gpu"), None),
        (SharedGpu(kind="shared"), "gpu-kind-unsupported"),
        (MigGpu(kind="mig", resource="nvidia.com/mig-1g.10gb"), "gpu-kind-unsupported"),
    ],
    ids=str,
)
def test_slurm_takes_only_gpus_that_it_counts(gpu: Gpu, code: str | None) -> None:
    refusal = SCHEDULERS["slurm-bridge"].refuses(placement("slurm-bridge", resources=Resources(Decimal(1), 2**30, gpu)))
    assert (refusal and refusal.code) == code


FRACTION = KaiFraction(kind="kai-fraction", memory=2 * 2**30, count=2)
VGPU = VolcanoVgpu(kind="volcano-vgpu", mode="mig", memory=5 * 2**30)
DRA = DraGpu(kind="dra", device_class="gpu.nvidia.com")
HAMI = HamiGpu(kind="hami")


@pytest.mark.parametrize("kind", ["plain", "kueue"])
def test_hami_must_be_named_as_the_scheduler_that_it_is(kind: str) -> None:
    why = str(why_no_gpu(HAMI, kind, None))
    assert why.endswith("only HAMi's scheduler provides such GPUs. Set scheduler.name to the name of HAMi's scheduler")
    assert why_no_gpu(HAMI, kind, "hami-scheduler") is None


def test_why_claims_do_not_go_with_everybody() -> None:
    assert "YuniKorn has no dynamic resource allocation" in str(why_no_gpu(DRA, "yunikorn", None))
    in_slurm = str(why_no_gpu(DRA, "slurm-bridge", None))
    assert "rejects every pod with resourceClaims" in in_slurm
    # The way out that it names is one.
    by_class = WholeGpu(kind="whole", resource="deviceclass.resource.kubernetes.io/gpu.nvidia.com")
    assert f"{{kind: whole, resource: {by_class.resource}}}" in in_slurm
    asked = Resources(Decimal(1), 2**30, by_class)
    assert SCHEDULERS["slurm-bridge"].refuses(placement("slurm-bridge", resources=asked)) is None


def test_kai_is_told_the_part_on_the_pod_alone_and_which_container_it_is_for() -> None:
    plain, parted = marked("kai", JOB), marked("kai", JOB, resources=Resources(Decimal(2), 2**30, FRACTION))
    assert parted.pop("names_main") == "gpu-fraction-container-name"
    assert parted["pod"].pop("annotations") == {"gpu-memory": "2048", "gpu-fraction-num-devices": "2"}
    assert parted == plain


def test_volcano_is_told_the_mode_on_the_pod() -> None:
    annotations = marked("volcano", resources=Resources(Decimal(2), 2**30, VGPU))["pod"]["annotations"]
    assert annotations == {**marked("volcano")["pod"]["annotations"], "volcano.sh/vgpu-mode": "mig"}


def test_coscheduling_without_the_name_of_its_profile_is_refused_with_the_usual_name() -> None:
    refusal = SCHEDULERS["coscheduling"].refuses(placement("coscheduling", scheduler_name=None))
    assert refusal is not None
    assert (refusal.field, refusal.status) == ("scheduler.name", 503)
    assert "scheduler-plugins-scheduler" in refusal.hint


def test_yunikorn_cannot_be_renamed() -> None:
    refusal = SCHEDULERS["yunikorn"].refuses(placement("yunikorn", scheduler_name="yunikorn-2"))
    assert refusal is not None
    assert refusal.field == "scheduler.name"
    assert SCHEDULERS["yunikorn"].refuses(placement("yunikorn", scheduler_name="yunikorn")) is None


def test_yunikorn_refuses_a_queue_path_that_is_no_label_value() -> None:
    refusal = SCHEDULERS["yunikorn"].refuses(placement("yunikorn", queue="q" * 59))
    assert refusal is not None
    assert refusal.field == "queue"
    assert "64 characters" in refusal.message
    assert SCHEDULERS["yunikorn"].refuses(placement("yunikorn", queue="q" * 58)) is None


@pytest.mark.parametrize(("count", "code"), [(700, None), (3000, "too-many-groups")])
def test_yunikorn_is_told_every_group_or_none_of_it(count: int, code: str | None) -> None:
    groups = tuple(Group(30000 + number, f"project-{number:05}") for number in range(count))
    of_many = placement("yunikorn", identity=replace(person("alice"), groups=groups))
    refusal = SCHEDULERS["yunikorn"].refuses(of_many)
    assert (refusal and refusal.code) == code
    info = SCHEDULERS["yunikorn"].marks(of_many).pod.annotations["yunikorn.apache.org/user.info"]
    assert info.count("project-") == count


PRIORITY_CLASS = Prerequisite("scheduling.k8s.io/v1", "PriorityClass", "research-normal")


@pytest.mark.parametrize(
    ("kind", "options", "needed"),
    [
        ("plain", {}, set()),
        ("coscheduling", {}, set()),
        ("yunikorn", {}, set()),
        ("slurm-bridge", {}, set()),
        (
            "kueue",
            {},
            {
                Prerequisite("kueue.x-k8s.io/v1beta2", "LocalQueue", "climate", "jhub"),
                Prerequisite("kueue.x-k8s.io/v1beta2", "WorkloadPriorityClass", "research-normal"),
            },
        ),
        (
            "volcano",
            {"queue": "vq"},
            {Prerequisite("scheduling.volcano.sh/v1beta1", "Queue", "vq", shut=("Closed", "Closing"))},
        ),
        ("kai", {}, {Prerequisite("scheduling.run.ai/v2", "Queue", "climate")}),
        (
            "kai",
            {"queue": "leaf", "parent": "top"},
            {
                Prerequisite("scheduling.run.ai/v2", "Queue", "leaf"),
                Prerequisite("scheduling.run.ai/v2", "Queue", "top"),
            },
        ),
    ],
)
def test_prerequisites_are_the_priority_class_and_the_scheduler_s_queues(
    kind: str, options: dict[str, Any], needed: set[Prerequisite]
) -> None:
    assert set(SCHEDULERS[kind].prerequisites(placement(kind, NOTEBOOK, options))) == {PRIORITY_CLASS, *needed}


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        ("kueue.x-k8s.io/queue-name", True),
        ("scheduling.k8s.io/group-name", True),
        ("scheduler.slinky.slurm.net/slurm-jobid", True),
        ("priorityClassName", True),
        ("gpu-fraction", True),
        ("nvidia.com/mig-1g.10gb", True),
        ("runai-gpu-group/0", True),
        ("hami.io/vgpu-devices-to-allocate", True),
        ("volcano.sh/vgpu-mode", True),
        ("nvidia.com/use-gputype", False),
        ("app", False),
        ("component", False),
        ("hub.jupyter.org/username", False),
        ("users", False),
        ("example.org/user", False),
        ("research-spawner/queue", False),
    ],
)
def test_marks_of_one_scheduler_are_kept_from_everybody(key: str, taken: bool) -> None:
    assert reserved(key) is taken


def pod(*conditions: dict[str, str], metadata: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": metadata or {}, "status": {"conditions": list(conditions), **status}}


def scheduled(status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": "PodScheduled", "status": status, "reason": reason, "message": message, "lastTransitionTime": "T"}


def test_yunikorns_own_words() -> None:
    full = "Request 'k' does not fit in queue 'root.climate' (requested map[vcore:2], available map[vcore:0])"
    status = SCHEDULERS["yunikorn"].status
    assert status(pod(scheduled("False", "SchedulingSkipped", full)), Objects(), ()) == QueueStatus(
        "queued", "quota", full, source="pod", since="T"
    )


# As tests/cluster/test_yunikorn.py sees them.
IN_YUNIKORN = {"labels": {"yunikorn.apache.org/queue": "root.climate"}}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            " failed to place application r-1",
            "YuniKorn rejected the pod: queue root.climate does not exist, is not a leaf queue, or does not admit you.",
        ),
        (" partition [x] is stopped", "YuniKorn rejected the pod: partition [x] is stopped."),
    ],
)
def test_what_yunikorn_rejects_is_told_as_a_sentence(said: str, told: str) -> None:
    failed = pod(phase="Failed", reason="ApplicationRejected", message=said, metadata=IN_YUNIKORN)
    found = SCHEDULERS["yunikorn"].status(failed, Objects(), ())
    assert found == QueueStatus("refused", "rejected", told, source="pod")
    assert classify(failed, found, "notebook") == Phase("failed", told)


def test_a_pod_of_which_yunikorn_says_nothing_waits_for_room() -> None:
    found = SCHEDULERS["yunikorn"].status(pod(phase="Pending", metadata=IN_YUNIKORN), Objects(), ())
    assert found == QueueStatus("queued", "room", source="pod")
    assert why(found) == "It starts when its queue is open and has room, and nodes have room."


def test_a_slurm_job_without_a_node_waits_in_slurm() -> None:
    label = {"labels": {"scheduler.slinky.slurm.net/slurm-jobid": "4711"}}
    status = SCHEDULERS["slurm-bridge"].status
    unplaced = pod(scheduled("False", "Unschedulable"), metadata=label)
    assert status(unplaced, Objects(), ()) == QueueStatus(
        "queued", "room", "It waits in Slurm as job 4711.", source="pod"
    )
    placed = pod(scheduled("True"), metadata={**label, "annotations": {"slinky.slurm.net/slurm-node": "n1"}})
    assert status(placed, Objects(), ()) == QueueStatus("running")


BY_SCHEDULER = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "PreemptionByScheduler",
    "message": "volcano: preempting to accommodate a higher priority pod",
}
PREEMPTED = Reason("Preempted: work of a higher priority needed its place.", "preempted")
AMONG_QUEUES = Reason(
    "Preempted: work of a higher priority, or of a queue below its share, needed its place.", "preempted"
)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("WorkloadEvictedDueToPreempted", PREEMPTED),
        (
            "WorkloadEvictedDueToDeactivatedDueToMaximumExecutionTimeExceeded",
            Reason("Ended by its hard wall time.", "wall-time"),
        ),
        (
            "WorkloadEvictedDueToPodsReadyTimeout",
            Reason(
                "It was not ready within Kueue's waitForPodsReady timeout, "
                "for example because pulling its image was slow.",
                "not-ready",
            ),
        ),
        (
            "WorkloadEvictedDueToLocalQueueStopped",
            Reason("Evicted by Kueue (LocalQueueStopped): The LocalQueue is stopped."),
        ),
    ],
)
def test_kueue_says_it_with_termination_target(reason: str, expected: Reason) -> None:
    # A notebook that traps SIGTERM ends as Succeeded: only the condition tells.
    target = {"type": "TerminationTarget", "status": "True", "reason": reason, "message": "The LocalQueue is stopped"}
    assert SCHEDULERS["kueue"].eviction(pod(target, phase="Succeeded")) == expected


def workload(reason: str, message: str, **spec: Any) -> Objects:
    waits = {"type": "QuotaReserved", "status": "False", "reason": reason, "message": message}
    return Objects({"Workload": [{"spec": spec, "status": {"conditions": [waits]}}]})


# Kueue 0.19.2's own words, as tests/cluster/test_kueue.py sees them.
NO_FLAVOR = "couldn't assign flavors to pod set main: "


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (
            workload("Inadmissible", "LocalQueue nope doesn't exist"),
            ("refused", "LocalQueue nope doesn't exist.", "no-queue"),
        ),
        (
            workload("Pending", NO_FLAVOR + "insufficient unused quota for cpu in flavor any-node, 200m more needed"),
            ("queued", "It starts when 0.2 more CPU is free in its queue.", "quota"),
        ),
        (
            workload(
                "Pending",
                NO_FLAVOR + "insufficient unused quota for cpu in flavor any-node, 400m more needed. "
                "Pending the preemption of 1 workload(s)",
            ),
            ("queued", "It starts when the workload that it preempts has ended.", "preempting"),
        ),
        (
            workload(
                "Pending",
                NO_FLAVOR + "insufficient quota for cpu in flavor any-node, previously considered podsets requests (0) "
                "+ current podset request (1500m) > maximum capacity (1)",
            ),
            (
                "unschedulable",
                "It cannot start, because it requests 1.5 CPUs, but its queue has only 1 CPU in total. "
                "Stop it and request less, or use another queue.",
                "too-large",
            ),
        ),
        (
            workload("Pending", NO_FLAVOR + "resource example.com/gpu unavailable in ClusterQueue"),
            (
                "unschedulable",
                "It cannot start, because it requests example.com/gpu, of which its queue has none. "
                "Stop it and request less, or use another queue.",
                "no-quota",
            ),
        ),
        (workload("Pending", "something new"), ("queued", "Something new", "")),
        (
            workload("Pending", "", active=False),
            (
                "refused",
                "Kueue deactivated its Workload (the workload is deactivated). "
                "It cannot start unless an administrator activates the Workload.",
                "deactivated",
            ),
        ),
    ],
)
def test_kueue_tells_why_something_waits_on_its_workload(seen: Objects, expected: tuple[str, str, str]) -> None:
    for waiting in ({}, pod(scheduled("False", "SchedulingGated"))):
        status = SCHEDULERS["kueue"].status(waiting, seen, ())
        assert (status.phase, why(status), status.code) == expected


def test_kueue_tells_when_it_puts_back_what_was_not_ready_in_time() -> None:
    conditions = [
        {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "Exceeded the PodsReady timeout"},
        {"type": "Requeued", "status": "False", "reason": "PodsReadyTimeout"},
    ]
    waits = {"conditions": conditions, "requeueState": {"count": 1, "requeueAt": "2026-11-23T23:33:49Z"}}
    status = SCHEDULERS["kueue"].status({}, Objects({"Workload": [{"spec": {"active": True}, "status": waits}]}), ())
    assert (status.phase, why(status)) == ("queued", "It is queued again at 23 Nov 23:33 UTC.")


def test_kueue_says_nothing_of_work_behind_other_work_with_the_same_requests() -> None:
    created = {"metadata": {"creationTimestamp": "T"}, "spec": {"active": True}, "status": {}}
    status = SCHEDULERS["kueue"].status({}, Objects({"Workload": [created]}), ())
    assert (status.phase, status.code, status.since) == ("queued", "turn", "T")
    assert why(status) == "It starts when it is its turn and its queue has room."


def test_kueue_has_not_seen_what_is_gated_and_has_no_workload() -> None:
    gated = {
        **pod(scheduled("False", "SchedulingGated")),
        "spec": {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]},
    }
    assert SCHEDULERS["kueue"].status(gated, Objects(), ()).message == "Kueue has not added the pod to its queue yet."


def test_kueue_takes_the_pod_of_a_job_without_a_mark_on_it() -> None:
    evicted = {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "Preempted to accommodate ..."}
    objects = Objects({"Workload": [{"status": {"conditions": [evicted]}}]})
    eviction = SCHEDULERS["kueue"].eviction
    assert eviction(pod(metadata={"deletionTimestamp": "T"}), objects) == PREEMPTED
    assert eviction(pod(), objects) is None, "its next pod, which nobody takes"


IN_QUEUE = {"annotations": {"scheduling.volcano.sh/queue-name": "climate"}}
IN_GROUP = {"annotations": {**IN_QUEUE["annotations"], "scheduling.k8s.io/group-name": "podgroup-0"}}


# Volcano 1.14.1's own words, as tests/cluster/test_volcano.py sees them.
@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (
            pod(metadata=IN_QUEUE),
            ("gated", "Volcano has not added the pod to its queue yet. It adds nothing while that queue is closed."),
        ),
        (pod(metadata=IN_GROUP), ("scheduling", "")),
        (
            pod(
                scheduled(
                    "False",
                    "Unschedulable",
                    "pod group is not ready, 1 Pending, 1 minAvailable; Pending: 1 Unschedulable",
                ),
                metadata=IN_GROUP,
            ),
            ("queued", "It starts when its queue is open and has room, and nodes have room."),
        ),
        (
            pod(
                scheduled(
                    "False",
                    "Unschedulable",
                    "pod group is not ready, 1 Pending, 2 Pipelined, 3 minAvailable; Pending: 1 Unschedulable",
                ),
                metadata=IN_GROUP,
            ),
            (
                "queued",
                "It starts when its queue is open and has room for its 3 pods, which start together, "
                "and nodes have room.",
            ),
        ),
        (
            pod(
                scheduled(
                    "False",
                    "Schedulable",
                    "Pod jhub/a-1 can possibly be assigned to node, once minAvailable is satisfied",
                ),
                metadata=IN_GROUP,
            ),
            (
                "queued",
                "It has a node, and waits until other pods there have ended or until the rest of its group has nodes.",
            ),
        ),
        (
            pod(
                scheduled(
                    "False",
                    "Unschedulable",
                    "Pod jhub/a can possibly be assigned to node, "
                    "once resource is released and minAvailable is satisfied",
                ),
                metadata=IN_GROUP,
                nominatedNodeName="node",
            ),
            ("queued", "It starts when the work that it preempts has ended."),
        ),
        (
            pod(
                scheduled("False", "Unschedulable", "0/1 nodes are unavailable: 1 hami-vgpuDeviceSharing error."),
                metadata=IN_GROUP,
            ),
            ("queued", "No node here has a free part of a GPU of the requested size and mode."),
        ),
    ],
)
def test_volcano_tells_on_the_pod_why_it_waits(seen: dict[str, Any], expected: tuple[str, str]) -> None:
    status = SCHEDULERS["volcano"].status(seen, Objects(), ())
    assert (status.phase, why(status)) == expected


IN_KAI = {"labels": {"kai.scheduler/queue": "climate"}}


@pytest.mark.parametrize(
    ("seen", "phase", "message"),
    [
        (
            pod(phase="Pending", metadata=IN_KAI),
            "gated",
            "KAI has not scheduled the pod yet. It schedules nothing while the queue or its parent queue does not "
            "exist.",
        ),
        (
            pod(scheduled("False", "Unschedulable", "OverLimit: climate quota has reached the limit"), metadata=IN_KAI),
            "queued",
            "OverLimit: climate quota has reached the limit",
        ),
        (
            pod(scheduled("False", "Unschedulable", "Unable to schedule pod"), metadata=IN_KAI),
            "queued",
            "KAI cannot schedule the pod and gives no reason. One known cause is a queue without a parent queue.",
        ),
        (
            pod(
                scheduled(
                    "False",
                    "Unschedulable",
                    "Scheduling conditions were not met for pod jhub/a:\nMaxNodePoolResources: No node has GPUs.\n",
                ),
                metadata=IN_KAI,
            ),
            "queued",
            "MaxNodePoolResources: No node has GPUs.",
        ),
        (
            pod(
                {"type": "PodBound", "status": "False", "message": "Failed to bind pod jhub/a: no GPU"}, metadata=IN_KAI
            ),
            "queued",
            "Failed to bind pod jhub/a: no GPU",
        ),
        (pod(scheduled("True"), metadata=IN_KAI), "running", ""),
        ({}, "scheduling", ""),
    ],
)
def test_kai_tells_on_the_pod_why_it_waits(seen: dict[str, Any], phase: str, message: str) -> None:
    status = SCHEDULERS["kai"].status(seen, Objects(), ())
    assert (status.phase, status.message) == (phase, message)


def test_volcano_says_the_same_of_preemption_and_reclaim() -> None:
    """The kubelet resets Ready, which alone tells them apart, at once."""
    reclaimed = {"type": "Ready", "status": "False", "reason": "Evict", "message": "Pod is evicted, because of reclaim"}
    eviction = SCHEDULERS["volcano"].eviction
    assert eviction(pod(reclaimed, BY_SCHEDULER)) == AMONG_QUEUES
    assert eviction(pod({"type": "Ready", "status": "True"}, BY_SCHEDULER)) == AMONG_QUEUES
