"""The built-in and custom resources that the API server serves, and the discovery documents about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .api_errors import ApiError
from .object_fields import Json

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True)
class Kind:
    """One served version of one resource."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """Return the key under which the objects of all versions of the resource are stored."""
        return (self.group, self.plural)


def _core(plural: str, kind: str, *subresources: str, namespaced: bool = True, short: str = "") -> Kind:
    return Kind("", "v1", plural, kind, namespaced, subresources, (short,) if short else ())


NAMESPACE = _core("namespaces", "Namespace", "status", "finalize", namespaced=False, short="ns")
NODE = _core("nodes", "Node", "status", namespaced=False, short="no")
POD = _core("pods", "Pod", "status", "binding", "eviction", "exec", "log", "portforward", short="po")
EVENT = _core("events", "Event", short="ev")
CLAIM = _core("persistentvolumeclaims", "PersistentVolumeClaim", "status", short="pvc")
SECRET = _core("secrets", "Secret")
CONFIG_MAP = _core("configmaps", "ConfigMap", short="cm")
SERVICE_ACCOUNT = _core("serviceaccounts", "ServiceAccount", short="sa")
JOB = Kind("batch", "v1", "jobs", "Job", True, ("status",))
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False, (), ("pc",))
CRD = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False, ("status",), ("crd",)
)

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
BUILT_IN = (
    NAMESPACE,
    NODE,
    POD,
    EVENT,
    CLAIM,
    SECRET,
    CONFIG_MAP,
    _core("persistentvolumes", "PersistentVolume", "status", namespaced=False, short="pv"),
    _core("services", "Service", "status", short="svc"),
    _core("endpoints", "Endpoints", short="ep"),
    SERVICE_ACCOUNT,
    _core("resourcequotas", "ResourceQuota", "status", short="quota"),
    _core("limitranges", "LimitRange", short="limits"),
    JOB,
    PRIORITY_CLASS,
    CRD,
    Kind("apps", "v1", "deployments", "Deployment", True, ("status",), ("deploy",)),
    Kind("networking.k8s.io", "v1", "ingresses", "Ingress", True, ("status",), ("ing",)),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, (), ("netpol",)),
    Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, (), ("sc",)),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    Kind(_RBAC, "v1", "roles", "Role"),
    Kind(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Kind(_RBAC, "v1", "clusterroles", "ClusterRole", False),
    Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Kind(_ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False, ("status",)),
    Kind(_ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False),
    Kind(_ADMISSION, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", False),
    Kind(_ADMISSION, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", False),
    Kind(_ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False),
    Kind(_ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False),
)


# The API server answers the deletion of these kinds with the object, and the deletion of other kinds with a Status.
GIVES_BACK_WHAT_IS_DELETED = frozenset(
    kind
    for kind in BUILT_IN
    if kind.kind
    in {
        *("Pod", "Service", "ServiceAccount", "PersistentVolumeClaim", "PersistentVolume"),
        *("ResourceQuota", "StorageClass"),
    }
)
_UNCOUNTED_GROUPS = {"rbac.authorization.k8s.io", "storage.k8s.io", "coordination.k8s.io"}


def counts_generations(kind: Kind) -> bool:
    """Return whether the objects of this kind have metadata.generation, which counts changes of their spec."""
    return kind == POD or bool(kind.group and kind.group not in _UNCOUNTED_GROUPS)


class Kinds:
    """The kinds that the API server serves now.  Writing a CustomResourceDefinition adds or removes kinds."""

    def __init__(self) -> None:
        self._served = {(kind.group, kind.version, kind.plural): kind for kind in BUILT_IN}

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._served.values()))

    def at(self, group: str, version: str, plural: str) -> Kind:
        try:
            return self._served[group, version, plural]
        except KeyError:
            raise unknown_resource() from None

    def of(self, obj: Json) -> Kind:
        """Return the kind with the object's apiVersion and kind.  Raises ApiError 404 if this kind is not served."""
        for kind in self._served.values():
            if (kind.api_version, kind.kind) == (obj.get("apiVersion"), obj.get("kind")):
                return kind
        raise ApiError(404, "NotFound", f'no matches for kind "{obj.get("kind")}" in version "{obj.get("apiVersion")}"')

    def stored(self) -> Iterator[Kind]:
        """Yield one served version of each resource."""
        return iter({kind.key: kind for kind in self._served.values()}.values())

    def define(self, crd: Json) -> None:
        spec = crd["spec"]
        names = spec["names"]
        for version in spec["versions"]:
            kind = Kind(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                spec["scope"] == "Namespaced",
                tuple(version.get("subresources") or ()),
                tuple(names.get("shortNames") or ()),
            )
            self._served[kind.group, kind.version, kind.plural] = kind

    def forget(self, crd: Json) -> None:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        for kind in self:
            if kind.key == (group, plural):
                del self._served[kind.group, kind.version, kind.plural]

    def groups(self) -> Json:
        """Return the body of `GET /apis`."""
        versions: dict[str, dict[str, Json]] = {}
        for kind in self:
            if kind.group:
                entry = {"groupVersion": kind.api_version, "version": kind.version}
                versions.setdefault(kind.group, {})[kind.version] = entry
        groups = [
            {"name": group, "versions": list(served.values()), "preferredVersion": next(iter(served.values()))}
            for group, served in versions.items()
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def resources(self, group: str, version: str) -> Json:
        """Return the body of `GET /api/v1` and `GET /apis/GROUP/VERSION`."""
        served = [kind for kind in self if (kind.group, kind.version) == (group, version)]
        if not served:
            raise unknown_resource()
        resources: list[Json] = []
        for kind in served:
            common = {"namespaced": kind.namespaced, "kind": kind.kind}
            whole = {
                "name": kind.plural,
                "singularName": kind.kind.lower(),
                "verbs": VERBS,
                "shortNames": list(kind.short_names),
            }
            resources.append({**whole, **common})
            for subresource in kind.subresources:
                verbs = ["create", "get"] if subresource in ("exec", "portforward") else ["get", "patch", "update"]
                part = {"name": f"{kind.plural}/{subresource}", "singularName": "", "verbs": verbs}
                resources.append({**part, **common})
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": served[0].api_version,
            "resources": resources,
        }


def unknown_resource() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")
