"""What a Job makes of a pod that failed: count it, ignore it, or fail (batch/v1 podFailurePolicy, KEP-3329)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .objects import Json, condition


@dataclass(frozen=True)
class Verdict:
    """`action` is Count, Ignore or FailJob; `message` says why a Job fails."""

    action: str
    message: str = ""


def verdict(job: Json, pod: Json) -> Verdict:
    """The first rule that matches decides; without one the failure counts."""
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
