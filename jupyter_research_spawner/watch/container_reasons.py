"""Say in one sentence why a container does not start, is not ready or has failed, as the kubelet reports it.

The tables have a sentence for each known reason.  Any other reason is shown with the kubelet's own message.
Sources: Kubernetes 1.36, pkg/kubelet (images/types.go, kuberuntime/kuberuntime_container.go, container/sync_result.go,
events/event.go, lifecycle/), CRI errors (cri-api/pkg/errors), containerd 2.2, CRI-O 1.35; KEP-753 for sidecars.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

from ..pod.home_check import HOME_CHECK
from ..shape import Json
from ..texts import gettext, gettext_noop

LIMIT = 300

# Reasons for which a container waits.
WAITING = {
    "ErrImagePull": gettext_noop("its image cannot be pulled"),
    "ImagePullBackOff": gettext_noop("its image cannot be pulled"),
    "RegistryUnavailable": gettext_noop("its image cannot be pulled, because the registry does not answer"),
    "SignatureValidationFailed": gettext_noop("its image is not pulled, because its signature is not valid"),
    "InvalidImageName": gettext_noop("its image name is not valid"),
    "ErrImageNeverPull": gettext_noop(
        "its image is not on the node, and is not pulled because imagePullPolicy is Never"
    ),
    "ImageInspectError": gettext_noop("the node cannot read its image"),
    "ImageVolumeMountFailed": gettext_noop("an image cannot be mounted as its volume"),
    "RROUnsupported": gettext_noop("the node cannot mount a volume read-only with all mounts below it"),
    "CreateContainerConfigError": gettext_noop("its configuration is incomplete or not valid"),
    "PreCreateHookError": gettext_noop("the node could not prepare it"),
    "CreateContainerError": gettext_noop("it cannot be created"),
    "PreStartHookError": gettext_noop("the node could not prepare it"),
    "RunContainerError": gettext_noop("it cannot be started"),
    "PostStartHookError": gettext_noop("its postStart hook failed, so it was stopped"),
    "CrashLoopBackOff": gettext_noop("it crashes repeatedly"),
}
# Reasons of WAITING because of which a container has no image.
IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    }
)
# Waiting reasons that are normal before a start.  "" means that no reason is set.
_ORDINARY = frozenset({"", "ContainerCreating", "PodInitializing"})
# A container with this reason never starts, because nothing in the cluster can change the reason.
_FINAL = frozenset({"InvalidImageName"})
# Reasons of ended containers that say no more than the exit code.
_ENDED = frozenset({"", "Error", "Completed"})
# By whether the postStart hook of the container failed, and whether the exit code has a meaning.
_ENDED_WITH = {
    (False, False): gettext_noop("Container %(container)s ended with exit code %(code)s"),
    (False, True): gettext_noop("Container %(container)s ended with exit code %(code)s (%(meaning)s)"),
    (True, False): gettext_noop(
        "Container %(container)s ended with exit code %(code)s after its postStart hook failed"
    ),
    (True, True): gettext_noop(
        "Container %(container)s ended with exit code %(code)s after its postStart hook failed (%(meaning)s)"
    ),
}
# Exit codes of shells (POSIX, Shell Command Language, "Exit Status for Commands").
_EXIT_CODES = {
    126: gettext_noop("the command is not executable"),
    127: gettext_noop("the command was not found"),
}
# Reasons of events.
WARNINGS = {
    "FailedMount": gettext_noop("A file system cannot be mounted or does not answer"),
    "FailedMapVolume": gettext_noop("A file system cannot be mounted or does not answer"),
    "FailedAttachVolume": gettext_noop("A file system cannot be mounted or does not answer"),
    "FailedMountOnFilesystemMismatch": gettext_noop("A file system cannot be mounted"),
    "FailedCreatePodSandBox": gettext_noop("The node cannot create the pod's network or sandbox"),
    "NetworkNotReady": gettext_noop("The network of the node is not ready"),
    "FailedPrepareDynamicResources": gettext_noop("The node cannot prepare the pod's devices"),
    "Unhealthy": gettext_noop("A probe of the pod fails"),
    "FailedPostStartHook": gettext_noop("A postStart hook failed"),
}
# Warnings about the node's settings.  They keep no pod from starting, and the kubelet repeats them.
_HARMLESS = frozenset(
    {
        "AlreadyMountedVolume",
        "CheckLimitsForResolvConf",
        "DNSConfigForming",
        "HostIPsIPFamilyMismatch",
        "InvalidDiskCapacity",
        "LifecycleHTTPFallback",
        "MissingClusterDNS",
        "PossibleMemoryBackedVolumesOnDisk",
        "ProbeWarning",
    }
)
NOT_MOUNTED = ("FailedMount", "FailedMapVolume", "FailedAttachVolume")
_WITHOUT_SHELL = gettext_noop(
    "The image has no /bin/sh, but job arrays and working directories below your home or a mount require it."
)
# The messages of runc (two) and of crun about a missing program.
_NO_PROGRAM = re.compile(
    r'exec: "(?P<runc>[^"]{1,200})": (?:executable file not found|stat [^:]{1,200}: no such file or directory)'
    r"|executable file [`'](?P<crun>[^`']{1,200})['`] not found"
)
_NOT_EXECUTABLE = re.compile(r'exec:? "?(?P<program>/?[^":]{1,200})"?: (?P<why>permission denied|exec format error)')
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")


def shorten(text: object, limit: int = LIMIT) -> str:
    """Return text of the cluster or of a program as one line without control characters.

    The middle of a longer text is left out, because such messages begin with what failed and end with why.
    """
    # Not the whole text: a condition's message can have 32 KiB.
    raw = str(text or "")
    raw = raw if len(raw) <= 8 * limit else raw[: 4 * limit] + raw[-4 * limit :]
    line = " ".join("".join(char if char.isprintable() else " " for char in raw).split())
    if len(line) <= limit:
        return line
    tail = limit // 2
    return f"{line[: limit - tail - 3].rstrip()} … {line[-tail:].lstrip()}"


def sentence(text: object) -> str:
    """Return the shortened text with a full stop; "" for an empty text."""
    found = shorten(text)
    return found if not found or found.endswith((".", "!", "?")) else f"{found.rstrip(':;,')}."


def statuses(pod: Json) -> list[Json]:
    """Return the status of each container, init containers first, in the order in which they start."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def sidecars(pod: Json) -> list[Json]:
    """Return the status of each native sidecar, which is an init container with restartPolicy Always (KEP-753)."""
    specs = (pod.get("spec") or {}).get("initContainers") or []
    names = {spec.get("name") for spec in specs if spec.get("restartPolicy") == "Always"}
    return [found for found in (pod.get("status") or {}).get("initContainerStatuses") or [] if found["name"] in names]


