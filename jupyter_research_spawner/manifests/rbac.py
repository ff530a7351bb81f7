"""Create the roles of the batch service, and those of the hub that the chart does not create.

No role allows creating pods or changing roles.  The hub may read the secrets that `pods.allow.secrets` requires by
their exact names, to see whether they exist; it requests only their metadata.  A role cannot name the secrets of a
pattern with `{user}`, so the hub gets no right to read those: a start ends when the kubelet reports that such a secret
does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..identity.accepted_uid import CONFIG_MAP
from ..jobs import KINDS
from ..prerequisite import Prerequisite
from ..schedulers import SCHEDULERS, Kind
from ..shape import Json
from ..site import Site
from .release import BATCH, Release, metadata
from .site_prerequisites import site_prerequisites

API = "rbac.authorization.k8s.io"
LOOK = "research-prerequisites"
NODES = "research-nodes"
QUEUES = "research-queues"
PODS = "research-all-pods"
SECRETS = "research-secrets"
DEADLINES = "research-deadlines"
# The hub writes when a notebook ends into an annotation of its pod, when it starts and when its user extends it.
_MAY_ANNOTATE: Json = {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
# Optional: without these rights, nobody is told that a pod is larger than any node.
SIZES: list[Json] = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["list", "watch"]},
]
# Administrators of the cluster write it.
ACCEPTED_UIDS = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP], "verbs": ["get"]}


def objects(site: Site, release: Release) -> list[Json]:
    """Return the service account of the batch service, the roles and their bindings."""
    pods, hub_namespace = site.namespaces.name, release.namespace_of(site)
    batch: Json = {"kind": "ServiceAccount", "name": BATCH, "namespace": hub_namespace}
    hub: Json = {"kind": "ServiceAccount", "name": release.hub_service_account, "namespace": hub_namespace}
    found = site_prerequisites(site)
    # The name contains the namespace, so that several installations in one cluster have different ClusterRoles.
    everywhere = f"{LOOK}-{pods}"
    in_cluster = _may_get(one for one in found if one.namespace is None)
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(BATCH, "batch", hub_namespace),
            # Only the pod of the Deployment mounts a token.
            "automountServiceAccountToken": False,
        },
        _role(
            "Role",
            LOOK,
            pods,
            [*_may_get(one for one in found if one.namespace is not None), *_may_follow(site), ACCEPTED_UIDS],
        ),
        _binding("Role", LOOK, pods, [hub, batch]),
        *([_role("ClusterRole", everywhere, None, in_cluster)] if in_cluster else []),
        *([_binding("ClusterRole", everywhere, None, [hub, batch])] if in_cluster else []),
        _role("Role", DEADLINES, pods, [_MAY_ANNOTATE]),
        _binding("Role", DEADLINES, pods, [hub]),
        _role("ClusterRole", f"{NODES}-{pods}", None, SIZES),
        _binding("ClusterRole", f"{NODES}-{pods}", None, [hub, batch]),
        *_availability_roles(site, hub, batch),
        *_secret_roles(site, hub),
        _role("Role", BATCH, pods, [*_job_rules(), *_may_mark(site), *_may_hold(site)]),
        _binding("Role", BATCH, pods, [batch]),
    ]


def _job_rules() -> list[Json]:
    """Return the rules for the jobs of every kind, their pods and their events."""
    by_group: dict[str, set[str]] = {}
    for kind in KINDS.values():
        by_group.setdefault(kind.RESOURCE.group, set()).add(kind.RESOURCE.plural)
    verbs = ["create", "delete", "get", "list", "patch", "watch"]
    of_kinds = [rule for kind in KINDS.values() for rule in kind.RULES]
    return [
        *(
            {"apiGroups": [group], "resources": sorted(found), "verbs": verbs}
            for group, found in sorted(by_group.items())
        ),
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
        # Several kinds can declare the same rule.
        *(rule for number, rule in enumerate(of_kinds) if rule not in of_kinds[:number]),
    ]


def _may_get(found: Iterable[Prerequisite]) -> list[Json]:
    """Return one rule per API group.  The rules name no objects, so that a new queue requires no new role."""
    by_group: dict[str, set[str]] = {}
    for prerequisite in found:
        by_group.setdefault(prerequisite.group, set()).add(prerequisite.resource)
    return [
        {"apiGroups": [group], "resources": sorted(resources), "verbs": ["get"]}
        for group, resources in sorted(by_group.items())
    ]


def _availability_roles(site: Site, hub: Json, batch: Json) -> list[Json]:
    """Return the roles for reading queues and what is free, and their bindings.

    The options form of the hub shows both, and "My work" of the batch service shows queues.
    """
    pods = site.namespaces.name
    kinds = SCHEDULERS[site.scheduler.kind].queue_kinds if site.availability != "none" else ()
    in_namespace = _may_watch((kind.group, kind.resource) for kind in kinds if kind.namespaced)
    in_cluster = _may_watch((kind.group, kind.resource) for kind in kinds if not kind.namespaced)
    all_pods = _may_watch([("", "pods")] if site.availability == "nodes" else ())
    return [
        one
        for kind, name, namespace, rules, subjects in (
            ("Role", QUEUES, pods, in_namespace, [hub, batch]),
            ("ClusterRole", f"{QUEUES}-{pods}", None, in_cluster, [hub, batch]),
            ("ClusterRole", f"{PODS}-{pods}", None, all_pods, [hub]),
        )
        if rules
        for one in (_role(kind, name, namespace, rules), _binding(kind, name, namespace, subjects))
    ]


def _may_watch(resources: Iterable[tuple[str, str]]) -> list[Json]:
    """Return one rule per API group to list and watch these resources."""
    by_group: dict[str, list[str]] = {}
    for group, resource in resources:
        by_group.setdefault(group, []).append(resource)
    verbs = ["list", "watch"]
    return [{"apiGroups": [group], "resources": names, "verbs": verbs} for group, names in sorted(by_group.items())]


def _secret_roles(site: Site, hub: Json) -> list[Json]:
    """Return the role that lets the hub read the required secrets, and its binding; [] if no secret is required."""
    names = sorted(name for name, needed in site.pods.allow.secrets.items() if needed is True and "{user}" not in name)
    if not names:
        return []
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": ["get"]}
    pods = site.namespaces.name
    return [_role("Role", SECRETS, pods, [rule]), _binding("Role", SECRETS, pods, [hub])]


def _may_follow(site: Site) -> list[Json]:
    """Return rules to read the scheduler's objects that show why pods wait, and their places in queues."""
    scheduler = SCHEDULERS[site.scheduler.kind]
    watched: tuple[Kind, ...] = scheduler.watched
    order = scheduler.ORDER
    return [
        *(
            {"apiGroups": [kind.group], "resources": [kind.resource], "verbs": ["get", "list", "watch"]}
            for kind in watched
        ),
        *([] if order is None else [{"apiGroups": [order.group], "resources": [order.resource], "verbs": ["get"]}]),
    ]


def _may_mark(site: Site) -> list[Json]:
    """Return a rule to write pod conditions, if the scheduler preempts pods without setting a condition."""
    rule = {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]}
    return [rule] if SCHEDULERS[site.scheduler.kind].deletes_unmarked else []


def _may_hold(site: Site) -> list[Json]:
    """Return a rule to keep a job from starting, if another object than the job decides when it starts."""
    hold = SCHEDULERS[site.scheduler.kind].HOLD
    return (
        []
        if hold is None
        else [{"apiGroups": [hold.kind.group], "resources": [hold.kind.resource], "verbs": ["patch"]}]
    )


def _role(kind: str, name: str, namespace: str | None, rules: list[Json]) -> Json:
    return {
        "apiVersion": f"{API}/v1",
        "kind": kind,
        "metadata": metadata(name, "rbac", namespace),
        "rules": rules,
    }


def _binding(role: str, name: str, namespace: str | None, subjects: list[Json]) -> Json:
    return {
        "apiVersion": f"{API}/v1",
        "kind": f"{role}Binding",
        "metadata": metadata(name, "rbac", namespace),
        "roleRef": {"apiGroup": API, "kind": role, "name": name},
        "subjects": subjects,
    }
