"""Delete objects and namespaces, with grace periods, finalizers and garbage collection of dependents.

Follows https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

import copy

from ..apimachinery.api_errors import conflict
from ..apimachinery.api_resources import CRD, NAMESPACE, POD, Kind, counts_generations
from ..apimachinery.object_fields import Json, later, now
from .object_table import ObjectTable

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_FINALIZERS = {"Foreground": FOREGROUND, "Orphan": ORPHAN}


def delete(table: ObjectTable, kind: Kind, obj: Json, options: Json) -> Json:
    """Delete the object with these DeleteOptions and return its last state.

    Raises ApiError 409 if a precondition is not met.
    """
    metadata = obj["metadata"]
    _check_preconditions(kind, metadata, options.get("preconditions") or {})
    policy = options.get("propagationPolicy") or _policy_of_old(options) or default_policy(kind)
    finalizers = [name for name in metadata.get("finalizers") or [] if name not in _FINALIZERS.values()]
    if policy in _FINALIZERS:
        finalizers.append(_FINALIZERS[policy])
    grace = _grace(kind, obj, options.get("gracePeriodSeconds"))
    if not (finalizers or kind in (POD, NAMESPACE)):
        return remove(table, kind, obj)
    marked = _marked(kind, obj, grace, finalizers)
    if not (grace or finalizers or kind == NAMESPACE):
        return remove(table, kind, obj, marked)
    if marked != obj:
        marked = table.commit(kind, "MODIFIED", marked, obj)
    if FOREGROUND in finalizers:
        _delete_dependents(table, metadata["uid"])
    finish(table, kind, marked)
    if kind == NAMESPACE:
        _empty_namespace(table, metadata["name"])
    return marked


def _policy_of_old(options: Json) -> str:
    """Return the propagation policy for the deprecated option `orphanDependents`; "" if the option is not set."""
    meant = {True: "Orphan", False: "Background"}
    return meant.get(options.get("orphanDependents"), "")  # type: ignore[arg-type]


def _delete_dependents(table: ObjectTable, uid: str) -> None:
    for kind, dependent in dependents(table, uid):
        if not dependent["metadata"].get("deletionTimestamp"):
            policy = "Foreground" if dependents(table, dependent["metadata"]["uid"]) else "Background"
            delete(table, kind, dependent, {"propagationPolicy": policy})


def default_policy(kind: Kind) -> str:
    """Return the default propagation policy.  For batch/v1 Jobs it is Orphan, so their pods remain."""
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
            # The API server writes the kind here, not the resource.
            raise conflict(kind.kind, kind.group, metadata["name"], why)


def _grace(kind: Kind, obj: Json, asked: int | None) -> int:
    """Return the grace period in seconds.  It is 0 for all objects except an unfinished pod on a node."""
    if kind != POD or not obj["spec"].get("nodeName") or obj["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _marked(kind: Kind, obj: Json, grace: int, finalizers: list[str]) -> Json:
    """Return a copy with a deletionTimestamp at the end of the grace period.

    A second deletion can only shorten the grace period.
    """
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


def finish(table: ObjectTable, kind: Kind, obj: Json) -> None:
    """Remove a terminating object if it has neither finalizers nor a grace period."""
    metadata = obj["metadata"]
    if (
        not metadata.get("deletionTimestamp")
        or kind == NAMESPACE
        or table.find(kind, metadata.get("namespace"), metadata["name"]) is not obj
    ):
        return
    finalizers: list[str] = metadata.get("finalizers") or []
    if ORPHAN in finalizers:
        _orphan_dependents(table, metadata["uid"])
    done = {ORPHAN} if _blocking_dependents(table, metadata["uid"]) else {ORPHAN, FOREGROUND}
    if done & set(finalizers):
        new = copy.deepcopy(obj)
        finalizers = new["metadata"]["finalizers"] = [name for name in finalizers if name not in done]
        obj = table.commit(kind, "MODIFIED", new, obj)
    if not finalizers and not (kind == POD and metadata.get("deletionGracePeriodSeconds")):
        remove(table, kind, obj)


def remove(table: ObjectTable, kind: Kind, obj: Json, last: Json | None = None) -> Json:
    """Remove the object, and delete its dependents that have no other owner.

    `last` is the object's last state, which watchers receive; by default its stored state.
    """
    gone = table.commit(kind, "DELETED", copy.deepcopy(obj) if last is None else last, obj)
    if kind == CRD:
        for defined in [k for k in table.kinds if k.key == (obj["spec"]["group"], obj["spec"]["names"]["plural"])]:
            for instance in table.list(defined):
                remove(table, defined, instance)
        table.kinds.forget(obj)
    for dependent_kind, dependent in dependents(table, obj["metadata"]["uid"]):
        owners = dependent["metadata"]["ownerReferences"]
        if not any(owner["uid"] in table.by_uid for owner in owners) and not dependent["metadata"].get(
            "deletionTimestamp"
        ):
            delete(table, dependent_kind, dependent, {"propagationPolicy": "Background"})
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner["uid"] in table.by_uid:
            finish(table, *table.by_uid[owner["uid"]])
    if namespace := obj["metadata"].get("namespace"):
        _finish_namespace(table, namespace)
    return gone


def dependents(table: ObjectTable, uid: str) -> list[tuple[Kind, Json]]:
    return [table.by_uid[dependent] for dependent in list(table.dependents.get(uid) or ())]


def _blocking_dependents(table: ObjectTable, uid: str) -> bool:
    return any(
        owner.get("uid") == uid and owner.get("blockOwnerDeletion")
        for _, dependent in dependents(table, uid)
        for owner in dependent["metadata"]["ownerReferences"]
    )


def _orphan_dependents(table: ObjectTable, uid: str) -> None:
    for kind, dependent in dependents(table, uid):
        new = copy.deepcopy(dependent)
        new["metadata"]["ownerReferences"] = [o for o in new["metadata"]["ownerReferences"] if o["uid"] != uid]
        if not new["metadata"]["ownerReferences"]:
            del new["metadata"]["ownerReferences"]
        table.commit(kind, "MODIFIED", new, dependent)


def _empty_namespace(table: ObjectTable, name: str) -> None:
    for kind in list(table.kinds.stored()):
        if kind.namespaced:
            for obj in table.list(kind, name):
                if table.find(kind, name, obj["metadata"]["name"]) is obj:
                    delete(table, kind, obj, {"propagationPolicy": "Background"})
    _finish_namespace(table, name)


def _finish_namespace(table: ObjectTable, name: str) -> None:
    namespace = table.find(NAMESPACE, None, name)
    if not namespace or not namespace["metadata"].get("deletionTimestamp"):
        return
    occupied = any(key[0] == name for objects in table.objects.values() for key in objects)
    if not occupied:
        remove(table, NAMESPACE, namespace)