def last_end(container: Json) -> Json:
    """Return how the container ended last, if it does not run now; {} otherwise."""
    state = container.get("state") or {}
    if "running" in state:
        return {}
    return state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}


def has_succeeded(container: Json) -> bool:
    """Return whether the container has ended with exit code 0 and is not running now."""
    ended = last_end(container)
    return bool(ended) and not ended.get("exitCode")


def unready(pod: Json, main: str) -> list[Json]:
    """Return the status of each container that keeps the pod from being ready.

    KubeSpawner waits until all containers are ready. In addition, a native sidecar must have started, which KubeSpawner
    does not check. A container other than `main` that ended with exit code 0 does not count.
    """
    found = [container for container in sidecars(pod) if not container.get("started")]
    found += [
        container
        for container in (pod.get("status") or {}).get("containerStatuses") or []
        if not container.get("ready")
    ]
    return [container for container in found if container.get("name") == main or not has_succeeded(container)]


def count_crashes(container: Json, main: str) -> int:
    """Return how often the container has ended, including its current end if it is not running now.

    Exit code 0 counts as a crash only for `main`. Earlier exit codes are not known: the status has only the last one.
    """
    states = {**(container.get("lastState") or {}), **(container.get("state") or {})}
    last = states.get("terminated") or {}
    if container.get("name") != main and not last.get("exitCode"):
        return 0
    return int(container.get("restartCount") or 0) + int(bool(last_end(container)))


