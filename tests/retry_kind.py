"""A made-up kind of job, whose command runs again when it fails: what the registry must cope with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from jupyter_research_spawner.jobs import batch_v1
from jupyter_research_spawner.jobs.request import JobRequest
from jupyter_research_spawner.prerequisite import Prerequisite

KIND = "retry"
SLOTS = batch_v1.SLOTS
RESOURCE = batch_v1.RESOURCE
POD_LABEL = batch_v1.POD_LABEL
PREREQUISITES = (
    Prerequisite("apiextensions.k8s.io/v1", "CustomResourceDefinition", "retries.example.org", selected_by="kind"),
)
SUSPENSION = batch_v1.SUSPENSION
RULES = ({"apiGroups": ["example.org"], "resources": ["retries"], "verbs": ["get"]},)


class RetryRequest(JobRequest):
    """A command that may fail some times."""

    HINTS: ClassVar[Mapping[str, str]] = {**JobRequest.HINTS, "retries": "Send a number from 1 to 10."}

    retries: int = Field(title="How often it may fail", ge=1, le=10, strict=True, examples=[3])


REQUEST = RetryRequest


def manifest(plan: Any, request: RetryRequest, batch_settings: Any) -> dict[str, Any]:
    spec = {"parallelism": 1, "completions": 1, "backoffLimit": request.retries}
    return batch_v1.job_manifest(plan, request, batch_settings, spec, env={}, words=())


def request_fields(job: dict[str, Any]) -> dict[str, Any]:
    return {**batch_v1.request_fields(job), "retries": job["spec"]["backoffLimit"]}


pod_count = batch_v1.pod_count
gang = batch_v1.gang
active_pod_count = batch_v1.active_pod_count
command = batch_v1.command
answer_fields = batch_v1.answer_fields
result = batch_v1.result
pod_decides = batch_v1.pod_decides
is_suspended = batch_v1.is_suspended
indexes = batch_v1.indexes
index_of = batch_v1.index_of
index_results = batch_v1.index_results
