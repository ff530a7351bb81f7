"""What every scheduler module must do, tested for each module in the registry; a new scheduler needs no new test here.

`pytest --update-golden tests/test_scheduler_conformance.py tests/test_pod_golden.py` writes the golden files of a new
scheduler: tests/golden/schedulers/KIND.yaml and two files in tests/golden/pod/KIND/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from conformance import check_all_registered, check_described, check_guide_names, check_module, members
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from samples import JOB, Json, decide, person, placement, site_with
from samples import scheduler as scheduler_settings

from jupyter_research_spawner import schedulers
from jupyter_research_spawner.identity import Group
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
    DELETED,
    SCHEDULERS,
    SELECTED_BY_PRIORITY,
    Marks,
    Objects,
    Placement,
    QueueStatus,
    Reason,
    Scheduler,
    Shortage,
    reserved,
    why_no_gpu,
)
from jupyter_research_spawner.schedulers.scheduler_defaults import disruption, disruption_among_queues
from jupyter_research_spawner.shape import Shape

GANG = Shape("mpi", "sim-abc12", replicas=4, gang=4)
GPUS: dict[str, Gpu] = {
    "whole": WholeGpu(kind="whole"),
    "mig": MigGpu(kind="mig", resource="nvidia.com/mig-1g.10gb"),
    "shared": SharedGpu(kind="shared"),
    "kai-fraction": KaiFraction(kind="kai-fraction", memory=2 * 2**30, count=2),
    "volcano-vgpu": VolcanoVgpu(kind="volcano-vgpu", mode="mig", memory=5 * 2**30),
    "hami": HamiGpu(kind="hami"),
    "dra": DraGpu(kind="dra", device_class="gpu.nvidia.com"),
}
PREEMPTED: Json = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "PreemptionByScheduler",
    "message": "preempting to accommodate a higher priority pod",
}

# As Kueue's webhook leaves a pod that waits.
GATED: Json = {"spec": {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}}

each_scheduler = pytest.mark.parametrize("kind", SCHEDULERS)


def without_empty(value: Any) -> Any:
    """Return nested dicts without the keys that have an empty value."""
    if not isinstance(value, dict):
        return value
    return {key: below for key, item in value.items() if (below := without_empty(item))}


def shown(marks: Marks) -> Json:
    found: Json = without_empty(asdict(marks))
    return found


def provided(kind: str) -> list[str]:
    """Return the kinds of GPU that the scheduler provides, if `scheduler.name` is set."""
    return [name for name, gpu in GPUS.items() if SCHEDULERS[kind].refuses_gpu(gpu, "any-name") is None]


def examples(kind: str) -> Json:
    """Return the first example of each queue option."""
    fields = SCHEDULERS[kind].QueueOptions.model_fields
    return {name: field.examples[0] for name, field in fields.items() if field.examples}


def gang(kind: str) -> Json | str:
    """Return the marks of four pods that must start together, or the scheduler's refusal."""
    asked = placement(kind, GANG)
    refusal = SCHEDULERS[kind].refuses(asked)
    return shown(SCHEDULERS[kind].marks(asked)) if refusal is None else str(refusal)


@each_scheduler
def test_golden_summary(kind: str, golden: Callable[[str], Any]) -> None:
    """One file shows what a scheduler module does with one notebook, one job and one gang."""
    module = SCHEDULERS[kind]
    preempted = module.eviction(pod(PREEMPTED), Objects())
    assert preempted is not None, f"{kind}: without a sign of this scheduler, eviction must return disruption(pod)"
    summary = {
        "notebook": shown(module.marks(placement(kind))),
        "job": shown(module.marks(placement(kind, JOB))),
        "preemptible job": shown(module.marks(placement(kind, JOB, preemptible=True))),
        "gang": gang(kind),
        "prerequisites": sorted(map(str, module.prerequisites(placement(kind)))),
        "GPU kinds": provided(kind),
        "preempted by kube-scheduler": preempted.message,
        "watched kinds": [watched.kind for watched in module.watched],
        "kinds that say what is free": [found.kind for found in module.queue_kinds],
        "preemption events": [
            f"{event.reason}: {event.starts_with}".rstrip(": ") for event in module.preemption_events
        ],
        "adds to a waiting pod": list(module.adds(GATED)),
        "deletes pods without a condition": module.deletes_unmarked,
    }
    assert summary == golden(f"schedulers/{kind}")


