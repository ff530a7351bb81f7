"""How objects go: grace, finalizers, owners' garbage collection, namespaces.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from .errors import conflict
from .kinds import CRD, NAMESPACE, POD, Kind
from .objects import Json, now

if TYPE_CHECKING:
    from .store import Store

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


def delete(store: Store, kind: Kind, obj: Json, options: Json) -> Json:
    """Delete as the options say; the object as it is afterwards.  ApiError 409 when a precondition fails."""
    metadata = obj["metadata"]
    _check_preconditions(kind, metadata, options.get("preconditions") or {})
    policy = options.get("propagationPolicy") or default_policy(kind)
    if policy == "Orphan":
        _orphan_dependents(store, metadata["uid"])
    grace = _grace(kind, obj, options.get("gracePeriodSeconds"))
    finalizers = list(metadata.get("finalizers") or [])
    if policy == "Foreground" and FOREGROUND not in finalizers and _blocking_dependents(store, metadata["uid"]):
        finalizers.append(FOREGROUND)
    if not (grace or finalizers or kind == NAMESPACE):
        return remove(store, kind, obj)
    obj = _mark(store, kind, obj, grace, finalizers)
    if FOREGROUND in finalizers:
        for dependent_kind, dependent in dependents(store, metadata["uid"]):
            if not dependent["metadata"].get("deletionTimestamp"):
                delete(store, dependent_kind, dependent, {"propagationPolicy": "Foreground"})
        finish(store, kind, store.find(kind, metadata.get("namespace"), metadata["name"]) or obj)
    if kind == NAMESPACE:
        _empty_namespace(store, metadata["name"])
    return obj


def default_policy(kind: Kind) -> str:
    """batch/v1 Jobs leave their pods behind unless told otherwise, to many people's surprise."""
    return "Orphan" if (kind.group, kind.kind) == ("batch", "Job") else "Background"


def _check_preconditions(kind: Kind, metadata: Json, preconditions: Json) -> None:
    for field, key in (("UID", "uid"), ("ResourceVersion", "resourceVersion")):
        wanted = preconditions.get(key)
        if wanted not in (None, metadata[key]):
            why = (
                f"the {field} in the precondition ({wanted}) does not match the {field} in record ({metadata[key]}). "
                "The object might have been deleted and then recreated"
            )
            raise conflict(kind.plural, kind.group, metadata["name"], why)


def _grace(kind: Kind, obj: Json, asked: int | None) -> int:
    """Only a pod that a node still runs is given time."""
    if kind != POD or not obj["spec"].get("nodeName") or obj["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _mark(store: Store, kind: Kind, obj: Json, grace: int, finalizers: list[str]) -> Json:
    """Set deletionTimestamp; a second deletion can only shorten the grace."""
    new = copy.deepcopy(obj)
    metadata = new["metadata"]
    if not metadata.get("deletionTimestamp") or grace < metadata.get("deletionGracePeriodSeconds", grace):
        metadata.update(deletionTimestamp=metadata.get("deletionTimestamp") or now(), deletionGracePeriodSeconds=grace)
        metadata["generation"] = metadata.get("generation", 1) + 1
    if finalizers:
        metadata["finalizers"] = finalizers
    if kind == NAMESPACE:
        new["status"] = {"phase": "Terminating"}
    return obj if new == obj else store.commit(kind, "MODIFIED", new, obj)


def finish(store: Store, kind: Kind, obj: Json) -> None:
    """Remove an object that is being deleted once nothing holds it any more."""
    metadata = obj["metadata"]
    if (
        not metadata.get("deletionTimestamp")
        or kind == NAMESPACE
        or store.find(kind, metadata.get("namespace"), metadata["name"]) is not obj
    ):
        return
    finalizers: list[str] = metadata.get("finalizers") or []
    if FOREGROUND in finalizers and not _blocking_dependents(store, metadata["uid"]):
        new = copy.deepcopy(obj)
        finalizers = new["metadata"]["finalizers"] = [name for name in finalizers if name != FOREGROUND]
        obj = store.commit(kind, "MODIFIED", new, obj)
    if not finalizers and not (kind == POD and metadata.get("deletionGracePeriodSeconds")):
        remove(store, kind, obj)


def remove(store: Store, kind: Kind, obj: Json) -> Json:
    """Take it out of the store, and all that only it owned."""
    gone = store.commit(kind, "DELETED", copy.deepcopy(obj), obj)
    if kind == CRD:
        for defined in [k for k in store.kinds if k.key == (obj["spec"]["group"], obj["spec"]["names"]["plural"])]:
            for instance in store.list(defined):
                remove(store, defined, instance)
        store.kinds.forget(obj)
    for dependent_kind, dependent in dependents(store, obj["metadata"]["uid"]):
        owners = dependent["metadata"]["ownerReferences"]
        if not any(owner["uid"] in store.by_uid for owner in owners) and not dependent["metadata"].get(
            "deletionTimestamp"
        ):
            delete(store, dependent_kind, dependent, {"propagationPolicy": "Background"})
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner["uid"] in store.by_uid:
            finish(store, *store.by_uid[owner["uid"]])
    if namespace := obj["metadata"].get("namespace"):
        _finish_namespace(store, namespace)
    return gone


def dependents(store: Store, uid: str) -> list[tuple[Kind, Json]]:
    return [store.by_uid[dependent] for dependent in list(store.dependents.get(uid) or ())]


def _blocking_dependents(store: Store, uid: str) -> bool:
    return any(
        owner.get("uid") == uid and owner.get("blockOwnerDeletion")
        for _, dependent in dependents(store, uid)
        for owner in dependent["metadata"]["ownerReferences"]
    )


def _orphan_dependents(store: Store, uid: str) -> None:
    for kind, dependent in dependents(store, uid):
        new = copy.deepcopy(dependent)
        new["metadata"]["ownerReferences"] = [o for o in new["metadata"]["ownerReferences"] if o["uid"] != uid]
        if not new["metadata"]["ownerReferences"]:
            del new["metadata"]["ownerReferences"]
        store.commit(kind, "MODIFIED", new, dependent)


def _empty_namespace(store: Store, name: str) -> None:
    for kind in list(store.kinds.stored()):
        if kind.namespaced:
            for obj in store.list(kind, name):
                if store.find(kind, name, obj["metadata"]["name"]) is obj:
                    delete(store, kind, obj, {"propagationPolicy": "Background"})
    _finish_namespace(store, name)


def _finish_namespace(store: Store, name: str) -> None:
    namespace = store.find(NAMESPACE, None, name)
    if not namespace or not namespace["metadata"].get("deletionTimestamp"):
        return
    occupied = any(key[0] == name for objects in store.objects.values() for key in objects)
    if not occupied:
        remove(store, NAMESPACE, namespace)
