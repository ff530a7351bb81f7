"""Every reason that a kubelet reports for any container or for the pod becomes a sentence, known or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_research_spawner.schedulers import QueueStatus
from jupyter_research_spawner.watch import classify
from jupyter_research_spawner.watch.container_reasons import WAITING as WAITING_SENTENCES
from jupyter_research_spawner.watch.container_reasons import WARNINGS as WARNING_SENTENCES
from jupyter_research_spawner.watch.container_reasons import shorten
from jupyter_research_spawner.watch.phase import why_failed, why_not_ready

Json = dict[str, Any]
ADMITTED = QueueStatus("running")
SIDECAR = {"name": "proxy", "restartPolicy": "Always"}


def status(name: str = "notebook", /, *, ready: bool = False, last: Json | None = None, **state: Any) -> Json:
    return {
        "name": name,
        "ready": ready,
        "started": "running" in state,
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def pod(*containers: Json, init: tuple[Json, ...] = (), phase: str = "Pending", **more: Any) -> Json:
    inits = [{"name": found["name"]} if found["name"] != "proxy" else SIDECAR for found in init]
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "node-1", "restartPolicy": "OnFailure", "initContainers": inits},
        "status": {"phase": phase, "initContainerStatuses": list(init), "containerStatuses": list(containers), **more},
    }


def waiting(reason: str, message: str = "", name: str = "notebook") -> Json:
    return status(name, waiting={"reason": reason, "message": message})


# The reasons of the kubelet 1.36 (images/types.go, container/sync_result.go, kuberuntime/kuberuntime_container.go), of
# the CRI (cri-api/pkg/errors), and one that no version has.
WAITING = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "RegistryUnavailable": "its image cannot be pulled, because the registry does not answer",
    "SignatureValidationFailed": "its image is not pulled, because its signature is not valid",
    "InvalidImageName": "its image name is not valid",
    "ErrImageNeverPull": "its image is not on the node, and is not pulled because imagePullPolicy is Never",
    "ImageInspectError": "the node cannot read its image",
    "ImageVolumeMountFailed": "an image cannot be mounted as its volume",
    "RROUnsupported": "the node cannot mount a volume read-only with all mounts below it",
    "CreateContainerConfigError": "its configuration is incomplete or not valid",
    "PreCreateHookError": "the node could not prepare it",
    "CreateContainerError": "it cannot be created",
    "PreStartHookError": "the node could not prepare it",
    "RunContainerError": "it cannot be started",
    "PostStartHookError": "its postStart hook failed, so it was stopped",
    "CrashLoopBackOff": "it crashes repeatedly",
    "KillContainerError": "it is not started",
    "CreatePodSandboxError": "it is not started",
    "RestartingAllContainers": "it is not started",
    "QuantumFluxError": "it is not started",
}


@pytest.mark.parametrize("reason", WAITING)
@pytest.mark.parametrize("where", ["main", "extra", "init", "sidecar"])
def test_each_reason_of_each_container_is_told_with_its_message(reason: str, where: str) -> None:
    name = {"main": "notebook", "extra": "scraper", "init": "clone", "sidecar": "proxy"}[where]
    found = waiting(reason, "the kubelet says why", name)
    others = () if where == "main" else (waiting("PodInitializing"),)
    told = pod(*others, init=(found,)) if where in ("init", "sidecar") else pod(*others, found)
    expected = f"Container {name}: {WAITING[reason]} ({reason}). the kubelet says why."
    assert classify(told, ADMITTED, "notebook").message == expected
    found["state"]["waiting"].pop("message")
    assert why_not_ready(told, "notebook") == f"Container {name}: {WAITING[reason]} ({reason})."


@pytest.mark.parametrize(
    ("reason", "message", "sentence"),
    [
        # pkg/kubelet/images: for some errors, the reason and the message are both the text of the error.
        (
            "failed to record: disk full",
            "failed to record: disk full",
            "it is not started. failed to record: disk full.",
        ),
        ("rpc error: code = 14", "no socket", "it is not started. rpc error: code = 14: no socket."),
        ("", "no socket", "it is not started. no socket."),
        ("Weird", "first\nsecond\x1b[31m\u202e third", "it is not started (Weird). first second [31m third."),
    ],
)
def test_a_reason_that_is_no_word_is_shown_too(reason: str, message: str, sentence: str) -> None:
    assert why_not_ready(pod(waiting(reason, message)), "notebook") == f"Container notebook: {sentence}"


def test_the_reference_has_each_reason_with_its_sentence() -> None:
    page = (Path(__file__).parent.parent / "docs/reference/reasons.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for reason, words in (*WAITING_SENTENCES.items(), *WARNING_SENTENCES.items()):
        assert any(f"`{reason}`" in row and words in row for row in rows), reason


def test_of_a_long_message_the_beginning_and_the_end_are_shown() -> None:
    found = why_not_ready(
        pod(waiting("CreateContainerError", f"mounting {'x/' * 90_000} failed: no space left")), "notebook"
    )
    assert found.startswith("Container notebook: it cannot be created (CreateContainerError). mounting x/x/")
    assert " … " in found
    assert found.endswith("failed: no space left.")
    assert len(found) < 400


@given(st.text(max_size=2000), st.integers(20, 400))
def test_shortened_text_is_one_printable_line(text: str, limit: int) -> None:
    found = shorten(text, limit)
    assert found.isprintable()
    assert len(found) <= limit
    assert found == shorten(found, limit)


@given(st.text(max_size=80), st.text(max_size=400), st.sampled_from(["notebook", "clone", "proxy", "scraper"]))
def test_no_reason_and_no_message_is_silent(reason: str, message: str, name: str) -> None:
    found = waiting(reason, message, name)
    told = pod(found) if name in ("notebook", "scraper") else pod(waiting("PodInitializing"), init=(found,))
    sentence = why_not_ready(told, "notebook")
    assert sentence.isprintable()
    assert name in sentence
    assert len(sentence) < 600


RUNC = "failed to create containerd task: failed to start container process: error during container init: "


@pytest.mark.parametrize(
    ("ended", "sentence"),
    [
        ({"exitCode": 3, "reason": "Error"}, "ended with exit code 3."),
        ({"exitCode": 1, "message": "Traceback\nValueError: no\n\n"}, "ended with exit code 1: ValueError: no."),
        (
            {"exitCode": 1, "reason": "Error", "message": 'exec: "x": executable file not found in $PATH'},
            'ended with exit code 1: exec: "x": executable file not found in $PATH.',
        ),
        ({"exitCode": 126, "reason": "Error"}, "ended with exit code 126 (the command is not executable)."),
        ({"exitCode": 127, "reason": "Error"}, "ended with exit code 127 (the command was not found)."),
        ({"exitCode": 137, "reason": "Error"}, "ended with exit code 137 (SIGKILL)."),
        ({"exitCode": 139, "reason": "Error"}, "ended with exit code 139 (SIGSEGV)."),
        ({"exitCode": 143, "reason": "Error"}, "ended with exit code 143 (SIGTERM)."),
        ({"exitCode": 255, "reason": "Error"}, "ended with exit code 255."),
        ({"exitCode": 137, "reason": "OOMKilled"}, "used more memory than its limit (OOMKilled)."),
        ({"exitCode": 0, "reason": "OOMKilled"}, "used more memory than its limit (OOMKilled)."),
        (
            {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "The container could not be located"},
            "ended with exit code 137 (ContainerStatusUnknown): The container could not be located.",
        ),
        (
            {"exitCode": 128, "reason": "StartError", "message": f"{RUNC}apply caps: operation not permitted"},
            f"ended with exit code 128 (StartError): {RUNC}apply caps: operation not permitted.",
        ),
    ],
)
def test_how_a_container_ended(ended: Json, sentence: str) -> None:
    for name in ("notebook", "scraper"):
        told = f"Container {name} {sentence}"
        assert why_failed(pod(status(name, terminated=ended), phase="Failed"), "notebook") == told
        backing_off = status(name, waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s"}, last=ended)
        if ended["exitCode"]:
            crashes = f"Container {name}: it crashes repeatedly (CrashLoopBackOff). {told}"
            assert why_not_ready(pod(backing_off), "notebook") == crashes


@pytest.mark.parametrize(
    "message",
    [
        f'{RUNC}exec: "lab": executable file not found in $PATH: unknown',  # containerd with runc
        f'{RUNC}exec: "lab": stat lab: no such file or directory',
        "executable file `lab` not found in $PATH: No such file or directory",  # CRI-O with crun
    ],
)
def test_a_program_that_the_image_does_not_have_is_named(message: str) -> None:
    ended = {"exitCode": 128, "reason": "StartError", "message": message}
    told = why_failed(pod(status(terminated=ended), phase="Failed"), "notebook")
    assert told == "Container notebook: the image has no program 'lab' (StartError)."
    for reason in ("RunContainerError", "CreateContainerError"):
        found = why_not_ready(pod(waiting(reason, message)), "notebook")
        assert found == f"Container notebook: the image has no program 'lab' ({reason})."


def test_a_program_that_cannot_be_executed_is_named() -> None:
    ended = {"exitCode": 128, "reason": "StartError", "message": f'{RUNC}exec: "/home/a/x": permission denied: unknown'}
    told = why_failed(pod(status(terminated=ended), phase="Failed"), "notebook")
    assert told == "Container notebook: '/home/a/x' cannot be executed, permission denied (StartError)."


def test_a_hook_that_failed_is_the_reason_for_the_containers_end() -> None:
    """The kubelet kills the container after its postStart hook, and in a job's pod nothing but an event tells why."""
    event = {
        "type": "Warning",
        "reason": "FailedPostStartHook",
        "message": "PostStartHook failed",
        "involvedObject": {"fieldPath": "spec.containers{job}"},
    }
    failed = pod(status("job", terminated={"exitCode": 137, "reason": "Error"}), phase="Failed")
    told = classify(failed, ADMITTED, "job", None, [event]).message
    assert told == "Container job ended with exit code 137 after its postStart hook failed (SIGKILL)."
    assert "hook" not in why_failed(
        failed, "job", [{**event, "involvedObject": {"fieldPath": "spec.containers{other}"}}]
    )


