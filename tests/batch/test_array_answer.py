"""What an array, its indexes and their attempts are, from the Job and its pods."""

from __future__ import annotations

from typing import Any

import pytest
from test_answer import a_job, a_pod, at

from jupyter_research_spawner.batch.answer import answer, index_standings
from jupyter_research_spawner.batch.attempts import (
    CANCELLED,
    CANCELLED_MESSAGE,
    TAKEN,
    Attempt,
    attempt_of,
    from_events,
    recorded,
)
from jupyter_research_spawner.jobs.array import parse_indexes

PREEMPTED = "Preempted: work of a higher priority needed its place."


def an_array(
    *conditions: tuple[str, int], indexes: str = "10-12", cancelled: str = "", attempts: Any = None, **status: str
) -> dict[str, Any]:
    job = a_job(*conditions, attempts=attempts, labels={"research-spawner/kind": "array"})
    job["metadata"]["annotations"] |= {"research-spawner/array": indexes}
    del job["spec"]["backoffLimit"]
    job["spec"] |= {"completions": len(parse_indexes(indexes).values), "backoffLimitPerIndex": 0}
    if cancelled:
        job["metadata"]["annotations"][CANCELLED] = cancelled
    job["status"] |= status
    return job


def pod(number: int, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return a_pod(f"sweep-x7k2p-{number}-abcde", *args, **kwargs)


def states(found: dict[str, Any]) -> dict[int, str]:
    return {index["index"]: index["state"] for index in found["indexes"]}


def test_an_array_shows_each_index_and_counts_them():
    pods = [pod(0, "Succeeded", ended=(1, 5, 0)), pod(1, running=2)]
    found = answer(an_array(completedIndexes="0", indexes="10-12%2"), pods)
    assert (found["kind"], found["state"], found["message"]) == ("array", "running", "1/3 done")
    assert states(found) == {10: "succeeded", 11: "running", 12: "queued"}
    assert found["counts"] == {"succeeded": 1, "running": 1, "queued": 1}
    assert (found["array"], found["started"], found["exit_code"]) == ("10-12%2", at(1), None)
    assert [(attempt["index"], attempt["exit_code"]) for attempt in found["attempts"]] == [(10, 0), (11, None)]


def test_a_preempted_index_waits_and_the_others_go_on():
    pods = [pod(0, running=1, preempted=True, deleted=6), pod(1, running=2)]
    found = answer(an_array(), pods)
    assert states(found)[10] == "queued"
    assert found["indexes"][0]["message"].startswith(PREEMPTED)
    assert found["state"] == "running"


def test_the_attempts_of_an_index_are_counted_from_pods_and_the_record():
    lost = Attempt("sweep-x7k2p-1-zzzzz", at(1), at(5), 143, PREEMPTED, index=11)
    found = answer(an_array(attempts=[lost], completedIndexes="1"), [pod(1, "Succeeded", ended=(7, 9, 0))])
    assert found["indexes"][1] == {
        "index": 11,
        "state": "succeeded",
        "message": "",
        "started": at(7),
        "finished": at(9),
        "exit_code": 0,
        "attempts": 2,
    }
    assert recorded(an_array(attempts=[lost])) == [lost]


def test_a_failed_array_names_its_failed_indexes_up_to_ten():
    found = answer(an_array(("Failed", 9), indexes="0-99", failedIndexes="0-14", completedIndexes="15-99"), [])
    assert found["message"] == "15 of 100 failed: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 5 more."
    assert (found["state"], found["finished"], found["exit_code"]) == ("failed", at(9), None)


def test_the_exit_code_of_an_array_is_the_highest_of_its_last_attempts():
    lost = Attempt("sweep-x7k2p-0-zzzzz", at(1), at(5), 143, PREEMPTED, index=10)
    pods = [pod(0, "Succeeded", ended=(7, 9, 0)), pod(1, "Failed", ended=(1, 5, 3)), pod(2, "Failed", ended=(1, 5, 2))]
    job = an_array(("Failed", 10), attempts=[lost], completedIndexes="0", failedIndexes="1-2")
    assert answer(job, pods)["exit_code"] == 3


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        ({}, "cancelling", "It is being cancelled."),
        ({"failedIndexes": "1"}, "failed", CANCELLED_MESSAGE),
        ({"completedIndexes": "1"}, "succeeded", ""),
    ],
)
def test_a_cancelled_index_is_not_one_that_waits_to_run_again(status, state, message):
    standing = index_standings(an_array(cancelled="11", **status), [pod(1, running=1, deleted=6)])[11]
    assert (standing.state, standing.message) == (state, message)


def test_only_a_pod_that_was_not_cancelled_was_deleted_by_the_cluster():
    """Where the scheduler deletes without a mark, the recorder marks TAKEN, and the index would run again."""
    job, deleted = an_array(cancelled="10,12"), {"running": 1, "deleted": 6}
    assert [attempt_of(job, pod(number, **deleted)).reason for number in range(3)] == [
        CANCELLED_MESSAGE,
        TAKEN,
        CANCELLED_MESSAGE,
    ]


def test_events_know_the_index_of_a_pod():
    event = {
        "reason": "SuccessfulCreate",
        "involvedObject": {"uid": "job-1", "kind": "Job"},
        "message": "Created pod: sweep-x7k2p-2-abcde",
        "lastTimestamp": at(1),
    }
    assert from_events(an_array(), [event]) == [Attempt("sweep-x7k2p-2-abcde", index=12)]


def test_an_array_says_which_volume_is_not_mounted():
    waits = pod(0, "Pending")
    waits["spec"] = {"nodeName": "node-1"}
    told = answer(an_array(), [waits], [{"reason": "FailedMount", "message": "mount.nfs: Connection timed out"}])
    assert (told["state"], told["message"]) == (
        "starting",
        "0/3 done. A file system cannot be mounted or does not answer (FailedMount): mount.nfs: Connection timed out",
    )


def test_an_array_that_waits_says_why():
    waiting = pod(0, "Pending", scheduled=False)
    found = answer(an_array(), [waiting])
    assert (found["state"], found["message"]) == (
        "queued",
        "0/3 done. Waiting in queue backfill since 23 Nov 12:00 UTC. It starts when a node has enough free CPUs",
    )


def test_pages_say_the_title_of_a_queue_and_commands_its_name():
    waiting = pod(0, "Pending", scheduled=False)
    for job in (an_array(), a_job()):
        found = answer(job, [waiting], queue_titles={"backfill": "Left over"})
        assert "Waiting in queue Left over since" in found["message"]
        assert "Waiting in queue backfill since" in answer(job, [waiting])["message"]
        assert found["queue"] == "backfill"


def test_an_array_in_the_list_has_no_indexes_and_no_attempts():
    found = answer(an_array(completedIndexes="0-2"), [pod(0, "Succeeded", ended=(1, 5, 0))], in_full=False)
    assert (found["counts"], found["attempts"]) == ({"succeeded": 3}, [])
    assert "indexes" not in found
