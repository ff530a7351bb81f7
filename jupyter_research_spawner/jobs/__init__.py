"""The kinds of job.  A kind is a module with the request, the manifest, and functions that read a stored job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..plan import Plan, Request
from ..pod import overlay
from ..refusal import Refusal
from ..shape import Json, Shape
from ..site import Batch
from ..wording import quote
from . import array, job, stored_request
from .batch_v1 import NAME
from .kind import JobKind, Resource, Result
from .parsing import json_type, parse
from .request import JobRequest, new_job_id, plan_request, refuse_too_long

# Typed, and one module a line, so that mypy shows the module that lacks a member of JobKind.
_MODULES: list[JobKind] = [
    job,
    array,
]

KINDS: Mapping[str, JobKind] = {module.KIND: module for module in _MODULES}


class Submission(NamedTuple):
    """The request for a job, and its kind."""

    kind: JobKind
    request: JobRequest

    @property
    def pod_count(self) -> int:
        return self.kind.pod_count(self.request)

    def plan_request(self, hub_user: str, name: str = "") -> Request:
        """Return the Request that `plan` takes, with this name of the job or a new one."""
        shape = Shape(self.kind.KIND, name or new_job_id(self.request), self.pod_count, self.kind.gang(self.request))
        return plan_request(self.request, shape, hub_user)

    def manifest(self, plan: Plan, batch_settings: Batch) -> Json:
        """Return the manifest into which `compose` writes the plan.  Raises Refusal."""
        made = self.kind.manifest(plan, self.request, batch_settings)
        made["metadata"].setdefault("annotations", {})[stored_request.ASKED] = stored_request.asked(self.request)
        return made


def parse_submission(body: Any) -> Submission:
    """Validate the body of POST /jobs, which can be any JSON value.  Raises Refusal (400) with the invalid field."""
    if not isinstance(body, dict):
        raise Refusal(
            "invalid",
            f"A job is a JSON object, not {json_type(body)}.",
            hint='Send {"command": ["python", "train.py"]}.',
        )
    fields = dict(body)
    name = fields.pop("kind", None) or job.KIND
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Refusal(
            "unknown-kind",
            f"kind: {quote(name)} is not a kind of job.",
            field="kind",
            hint=f"Kinds: {', '.join(sorted(KINDS))}.",
        )
    request = parse(kind.REQUEST, fields, f"A job of kind {kind.KIND}", kind.REQUEST.HINTS)
    refuse_too_long(request)
    return Submission(kind, request)


def stored_submission(stored: Json) -> Submission:
    """Return the submission from which a stored job was made.

    Raises Refusal (400) if it is no longer valid, for example because the site now sets one of the user's variables.
    """
    kind = kind_of(stored)
    fields = {**stored_request.choices(stored), **kind.request_fields(stored)}
    return Submission(kind, parse(kind.REQUEST, fields, "A stored job", kind.REQUEST.HINTS))


def kind_of(obj: Json) -> JobKind:
    """Return the kind in the label of a stored job or of one of its pods; `job` if the label is unknown."""
    return KINDS.get((obj["metadata"].get("labels") or {}).get(overlay.KIND, ""), job)


__all__ = [
    "KINDS",
    "NAME",
    "JobKind",
    "Resource",
    "Result",
    "Submission",
    "kind_of",
    "parse_submission",
    "stored_submission",
]
