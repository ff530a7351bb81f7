"""The effect of a failed pod on its Job: podFailurePolicy (KEP-3329) and podReplacementPolicy (KEP-3939)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..apimachinery.object_fields import Json, condition


@dataclass(frozen=True)
class Verdict:
    """The action for a failed pod: Count, Ignore, FailIndex or FailJob.  `message` says why the rule matched."""

    action: str
    message: str = ""


def replaces_only_ended_pods(job: Json) -> bool:
    """Return whether the Job waits until a deleted pod has ended before it counts and replaces the pod."""
    return job["spec"].get("podReplacementPolicy") == "Failed" or bool(job["spec"].get("podFailurePolicy"))


def has_failed(job: Json, pod: Json) -> bool:
    """Return whether the Job controller considers the pod failed."""
    phase = pod["status"].get("phase")
    if phase == "Failed" or replaces_only_ended_pods(job):
        return bool(phase == "Failed")
    return bool(pod["metadata"].get("deletionTimestamp")) and phase != "Succeeded"


def verdict(job: Json, pod: Json) -> Verdict:
    """Return the action of the first rule that matches the pod, or Count."""
    for index, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or []):
        matched = _exit_code_match(rule, pod) or _condition_match(rule, pod)
        if matched:
            return Verdict(rule["action"], f"{matched} matching {rule['action']} rule at index {index}")
    return Verdict("Count")


def _exit_code_match(rule: Json, pod: Json) -> str:
    wanted = rule.get("onExitCodes")
    if not wanted:
        return ""
    metadata = pod["metadata"]
    for name, code in _exit_codes(pod):
        if code == 0 or wanted.get("containerName") not in (None, name):
            continue
        if (code in wanted["values"]) is (wanted["operator"] == "In"):
            return f"Container {name} for pod {metadata['namespace']}/{metadata['name']} failed with exit code {code}"
    return ""


def _exit_codes(pod: Json) -> Iterator[tuple[str, int]]:
    for part in ("initContainerStatuses", "containerStatuses"):
        for status in pod["status"].get(part) or []:
            if terminated := status["state"].get("terminated"):
                yield status["name"], terminated["exitCode"]


def _condition_match(rule: Json, pod: Json) -> str:
    for wanted in rule.get("onPodConditions") or []:
        if condition(pod, wanted["type"]).get("status") == wanted.get("status", "True"):
            return f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']} has condition {wanted['type']}"
    return ""
