"""Defaults for the kinds of job that are stored as an Indexed Job, in addition to those of `batch_v1`.

Here an index is the completion index, which counts from 0.  Checked with Kubernetes 1.36.3 (backoffLimitPerIndex).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..refusal import Refusal
from ..shape import Json
from ..site import Batch

# The service cancels an index by deleting its pod.
RULES: tuple[Json, ...] = ({"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]},)
# The end of a pod name, -INDEX-SUFFIX, with the completion index (Kubernetes, podGenerateNameWithIndex).
_POD_NAME = re.compile(r"-([0-9]{1,6})-[a-z0-9]{5}$", re.ASCII)


def job_spec(size: int, parallelism: int, batch_settings: Batch, field: str) -> Json:
    """Return the fields of an Indexed Job with `size` indexes.  A failed index is not retried; the others continue.

    Raises Refusal, which names `field`, if there are more indexes than the site allows.
    """
    if size > batch_settings.max_array_size:
        raise Refusal(
            "array-too-large",
            f"The array has {size} indexes; the limit is {batch_settings.max_array_size}.",
            field=field,
            hint="Submit several smaller arrays, or let one index do more.",
        )
    return {
        "completionMode": "Indexed",
        "parallelism": parallelism,
        "completions": size,
        "backoffLimitPerIndex": 0,
    }


def pod_decides(job: Json, succeeded: bool) -> bool:
    """Return whether a pod is the last pod of its index, because it succeeded or failed indexes are not retried."""
    return succeeded or 0 in (job["spec"].get("backoffLimitPerIndex"), job["spec"].get("backoffLimit"))


def indexes(job: Json) -> range:
    return range(job["spec"].get("completions") or 0)


def index_of(job: Json, pod_name: str) -> int | None:
    """Return the completion index in a pod's name; None if there is none."""
    found = _POD_NAME.search(pod_name)
    return None if found is None or int(found[1]) not in indexes(job) else int(found[1])


def index_results(job: Json) -> Mapping[int, bool]:
    """Return the indexes in the Job's `completedIndexes` (with True) and `failedIndexes`, such as "1,3-5"."""
    status, size = job.get("status") or {}, len(indexes(job))
    found: dict[int, bool] = {}
    for field, succeeded in (("completedIndexes", True), ("failedIndexes", False)):
        for part in filter(None, (status.get(field) or "").split(",")):
            first, _, last = part.partition("-")
            found |= dict.fromkeys(range(int(first), min(int(last or first) + 1, size)), succeeded)
    return found


def active_pod_count(job: Json) -> int:
    """Return how many pods the Job can still have at once: at most the number of unfinished indexes."""
    left = len(indexes(job)) - len(index_results(job))
    return min(int(job["spec"].get("parallelism") or 0), left)
