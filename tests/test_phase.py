"""What keeps things from beginning and from ending, as sentences."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_research_spawner.watch.phase import why_ended, why_no_home, why_not_gone
from jupyter_research_spawner.watch.prerequisites import webhook_down

KUEUE = "kueue.x-k8s.io/managed"


def pod(state: str, *finalizers: str, deleted: bool = True) -> dict[str, Any]:
    metadata: dict[str, Any] = {"finalizers": list(finalizers)}
    if deleted:
        metadata["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    return {"metadata": metadata, "status": {"containerStatuses": [{"name": "notebook", "state": {state: {}}}]}}


def test_who_keeps_a_pod_that_has_ended_is_named() -> None:
    kept = "Nothing of its pod runs any more, but {} has not let go of it (finalizer {}). It goes when that runs again."
    assert why_not_gone(pod("terminated", KUEUE)) == kept.format("Kueue", KUEUE)
    assert why_not_gone(pod("terminated", "example.org/x")) == kept.format("another program", "example.org/x")
    gated = {"metadata": {"deletionTimestamp": "T", "finalizers": [KUEUE]}, "status": {"phase": "Pending"}}
    assert why_not_gone(gated) == kept.format("Kueue", KUEUE)


@pytest.mark.parametrize(
    "on_its_way",
    [pod("running", KUEUE), pod("terminated"), pod("terminated", KUEUE, deleted=False)],
    ids=["its program ends", "nobody keeps it", "nobody deleted it"],
)
def test_nobody_keeps_a_pod_that_is_on_its_way(on_its_way: dict[str, Any]) -> None:
    assert why_not_gone(on_its_way) == ""


def test_a_webhook_that_does_not_answer_is_named() -> None:
    told = (
        'Internal error occurred: failed calling webhook "mpod.kb.io": failed to call webhook: Post '
        '"https://kueue-webhook-service.kueue-system.svc:443/mutate--v1-pod?timeout=10s": connection refused'
    )
    refusal = webhook_down(told)
    assert refusal is not None
    assert (refusal.code, refusal.status, refusal.retry_after) == ("webhook-down", 503, 60)
    assert "it has to ask mpod.kb.io first, which does not answer" in refusal.message
    assert webhook_down('admission webhook "vpod.kb.io" denied the request: no') is None


NO_HOME = "Your home directory /home/alice does not exist on the shared file system. Ask its people to make it."


def looked(place: str = "state", **ended: Any) -> dict[str, Any]:
    return {"status": {"initContainerStatuses": [{"name": "research-home", place: {"terminated": ended}}]}}


@pytest.mark.parametrize("place", ["state", "lastState"])
def test_who_looked_for_the_home_has_the_word(place: str) -> None:
    found = looked(place, exitCode=1, message=f"{NO_HOME}\n")
    assert (why_no_home(found), why_ended(found, "notebook")) == (NO_HOME, NO_HOME)


def test_an_image_without_a_shell_is_told_as_that() -> None:
    found = looked(exitCode=128, reason="StartError", message='exec: "sh": executable file not found in $PATH')
    assert "Its image has no `sh`" in why_no_home(found)
    assert "storage.home_check_image" in why_no_home(found)


@pytest.mark.parametrize("ended", [{"exitCode": 0}, {"exitCode": 137, "reason": "Error"}, {"exitCode": 1}], ids=str)
def test_a_look_that_found_the_home_or_was_killed_says_nothing_of_it(ended: dict[str, Any]) -> None:
    assert why_no_home(looked(**ended)) == ""