@each_scheduler
def test_module_has_every_member_and_its_file_is_named_after_its_kind(kind: str) -> None:
    check_module(SCHEDULERS[kind], kind, Scheduler)


def test_every_module_of_the_package_is_registered() -> None:
    check_all_registered(schedulers, schedulers._MODULES)


@pytest.mark.parametrize("member", members(Scheduler))
def test_contributing_guide_names_every_member(member: str) -> None:
    check_guide_names(member, "How to add a scheduler")


@each_scheduler
def test_site_accepts_the_scheduler_and_refuses_unknown_queue_options(kind: str) -> None:
    assert site_with(scheduler_settings(kind)).scheduler.kind == kind
    with pytest.raises(ValidationError):
        SCHEDULERS[kind].QueueOptions.model_validate({"no-such-option": "x"})


@each_scheduler
def test_queue_options_are_optional_and_described(kind: str) -> None:
    """A queue needs no settings for a scheduler, so each option has a default.  The tests here use the examples."""
    model = SCHEDULERS[kind].QueueOptions
    check_described(model)
    for name, field in model.model_fields.items():
        assert not field.is_required(), f"{model.__module__}: option {name} needs a default"
        assert field.examples, f"{model.__module__}: option {name} needs an example"


@each_scheduler
@pytest.mark.parametrize("written", [False, True], ids=["defaults", "every option"])
def test_prerequisites_are_cluster_scoped_or_in_the_namespace_of_the_pods(kind: str, *, written: bool) -> None:
    """The roles of `research-spawner manifests` allow reading objects only there, so others would not be checked."""
    asked = replace(placement(kind, options=examples(kind) if written else {}), namespace="pods-of-alice")
    for prerequisite in SCHEDULERS[kind].prerequisites(asked):
        where = (
            f"{kind}: {prerequisite} must be cluster-scoped or in placement.namespace: the roles allow no other place"
        )
        assert prerequisite.namespace in (None, "pods-of-alice"), where


@each_scheduler
def test_prerequisites_of_the_priority_have_the_name_of_its_class(kind: str) -> None:
    """`research-spawner manifests` prints them with this name and the priority's value."""
    found = SCHEDULERS[kind].prerequisites(placement(kind, priority_class="research-low"))
    selected = {one.name for one in found if one.selected_by == SELECTED_BY_PRIORITY}
    assert selected <= {"research-low"}


@each_scheduler
def test_plan_has_the_marks_and_prerequisites_of_the_scheduler(kind: str) -> None:
    decided = decide(site_with(scheduler_settings(kind)), person("alice"), queue="climate")
    assert decided.scheduler == kind
    if decided.marks.priority_class is not None:
        needed = Prerequisite("scheduling.k8s.io/v1", "PriorityClass", decided.marks.priority_class)
        assert needed in decided.prerequisites, f"{kind}: add priority_class_prerequisite(placement) to prerequisites"


@each_scheduler
def test_a_gang_is_refused_or_marked(kind: str) -> None:
    """Otherwise some of the pods of a gang would start, and wait for the others."""
    module, alone = SCHEDULERS[kind], placement(kind, replace(GANG, gang=1))
    if module.refuses(placement(kind, GANG)) is None:
        why = f"{kind}: marks must say that the pods of a gang start together, or refuses must be refuse_gang"
        assert module.marks(placement(kind, GANG)) != module.marks(alone), why