@pytest.mark.parametrize(
    ("reason", "message", "sentence"),
    [
        ("Evicted", "The node was low on resource: memory. ", "The node was low on resource: memory (Evicted)."),
        ("UnexpectedAdmissionError", "Allocate failed", "Allocate failed (UnexpectedAdmissionError)."),
        (
            "Preempting",
            "Preempted in order to admit critical pod",
            "Preempted in order to admit critical pod (Preempting).",
        ),
        ("NodeAffinity", "Predicate NodeAffinity failed", "Predicate NodeAffinity failed (NodeAffinity)."),
        ("OutOfmemory", "Node didn't have enough resource", "Node didn't have enough resource (OutOfmemory)."),
        ("OutOfcpu", "", "The pod failed (OutOfcpu)."),
        (
            "TopologyAffinityError",
            "Resources cannot be allocated with Topology locality",
            "Its node could not give it CPUs, memory and devices that belong together (TopologyAffinityError).",
        ),
        ("DeadlineExceeded", "Pod was active", "It reached its hard wall time."),
        ("", "only a message", "only a message."),
        ("Bad\nword", "a\x00b", "a b (Bad word)."),
        ("", "", "The pod failed and the cluster does not say why."),
    ],
)
def test_why_a_node_refused_or_ended_a_pod(reason: str, message: str, sentence: str) -> None:
    assert why_failed(pod(phase="Failed", reason=reason, message=message), "notebook") == sentence