def stays_ended(pod: Json, container: Json) -> bool:
    """Return whether the container has ended, and the kubelet does not start it again."""
    if not (ended := (container.get("state") or {}).get("terminated")):
        return False
    spec = pod.get("spec") or {}
    specs = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    own = next((found.get("restartPolicy") for found in specs if found.get("name") == container.get("name")), None)
    policy = own or spec.get("restartPolicy") or "OnFailure"
    return policy == "Never" or (policy == "OnFailure" and not ended.get("exitCode"))


def main_stays_ended(pod: Json, main: str) -> bool:
    """Return whether the container `main` has ended, and the kubelet does not start it again."""
    return any(found.get("name") == main and stays_ended(pod, found) for found in statuses(pod))


def has_failed_for_good(pod: Json, container: Json) -> bool:
    """Return whether the container can never run, or has failed and the kubelet does not start it again."""
    waiting = (container.get("state") or {}).get("waiting") or {}
    return waiting.get("reason") in _FINAL or (stays_ended(pod, container) and not has_succeeded(container))


def why_waiting(container: Json, events: Iterable[Json] = ()) -> str:
    """Return a sentence that says why the kubelet does not start the container; "" if it reports no problem."""
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason") or ""), waiting.get("message") or ""
    if reason in _ORDINARY and not message:
        return ""
    known, told = WAITING.get(reason), sentence(message)
    problem = gettext(known) if known else gettext("it is not started")
    if reason == "CrashLoopBackOff":
        if has_succeeded(container):
            problem = gettext("it ends without an error and is started again")
        told = how_ended(container, last_end(container), events) or told
    if not _WORD.fullmatch(reason):  # For some errors, the kubelet's reason is the error's text.
        told = sentence(message if not reason or reason in str(message) else f"{reason}: {message}".rstrip(": "))
        why = gettext("Container %(container)s: %(problem)s.", container=container.get("name"), problem=problem)
        return f"{why} {told}"
    if program := _why_no_program(str(container.get("name")), reason, str(message)):
        return program
    why = gettext(
        "Container %(container)s: %(problem)s (%(reason)s).",
        container=container.get("name"),
        problem=problem,
        reason=reason,
    )
    return f"{why} {told}".rstrip()


def _why_no_program(name: str, reason: str, message: str) -> str:
    """Return a sentence if the runtime's message says that a program is missing or not executable, else ""."""
    if found := _NO_PROGRAM.search(message):
        program = found["runc"] or found["crun"]
        if program == "/bin/sh":
            return gettext(_WITHOUT_SHELL)
        return gettext(
            "Container %(container)s: the image has no program %(program)s (%(reason)s).",
            container=name,
            program=repr(program),
            reason=reason,
        )
    if found := _NOT_EXECUTABLE.search(message):
        return gettext(
            "Container %(container)s: %(program)s cannot be executed, %(why)s (%(reason)s).",
            container=name,
            program=repr(found["program"]),
            why=found["why"],
            reason=reason,
        )
    return ""


def how_ended(container: Json, ended: Json, events: Iterable[Json] = ()) -> str:
    """Return a sentence that says how a container failed; "" if it did not.  `ended` is its `terminated` state."""
    name, code, reason = container.get("name"), ended.get("exitCode"), str(ended.get("reason") or "")
    message = str(ended.get("message") or "")
    if reason == "OOMKilled":
        return gettext("Container %(container)s used more memory than its limit (OOMKilled).", container=name)
    if not code:
        return ""
    # Only for the runtime's own reasons: the log of a program could contain the same words.
    if reason not in _ENDED and (program := _why_no_program(str(name), reason, message)):
        return program
    meaning = shorten(reason, 64) if reason not in _ENDED else _meaning(int(code))
    text = _ENDED_WITH[_hook_failed(str(name), events), bool(meaning)]
    told = gettext(text, container=name, code=code, meaning=meaning)
    return f"{told}: {line}." if (line := _last_line(message)) else f"{told}."