@each_scheduler
def test_docstring_says_which_version_was_tested_or_read(kind: str) -> None:
    text = str(SCHEDULERS[kind].__doc__)
    why = f"{kind}: write `Tested with NAME VERSION`, `Written for NAME VERSION (source)` or `Source: ...`"
    assert re.search(r"(Tested with|Written for) \S.* [0-9]|Source: \S", " ".join(text.split())), why


@each_scheduler
def test_scheduler_name_of_the_settings_is_used_or_refused(kind: str) -> None:
    renamed = placement(kind, scheduler_name="other-name")
    refusal = SCHEDULERS[kind].refuses(renamed)
    if refusal is None:
        name = SCHEDULERS[kind].marks(renamed).scheduler_name
        assert name == "other-name", f"{kind}: marks must use placement.scheduler_name, or refuses must refuse it"
    else:
        assert refusal.field == "scheduler.name"


@each_scheduler
def test_advice_is_for_gpus_that_the_scheduler_provides(kind: str) -> None:
    unused = set(SCHEDULERS[kind].GPU_ADVICE) - set(provided(kind))
    assert unused == set(), f"{kind}: GPU_ADVICE is about GPUs that refuses_gpu refuses"


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_a_refused_gpu_names_the_schedulers_that_provide_it(gpu: Gpu) -> None:
    why = {kind: why_no_gpu(gpu, kind, "any-name") for kind in SCHEDULERS}
    providers = [kind for kind, reason in why.items() if reason is None]
    assert providers, "a kind of GPU that no scheduler provides"
    for kind, reason in why.items():
        if reason is not None:
            assert reason.startswith(f"scheduler.kind {kind} does not provide GPUs of kind {gpu.kind!r}: ")
            assert reason.endswith(f". Values of scheduler.kind that provide them: {', '.join(providers)}")


@each_scheduler
@pytest.mark.parametrize("gpu", ["whole", "mig", "shared", "hami", "dra"])
def test_marks_do_not_depend_on_gpus_that_the_pod_requests_itself(kind: str, gpu: str) -> None:
    module = SCHEDULERS[kind]
    assert module.marks(placement(kind, resources=Resources(Decimal(2), 2**30, GPUS[gpu]))) == module.marks(
        placement(kind, resources=Resources(Decimal(2), 2**30))
    )


def pod(*conditions: Json, metadata: Json | None = None, **status: Any) -> Json:
    return {"metadata": metadata or {}, "status": {"conditions": list(conditions), **status}}


def scheduled(status: str, reason: str = "", message: str = "") -> Json:
    return {"type": "PodScheduled", "status": status, "reason": reason, "message": message, "lastTransitionTime": "T"}


@each_scheduler
def test_status_reports_a_missing_prerequisite_first(kind: str) -> None:
    absent = (Prerequisite("scheduling.volcano.sh/v1beta1", "Queue", "nope"),)
    in_slurm = {"labels": {"scheduler.slinky.slurm.net/slurm-jobid": "7"}}
    waiting = pod(scheduled("False", "SchedulingSkipped"), metadata=in_slurm)
    told = QueueStatus("refused", "missing", "Queue 'nope' does not exist in the cluster.")
    assert SCHEDULERS[kind].status(waiting, Objects(), absent) == told, f"{kind}: pass `missing` on to status_of_pod"


@each_scheduler
@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, QueueStatus("scheduling", source="pod")),
        (pod(), QueueStatus("scheduling", source="pod")),
        (pod(scheduled("True")), QueueStatus("running")),
        (
            pod(scheduled("False", "SchedulingGated", "Scheduling is blocked")),
            QueueStatus("gated", "not-considered", "Scheduling is blocked", source="pod", since="T"),
        ),
        (
            pod(scheduled("False", "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")),
            QueueStatus("queued", "nodes", missing=(Shortage("cpu"),), nodes=1, source="pod", since="T"),
        ),
    ],
)
def test_status_understands_the_condition_pod_scheduled(kind: str, seen: Json, expected: QueueStatus) -> None:
    why = f"{kind}: for a pod without marks or conditions of this scheduler, status must return status_of_pod(...)"
    assert SCHEDULERS[kind].status(seen, Objects(), ()) == expected, why


