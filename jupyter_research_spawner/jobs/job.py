"""Kind `job`: a Job that runs one command once, in one pod."""

from __future__ import annotations

from ..plan import Plan
from ..shape import Json
from ..site import Batch
from . import batch_v1
from .request import JobRequest

KIND = "job"
REQUEST = JobRequest
SLOTS = batch_v1.SLOTS
RESOURCE = batch_v1.RESOURCE
POD_LABEL = batch_v1.POD_LABEL
PREREQUISITES = batch_v1.PREREQUISITES
SUSPENSION = batch_v1.SUSPENSION
RULES = batch_v1.RULES


def manifest(plan: Plan, request: JobRequest, batch_settings: Batch) -> Json:
    """Return a Job with one pod.  A failed command is not retried, because it may have done a part of its work."""
    spec = {"parallelism": 1, "completions": 1, "backoffLimit": 0}
    return batch_v1.job_manifest(plan, request, batch_settings, spec, env={}, words=())


pod_count = batch_v1.pod_count
gang = batch_v1.gang
active_pod_count = batch_v1.active_pod_count
command = batch_v1.command
request_fields = batch_v1.request_fields
answer_fields = batch_v1.answer_fields
result = batch_v1.result
pod_decides = batch_v1.pod_decides
is_suspended = batch_v1.is_suspended
indexes = batch_v1.indexes
index_of = batch_v1.index_of
index_results = batch_v1.index_results
