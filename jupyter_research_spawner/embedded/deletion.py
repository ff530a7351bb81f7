"""How objects go: grace, finalizers, owners' garbage collection, namespaces.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from .errors import conflict
from .kinds import CRD, NAMESPACE, POD, Kind, counts_generations
from .objects import Json, later, now

if TYPE_CHECKING:
    from .store import Store

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_FINALIZERS = {"Foreground": FOREGROUND, "Orphan": ORPHAN}


def delete(store: Store, kind: Kind, obj: Json, options: Json) -> Json:
    """Delete as the options say; the object as it then is.  ApiError 409 when a precondition fails."""
    metadata = obj["metadata"]
    _check_preconditions(kind, metadata, options.get("preconditions") or {})
    policy = options.get("propagationPolicy") or _policy_of_old(options) or default_policy(kind)
    finalizers = [name for name in metadata.get("finalizers") or [] if name not in _FINALIZERS.values()]
    if policy in _FINALIZERS:
        finalizers.append(_FINALIZERS[policy])
    grace = _grace(kind, obj, options.get("gracePeriodSeconds"))
    if not (finalizers or kind in (POD, NAMESPACE)):
        return remove(store, kind, obj)
    marked = _marked(kind, obj, grace, finalizers)
    if not (grace or finalizers or kind == NAMESPACE):
        return remove(store, kind, obj, marked)
    if marked != obj:
        marked = store.commit(kind, "MODIFIED", marked, obj)
    if FOREGROUND in finalizers:
        _delete_dependents(store, metadata["uid"])
    finish(store, kind, marked)
    if kind == NAMESPACE:
        _empty_namespace(store, metadata["name"])
    return marked


def _policy_of_old(options: Json) -> str:
    """What `orphanDependents`, which kubectl of old sends, means."""
    meant = {True: "Orphan", False: "Background"}
    return meant.get(options.get("orphanDependents"), "")  # type: ignore[arg-type]


def _delete_dependents(store: Store, uid: str) -> None:
    for kind, dependent in dependents(store, uid):
        if not dependent["metadata"].get("deletionTimestamp"):
            policy = "Foreground" if dependents(store, dependent["metadata"]["uid"]) else "Background"
            delete(store, kind, dependent, {"propagationPolicy": policy})


def default_policy(kind: Kind) -> str:
    """batch/v1 Jobs leave their pods behind unless told otherwise, to many people's surprise."""
    return "Orphan" if (kind.group, kind.kind) == ("batch", "Job") else "Background"


def _check_preconditions(kind: Kind, metadata: Json, preconditions: Json) -> None:
    for field, key, what in (
        ("UID", "uid", "deleted and then recreated"),
        ("ResourceVersion", "resourceVersion", "modified"),
    ):
        wanted = preconditions.get(key)
        if wanted not in (None, metadata[key]):
            why = (
                f"the {field} in the precondition ({wanted}) does not match the {field} in record ({metadata[key]}). "
                f"The object might have been {what}"
            )
            # Here the API server names the kind, not the resource.
            raise conflict(kind.kind, kind.group, metadata["name"], why)


def _grace(kind: Kind, obj: Json, asked: int | None) -> int:
    """Only a pod that a node still runs is given time."""
    if kind != POD or not obj["spec"].get("nodeName") or obj["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _marked(kind: Kind, obj: Json, grace: int, finalizers: list[str]) -> Json:
    """A copy with deletionTimestamp, which is when its grace ends; a second deletion can only shorten that."""
    new = copy.deepcopy(obj)
    metadata = new["metadata"]
    before = metadata.get("deletionGracePeriodSeconds")
    if not metadata.get("deletionTimestamp"):
        metadata.update(deletionTimestamp=now(grace), deletionGracePeriodSeconds=grace)
        if counts_generations(kind):
            metadata["generation"] = metadata.get("generation", 1) + 1
    elif before is not None and grace < before:
        metadata["deletionTimestamp"] = later(metadata["deletionTimestamp"], grace - before)
        metadata["deletionGracePeriodSeconds"] = grace
    metadata.pop("finalizers", None)
    if finalizers:
        metadata["finalizers"] = finalizers
    if kind == NAMESPACE:
        metadata.pop("deletionGracePeriodSeconds", None)
        new["status"] = {"phase": "Terminating"}
    return new


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
    if ORPHAN in finalizers:
        _orphan_dependents(store, metadata["uid"])
    done = {ORPHAN} if _blocking_dependents(store, metadata["uid"]) else {ORPHAN, FOREGROUND}
    if done & set(finalizers):
        new = copy.deepcopy(obj)
        finalizers = new["metadata"]["finalizers"] = [name for name in finalizers if name not in done]
        obj = store.commit(kind, "MODIFIED", new, obj)
    if not finalizers and not (kind == POD and metadata.get("deletionGracePeriodSeconds")):
        remove(store, kind, obj)


def remove(store: Store, kind: Kind, obj: Json, last: Json | None = None) -> Json:
    """Take it out of the store, and all that only it owned.  `last` is what watchers see of it."""
    gone = store.commit(kind, "DELETED", copy.deepcopy(obj) if last is None else last, obj)
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
