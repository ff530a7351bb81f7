"""Compare a pod that exists with the manifest that a start has composed and checked.

A restarted hub adopts a waiting pod only if the site would create the same pod today. The pod may differ from the
manifest only in what these tables name: defaults of the API server, what admission plugins and the scheduler add, and
what differs between any two starts. Written for Kubernetes 1.36 (pkg/apis/core/v1/defaults.go, plugin/pkg/admission).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from ..api_object import annotations_of, parse_map, parse_quantity
from ..plan import Granted, granted_in
from ..shape import OUR_PREFIX, Json
from ..wording import quote
from .containers import all_containers
from .deadline import DEADLINE
from .notices import NOTICES_VOLUME
from .overlay import CLIENT_VOLUME, OWNER, PLAN, REQUEST, TERMINAL_SCRIPT

# In the paths of these tables, * is any text, and [] is any item of a list. Items are called by their name, if they
# have one. containers and initContainers both end in "ontainers".

# Where only the API server or the kubelet writes.
_SERVER_FIELDS = (
    "apiVersion",
    "kind",
    "status.*",
    *(f"metadata.{key}" for key in ("creationTimestamp", "generation", "resourceVersion", "selfLink", "uid")),
    "metadata.managedFields*",
)
# Fields that the manifest can lack, with the values that API server and admission plugins give them.
_DEFAULTS: Mapping[str, tuple[Any, ...]] = {
    "spec.dnsPolicy": ("ClusterFirst",),
    "spec.enableServiceLinks": (True,),
    "spec.preemptionPolicy": ("PreemptLowerPriority", "Never"),  # of the PriorityClass
    "spec.restartPolicy": ("Always",),
    "spec.schedulerName": ("default-scheduler",),
    "spec.serviceAccount": ("default",),
    "spec.serviceAccountName": ("default",),
    "spec.terminationGracePeriodSeconds": (30,),
    "spec.*ontainers[].imagePullPolicy": ("Always", "IfNotPresent"),
    "spec.*ontainers[].terminationMessagePath": ("/dev/termination-log",),
    "spec.*ontainers[].terminationMessagePolicy": ("File",),
    "spec.*ontainers[].ports[].protocol": ("TCP",),
    "spec.*ontainers[].*.httpGet.path": ("/",),
    "spec.*ontainers[].*.httpGet.scheme": ("HTTP",),
    "spec.*ontainers[].resizePolicy[].resourceName": ("cpu", "memory"),
    "spec.*ontainers[].resizePolicy[].restartPolicy": ("NotRequired",),
    "spec.*ontainers[].*Probe.failureThreshold": (3,),
    "spec.*ontainers[].*Probe.periodSeconds": (10,),
    "spec.*ontainers[].*Probe.successThreshold": (1,),
    "spec.*ontainers[].*Probe.timeoutSeconds": (1,),
    "spec.*.fieldRef.apiVersion": ("v1",),
    "spec.*.resourceFieldRef.divisor": ("0",),
    "spec.volumes[].image.pullPolicy": ("Always", "IfNotPresent"),
    "spec.volumes[].ephemeral.volumeClaimTemplate.spec.volumeMode": ("Filesystem",),
    "spec.volumes[].*.defaultMode": (0o644,),
}
# Fields in which false or "" is the same as a missing field.
_OMITTED_IF_EMPTY = (
    "spec.hostIPC",
    "spec.hostNetwork",
    "spec.hostPID",
    "spec.*ontainers[].env[].value",
    "spec.*ontainers[].stdin*",
    "spec.*ontainers[].tty",
    "spec.*ontainers[].volumeMounts[].readOnly",
    "spec.volumes[].hostPath.type",
)
# What clusters add to a pod, beside what its scheduler adds.
_ADDED = (
    "spec.priority",  # of the PriorityClass; it is compared with the settings
    "spec.nodeName",  # by the scheduler, when it binds the pod
    "spec.overhead.*",  # of the RuntimeClass
    "spec.tolerations[node.kubernetes.io/*",  # by DefaultTolerationSeconds and PodTolerationRestriction
    "metadata.annotations.kubernetes.io/limit-ranger",
    # By PodTopologyLabels, of the node.
    "metadata.labels.topology.kubernetes.io/region",
    "metadata.labels.topology.kubernetes.io/zone",
    # By network plugins, when the pod has its addresses.
    "metadata.annotations.cni.projectcalico.org/*",
    "metadata.annotations.k8s.ovn.org/pod-networks",
    "metadata.annotations.k8s.v1.cni.cncf.io/network-status",
)
# The ServiceAccount's pull secrets, if the manifest names none. The image is compared, and a secret only pulls it.
_PULL_SECRETS = "spec.imagePullSecrets[].name"
# The annotation and the fields that the admission plugin LimitRanger adds to containers without requests or limits.
_LIMIT_RANGER = "metadata.annotations.kubernetes.io/limit-ranger"
_LIMIT_RANGES = tuple(
    f"spec.*ontainers[].resources.{kind}.{name}"
    for kind in ("limits", "requests")
    for name in ("cpu", "memory", "ephemeral-storage")
)
# Where the pods of two starts differ, also if neither the settings nor the user's rights have changed, and the values.
_OF_ONE_START: Mapping[str, str] = {
    f"metadata.annotations.{REQUEST}": "*",  # the adoption key, which the hub compares
    f"metadata.annotations.{OWNER}": "*",  # the hub compares it
    f"metadata.annotations.{OUR_PREFIX}site": "*",  # the digest of the settings; what follows from them is compared
    "spec.*ontainers[].env[JPY_API_TOKEN].value": "*",
    "spec.*ontainers[].env[JUPYTERHUB_API_TOKEN].value": "*",
    f"metadata.annotations.{DEADLINE}": "*",  # the hub writes it when a kubelet has accepted the pod
    # Versions of the hub and of its chart, so that an upgrade keeps the place in the queue.
    "metadata.annotations.hub.jupyter.org/jupyterhub-version": "*",
    "metadata.annotations.hub.jupyter.org/kubespawner-version": "*",
    "metadata.labels.chart": "*",
    "metadata.labels.helm.sh/chart": "*",
    # The command `job` of another version of this project.
    f"spec.volumes[{CLIENT_VOLUME}].projected.sources[].configMap.name": f"{CLIENT_VOLUME}-*",
    # What tells the user before the end, of another version of this project.
    f"metadata.annotations.{TERMINAL_SCRIPT}": "*",
    f"spec.volumes[{NOTICES_VOLUME}].projected.sources[].configMap.name": f"{NOTICES_VOLUME}-*",
}
_AMOUNTS = ("spec.*ontainers[].resources.*", "spec.volumes[].emptyDir.sizeLimit")
# Their values can contain secrets, which must not be logged.
_SECRET = ("*.env[]*", "*.command[]", "*.args[]", "metadata.annotations.*")


def differences(manifest: Json, found: Json, added: Sequence[str], priority: int) -> list[tuple[str, str]]:
    """Return (path, difference) for each field in which a pod differs from the pod that the manifest would create.

    added: the paths of what the pod's scheduler adds.  priority: the value of the manifest's PriorityClass.
    """
    wanted, present = dict(_leaves(manifest)), dict(_leaves(_with_run_id_of(manifest, found)))
    harmless = [*_SERVER_FIELDS, *_ADDED, *added, *_tolerations_of_resources(manifest)]
    if not manifest["spec"].get("imagePullSecrets"):
        harmless.append(_PULL_SECRETS)
    if _LIMIT_RANGER in present:
        harmless += _LIMIT_RANGES
    result = {}
    for path in sorted(wanted.keys() | present.keys()):
        old, new = present.get(path), wanted.get(path)
        is_added = new is None and (_matches(path, harmless) or _is_default(path, old, wanted))
        if not (is_added or _is_same(path, old, new) or _differs_in_each_start(path, old, new)):
            whole = _whole_item(path, present, wanted)
            result[whole] = _described(whole, present.get(whole), wanted.get(whole), old is None, new is None)
    result |= dict(_reordered(manifest, found))
    value = found["spec"].get("priority")
    if value != (priority if manifest["spec"].get("priorityClassName") else 0):
        result["spec.priority"] = f"is {quote(value)}, not {priority}"
    return list(result.items())


def _tolerations_of_resources(manifest: Json) -> Iterator[str]:
    """Yield the tolerations that the admission plugin ExtendedResourceToleration adds for the devices of the pod."""
    for _, container in all_containers(manifest):
        for amounts in (container.get("resources") or {}).values():
            yield from (f"spec.tolerations[{name}:*" for name in amounts if "/" in name)


def _is_same(path: str, old: Any, new: Any) -> bool:
    """Return whether two values of a field mean the same; None stands for a missing field."""
    if path == f"metadata.annotations.{PLAN}":
        # It describes the plan for other programs. What follows from the plan is compared.
        return old is not None and _granted(old) == _granted(new)
    if old is None or new is None:
        value = new if old is None else old
        return value in ({}, []) or (value in (False, "") and _matches(path, _OMITTED_IF_EMPTY))
    if type(old) is type(new) and old == new:
        return True
    return _matches(path, _AMOUNTS) and parse_quantity(old) == parse_quantity(new)


def _granted(text: str) -> Granted | None:
    return granted_in(parse_map(text), "")


def _is_default(path: str, old: Any, wanted: Mapping[str, Any]) -> bool:
    """Return whether the API server gives this value to a field that the manifest does not set."""
    if any(old in values for pattern, values in _DEFAULTS.items() if _matches(path, (pattern,))):
        return True
    limit = wanted.get(path.replace(".resources.requests.", ".resources.limits."))
    return ".resources.requests." in path and limit is not None and parse_quantity(old) == parse_quantity(limit)


def _differs_in_each_start(path: str, *values: Any) -> bool:
    patterns = [pattern for where, pattern in _OF_ONE_START.items() if _matches(path, (where,))]
    return any(_matches(str(value), patterns) for value in values) and all(
        value is None or _matches(str(value), patterns) for value in values
    )


def _with_run_id_of(manifest: Json, found: Json) -> Json:
    """Return the pod with the manifest's run id in its labels and annotations.  Schedulers group pods by the run id."""
    old, new = (str(_summary(pod).get("run_id", "")) for pod in (found, manifest))
    metadata = dict(found["metadata"])
    for kind in ("labels", "annotations"):
        items = (metadata.get(kind) or {}).items()
        metadata[kind] = {key: new if old and value == old else value for key, value in items}
    return {**found, "metadata": metadata}


