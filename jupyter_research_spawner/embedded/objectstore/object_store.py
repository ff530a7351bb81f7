"""Create, update and delete objects as the API server does, and record events about them."""

from __future__ import annotations

import copy
import secrets
import uuid
from collections.abc import Callable

from ..apimachinery.api_errors import ApiError, already_exists, bad_request, conflict, forbidden, not_found
from ..apimachinery.api_resources import CRD, EVENT, NAMESPACE, SERVICE_ACCOUNT, Kind, counts_generations
from ..apimachinery.object_fields import Json, micro_now, now
from . import admission, deletion
from .object_table import HISTORY, Change, ObjectTable

__all__ = ["Change", "Store"]

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # the characters that the API server uses in generated names
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "namespace",
    "name",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


class Store(ObjectTable):
    """An object table that admits, validates and deletes objects as the API server does."""

    def __init__(self, history: int = HISTORY) -> None:
        super().__init__(history)
        self._events: dict[tuple[str, str, str], tuple[str, str]] = {}
        for name in ("default", "kube-system"):
            self.create(NAMESPACE, None, {"metadata": {"name": name}})

    def create(self, kind: Kind, namespace: str | None, obj: Json, *, dry_run: bool = False) -> Json:
        """Create an object.

        Raises ApiError 404 if the namespace does not exist, 409 if the object exists, 403 or 422 if it is refused.
        """
        new = copy.deepcopy(obj)
        metadata = new["metadata"] = new.get("metadata") or {}
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        self._place(kind, namespace, metadata)
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(secrets.choice(_NAME_LETTERS) for _ in range(5))
            metadata["name"] = metadata["generateName"][: 253 - 5] + suffix
        if metadata.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"):
            metadata.pop(field, None)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now())
        if counts_generations(kind):
            metadata["generation"] = 1
        if self.find(kind, namespace, metadata.get("name") or "") is not None:
            raise already_exists(kind.plural, kind.group, metadata["name"])
        admission.admit(kind, new, None, self.objects)
        if dry_run:
            return new
        if kind == CRD:
            admission.accept_definition(new)
            self.kinds.define(new)
        created = self.commit(kind, "ADDED", new, None)
        if kind == NAMESPACE:
            self.create(SERVICE_ACCOUNT, metadata["name"], {"metadata": {"name": "default"}})
        return created

    def _place(self, kind: Kind, namespace: str | None, metadata: Json) -> None:
        if not kind.namespaced:
            metadata.pop("namespace", None)
            return
        if namespace is None:
            raise bad_request("the namespace of the object must be given in the path of the request")
        if (metadata.get("namespace") or namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = namespace
        found = self.find(NAMESPACE, None, namespace)
        if found is None:
            raise not_found("namespaces", "", namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(kind.plural, kind.group, metadata.get("name") or "", why)

    def update(
        self, kind: Kind, old: Json, obj: Json, *, subresource: str | None = None, dry_run: bool = False
    ) -> Json:
        """Replace `old` by `obj` like a PUT.  Raises ApiError 409 if `old` has changed, or 422 if `obj` is refused."""
        new, before = copy.deepcopy(obj), old["metadata"]
        metadata = new["metadata"] = new.get("metadata") or {}
        _check_place(metadata, before)
        if metadata.get("resourceVersion") not in (None, "", before["resourceVersion"]):
            why = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(kind.plural, kind.group, before["name"], why)
        if metadata.get("uid") not in (None, "", before["uid"]):
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {before['uid']}"
            raise conflict(kind.plural, kind.group, before["name"], why)
        for field in _SERVER_OWNED:
            metadata.pop(field, None)
            if field in before:
                metadata[field] = before[field]
        metadata["resourceVersion"] = before["resourceVersion"]
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        if subresource == "status":
            new = {**copy.deepcopy(old), "metadata": metadata, "status": new.get("status", old.get("status", {}))}
        elif "status" in kind.subresources:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        admission.admit(kind, new, old, self.objects)
        if counts_generations(kind) and new.get("spec") != old.get("spec"):
            metadata["generation"] = before.get("generation", 1) + 1
        if dry_run or new == old:
            return new
        if kind == CRD:
            self.kinds.define(new)
        stored = self.commit(kind, "MODIFIED", new, old)
        deletion.finish(self, kind, stored)
        return stored

    def modify(self, kind: Kind, obj: Json, change: Callable[[Json], None]) -> Json:
        """Change any part of a stored object, as controllers do.  If nothing changes, nothing is written."""
        metadata = obj["metadata"]
        old = self.get(kind, metadata.get("namespace"), metadata["name"])
        new = copy.deepcopy(old)
        change(new)
        if new == old:
            return old
        stored = self.commit(kind, "MODIFIED", new, old)
        deletion.finish(self, kind, stored)
        return stored

    def delete(self, kind: Kind, obj: Json, options: Json | None = None) -> Json:
        return deletion.delete(self, kind, obj, options or {})

    def record(
        self, obj: Json, reason: str, message: str, *, source: str, warning: bool = False, newer: bool = False
    ) -> None:
        """Write an event about `obj`.  If the same event exists, increase its count, as client-go does.

        newer: if true, write eventTime, as clients of events.k8s.io do, instead of firstTimestamp and lastTimestamp.
        """
        namespace = obj["metadata"].get("namespace") or "default"
        about = {key: obj[key] for key in ("apiVersion", "kind")}
        about |= {
            key: obj["metadata"][key]
            for key in ("name", "namespace", "uid", "resourceVersion")
            if key in obj["metadata"]
        }

        known = self._events.get((about["uid"], reason, message))
        if known and (event := self.find(EVENT, *known)):
            self.modify(EVENT, event, _again)
            return
        place = self.find(NAMESPACE, None, namespace)
        if not place or place["metadata"].get("deletionTimestamp"):
            return
        name = f"{about['name'][:236]}.{uuid.uuid4().hex[:16]}"
        self._events[about["uid"], reason, message] = (namespace, name)
        older = {"firstTimestamp": now(), "lastTimestamp": now(), "count": 1, "source": {"component": source}}
        times = {"eventTime": micro_now(), "action": reason} if newer else older
        event = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": about,
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "reportingComponent": source,
            "reportingInstance": f"{source}-embedded" if newer else "",
            **times,
        }
        self.create(EVENT, namespace, event)


def _again(event: Json) -> None:
    if event["eventTime"] is None:
        event.update(count=event.get("count", 1) + 1, lastTimestamp=now())
        return
    count = (event.get("series") or {}).get("count", 1) + 1
    event["series"] = {"count": count, "lastObservedTime": micro_now()}


def _check_place(metadata: Json, before: Json) -> None:
    if (metadata.get("name") or before["name"]) != before["name"]:
        why = f"the name of the object ({metadata['name']}) does not match the name on the URL ({before['name']})"
        raise bad_request(why)
    if (metadata.get("namespace") or before.get("namespace")) != before.get("namespace"):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
