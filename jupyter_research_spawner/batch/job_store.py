"""The store of jobs is the cluster: Jobs by the labels and annotations that compose wrote.  Nothing is kept here."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from ..jobs.job import KIND, MAIN
from ..pod import ours
from ..refusal import Refusal
from ..shape import Json
from ..watch.api_server import MERGE_PATCH, ApiError, ApiServer
from .attempts import ATTEMPTS, Attempt, recorded, written

log = logging.getLogger(__name__)

JOB_NAME = "batch.kubernetes.io/job-name"
ALL = f"{ours.KIND}={KIND}"
_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PATCHES = 5
STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(frozen=True)
class Owner:
    """Whose jobs: the hub's name for the person, and the label that their jobs have."""

    hub_name: str
    label: str

    @property
    def selector(self) -> str:
        return f"{ours.USER}={self.label},{ALL}"

    def owns(self, job: Json) -> bool:
        """A label is short, so two names could share one; the annotation has the hub's name as it is."""
        metadata = job["metadata"]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        return (
            labels.get(ours.USER) == self.label
            and labels.get(ours.KIND) == KIND
            and annotations.get(ours.USER_NAME) == self.hub_name
        )


class JobStore:
    """The Jobs of one namespace, their pods and their events.

    Every method raises Refusal: 404 for what is not there or not theirs, 503 when the cluster does not answer or does
    not let the service do it.
    """

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server = server
        self.jobs_path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.pods_path = f"/api/v1/namespaces/{namespace}/pods"
        self.events_path = f"/api/v1/namespaces/{namespace}/events"

    async def create(self, manifest: Json) -> Json | None:
        """The Job as the cluster took it; None when its name is taken."""
        try:
            # What the server does not know it would drop in silence, and supplementalGroupsPolicy may be such a field.
            strict = {"fieldValidation": "Strict"}
            return await self.server.ask("POST", self.jobs_path, query=strict, body=manifest)
        except ApiError as error:
            if error.status == 409:
                return None
            if error.status == 403 and "exceeded quota" in error.message:
                log.warning("A job meets a quota: %s", error)
                raise Refusal(
                    "quota",
                    "The cluster's quota for jobs is used up.",
                    hint="Try again when some have ended.",
                    status=409,
                ) from error
            raise _not_taken(error) from error
        except Refusal as down:
            if down.code == "webhook-down":
                raise
            # Sent, and nobody knows whether it arrived.
            hint = f"The job may have been submitted all the same: look at your jobs first. {down.hint}"
            raise Refusal(**{**down.as_dict(), "hint": hint}) from down

    async def jobs_of(self, owner: Owner) -> list[Json]:
        return [job for job in await self._list(self.jobs_path, owner.selector) if owner.owns(job)]

    async def pods_of(self, owner: Owner) -> list[Json]:
        return await self._list(self.pods_path, owner.selector)

    async def pods_of_job(self, job: Json) -> list[Json]:
        found = await self._list(self.pods_path, f"{JOB_NAME}={job['metadata']['name']}")
        return [pod for pod in found if belongs(pod, job)]

    async def all_jobs(self) -> list[Json]:
        return await self._list(self.jobs_path, ALL)

    async def job(self, owner: Owner, job_id: str) -> Json:
        found = await self.find(job_id)
        if found is None or not owner.owns(found):
            raise not_found(job_id)
        return found

    async def find(self, job_id: str) -> Json | None:
        if not _ID.fullmatch(job_id):
            return None
        try:
            return await self.server.ask("GET", f"{self.jobs_path}/{job_id}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise _not_allowed(error) from error

    async def delete(self, job: Json) -> Json | None:
        """The Job on its way out, after its pods; None if it went meanwhile."""
        metadata = job["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": metadata["uid"]},
        }
        try:
            await self.server.ask("DELETE", f"{self.jobs_path}/{metadata['name']}", body=options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise _not_allowed(error) from error
        found = await self.find(metadata["name"])
        return found if found is not None and found["metadata"]["uid"] == metadata["uid"] else None

    async def events(self, **fields: str) -> list[Json]:
        """Events with these fields (`reason="Preempted"`; involvedObject_name is involvedObject.name)."""
        selector = ",".join(f"{name.replace('_', '.')}={value}" for name, value in fields.items())
        return await self._list(self.events_path, fields=selector)

    async def record(self, job_id: str, add: Callable[[Json, list[Attempt]], list[Attempt]]) -> None:
        """Write what `add` makes of a Job and its recorded attempts, unless the Job is gone or going."""
        for _ in range(_PATCHES):
            job = await self.find(job_id)
            if job is None or job["metadata"].get("deletionTimestamp"):
                return
            before = recorded(job)
            after = add(job, before)
            if after == before or await self._annotate(job, written(after)):
                return
        log.warning("The attempts of %s could not be written: it changes all the time", job_id)

    async def _annotate(self, job: Json, attempts: str) -> bool:
        metadata = job["metadata"]
        # With its version: another service that writes at the same time must not lose an attempt.
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "annotations": {ATTEMPTS: attempts}}}
        try:
            await self.server.ask("PATCH", f"{self.jobs_path}/{metadata['name']}", body=body, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status == 409:
                return False
            if error.status != 404:
                raise _not_allowed(error) from error
        return True

    async def mark(self, pod: Json, condition: Mapping[str, str]) -> None:
        """Write a condition on a pod, unless that very pod is gone."""
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [dict(condition)]}}
        path = f"{self.pods_path}/{metadata['name']}/status"
        try:
            await self.server.ask("PATCH", path, body=body, content_type=STRATEGIC)
        except ApiError as error:
            if error.status not in (404, 409):
                raise _not_allowed(error) from error

    async def log(self, pod: Json, *, follow: bool, tail: int | None, silence_seconds: float) -> AsyncIterator[bytes]:
        """What the pod's main container printed, as it arrives.  Raises ApiError (400: it has not started; 404)."""
        query = {"container": MAIN, "follow": "true" if follow else "false"}
        if tail is not None:
            query["tailLines"] = str(tail)
        path = f"{self.pods_path}/{pod['metadata']['name']}/log"
        async for piece in self.server.stream_body(path, query, silence_seconds):
            yield piece

    async def _list(self, path: str, labels: str = "", fields: str = "") -> list[Json]:
        query = {"labelSelector": labels, "fieldSelector": fields}
        try:
            found = await self.server.ask("GET", path, query={key: value for key, value in query.items() if value})
        except ApiError as error:
            raise _not_allowed(error) from error
        return list(found.get("items") or [])


def belongs(pod: Json, job: Json) -> bool:
    """Whether this very Job owns the pod: a name may come again, a uid does not."""
    owners: Sequence[Json] = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == job["metadata"]["uid"] for owner in owners)


def not_found(job_id: str) -> Refusal:
    """Other people's jobs are answered in the same words as none."""
    return Refusal(
        "not-found", f"There is no job {job_id[:80]!r} of yours.", field="id", hint="List your jobs.", status=404
    )


def _not_taken(error: ApiError) -> Refusal:
    mark = secrets.token_hex(4)
    log.error("The API server took no job (%s): %s", mark, error)
    return Refusal(
        "cluster-refused",
        "The cluster did not take the job, so nothing was submitted.",
        hint=f"The people who run this hub find the reason in the batch service's log under {mark}.",
        status=503,
    )


def _not_allowed(error: ApiError) -> Refusal:
    mark = secrets.token_hex(4)
    log.error("The API server refuses the batch service (%s): %s", mark, error)
    return Refusal(
        "cluster-refused",
        "The cluster does not let the batch service do that.",
        hint=f"The people who run this hub find the reason in the batch service's log under {mark}.",
        status=503,
    )