@each_scheduler
def test_a_pod_that_was_not_evicted_has_no_eviction(kind: str) -> None:
    ended = {"type": "Ready", "status": "False", "reason": "PodCompleted"}
    assert SCHEDULERS[kind].eviction(pod(ended, phase="Succeeded"), Objects()) is None
    assert SCHEDULERS[kind].eviction({}, Objects()) is None


@each_scheduler
def test_eviction_understands_the_condition_disruption_target(kind: str) -> None:
    eviction = SCHEDULERS[kind].eviction
    why = f"{kind}: without a sign of this scheduler, eviction must return disruption(pod)"
    known = (disruption(pod(PREEMPTED)), disruption_among_queues(pod(PREEMPTED)))
    assert eviction(pod(PREEMPTED), Objects()) in known, why
    drained = {**PREEMPTED, "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
    found = eviction(pod(drained), Objects())
    assert found is not None and (found.code, "its node was drained" in found.message) == ("drained", True)
    unknown = {**PREEMPTED, "reason": "SomethingNew", "message": "by a new controller"}
    assert eviction(pod(unknown), Objects()) == Reason("Evicted by the cluster (SomethingNew): by a new controller")
    assert eviction(pod({**PREEMPTED, "status": "False"}), Objects()) is None


@each_scheduler
def test_eviction_understands_the_condition_that_the_batch_service_writes(kind: str) -> None:
    assert SCHEDULERS[kind].eviction(pod(dict(DELETED)), Objects()) == Reason("Evicted by the cluster before it ended.")


LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
groups = st.builds(Group, st.integers(0, 2**31), st.text(max_size=40))


@st.composite
def placements(draw: st.DrawFn) -> tuple[str, Placement]:
    """Any placement that its scheduler accepts, with user names and run ids that nothing has checked."""
    kind = draw(st.sampled_from(sorted(SCHEDULERS)))
    drawn = placement(
        kind,
        Shape(draw(st.sampled_from(["notebook", "job", "mpi"])), draw(names), 8, draw(st.integers(1, 8))),
        draw(st.sampled_from([{}, examples(kind)])),
        identity=replace(
            person("alice"),
            name=draw(st.text(min_size=1, max_size=80)),
            groups=tuple(draw(st.lists(groups, max_size=20))),
        ),
        queue=draw(names),
        priority_class=draw(names),
        preemptible=draw(st.booleans()),
        wall_time_hard=timedelta(seconds=draw(st.integers(1, 10**8))),
        resources=Resources(Decimal(2), 2**30, numa=draw(st.sampled_from([None, "single-node"]))),
        run_id=draw(st.text(max_size=80)),
    )
    assume(SCHEDULERS[kind].refuses(drawn) is None)
    return kind, drawn


@given(placements())
def test_marks_are_valid_and_use_only_reserved_keys(drawn: tuple[str, Placement]) -> None:
    kind, asked = drawn
    marks = SCHEDULERS[kind].marks(asked)
    assert marks == SCHEDULERS[kind].marks(asked)
    for metadata in (marks.object, marks.pod):
        for key, value in metadata.labels.items():
            assert LABEL_VALUE.fullmatch(value), f"{kind}: label {key} has {value!r}; shape.label_value makes it valid"
        for key in (*metadata.labels, *metadata.annotations):
            assert KEY.fullmatch(key), f"{kind}: {key!r} is not a valid key"
            own = SCHEDULERS[kind].RESERVED
            prefixes = tuple(prefix for prefix in own if prefix.endswith(("/", "-")))
            assert key in own or key.startswith(prefixes), f"{kind}: {key} is missing in RESERVED"
            assert reserved(key)