def event(reason: str, message: str = "it says why", at: str = "10:00", kind: str = "Warning") -> Json:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": f"2026-11-23T12:{at}Z"}


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("FailedMount", "A file system cannot be mounted or does not answer (FailedMount): it says why."),
        ("FailedAttachVolume", "A file system cannot be mounted or does not answer (FailedAttachVolume): it says why."),
        (
            "FailedCreatePodSandBox",
            "The node cannot create the pod's network or sandbox (FailedCreatePodSandBox): it says why.",
        ),
        ("NetworkNotReady", "The network of the node is not ready (NetworkNotReady): it says why."),
        (
            "FailedPrepareDynamicResources",
            "The node cannot prepare the pod's devices (FailedPrepareDynamicResources): it says why.",
        ),
        ("Unhealthy", "A probe of the pod fails (Unhealthy): it says why."),
        ("FailedSync", "The cluster reports a problem (FailedSync): it says why."),
        ("BrandNew", "The cluster reports a problem (BrandNew): it says why."),
    ],
)
def test_a_warning_is_the_reason_if_it_is_the_newest_event(reason: str, sentence: str) -> None:
    creating = pod(waiting("ContainerCreating"))
    events = [event("Scheduled", at="09:00", kind="Normal"), event(reason)]
    assert why_not_ready(creating, "notebook", events) == sentence
    ordinary = "The node has not started container notebook yet (ContainerCreating)."
    assert why_not_ready(creating, "notebook", [*events, event("Pulling", kind="Normal")]) == ordinary
    assert why_not_ready(pod(status(ready=True, running={}), phase="Running"), "notebook", events) == ""
    later = event("DNSConfigForming", "Search Line limits were exceeded", "11:00")  # of most nodes, again and again
    assert why_not_ready(creating, "notebook", [*events, later]) == sentence
    assert why_not_ready(creating, "notebook", [later]) == ordinary
    creating["spec"].pop("nodeName")
    assert why_not_ready(creating, "notebook", events) == ordinary


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            pod(waiting("PodInitializing"), init=(status("clone", running={}),)),
            "Container clone must end first, and still runs.",
        ),
        (
            pod(waiting("PodInitializing"), init=({**status("proxy", running={}), "started": False},)),
            "Container proxy runs, but is not ready yet.",
        ),
        (
            pod(status(running={}), status("scraper", ready=True, running={}), phase="Running"),
            "Container notebook runs, but is not ready yet.",
        ),
        (
            pod(status(ready=True, running={}), status("scraper", running={}), phase="Running"),
            "Container scraper runs, but is not ready yet.",
        ),
        (pod(), ""),
    ],
)
def test_what_an_unready_pod_waits_for_without_a_problem(found: Json, sentence: str) -> None:
    assert why_not_ready(found, "notebook") == sentence
