"""Create, find, change and delete jobs in the cluster.  The service has no storage of its own."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..api_object import annotations_of
from ..jobs import KINDS, Resource, kind_of
from ..pod import overlay
from ..refusal import Refusal
from ..schedulers import Kind
from ..shape import NOTEBOOK_KIND, Json
from ..watch.api_server import JSON, MERGE_PATCH, METADATA_LIST, ApiError, ApiServer
from .attempts import ATTEMPTS, CANCELLED, Attempt, cancelled_indexes, recorded, written
from .rights_record import ID, id_of, successor

log = logging.getLogger(__name__)

ALL = f"{overlay.KIND} in ({','.join(sorted(KINDS))})"
# Several kinds can be stored as the same API resource.
RESOURCES: tuple[Resource, ...] = tuple(dict.fromkeys(kind.RESOURCE for kind in KINDS.values()))
_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PATCHES = 5
# Jobs in one page.  A job has at most about 0.5 MiB.
PAGE = 50
# Pods that are read at once for a page of jobs, or all pods of one job array if it has more.
PODS = 500
# A place in a list of jobs: the number of the API resource, and the API server's token.
_PLACE = re.compile(r"([0-9])\.([A-Za-z0-9+/=_-]{0,2000})")
STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(frozen=True)
class Owner:
    """A user's name in the hub, and the value of the label research-spawner/user on this user's jobs."""

    hub_name: str
    label: str

    @property
    def selector(self) -> str:
        return f"{overlay.USER}={self.label},{ALL}"

    def owns(self, job: Json) -> bool:
        """Return whether the job belongs to this user.  Two names can have the same label value, so compare both."""
        metadata = job["metadata"]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        return (
            labels.get(overlay.USER) == self.label
            and labels.get(overlay.KIND) in KINDS
            and annotations.get(overlay.USER_NAME) == self.hub_name
        )


class JobSelection(Protocol):
    """Some of the stored jobs: those that the label selector finds and for which `owns` is true."""

    @property
    def selector(self) -> str: ...

    def owns(self, job: Json) -> bool: ...


@dataclass(frozen=True)
class Page:
    """A part of a list of jobs, and the place where the next part begins; "" after the last part."""

    jobs: list[Json]
    next: str = ""


class JobStore:
    """The jobs of one namespace, their pods and their events.

    All methods raise Refusal: 404 if the user has no such job, 503 if the API server does not answer or refuses the
    service's request.
    """

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server = server
        self._namespace = namespace
        self.pods_path = f"/api/v1/namespaces/{namespace}/pods"
        self.events_path = f"/api/v1/namespaces/{namespace}/events"

    def _path(self, job: Json) -> str:
        return f"{kind_of(job).RESOURCE.path(self._namespace)}/{job['metadata']['name']}"

    async def create(self, manifest: Json) -> Json | None:
        """Create a job and return the stored object, or None if an object with this name exists."""
        try:
            # Without this, an API server silently drops unknown fields, such as supplementalGroupsPolicy.
            strict = {"fieldValidation": "Strict"}
            path = kind_of(manifest).RESOURCE.path(self._namespace)
            return await self.server.ask("POST", path, query=strict, body=manifest)
        except ApiError as error:
            if error.status == 409:
                return None
            if error.status == 403 and "exceeded quota" in error.message:
                log.warning("The API server refused a job because of a quota: %s", error)
                raise Refusal(
                    "quota",
                    "The cluster's quota for jobs is used up.",
                    hint="Try again when other jobs have ended.",
                    status=409,
                ) from error
            raise _not_taken(error) from error
        except Refusal as down:
            if down.code == "webhook-down":
                raise
            # The API server may have created the job.
            hint = f"The job may have been submitted anyway; check with `job list` first. {down.hint}"
            raise Refusal(**{**down.as_dict(), "hint": hint}) from down

    async def page_of(self, owner: Owner, place: str = "") -> Page:
        """Return at most PAGE jobs of a user in the API server's order.  `place` is `next` of the previous page."""
        found = await self._page(owner.selector, place)
        return Page([job for job in found.jobs if owner.owns(job)], found.next)

    async def pages_of(self, owner: JobSelection) -> AsyncIterator[list[Json]]:
        """Yield all jobs of a user or another selection in pages, so that they are not in memory at once."""
        async for jobs in self._pages(owner.selector):
            yield [job for job in jobs if owner.owns(job)]

    async def pods_of(self, jobs: Sequence[Json]) -> list[Json]:
        """Return the pods of these jobs, of any kind."""
        names: dict[str, list[str]] = {}
        for job in jobs:
            names.setdefault(kind_of(job).POD_LABEL, []).append(job["metadata"]["name"])
        selectors = [f"{label} in ({','.join(found)})" for label, found in names.items()]
        return [pod for selector in selectors for pod in await self._list(self.pods_path, selector)]

    async def pods_of_job(self, job: Json) -> list[Json]:
        found = await self._list(self.pods_path, f"{kind_of(job).POD_LABEL}={job['metadata']['name']}")
        return [pod for pod in found if belongs(pod, job)]

    async def notebooks_of(self, owner: Owner) -> list[Json]:
        """Return the pods of a user's servers."""
        found = await self._list(self.pods_path, f"{overlay.USER}={owner.label},{overlay.KIND}={NOTEBOOK_KIND}")
        return [pod for pod in found if annotations_of(pod).get(overlay.USER_NAME) == owner.hub_name]

    async def pages_of_all_jobs(self, *, metadata_only: bool = False) -> AsyncIterator[list[Json]]:
        """Yield the jobs of all users in pages, because together they can be larger than the service's memory."""
        async for jobs in self._pages(ALL, metadata_only=metadata_only):
            yield jobs

    async def _pages(self, selector: str, *, metadata_only: bool = False) -> AsyncIterator[list[Json]]:
        page = await self._page(selector, "", metadata_only=metadata_only)
        yield page.jobs
        while page.next:
            page = await self._page(selector, page.next, metadata_only=metadata_only)
            yield page.jobs

    async def _page(self, selector: str, place: str, *, metadata_only: bool = False) -> Page:
        """Return the page at a place, which can come from a user.  Raises Refusal (400 or 410) for a bad place."""
        at = _PLACE.fullmatch(place or "0.")
        if at is None or int(at[1]) >= len(RESOURCES):
            raise _bad_place(400)
        number, token = int(at[1]), at[2]
        query = {"labelSelector": selector, "limit": str(PAGE), **({"continue": token} if token else {})}
        accept = METADATA_LIST if metadata_only else JSON
        path = RESOURCES[number].path(self._namespace)
        try:
            found = await self.server.ask("GET", path, query=query, accept=accept)
        except ApiError as error:
            if error.status in (400, 410) and token:  # 410: the API server no longer has the list's version
                raise _bad_place(error.status) from error
            if error.status != 404:
                raise _not_allowed(error) from error
            found = {}  # the cluster does not have the API of this kind
        token = str((found.get("metadata") or {}).get("continue") or "")
        if not token:
            number += 1
        return Page(list(found.get("items") or []), f"{number}.{token}" if number < len(RESOURCES) else "")

    async def job(self, owner: JobSelection, job_id: str) -> Json:
        """Return the job with this id of a user or another selection."""
        return (await self.jobs_with_id(owner, job_id))[-1]

    async def jobs_with_id(self, owner: JobSelection, job_id: str) -> list[Json]:
        """Return the user's jobs with this id.  While a job is recreated there are two, and the new one is last."""
        found = await self.find(job_id)
        jobs = [found] if found is not None and owner.owns(found) else []
        if _ID.fullmatch(job_id) and (not jobs or successor(jobs[0]) is not None):
            named = [job async for page in self._pages(f"{owner.selector},{ID}={job_id}") for job in page]
            jobs += sorted(filter(owner.owns, named), key=_is_newer)
        if not jobs:
            raise not_found(job_id)
        return jobs

    async def find(self, job_id: str) -> Json | None:
        """Return the job with this name, of any kind and any user, or None if there is no such job."""
        if not _ID.fullmatch(job_id):
            return None
        for resource in RESOURCES:
            try:
                return await self.server.ask("GET", f"{resource.path(self._namespace)}/{job_id}")
            except ApiError as error:  # noqa: PERF203 - the job can be stored as another resource
                if error.status != 404:
                    raise _not_allowed(error) from error
        return None

    async def delete(self, job: Json) -> Json | None:
        """Delete a job after its pods are deleted.  Return the job if it still exists after the request, else None."""
        metadata = job["metadata"]
        await self._delete(self._path(job), metadata["uid"], propagationPolicy="Foreground")
        found = await self.find(metadata["name"])
        return found if found is not None and found["metadata"]["uid"] == metadata["uid"] else None

    async def delete_pod(self, pod: Json) -> None:
        metadata = pod["metadata"]
        await self._delete(f"{self.pods_path}/{metadata['name']}", metadata["uid"])

    async def _delete(self, path: str, uid: str, **more: str) -> None:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}, **more}
        try:
            await self.server.ask("DELETE", path, body=options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise _not_allowed(error) from error

    async def events(self, **fields: str) -> list[Json]:
        """Return the events with these values of fields.  A keyword has `_` for `.`, as in involvedObject_uid."""
        selector = ",".join(f"{name.replace('_', '.')}={value}" for name, value in fields.items())
        return await self._list(self.events_path, fields=selector)

    async def record(self, job_id: str, add: Callable[[Json, list[Attempt]], list[Attempt]]) -> None:
        """Replace the recorded attempts of a job by the return value of `add`, unless the job is being deleted."""

        def change(job: Json) -> dict[str, str]:
            before = recorded(job)
            after = add(job, before)
            return {} if after == before else {ATTEMPTS: written(after)}

        if not await self._annotate(job_id, change):
            log.warning(
                "The attempts of %s could not be written, because every try conflicted with another change", job_id
            )

    async def record_cancelled(self, job: Json, index: int) -> None:
        """Record on an array that the user cancelled an index.  Raises Refusal (503) if that fails."""
        uid = job["metadata"]["uid"]

        def change(job: Json) -> dict[str, str]:
            known = cancelled_indexes(job)
            is_new = job["metadata"]["uid"] == uid and index not in known
            return {CANCELLED: ",".join(map(str, sorted({*known, index})))} if is_new else {}

        if not await self._annotate(job["metadata"]["name"], change):
            raise _busy("Nothing was cancelled, because every try conflicted with another change to the job.")

    async def _annotate(self, job_id: str, change: Callable[[Json], dict[str, str]]) -> bool:
        """Write the annotations that `change` returns.  Return False after too many conflicts with other writers."""

        def body(job: Json) -> Json:
            annotations = change(job)
            return {"metadata": {"annotations": annotations}} if annotations else {}

        return await self._patch(job_id, body) is not None

    async def change(self, job_id: str, uid: str, change: Callable[[Json], Json]) -> bool:
        """Apply the merge patch that `change` returns for the current job.  Return whether there was one to apply.

        Of several instances of the service, one returns True.  Raises Refusal (503) after too many conflicts.
        """
        written_ = await self._patch(job_id, lambda job: change(job) if job["metadata"]["uid"] == uid else {})
        if written_ is None:
            raise _busy("The job could not be changed, because every try conflicted with another change to it.")
        return written_

    async def _patch(self, job_id: str, change: Callable[[Json], Json]) -> bool | None:
        """Return whether a patch was applied; None after too many conflicts with other writers."""
        for _ in range(_PATCHES):
            job = await self.find(job_id)
            if job is None or job["metadata"].get("deletionTimestamp") or not (body := change(job)):
                return False
            # resourceVersion makes the API server refuse the patch if another instance has changed the job since.
            metadata = {**body.get("metadata", {}), "resourceVersion": job["metadata"]["resourceVersion"]}
            try:
                await self.server.ask(
                    "PATCH", self._path(job), body={**body, "metadata": metadata}, content_type=MERGE_PATCH
                )
                return True
            except ApiError as error:
                if error.status == 404:
                    return False
                if error.status != 409:
                    raise _not_allowed(error) from error
        return None

    async def patch_object(self, kind: Kind, name: str, patch: Json) -> None:
        """Apply a merge patch to an object of a scheduler, unless the object no longer exists."""
        path = f"/apis/{kind.api_version}/namespaces/{self._namespace}/{kind.resource}/{name}"
        try:
            await self.server.ask("PATCH", path, body=patch, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status != 404:
                raise _not_allowed(error) from error

    async def mark(self, pod: Json, condition: Mapping[str, str]) -> None:
        """Set a condition of a pod, unless the pod no longer exists."""
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [dict(condition)]}}
        path = f"{self.pods_path}/{metadata['name']}/status"
        try:
            await self.server.ask("PATCH", path, body=body, content_type=STRATEGIC)
        except ApiError as error:
            if error.status not in (404, 409):
                raise _not_allowed(error) from error

    async def log(self, pod: Json, *, follow: bool, tail: int | None, silence_seconds: float) -> AsyncIterator[bytes]:
        """Yield the main container's output as it arrives.  Raises ApiError: 400 (not started), 404 (no such pod)."""
        query = {"container": kind_of(pod).SLOTS.main, "follow": "true" if follow else "false"}
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
    """Return whether this job owns the pod.  UIDs are compared, because a deleted job's name can be used again."""
    owners: Sequence[Json] = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == job["metadata"]["uid"] for owner in owners)