def _summary(pod: Json) -> Mapping[str, Any]:
    return parse_map(annotations_of(pod).get(PLAN))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each field without fields below it."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            if below is not None:
                yield from _leaves(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        seen: Counter[str] = Counter()
        for index, item in enumerate(value):
            name = _name_of(item, index, path)
            seen[name] += 1
            yield from _leaves(item, f"{path}[{name}]" if seen[name] == 1 else f"{path}[{name}#{seen[name]}]")
    else:
        yield path, value


# Lists of values whose order does not matter.
_SETS = ("metadata.finalizers", "spec.securityContext.supplementalGroups")


def _name_of(item: Any, index: int, path: str) -> str:
    if not isinstance(item, dict):
        return str(item) if path in _SETS else str(index)
    for key in ("mountPath", "name", "containerPort", "uid"):
        if key in item:
            return str(item[key])
    if path == "spec.tolerations":
        return f"{item.get('key', '')}:{item.get('effect', '')}"
    return str(index)


def _whole_item(path: str, present: Iterable[str], wanted: Iterable[str]) -> str:
    """Return the path of the first item above `path` that only one of the two pods has; `path` if there is none."""
    for end in (match.end() for match in re.finditer(r"\]", path)):
        item = path[:end]
        if not all(any(other.startswith(item) for other in paths) for paths in (present, wanted)):
            return item
    return path


def _described(path: str, old: Any, new: Any, is_missing: bool, is_left: bool) -> str:
    if is_missing:
        return "is missing"
    if is_left:
        return "is not part of the pod that the settings give now"
    return "has another value" if _matches(path, _SECRET) else f"is {quote(old)}, not {quote(new)}"


def _reordered(manifest: Json, found: Json) -> Iterator[tuple[str, str]]:
    """Yield the lists of containers and variables that are in another order, which can change what they do."""
    pairs = [(f"spec.{sort}", manifest["spec"].get(sort), found["spec"].get(sort)) for sort in _CONTAINERS]
    ours, theirs = ({one["name"]: one for _, one in all_containers(pod)} for pod in (manifest, found))
    pairs += [(f"env of {name}", ours[name].get("env"), theirs[name].get("env")) for name in ours.keys() & theirs]
    for path, wanted, present in pairs:
        names, others = ([item.get("name") for item in items or ()] for items in (wanted, present))
        if sorted(map(str, names)) == sorted(map(str, others)) and names != others:
            yield path, "are in another order"


_CONTAINERS = ("initContainers", "containers")


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(_compiled(pattern).fullmatch(text) for pattern in patterns)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    escaped = re.escape(pattern).replace(r"\[\]", r"\[[^]]*\]").replace(r"\*", ".*")
    return re.compile(escaped, re.DOTALL)
