"""Options from the form, links, REST and the database; pacing, the wait's time limits, a pod's events."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import decide, person, site_with

from jupyter_research_spawner.form import chosen_by_form, chosen_by_link
from jupyter_research_spawner.jobs.notebook import OPTIONS
from jupyter_research_spawner.plan import Request, plan
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.shape import Shape
from jupyter_research_spawner.spawner import options
from jupyter_research_spawner.spawner.pacing import Pacing
from jupyter_research_spawner.spawner.pod_events import EventsByPod
from jupyter_research_spawner.spawner.pod_wait import PodWait, is_pod_ready

Json = dict[str, Any]
MAIN = "notebook"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=12), below, max_size=3),
    max_leaves=8,
)
WISHES = st.dictionaries(
    st.sampled_from([*OPTIONS, "user_options", "display_name", "uid"]) | st.text(max_size=8),
    st.sampled_from(["small", "a100", "stats-101", "climate", "backfill", "8h", "default"]) | JSON,
)
POSTED = st.dictionaries(
    st.sampled_from(["offer", "profile", "queue", "queue--profile:small", "wall_time--profile:small", "image"])
    | st.text(max_size=12),
    st.lists(st.sampled_from(["profile:small", "class:stats-101", "small", "climate"]) | st.text(), max_size=2),
)


def asked(wishes: Any) -> Request:
    return options.request(wishes, hub_user="alice", server="", pod_name="jupyter-alice")


def decided_or_refused(wishes: Any) -> None:
    """Whatever comes in, what comes out is a plan or a sentence."""
    now = datetime(2026, 11, 23, tzinfo=timezone.utc)
    try:
        plan(site_with(), person("alice"), asked(wishes), run_id="r", now=now)
    except Refusal as refusal:
        assert refusal.status in (400, 403)
        assert refusal.message.isprintable()
        assert len(refusal.message) < 1000


@pytest.mark.parametrize("written", ["4:00:00", "240", 240, "4h", "0-4", " 4h "])
def test_a_wall_time_has_the_forms_of_sbatch_in_the_form_too(written: Any) -> None:
    assert asked({"wall_time": written}).wall_time == timedelta(hours=4)


@given(JSON | WISHES)
def test_no_json_is_more_than_refused(wishes: Any) -> None:
    decided_or_refused(wishes)


@given(POSTED)
def test_no_form_and_no_link_is_more_than_refused(posted: dict[str, list[str]]) -> None:
    decided_or_refused(chosen_by_form(posted))
    decided_or_refused(chosen_by_link(posted))


@pytest.mark.parametrize("server", ["a\nb", "a\x00b", "\u202eb"])
def test_a_server_whose_name_cannot_be_shown_is_refused(server: str) -> None:
    with pytest.raises(Refusal) as refused:
        options.request({}, hub_user="alice", server=server, pod_name="jupyter-alice")
    assert (refused.value.status, refused.value.field) == (400, "server_name")


def test_all_wishes_of_both_shapes() -> None:
    wishes = {"profile": "small", "queue": "climate", "wall_time": "90m", "image": "default", "class": None}
    wanted = Request(
        Shape("notebook", "jupyter-alice"),
        "alice",
        profile="small",
        queue="climate",
        wall_time=timedelta(minutes=90),
        image="default",
    )
    assert asked(wishes) == wanted
    assert asked({"user_options": wishes, "display_name": "mine"}) == wanted
    assert asked(None) == asked({}) == Request(Shape("notebook", "jupyter-alice"), "alice")


@pytest.mark.parametrize(
    ("wishes", "field", "message"),
    [
        ([1], "user_options", "The options of a server must be a JSON object, not a list."),
        ({"profile": ["small"]}, "profile", "profile: must be text, not a list."),
        ({"profile": ""}, "profile", "profile: must not be empty."),
        ({"queue": "climate\nevil"}, "queue", "queue: 'climate\\nevil' is not one line of text."),
        (
            {"wall_time": "8 h"},
            "wall_time",
            "wall_time: '8 h' is not a valid wall time. Use a unit (90m, 8h, 1h30m, 2d) or a format of Slurm: 90 "
            "(minutes), 4:00:00, 1-12 or 1-12:30:00 (days-hours).",
        ),
        ({"uid": 0}, "uid", "There is no field 'uid', because the hub determines your identity."),
        ({b"profile": 1}, None, "There is no field b'profile'."),
    ],
)
def test_a_wrong_wish_is_refused_with_its_field(wishes: Any, field: str | None, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        asked(wishes)
    assert (caught.value.field, caught.value.message, caught.value.status) == (field, message, 400)


async def test_slots_are_given_in_order() -> None:
    pacing = Pacing(1)
    first, second, third = pacing.new_slot(), pacing.new_slot(), pacing.new_slot()
    await first.acquire()
    waiting = [asyncio.ensure_future(slot.acquire()) for slot in (second, third)]
    await asyncio.sleep(0)
    assert (first.starts_ahead, second.starts_ahead, third.starts_ahead) == (0, 1, 2)
    first.release()  # its pod was admitted, or waits in a queue
    first.release()
    await waiting[0]
    assert (third.starts_ahead, waiting[1].done()) == (1, False)
    second.release()
    await asyncio.wait_for(waiting[1], 60)


@pytest.mark.parametrize("cancelled", ["before it is granted", "after it is granted"])
async def test_a_cancelled_start_does_not_block_the_line(cancelled: str) -> None:
    pacing = Pacing(1)
    first, second, third = pacing.new_slot(), pacing.new_slot(), pacing.new_slot()
    await first.acquire()
    waiting = [asyncio.ensure_future(slot.acquire()) for slot in (second, third)]
    await asyncio.sleep(0)
    if cancelled == "before it is granted":
        waiting[0].cancel()
        first.release()
    else:
        first.release()
        waiting[0].cancel()
    await asyncio.wait_for(waiting[1], 1)
    third.release()
    third.release()
    await asyncio.wait_for(first.acquire(), 1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pod(phase: str = "Pending", scheduled: str | None = None, **container: Any) -> Json:
    status: Json = {"phase": phase}
    if scheduled is not None:
        reason = {"status": "True"} if scheduled == "" else {"status": "False", "reason": "Unschedulable"}
        status["conditions"] = [{"type": "PodScheduled", "message": scheduled, **reason}]
    if container:
        status["containerStatuses"] = [{"name": MAIN, **container}]
        status["podIP"] = "10.0.0.1"
    return {"metadata": {"name": "jupyter-alice", "creationTimestamp": "2026-11-23T12:00:00Z"}, "status": status}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait(clock: Clock) -> PodWait:
    limits = site_with({"hub": {"queue_limit": "1h", "boot_limit": "5m"}, "scheduler": {"kind": "plain"}}).hub
    decided = decide(site_with({"scheduler": {"kind": "plain"}}), person("alice"), profile="small")
    return PodWait(decided, limits, MAIN, clock)


def ended(wait: PodWait, found: Json | None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        wait.observe(found)
    return caught.value


def test_queue_limit_and_boot_limit_count_separately(wait: PodWait, clock: Clock) -> None:
    wait.observe(pod(scheduled="0/3 nodes are available: 3 Insufficient cpu."))
    assert wait.is_queued
    clock.now = 3599
    wait.observe(pod(scheduled=""))
    assert wait.is_admitted
    clock.now = 3599 + 299
    wait.observe(pod("Running", "", ready=False, state={"running": {}}))
    clock.now = 3599 + 301
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    refusal = ended(wait, pod(scheduled="", state=waiting))
    assert refusal.code == "boot-limit"
    assert "did not answer within 5m. Container notebook: its image cannot be pulled" in refusal.message


def test_a_volume_that_is_not_mounted_is_told_while_waiting_and_at_the_end(wait: PodWait, clock: Clock) -> None:
    wait.events = lambda: [{"reason": "FailedMount", "message": "mount.nfs: Connection timed out"}]
    found = pod(scheduled="", state={"waiting": {"reason": "ContainerCreating"}})
    found["spec"] = {"nodeName": "node-1"}
    wait.observe(found)
    why = "A file system cannot be mounted or does not answer (FailedMount): mount.nfs: Connection timed out."
    assert wait.message == why
    clock.now = 301
    assert ended(wait, found).message.endswith(f"did not answer within 5m. {why}")


def test_a_secret_that_stays_absent_ends_the_start(wait: PodWait, clock: Clock) -> None:
    absent = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "ticket-alice" not found'}}
    why = "The secret 'ticket-alice', which your administrators add to the pod, does not exist."
    wait.observe(pod(scheduled="", state=absent))
    assert wait.message == why
    clock.now = 9
    wait.observe(pod(scheduled="", state={"waiting": {"reason": "ContainerCreating"}}))
    wait.observe(pod(scheduled="", state=absent))
    clock.now = 18
    wait.observe(pod(scheduled="", state=absent))
    clock.now = 20
    refusal = ended(wait, pod(scheduled="", state=absent))
    assert (refusal.code, refusal.message) == ("no-secret", why)


def test_the_queue_limit_ends_the_wait_with_the_schedulers_reason(wait: PodWait, clock: Clock) -> None:
    clock.now = 3601
    refusal = ended(wait, pod(scheduled="0/3 nodes are available."))
    assert refusal.code == "queue-limit"
    assert "It waited in queue 'climate' for 1h" in refusal.message
    assert "0/3 nodes are available." in refusal.message  # the scheduler's words, which have another form than usual


def test_an_adopted_pods_earlier_wait_counts(wait: PodWait, clock: Clock) -> None:
    wait.continue_with(pod(), datetime(2026, 11, 23, 12, 59, tzinfo=timezone.utc))
    wait.observe(pod(scheduled="0/3 nodes are available."))
    clock.now = 61
    assert ended(wait, pod(scheduled="0/3 nodes are available.")).code == "queue-limit"


def test_the_second_crash_ends_the_wait(wait: PodWait) -> None:
    oom = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    wait.observe(pod("Running", "", ready=False, restartCount=1, state={"running": {}}, lastState=oom))
    backing_off = {"waiting": {"reason": "CrashLoopBackOff"}}
    refusal = ended(wait, pod("Running", "", ready=False, restartCount=1, state=backing_off, lastState=oom))
    assert "used more memory than its limit" in refusal.message


FAILED = {"terminated": {"exitCode": 1, "message": "Traceback\nOSError: no socket"}}
SUCCEEDED = {"terminated": {"exitCode": 0}}
BACKS_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}
SIDECAR = {"name": "proxy", "restartPolicy": "Always"}
RUNS: Json = {"name": MAIN, "ready": True, "state": {"running": {}}}
STARTS: Json = {"name": MAIN, "ready": False, "state": {"running": {}}}


def several(*containers: Json, init: tuple[Json, ...] = (), policy: str = "OnFailure") -> Json:
    """Return a running pod with these containers; an init container called proxy is a native sidecar."""
    specs = [SIDECAR if found["name"] == "proxy" else {"name": found["name"]} for found in init]
    found = pod("Running", "")
    found["spec"] = {"restartPolicy": policy, "initContainers": specs}
    statuses = {"containerStatuses": list(containers), "initContainerStatuses": list(init), "podIP": "10.0.0.1"}
    found["status"] |= statuses
    return found


def other(name: str, restarts: int = 0, /, **container: Any) -> Json:
    return {"name": name, "ready": False, "restartCount": restarts, **container}


@pytest.mark.parametrize(
    ("found", "ready"),
    [
        (several(RUNS, other("scraper", state=SUCCEEDED)), True),
        (several(RUNS, other("scraper", state=FAILED)), False),
        (several(RUNS, other("scraper", state={"running": {}})), False),
        (several(RUNS, other("scraper", 3, state=BACKS_OFF, lastState=SUCCEEDED)), True),
        (several(RUNS, other("scraper", 3, state=BACKS_OFF, lastState=FAILED)), False),
        (several(RUNS, other("scraper", state={"waiting": {"reason": "ContainerCreating"}})), False),
        (several(RUNS, init=(other("proxy", state={"running": {}}, started=False),)), False),
        (several(RUNS, init=(other("proxy", state={"running": {}}, started=True),)), True),
        (several(RUNS, init=(other("proxy", state=BACKS_OFF, lastState=FAILED, started=False),)), False),
        (several(RUNS, init=(other("proxy", state=BACKS_OFF, lastState=SUCCEEDED, started=False),)), True),
        (several(RUNS, init=(other("clone", state=SUCCEEDED, started=False),)), True),
        (several({**RUNS, "ready": False, "state": SUCCEEDED}, other("scraper", ready=True)), False),
        (several(other("scraper", ready=True)), False),
    ],
)
def test_all_containers_must_be_ready_sidecars_started_and_one_that_succeeded_does_not_count(
    found: Json, ready: bool
) -> None:
    assert is_pod_ready(found, MAIN) is ready


WHY = "Container {0} ended with exit code 1: OSError: no socket."


@pytest.mark.parametrize("place", ["scraper", "proxy", "clone"])
def test_the_second_crash_of_any_container_ends_the_wait_with_its_reason(wait: PodWait, place: str) -> None:
    def crashed(restarts: int, **container: Any) -> Json:
        found = other(place, restarts, **container)
        return several(STARTS, found) if place == "scraper" else several(STARTS, init=(found,))

    wait.observe(crashed(0, state=FAILED))
    assert wait.message == WHY.format(place)
    wait.observe(crashed(0, state=BACKS_OFF, lastState=FAILED))
    assert wait.message == f"Container {place}: it crashes repeatedly (CrashLoopBackOff). {WHY.format(place)}"
    wait.observe(crashed(1, state={"running": {}}, lastState=FAILED))
    refusal = ended(wait, crashed(1, state=BACKS_OFF, lastState=FAILED))
    assert (refusal.code, refusal.message) == ("pod-crashes", WHY.format(place))


@pytest.mark.parametrize("place", ["scraper", "proxy"])
def test_a_container_that_ends_with_exit_code_0_again_and_again_is_no_crash(wait: PodWait, place: str) -> None:
    waits = "Container notebook runs, but is not ready yet."
    for restarts in range(5):
        for state in (SUCCEEDED, BACKS_OFF, {"running": {}}):
            found = other(place, restarts, state=state, lastState=SUCCEEDED, started="running" in state)
            found["ready"] = found["started"]
            wait.observe(several(STARTS, found) if place == "scraper" else several(STARTS, init=(found,)))
            assert wait.message == waits


def test_the_events_of_an_earlier_pod_of_the_same_name_do_not_count(wait: PodWait) -> None:
    warning = {"type": "Warning", "reason": "FailedSync", "message": "it says why"}
    wait.events = lambda: [{**warning, "involvedObject": {"uid": "earlier"}}]
    found = several(STARTS)
    found["metadata"]["uid"], found["spec"]["nodeName"] = "now", "node-1"
    wait.observe(found)
    assert wait.message == "Container notebook runs, but is not ready yet."
    wait.events = lambda: [{**warning, "involvedObject": {"uid": "now"}}]
    wait.observe(found)
    assert wait.message == "The cluster reports a problem (FailedSync): it says why."


def test_a_failed_hook_is_the_reason_of_the_second_crash(wait: PodWait) -> None:
    hook = {"waiting": {"reason": "PostStartHookError", "message": "Exec lifecycle hook ([false]) failed"}}
    killed = {"terminated": {"exitCode": 137, "reason": "Error"}}
    why = (
        "Container notebook: its postStart hook failed, so it was stopped (PostStartHookError). "
        "Exec lifecycle hook ([false]) failed."
    )
    wait.observe(several(other(MAIN, state=hook, lastState=killed)))
    assert wait.message == why
    assert ended(wait, several(other(MAIN, 1, state=hook, lastState=killed))).message.endswith(why)


@pytest.mark.parametrize("container", ["scraper", MAIN])
def test_a_container_that_failed_and_is_not_started_again_ends_the_wait(wait: PodWait, container: str) -> None:
    containers = (STARTS, other("scraper", state=FAILED)) if container == "scraper" else (other(MAIN, state=FAILED),)
    assert ended(wait, several(*containers, policy="Never")).message.endswith(WHY.format(container))


def test_an_image_name_that_is_not_valid_ends_the_wait(wait: PodWait) -> None:
    invalid = {"waiting": {"reason": "InvalidImageName", "message": 'Failed to apply default image tag "A:b:c"'}}
    told = "Container scraper: its image name is not valid (InvalidImageName)."
    assert told in ended(wait, several(STARTS, other("scraper", state=invalid))).message


def test_a_notebook_that_exits_while_other_containers_run_ends_the_wait(wait: PodWait) -> None:
    found = several(other(MAIN, state=SUCCEEDED), other("scraper", ready=True, state={"running": {}}))
    refusal = ended(wait, found)
    assert refusal.code == "pod-ended"
    assert "exited without an error before it could be reached" in refusal.message


def test_the_crashes_of_an_adopted_pods_containers_before_its_adoption_do_not_count(wait: PodWait) -> None:
    crashed = several(STARTS, other("scraper", 4, state=BACKS_OFF, lastState=FAILED))
    wait.continue_with(crashed, datetime(2026, 11, 23, 12, 1, tzinfo=timezone.utc))
    wait.observe(crashed)
    wait.observe(several(STARTS, other("scraper", 5, state=BACKS_OFF, lastState=FAILED)))
    assert ended(wait, several(STARTS, other("scraper", 6, state=BACKS_OFF, lastState=FAILED))).code == "pod-crashes"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (several(STARTS), "Container notebook runs, but is not ready yet."),
        (several(RUNS, other("scraper", state={"running": {}})), "Container scraper runs, but is not ready yet."),
        (
            several(STARTS, init=(other("clone", state={"running": {}}),)),
            "Container clone must end first, and still runs.",
        ),
        (several(RUNS), "Its containers are ready, but nothing accepts connections at its port."),
    ],
)
def test_the_boot_limit_names_what_is_not_ready(wait: PodWait, clock: Clock, found: Json, why: str) -> None:
    wait.observe(found)
    clock.now = 301
    assert ended(wait, found).message.endswith(f"It was admitted, but did not answer within 5m. {why}")


def test_a_deleted_pod_ends_the_wait_after_ten_seconds(wait: PodWait, clock: Clock) -> None:
    wait.observe(None)  # not seen yet: the watch is late
    wait.observe(pod())
    wait.observe(None)
    clock.now = 11
    assert ended(wait, None).code == "pod-gone"


def test_a_pod_that_the_watch_never_shows_ends_the_wait(wait: PodWait, clock: Clock) -> None:
    """Otherwise it would hold its slot for the whole queue limit."""
    clock.now = 1000  # it waited for its slot
    wait.observe(None)
    clock.now = 1119
    wait.observe(None)
    clock.now = 1121
    assert ended(wait, None).code == "pod-unseen"


def test_failed_succeeded_and_preempted_pods_end_the_wait(wait: PodWait) -> None:
    failed = pod("Failed")
    failed["status"] |= {"reason": "Evicted", "message": "The node was low on memory."}
    assert "The node was low on memory (Evicted)." in ended(wait, failed).message
    assert "exited without an error" in ended(wait, pod("Succeeded")).message
    preempted = pod(scheduled="")
    preempted["status"]["conditions"].append(
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    )
    assert "Preempted" in ended(wait, preempted).message


@pytest.mark.parametrize(
    "found",
    [
        None,
        pod("Running"),
        pod("Running", "", ready=False),
        {**pod("Running", "", ready=True), "metadata": {"deletionTimestamp": "2026-11-23T12:00:00Z"}},
        {"metadata": {}, "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": []}},
    ],
)
def test_pods_that_are_not_ready(found: Json | None) -> None:
    assert not is_pod_ready(found, MAIN)
    assert is_pod_ready(pod("Running", "", ready=True), MAIN)


def event(name: str, of: str, **fields: Any) -> Json:
    return {"metadata": {"name": name, "uid": name}, "involvedObject": {"name": of}, **fields}


def test_a_pods_events_are_sorted_and_need_no_timestamp() -> None:
    events = EventsByPod({"ns/b": event("b", "jupyter-alice", lastTimestamp="2026-11-23T12:00:02Z", message="second")})
    events["ns/a"] = event("a", "jupyter-alice", eventTime="2026-11-23T12:00:01.5Z", lastTimestamp=None)
    events["ns/none"] = event("none", "jupyter-alice")
    events["ns/other"] = event("other", "train-x7k2p")
    assert [found["metadata"]["name"] for found in events.of("jupyter-alice")] == ["none", "a", "b"]
    assert {"lastTimestamp", "eventTime", "type", "message"} <= set(events.of("jupyter-alice")[0])
    events.pop("ns/b")
    events["ns/a"] = event("a", "train-x7k2p")
    assert [found["metadata"]["name"] for found in events.of("jupyter-alice")] == ["none"]
    assert events.of("nobody") == []
    events.pop("ns/gone", None)
