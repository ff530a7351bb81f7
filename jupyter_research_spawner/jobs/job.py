"""Kind `job`: one command, in one pod, once."""

from __future__ import annotations

from collections.abc import Mapping

from ..plan import Plan
from ..prerequisite import Prerequisite
from ..shape import Json
from ..site import Batch
from . import batch_v1
from .request import JobRequest

KIND = "job"
MAIN = batch_v1.MAIN
SLOTS = batch_v1.SLOTS
RESOURCE = batch_v1.RESOURCE
POD_LABEL = batch_v1.POD_LABEL
REQUEST = JobRequest
PREREQUISITES: tuple[Prerequisite, ...] = ()
RULES: tuple[Json, ...] = ()


def manifest(plan: Plan, request: JobRequest, limits: Batch) -> Json:
    """Return a Job of one pod.  A command that failed does not run again: half of its work may be done."""
    spec = {"parallelism": 1, "completions": 1, "backoffLimit": 0}
    return batch_v1.job_manifest(plan, request, limits, spec, env={}, words=())


def pod_count(request: JobRequest) -> int:
    return 1


def active_pod_count(job: Json) -> int:
    return 1


command = batch_v1.command
result = batch_v1.result
is_suspended = batch_v1.is_suspended


def answer_fields(job: Json) -> Json:
    return {}


def indexes(job: Json) -> tuple[int, ...]:
    return ()


def index_of(job: Json, pod_name: str) -> int | None:
    return None


def index_results(job: Json) -> Mapping[int, bool]:
    return {}
