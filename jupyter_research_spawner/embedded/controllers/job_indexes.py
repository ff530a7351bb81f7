"""Compute and write the completion indexes of a Job with completionMode Indexed.

Follows pkg/controller/job/indexed_job_utils.go of Kubernetes 1.36, and KEP-3850 for backoffLimitPerIndex.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping

from ..apimachinery.object_fields import Json, is_true
from .pod_failure_policy import has_failed, verdict

INDEX = "batch.kubernetes.io/job-completion-index"  # both an annotation and a label
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURE_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"
VARIABLE = "JOB_COMPLETION_INDEX"
_LONGEST_PREFIX = 58  # a name has at most 63 characters, of which 5 are a random suffix


def is_indexed(job: Json) -> bool:
    """Return whether the Job has completionMode Indexed."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def limits_each_index(job: Json) -> bool:
    """Return whether the Job has backoffLimitPerIndex."""
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def parse_indexes(text: str | None, completions: int) -> set[int]:
    """Return the indexes below `completions` in a text such as "1,3-5"."""
    found: set[int] = set()
    for interval in text.split(",") if text else ():
        first, _, last = interval.partition("-")
        found.update(range(int(first), min(int(last or first), completions - 1) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Return the indexes in the format of a Job's status, such as "1,2,4-6".

    Three or more consecutive indexes form an interval.
    """
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def completion_index(job: Json, pod: Json) -> int | None:
    """Return the pod's completion index, or None if it is missing or not below the Job's `completions`."""
    index = _number(pod, INDEX)
    return index if index is not None and index < job["spec"]["completions"] else None


def failure_count(pod: Json, *, with_ignored: bool = False) -> int:
    """Return how many pods of the same index had failed before this pod was created."""
    counted = _number(pod, FAILURE_COUNT) or 0
    return counted + (_number(pod, IGNORED_FAILURE_COUNT) or 0) if with_ignored else counted


def _number(pod: Json, annotation: str) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    return int(text) if text.isascii() and text.isdigit() else None


def fails_its_index(job: Json, pod: Json) -> bool:
    """Return whether this pod's failure makes its index fail.  The Job creates no other pod for a failed index."""
    if not has_failed(job, pod):
        return False
    action = verdict(job, pod).action
    if action in ("FailIndex", "Ignore"):
        return action == "FailIndex"
    return failure_count(pod) >= int(job["spec"]["backoffLimitPerIndex"])


def pending_indexes(completions: int, taken: Collection[int | None], count: int) -> list[int]:
    """Return the first `count` indexes that are not in `taken`."""
    found: list[int] = []
    for index in range(completions):
        if len(found) >= count:
            break
        if index not in taken:
            found.append(index)
    return found


def pods_to_remove(job: Json, active: list[Json], excess: int) -> list[Json]:
    """Return the pods to delete, of which there should be `excess`.

    In an Indexed Job these include all pods whose index is invalid or is also the index of another pod.
    """
    if not is_indexed(job):
        return sorted(active, key=_precedence)[: max(excess, 0)]
    removed: list[Json] = []
    kept: dict[int, Json] = {}
    for pod in sorted(active, key=_precedence, reverse=True):
        index = completion_index(job, pod)
        if index is None or index in kept:
            removed.append(pod)
        else:
            kept[index] = pod
    more = max(excess - len(removed), 0)
    return [*removed, *sorted(kept.values(), key=_precedence)[:more]]


def _precedence(pod: Json) -> tuple[bool, bool, bool, list[int]]:
    """Return the sort key for deletion.  Pods without a node come first, then pods not running, not ready, younger."""
    age = [-ord(character) for character in pod["metadata"]["creationTimestamp"]]
    return bool(pod["spec"].get("nodeName")), pod["status"].get("phase") == "Running", is_true(pod, "Ready"), age


def set_index(job: Json, pod: Json, index: int, replaced: Json | None) -> None:
    """Write the index into a new pod: name, host name, label, annotations and environment variables.

    `replaced` is the failed pod of the same index that this pod replaces, if the Job has backoffLimitPerIndex.
    """
    name, metadata, spec = job["metadata"]["name"], pod["metadata"], pod["spec"]
    suffix = f"-{index}-"
    metadata["generateName"] = name[: _LONGEST_PREFIX - len(suffix)] + suffix
    metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
    annotations = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    if limits_each_index(job):
        annotations |= _failure_counts(job, replaced)
    metadata["annotations"] = annotations
    spec["hostname"] = f"{name}-{index}"
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        variables = container.get("env") or []
        if not any(variable["name"] == VARIABLE for variable in variables):
            container["env"] = [*variables, {"name": VARIABLE, "valueFrom": copy.deepcopy(source)}]


def _failure_counts(job: Json, replaced: Json | None) -> Mapping[str, str]:
    counted = ignored = 0
    if replaced:
        counted, ignored = failure_count(replaced), _number(replaced, IGNORED_FAILURE_COUNT) or 0
        if verdict(job, replaced).action == "Ignore":
            ignored += 1
        else:
            counted += 1
    return {FAILURE_COUNT: str(counted)} | ({IGNORED_FAILURE_COUNT: str(ignored)} if ignored else {})