def exit_code(ended: Json) -> int | None:
    """Return the exit code in a container's `terminated` state; None without one.

    For a program that is missing or not executable, runtimes report 128 (StartError), and shells 127 and 126.
    """
    code, message = ended.get("exitCode"), str(ended.get("message") or "")
    if code == 128 and _NO_PROGRAM.search(message):
        return 127
    if code == 128 and _NOT_EXECUTABLE.search(message):
        return 126
    return code


def why_failing(container: Json, events: Iterable[Json] = ()) -> str:
    """Return a sentence that says why a container fails again and again, or for good."""
    waiting = (container.get("state") or {}).get("waiting") or {}
    if waiting and waiting.get("reason") != "CrashLoopBackOff" and (why := why_waiting(container, events)):
        return why
    states = (container.get("state") or {}, container.get("lastState") or {})
    told = (how_ended(container, state.get("terminated") or {}, events) for state in states)
    repeated = gettext("Container %(container)s ends repeatedly.", container=container.get("name"))
    return next(filter(None, told), repeated)


def _meaning(code: int) -> str:
    """Return what an exit code means to a shell, or the name of its signal; "" if it has no such meaning."""
    if code in _EXIT_CODES:
        return gettext(_EXIT_CODES[code])
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return ""


def _hook_failed(name: str, events: Iterable[Json]) -> bool:
    """Return whether an event reports that the container's postStart hook failed, so that the kubelet stopped it."""
    fields = [(event.get("reason"), (event.get("involvedObject") or {}).get("fieldPath")) for event in events]
    return any(reason == "FailedPostStartHook" and f"{{{name}}}" in str(path) for reason, path in fields)


def _last_line(text: str) -> str:
    """Return the shortened last line that is not empty.  In a Python traceback this is the error."""
    lines = [line for line in text.splitlines() if shorten(line)]
    return shorten(lines[-1]).rstrip(".") if lines else ""


def newest_event(events: Iterable[Json]) -> Json:
    """Return the newest event, ignoring harmless warnings; {} if there is none.

    Among events of equal time, return the last.
    """
    telling = (event for event in events if event.get("reason") not in _HARMLESS)
    return max(enumerate(telling), key=lambda found: (event_time(found[1]), found[0]), default=(0, {}))[1]


def event_time(event: Json) -> str:
    """Return when the event last happened, in RFC 3339, which sorts as text; "" if it is not known.

    Some controllers set only eventTime; an event that was created by hand can have none of these fields.
    """
    created = (event.get("metadata") or {}).get("creationTimestamp")
    series = (event.get("series") or {}).get("lastObservedTime")
    first = event.get("eventTime") or event.get("firstTimestamp")
    return str(event.get("lastTimestamp") or series or first or created or "")


def why_warned(event: Json) -> str:
    """Return the event as a sentence if it is a warning, else ""."""
    reason = str(event.get("reason") or "")
    if event.get("type") != "Warning" and reason not in NOT_MOUNTED:
        return ""
    told = sentence(event.get("message")) or gettext("The event has no message.")
    known = WARNINGS.get(reason)
    problem = gettext(known) if known else gettext("The cluster reports a problem")
    return f"{problem} ({shorten(reason, 64)}): {told}"


def what_is_awaited(container: Json, *, must_end: bool) -> str:
    """Return a sentence that says what an unready container does, if the kubelet reports no problem.

    must_end: whether this is an ordinary init container.
    """
    name, state = container.get("name"), container.get("state") or {}
    if "running" in state:
        if name == HOME_CHECK:
            return gettext("Your home directory is being checked. If this takes long, its file system does not answer.")
        if must_end:
            return gettext("Container %(container)s must end first, and still runs.", container=name)
        return gettext("Container %(container)s runs, but is not ready yet.", container=name)
    reason = str((state.get("waiting") or {}).get("reason") or "")
    if not reason:
        return gettext("The node has not started container %(container)s yet.", container=name)
    return gettext("The node has not started container %(container)s yet (%(reason)s).", container=name, reason=reason)