def newest_by_id(jobs: Sequence[Json]) -> list[Json]:
    """Return the jobs without those that have been replaced by another one of these jobs."""
    found: dict[str, Json] = {}
    for job in sorted(jobs, key=_is_newer):
        found[id_of(job)] = job
    return [job for job in jobs if found[id_of(job)] is job]


def _is_newer(job: Json) -> bool:
    return successor(job) is None


def job_name_of(pod: Json) -> str | None:
    """Return the name of the job to which the pod belongs, or None."""
    name: str | None = (pod["metadata"].get("labels") or {}).get(kind_of(pod).POD_LABEL)
    return name


def not_found(job_id: str) -> Refusal:
    """Return the same refusal for a missing job and for another user's job, so that users cannot tell which it is."""
    return Refusal(
        "not-found", f"You have no job {job_id[:80]!r}.", field="id", hint="`job list` prints your jobs.", status=404
    )


def _bad_place(status: int) -> Refusal:
    message = "The list is too old to continue." if status == 410 else "The place where the list continues is invalid."
    return Refusal("list-expired", message, field="continue", hint="List your jobs again.", status=status)


def _busy(message: str) -> Refusal:
    return Refusal("busy", message, hint="Try again.", status=503)


def _not_taken(error: ApiError) -> Refusal:
    message = "The cluster did not accept the job, so nothing was submitted."
    return _refused(message, "The API server did not accept a job", error)


def _not_allowed(error: ApiError) -> Refusal:
    message = "The cluster does not allow the batch service to do this."
    return _refused(message, "The API server refuses the batch service", error)


def _refused(message: str, logged: str, error: ApiError) -> Refusal:
    """Log the API server's error, and return a refusal for the user that names the log entry, but not the error."""
    mark = secrets.token_hex(4)
    log.error("%s (%s): %s", logged, mark, error)
    return Refusal(
        "cluster-refused",
        message,
        hint=f"Your administrators can find the reason in the batch service's log under {mark}.",
        status=503,
    )
