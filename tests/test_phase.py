"""The sentences for a pod that does not start, fails or is not deleted."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_research_spawner.watch.api_server import webhook_down
from jupyter_research_spawner.watch.phase import (
    why_ended,
    why_no_home,
    why_no_secret,
    why_not_gone,
    why_not_mounted,
    why_not_ready,
)

KUEUE = "kueue.x-k8s.io/managed"


def pod(state: str, *finalizers: str, deleted: bool = True) -> dict[str, Any]:
    metadata: dict[str, Any] = {"finalizers": list(finalizers)}
    if deleted:
        metadata["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    return {"metadata": metadata, "status": {"containerStatuses": [{"name": "notebook", "state": {state: {}}}]}}


def test_the_finalizer_that_keeps_an_ended_pod_is_named() -> None:
    kept = (
        "The pod's containers have ended, but {0} has not removed its finalizer {1}. "
        "The pod is deleted when {0} runs again."
    )
    assert why_not_gone(pod("terminated", KUEUE)) == kept.format("Kueue", KUEUE)
    assert why_not_gone(pod("terminated", "example.org/x")) == kept.format("another controller", "example.org/x")
    gated = {"metadata": {"deletionTimestamp": "T", "finalizers": [KUEUE]}, "status": {"phase": "Pending"}}
    assert why_not_gone(gated) == kept.format("Kueue", KUEUE)


@pytest.mark.parametrize(
    "not_kept",
    [pod("running", KUEUE), pod("terminated"), pod("terminated", KUEUE, deleted=False)],
    ids=["its container runs", "no finalizer", "not deleted"],
)
def test_a_pod_that_no_finalizer_keeps_has_no_sentence(not_kept: dict[str, Any]) -> None:
    assert why_not_gone(not_kept) == ""


def test_an_admission_webhook_that_does_not_answer_is_named() -> None:
    message = (
        'Internal error occurred: failed calling webhook "mpod.kb.io": failed to call webhook: Post '
        '"https://kueue-webhook-service.kueue-system.svc:443/mutate--v1-pod?timeout=10s": connection refused'
    )
    refusal = webhook_down(message)
    assert refusal is not None
    assert (refusal.code, refusal.status, refusal.retry_after) == ("webhook-down", 503, 60)
    assert "its admission webhook mpod.kb.io does not answer" in refusal.message
    assert webhook_down('admission webhook "vpod.kb.io" denied the request: no') is None


NO_HOME = "Your home directory /home/alice does not exist on the shared file system. Ask its people to make it."


def home_check(place: str = "state", **ended: Any) -> dict[str, Any]:
    return {"status": {"initContainerStatuses": [{"name": "research-home", place: {"terminated": ended}}]}}


@pytest.mark.parametrize("place", ["state", "lastState"])
def test_the_home_checks_message_is_the_reason(place: str) -> None:
    found = home_check(place, exitCode=1, message=f"{NO_HOME}\n")
    assert (why_no_home(found), why_ended(found, "notebook")) == (NO_HOME, NO_HOME)


def test_an_image_without_a_shell_is_named_as_the_reason() -> None:
    found = home_check(exitCode=128, reason="StartError", message='exec: "sh": executable file not found in $PATH')
    assert "The image has no `sh`" in why_no_home(found)
    assert "set a home check image" in why_no_home(found)


def test_an_image_without_the_shell_that_a_working_directory_needs_is_named() -> None:
    why = 'failed to start: error during container init: exec: "/bin/sh": stat /bin/sh: no such file or directory'
    ended = {"exitCode": 128, "reason": "StartError", "message": why}
    found = {"status": {"containerStatuses": [{"name": "job", "state": {"terminated": ended}}]}}
    assert why_ended(found, "job") == (
        "The image has no /bin/sh, but job arrays and working directories below your home or a mount require it."
    )


def test_a_home_check_without_a_message_still_ends_the_start() -> None:
    for message in ({}, {"message": " \n"}):
        assert why_no_home(home_check(exitCode=1, **message)) == (
            "Your home directory cannot be used, and the check of it does not say why. "
            "Ask your administrators to read the log of container research-home."
        )


@pytest.mark.parametrize("ended", [{"exitCode": 0}, {"exitCode": 137, "reason": "Error"}, {"exitCode": 2}], ids=str)
def test_a_home_check_that_succeeded_or_was_killed_has_no_message(ended: dict[str, Any]) -> None:
    assert why_no_home(home_check(**ended)) == ""


def creating(**changes: Any) -> dict[str, Any]:
    """Return a pod whose volumes the kubelet mounts."""
    waiting = {"waiting": {"reason": "PodInitializing"}}
    status = {
        "phase": "Pending",
        "initContainerStatuses": [{"name": "research-home", "state": waiting}],
        "containerStatuses": [{"name": "notebook", "state": waiting}],
    }
    return {"metadata": {"name": "p"}, "spec": {"nodeName": "node-1"}, "status": {**status, **changes}}


def event(reason: str, at: str, message: str = "") -> dict[str, Any]:
    return {"reason": reason, "message": message, "lastTimestamp": f"2026-11-23T12:{at}Z"}


# kubelet 1.36, with an NFS server that does not answer.
NFS = (
    'MountVolume.SetUp failed for volume "home" : mount failed: exit status 32\n'
    "Mounting command: mount\nOutput: mount.nfs: Connection timed out"
)


def test_a_volume_that_is_not_mounted_is_the_reason_to_wait() -> None:
    events = [event("FailedMount", "10:00", NFS), event("Scheduled", "08:00")]
    assert why_not_mounted(creating(), events) == (
        "A file system cannot be mounted or does not answer (FailedMount): "
        'MountVolume.SetUp failed for volume "home" : '
        "mount failed: exit status 32 Mounting command: mount Output: mount.nfs: Connection timed out."
    )
    assert len(why_not_mounted(creating(), [event("FailedAttachVolume", "10:00", "x" * 5000)])) < 400


@pytest.mark.parametrize(
    ("found", "events"),
    [
        (creating(), []),
        (creating(), [event("FailedMount", "10:00", NFS), event("Pulling", "11:00")]),
        (creating(phase="Running"), [event("FailedMount", "10:00", NFS)]),
        (creating(containerStatuses=[{"name": "a", "state": {"running": {}}}]), [event("FailedMount", "10:00", NFS)]),
        ({**creating(), "spec": {}}, [event("FailedMount", "10:00", NFS)]),
    ],
)
def test_mounted_volumes_are_no_reason(found: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert why_not_mounted(found, events) == ""


def test_a_check_of_the_home_that_does_not_end_is_the_reason_to_wait() -> None:
    check = {"name": "research-home", "state": {"running": {"startedAt": "2026-11-23T12:00:00Z"}}}
    assert why_not_ready(creating(initContainerStatuses=[check]), "notebook") == (
        "Your home directory is being checked. If this takes long, its file system does not answer."
    )


SET_UP = 'MountVolume.SetUp failed for volume "t"'
ABSENT = "The secret 'eos-ticket-alice', which your administrators add to the pod, does not exist."
CONFIG_MAP = "The ConfigMap 'site.conf', which your administrators add to the pod, does not exist."


@pytest.mark.parametrize(
    ("waiting", "events", "sentence"),
    [
        ({}, [event("FailedMount", "10:00", f'{SET_UP} : secret "eos-ticket-alice" not found')], ABSENT),
        ({}, [event("FailedMount", "10:00", f'{SET_UP} : configmap "site.conf" not found')], CONFIG_MAP),
        ({"reason": "CreateContainerConfigError", "message": 'secret "eos-ticket-alice" not found'}, [], ABSENT),
        ({"reason": "CreateContainerConfigError", "message": "couldn't find key a in Secret jhub/t"}, [], ""),
        ({}, [event("FailedMount", "10:00", NFS)], ""),
        ({}, [event("FailedMount", "10:00", 'secret "t" not found'), event("Pulled", "11:00")], ""),
    ],
)
def test_a_secret_that_does_not_exist_is_named(
    waiting: dict[str, str], events: list[dict[str, Any]], sentence: str
) -> None:
    containers = [{"name": "notebook", "state": {"waiting": waiting}}]
    assert why_no_secret(creating(containerStatuses=containers), events) == sentence
