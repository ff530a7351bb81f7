"""Find the key in a chart's values that is the reason of a field of a notebook's pod, and what to do about it.

The answers are changes of the values as data, so that a check can make all of them at once and check again.
"""

from __future__ import annotations

import copy
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .hub_config import FILES_VOLUME, HOME_VOLUME, METADATA_CONTAINER, HubConfig, home_volume, look_up

RESEARCH = ("custom", "research")
_STORAGE = ("singleuser", "storage")
_ALLOW = (*RESEARCH, "pods", "allow")

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Change:
    """One change: `value` at a path of the values, or None to remove what is there.

    A path that begins with `c` is a trait that a program of the hub sets: ("c", "KubeSpawner", "uid").
    """

    path: Path
    value: Any = None


@dataclass(frozen=True)
class Origin:
    """The key that is the reason of a problem, what to do as a sentence, and the same as changes.

    reason: what the key does, if this says more than the problems of the pod.
    """

    key: str
    action: str
    changes: tuple[Change, ...]
    reason: str = ""


def written(path: Path) -> str:
    """Return a path as text: `singleuser.initContainers[0].env`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def changed(values: Mapping[str, Any], changes: Iterable[Change], *, gaps: bool = False) -> dict[str, Any]:
    """Return a copy of the values with all changes.  Indexes of lists are those before the changes.

    gaps: whether null stays where an item of a list was removed, so that the others keep their indexes.
    """
    found = copy.deepcopy(dict(values))
    for change in changes:
        if change.path[0] != "c":
            _write(found, change)
    _drop_removed(found, gaps)
    return found


def removed_volume(values: Mapping[str, Any], at: Path) -> tuple[Change, ...]:
    """Return changes that remove a volume in `singleuser.storage.extraVolumes` and its mounts."""
    storage = look_up(values, ".".join(_STORAGE)) or {}
    volume = dict(_entries(storage, "extraVolumes")).get(at[-1], {})
    mounts = (place for place, one in _entries(storage, "extraVolumeMounts") if one.get("name") == volume.get("name"))
    return (Change(at), *(Change((*_STORAGE, "extraVolumeMounts", place)) for place in mounts))


_REMOVED = object()


def _write(found: Any, change: Change) -> None:
    *parents, last = change.path
    for part in parents:
        if isinstance(found, list):
            if not isinstance(part, int) or part >= len(found):
                return
            found = found[part]
        elif isinstance(found, dict):
            if not isinstance(found.get(part), (dict, list)):
                found[part] = {}
            found = found[part]
        else:
            return
    if isinstance(found, list) and isinstance(last, int) and last < len(found):
        found[last] = _REMOVED if change.value is None else change.value
    elif isinstance(found, dict):
        found[last] = copy.deepcopy(change.value)


def _drop_removed(value: Any, gaps: bool) -> None:
    if isinstance(value, list):
        kept = value if gaps else [item for item in value if item is not _REMOVED]
        value[:] = [None if item is _REMOVED else item for item in kept]
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _drop_removed(below, gaps)


def _with_gaps(values: Any, path: Path) -> Path:
    """Return a path whose indexes leave out the removed items of lists with indexes that count them."""
    found: list[str | int] = []
    for part in path:
        if isinstance(values, list) and isinstance(part, int):
            present = [index for index, item in enumerate(values) if item is not None]
            found.append(present[part] if part < len(present) else part)
        else:
            found.append(part)
        values = values[found[-1]] if has_path(values, (found[-1],)) else None
    return tuple(found)


class KeyFinder:
    """Finds keys in the values of one hub, which can have null where an item of a list was removed.

    manifest: the pod in which problems were found.  homes: the claims of users' homes in the settings.
    taken: the directories of homes and mounts in the settings.
    """

    def __init__(
        self,
        result: HubConfig,
        manifest: Mapping[str, Any],
        main: str,
        homes: Iterable[str] = (),
        taken: Iterable[str] = (),
    ) -> None:
        self._result, self._values = result, result.values
        self._spec: Mapping[str, Any] = manifest.get("spec") or {}
        self._main, self._homes, self._taken = main, set(homes), tuple(taken)

    def of_trait(self, trait: str, action: str = "") -> Origin | None:
        """Return the key that has set a trait of the spawner last; None if none has."""
        for section in ("ResearchSpawner", "KubeSpawner", "Spawner"):
            if settings := self._result.origins.get((section, trait)):
                return _set_by(settings[-1].key, section, trait, action)
        return None

    def value_of(self, place: str) -> Any:
        """Return the value that a trait such as `c.KubeSpawner.environment` had when it was set last."""
        found = re.match(r"c\.(\w+)\.(\w+)$", place)
        settings = self._result.origins.get((found[1], found[2])) if found else None
        return settings[-1].value if settings else None

    def of_place(self, place: str) -> Origin | None:
        """Return the key of a place in the hub's configuration, such as `c.KubeSpawner.environment['A']`."""
        found = re.match(r"c\.(\w+)\.(\w+)", place)
        settings = self._result.origins.get((found[1], found[2])) if found else None
        if not found or not settings:
            return None
        origin = _set_by(settings[-1].key, found[1], found[2])
        below = tuple(int(index) if index else name for name, index in _BELOW.findall(place[found.end() :]))
        (change,) = origin.changes
        path = _with_gaps(self._values, (*change.path, *below))
        return _remove(path) if below and change.path[0] != "c" and has_path(self._values, path) else origin

    def of_field(self, path: str, message: str) -> Origin | None:
        """Return the key that is the reason of a problem at this path of the pod; None if it is not known.

        Containers have their names in the path: `spec.initContainers[chown].securityContext`.
        """
        if found := re.match(r"spec\.(initContainers|containers)\[(.+?)\]\.?(.*)", path):
            sort, name, rest = found.groups()
            if name == self._main:
                return self._of_main(rest, message)
            return self._of_container(sort, name, rest, message)
        if found := re.match(r"spec\.volumes\[(.+?)\]", path):
            return self._of_volume(found[1], message)
        if path.startswith("workingDir of container"):
            return self.of_trait("working_dir") or self.of_trait("notebook_dir")
        for kind, key, trait in (
            ("metadata.labels.", "extraLabels", "extra_labels"),
            ("metadata.annotations.", "extraAnnotations", "extra_annotations"),
        ):
            if path.startswith(kind):
                return self._entry(key, path.removeprefix(kind)) or self.of_trait(trait)
        if path.startswith("spec."):
            return self._of_spec(path.removeprefix("spec."), message)
        return None

    def _of_spec(self, path: str, message: str) -> Origin | None:
        key, _, rest = path.partition(".")
        key = key.partition("[")[0]
        extra = look_up(self._values, "singleuser.extraPodConfig") or {}
        if key in extra:
            at: Path = ("singleuser", "extraPodConfig", key)
            if rest and isinstance(extra[key], dict) and rest in extra[key]:
                at = (*at, rest)
            if "pods.allow.fields" in message:
                allow = Change((*_ALLOW, "fields", key), True)
                return Origin(written(at), f"To keep it, set {_shown(allow)}; else remove it", (allow,))
            if "pods.allow.scheduling_gates" in message:
                gates = [gate.get("name") for gate in extra[key] if isinstance(gate, dict)]
                allowed = tuple(Change((*_ALLOW, "scheduling_gates", str(gate)), True) for gate in gates)
                return Origin(written(at), f"To keep it, set {_shown(*allowed)}; else remove it", allowed)
            return _remove(at)
        if key == "nodeSelector" and rest:
            return self._entry("nodeSelector", rest) or self.of_trait("node_selector")
        traits = _TRAITS_OF_FIELDS.get(key, ("extra_pod_config",))
        return next((origin for trait in traits if (origin := self.of_trait(trait))), None)

    def _entry(self, key: str, name: str) -> Origin | None:
        """Return one entry of a map below `singleuser`, if it has it."""
        return (
            _remove(("singleuser", key, name)) if name in (look_up(self._values, f"singleuser.{key}") or {}) else None
        )

    # The notebook's own container.

    def _of_main(self, rest: str, message: str) -> Origin | None:
        container: Mapping[str, Any] = next(
            (one for one in self._spec.get("containers") or () if one.get("name") == self._main), {}
        )
        if found := re.match(r"env\[(\d+)\]", rest):
            name = container["env"][int(found[1])]["name"]
            return self._of_variable(("singleuser", "extraEnv", name), container["env"][int(found[1])], message)
        if found := re.match(r"volumeMounts\[(\d+)\]", rest):
            return self._of_mount(container["volumeMounts"][int(found[1])], message)
        field = rest.partition(".")[0].partition("[")[0]
        if field == "lifecycle":
            hook = rest.split(".")[1] if rest.count(".") else ""
            return self._entry("lifecycleHooks", hook) or self.of_trait("lifecycle_hooks")
        if rest.startswith("securityContext.allowPrivilegeEscalation"):
            return self.of_trait("allow_privilege_escalation") or self.of_trait("container_security_context")
        for trait in ("privileged", "container_security_context") if field == "securityContext" else ():
            if origin := self.of_trait(trait):
                return origin
        return self.of_trait("extra_container_config")

    def _of_variable(self, at: Path, entry: Mapping[str, Any], message: str) -> Origin | None:
        secret = look_up(entry, "valueFrom.secretKeyRef.name")
        is_known = isinstance(at[-1], int) or at[-1] in (look_up(self._values, "singleuser.extraEnv") or {})
        if secret and "pods.allow.secrets" in message:
            allow = Change((*_ALLOW, "secrets", str(secret)), True)
            of_trait = self.of_trait("environment")
            key = written(at) if is_known else of_trait.key if of_trait else written(at)
            return Origin(key, f"If every user may read it, set {_shown(allow)}; else remove it", (allow,))
        return _remove(at) if is_known else self.of_trait("environment")

    # Other containers.

    def _of_container(self, sort: str, name: str, rest: str, message: str) -> Origin | None:
        if name == METADATA_CONTAINER:
            return self._no_metadata_container()
        key, trait = _CONTAINERS[sort]
        for index, container in enumerate(look_up(self._values, f"singleuser.{key}") or ()):
            if isinstance(container, dict) and _matches(container.get("name"), name):
                return self._of_own_container(("singleuser", key, index), sort, container, rest, message)
        return self._in_pod_config(sort) or self.of_trait(trait)

    def _no_metadata_container(self) -> Origin:
        policy = look_up(self._values, "singleuser.networkPolicy") or {}
        needed = (
            *([Change((*_POLICY, "enabled"), True)] if not policy.get("enabled") else []),
            *(
                [Change((*_POLICY, "egressAllowRules", "cloudMetadataServer"), False)]
                if look_up(policy, "egressAllowRules.cloudMetadataServer")
                else []
            ),
        )
        if not needed:
            return _NO_METADATA_CONTAINER
        action = (
            f"Set singleuser.cloudMetadata.blockWithIptables: false, and {_shown(*needed)}, because nothing else "
            "blocks the metadata server, from which users could get the node's rights in the cloud"
        )
        changes = (*_NO_METADATA_CONTAINER.changes, *needed)
        return replace(_NO_METADATA_CONTAINER, action=action, changes=changes)

    def _of_own_container(
        self, at: Path, sort: str, container: Mapping[str, Any], rest: str, message: str
    ) -> Origin | None:
        field = re.split(r"[.\[]", rest, maxsplit=1)[0]
        parts = tuple(int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", rest))
        parts = _with_gaps(container, parts)
        if field == "env" and has_path(container, parts[:2]):
            return self._of_variable((*at, *parts[:2]), container["env"][parts[1]], message)
        changes_owners = re.search(r"\bch(own|mod|grp)\b", f"{container.get('command')} {container.get('args')}")
        if field == "volumeMounts" and has_path(container, parts[:2]) and not changes_owners:
            return self._of_mount_of_container((*at, *parts[:2]), container, rest, message)
        if field.startswith("resources") and "limit" in message:
            amounts = Change((*at, "resources", "limits"), {"cpu": "100m", "memory": "128Mi"})
            return Origin(written(at), f"Add limits for cpu and memory, for example {_shown(amounts)}", (amounts,))
        if field == "resources":
            name = rest.removeprefix("resources.")
            return Origin(
                written(at),
                f"Remove {name} from its resources",
                tuple(
                    Change((*at, "resources", kind, name))
                    for kind in ("requests", "limits")
                    if has_path(container, ("resources", kind, name))
                )
                or (Change((*at, "resources", name)),),
            )
        if field not in _OF_WHOLE_CONTAINER and has_path(container, parts):
            return Origin(written(at), f"Remove {written(parts)}", (Change((*at, *parts)),))
        what, removed = "init container" if sort == "initContainers" else "container", Change(at)
        if changes_owners:
            action = (
                "Remove it: each home already belongs to its user, and the notebook checks this when it starts. "
                "Create missing homes where accounts are created"
            )
        elif field == "securityContext":
            action = f"Remove its securityContext, or the {what} if its program needs another user or more rights"
            removed = Change((*at, field))
        else:
            action = f"Correct it, or remove the {what}"
        return Origin(written(at), action, (removed,))

    def _of_mount_of_container(self, place: Path, container: Mapping[str, Any], rest: str, message: str) -> Origin:
        at = written(place[:-2])
        if rest.endswith((".readOnly", ".mountPropagation")):
            field, value = ("readOnly", True) if rest.endswith(".readOnly") else ("mountPropagation", "HostToContainer")
            change = Change((*place, field), value)
            return Origin(at, f"Set {_shown(change)}", (change,))
        mount = look_up(dict(_entries(container, "volumeMounts")).get(place[-1]) or {}, "name")
        is_home = "no such volume" in message and self._was_home(str(mount))
        why = f". {_NO_VOLUME}, and only the notebook's own container has the user's home" if is_home else ""
        action = f"Remove {written(place[-2:])}, or the container if it needs this mount{why}"
        return Origin(at, action, (Change(place),))

    # Volumes and mounts.

    def _of_volume(self, name: str, message: str) -> Origin | None:
        storage = look_up(self._values, "singleuser.storage") or {}
        for at, volume in _entries(storage, "extraVolumes"):
            if _matches(volume.get("name"), name):
                return self._of_own_volume((*_STORAGE, "extraVolumes", at), volume, message)
        if _matches(home_volume(storage), name):
            return self._no_home_volume()
        if name == FILES_VOLUME and look_up(self._values, "singleuser.extraFiles"):
            return _remove(("singleuser", "extraFiles"))
        return self._in_pod_config("volumes") or self.of_trait("volumes")

    def _in_pod_config(self, field: str) -> Origin | None:
        """Return the field of `singleuser.extraPodConfig` that adds containers or volumes, if it is there."""
        extra = look_up(self._values, "singleuser.extraPodConfig") or {}
        return _remove(("singleuser", "extraPodConfig", field)) if field in extra else None

    def _was_home(self, volume: str) -> bool:
        """Return whether `singleuser.storage.type` adds this volume, or has added it before it became `none`."""
        storage = look_up(self._values, "singleuser.storage") or {}
        own = {entry.get("name") for _, entry in _entries(storage, "extraVolumes")}
        static, template = look_up(storage, "static.pvcName"), look_up(storage, "dynamic.volumeNameTemplate")
        return volume not in own and ((bool(static) and volume == HOME_VOLUME) or _matches(template, volume))

    def _of_mount_of_home(self, place: Path, mount: Mapping[str, Any]) -> Origin:
        """Return another mount of the volume that `singleuser.storage.type` adds."""
        part, claim = (
            str(mount.get("subPath") or "").strip("/"),
            look_up(self._values, "singleuser.storage.static.pvcName"),
        )
        if not claim or not part or "{" in part:
            return Origin(written(place), f"Remove it. {_NO_VOLUME}", (Change(place),))
        shared = self._shared(str(claim), mount)
        action = f"Remove it, and set {_shown(shared)}, which gives it to notebooks and jobs. {_NO_VOLUME}"
        return Origin(written(place), action, (Change(place), shared))

    def _no_home_volume(self) -> Origin:
        storage = look_up(self._values, "singleuser.storage") or {}
        kind = storage.get("type")
        claim = look_up(storage, "static.pvcName")
        whose = "a claim for each user" if kind == "dynamic" else f"the claim {claim!r}" if claim else "a claim"
        return Origin(
            "singleuser.storage.type",
            f"Set singleuser.storage.type: none. {_HOMES}",
            (Change((*_STORAGE, "type"), "none"),),
            f"is {kind}, which mounts {whose} at {storage.get('homeMountPath')}, beside the user's home",
        )

    def _mounts_of(self, volume: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        for at, mount in _entries(look_up(self._values, "singleuser.storage") or {}, "extraVolumeMounts"):
            if mount.get("name") == volume:
                yield (*_STORAGE, "extraVolumeMounts", at), mount

    def _of_own_volume(self, at: Path, volume: Mapping[str, Any], message: str) -> Origin:
        mounts = list(self._mounts_of(str(volume.get("name"))))
        removed = removed_volume(self._values, at)
        if claim := look_up(volume, "persistentVolumeClaim.claimName"):
            return self._of_claim(at, str(claim), mounts, removed)
        if self._holds_homes(mounts):
            return Origin(written(at), f"Remove it and its mounts. {_HOMES}", removed)
        if "control of the node" in message or "could give the user a credential" in message:
            return Origin(written(at), "Remove it and its mounts", removed)
        for kind, setting, name_of in _ALLOWED_KINDS:
            if isinstance(volume.get(kind), dict):
                name = name_of(volume[kind])
                access: Any = True if setting in ("images", "secrets") else "ro"
                allow = Change((*_ALLOW, setting, name), access)
                read_only = tuple(Change((*place, "readOnly"), True) for place, _ in mounts if access == "ro")
                secret = look_up(volume, "csi.nodePublishSecretRef.name") if kind == "csi" else None
                with_secret = (Change((*_ALLOW, "secrets", secret), True),) if secret else ()
                also = f", and {_shown(*read_only)} (or rw, if users write there)" if read_only else ""
                users = "If every user may read it" if access is True else "To keep it for every user"
                action = f"{users}, set {_shown(allow, *with_secret)}{also}. Else remove it and its mounts"
                return Origin(written(at), action, (allow, *with_secret, *read_only))
        return Origin(written(at), "Remove it and its mounts", removed)

    def _of_claim(
        self, at: Path, claim: str, mounts: list[tuple[Path, Mapping[str, Any]]], removed: tuple[Change, ...]
    ) -> Origin:
        storage = look_up(self._values, "singleuser.storage") or {}
        homes = {*self._homes, look_up(storage, "static.pvcName") if storage.get("type") == "static" else None}
        holds_homes = claim in homes or self._holds_homes(mounts)
        own = re.sub(r"\{(un)?(escaped_)?username\}", "{user}", claim)
        if not holds_homes and mounts and own.count("{") == own.count("{user}") == 1:
            allow = Change((*_ALLOW, "claims", own), "rw")
            why = "if users have the same names in the hub and in the identity sources. Else remove it and its mounts"
            return Origin(written(at), f"To keep it, set {_shown(allow)}, {why}", (allow,))
        if holds_homes or "{" in claim or not mounts:
            why = _HOMES if holds_homes else "It is another one for each user"
            return Origin(written(at), f"Remove it and its mounts. {why if mounts else 'No mount uses it'}", removed)
        shared = tuple(self._shared(claim, mount) for _, mount in mounts)
        action = f"Remove it and its mounts, and set {_shown(*shared)}, which gives it to notebooks and jobs"
        return Origin(written(at), action, (*removed, *shared))

    def _holds_homes(self, mounts: Iterable[tuple[Path, Mapping[str, Any]]]) -> bool:
        """Return whether these mounts of a volume are a user's home, or directories of all users."""
        home = str(look_up(self._values, "singleuser.storage.homeMountPath") or "/home/jovyan")
        return any(
            "{" in str(mount.get("subPath", "")) or str(mount.get("mountPath")).rstrip("/") == home
            for _, mount in mounts
        )

    def _shared(self, claim: str, mount: Mapping[str, Any]) -> Change:
        """Return the mount in the settings that replaces this one.  Nobody has the chart's home directory."""
        home = str(look_up(self._values, "singleuser.storage.homeMountPath") or "/home/jovyan")
        path = posixpath.normpath(str(mount.get("mountPath") or "/shared"))
        if path.startswith(f"{home}/"):
            path = path.removeprefix(home)
        if any(f"{one}/".startswith(f"{path}/") or f"{path}/".startswith(f"{one}/") for one in self._taken):
            path = f"/shared/{posixpath.basename(path)}"
        fields = {"claim": claim, "path": path}
        fields |= {"sub_path": str(mount["subPath"]).strip("/")} if str(mount.get("subPath") or "").strip("/") else {}
        name = re.sub("[^a-z0-9]+", "-", path.lower()).strip("-")[:63] or "shared"
        return Change(
            (*RESEARCH, "storage", "mounts", name), fields | ({"read_only": True} if mount.get("readOnly") else {})
        )

    def _of_mount(self, mount: Mapping[str, Any], message: str) -> Origin | None:
        storage = look_up(self._values, "singleuser.storage") or {}
        for at, own in _entries(storage, "extraVolumeMounts"):
            is_same = _matches(own.get("name"), mount["name"]) and _matches(own.get("mountPath"), mount["mountPath"])
            if is_same and _matches(own.get("subPath") or "", mount.get("subPath") or ""):
                place: Path = (*_STORAGE, "extraVolumeMounts", at)
                if self._was_home(str(mount["name"])):
                    return self._of_mount_of_home(place, own)
                if "readOnly" in message or "read-only" in message:
                    read_only = Change((*place, "readOnly"), True)
                    return Origin(written(place), f"Set {_shown(read_only)}", (read_only,))
                if "Bidirectional" in message:
                    to_container = Change((*place, "mountPropagation"), "HostToContainer")
                    return Origin(written(place), f"Set {_shown(to_container)}", (to_container,))
                return replace(_remove(place), action=_MOVE) if "overlaps" in message else _remove(place)
        for key, details in (look_up(self._values, "singleuser.extraFiles") or {}).items():
            if mount["name"] == FILES_VOLUME and mount.get("subPath") == key and isinstance(details, dict):
                origin = _remove(("singleuser", "extraFiles", key))
                return replace(origin, action=_MOVE) if "overlaps" in message else origin
        if _matches(home_volume(storage), mount["name"]):
            return self._no_home_volume()
        return self.of_trait("volume_mounts")


_HOMES = "Homes come from custom.research.storage.homes"
_NO_VOLUME = "With singleuser.storage.type: none its volume no longer exists"
_MOVE = "Choose a mountPath that is neither above nor below that directory, or remove it"
_POLICY = ("singleuser", "networkPolicy")
_NO_METADATA_CONTAINER = Origin(
    "singleuser.cloudMetadata.blockWithIptables",
    "Set singleuser.cloudMetadata.blockWithIptables: false. The chart's NetworkPolicy for notebooks blocks the "
    "metadata server too, if the cluster enforces NetworkPolicies",
    (Change(("singleuser", "cloudMetadata", "blockWithIptables"), False),),
    "is true, which adds a privileged container that runs as root to each notebook",
)
# Fields without which the container would be another one.
_OF_WHOLE_CONTAINER = ("env", "image", "name", "securityContext", "volumeMounts")
_CONTAINERS = {
    "initContainers": ("initContainers", "init_containers"),
    "containers": ("extraContainers", "extra_containers"),
}
_TRAITS_OF_FIELDS = {
    "securityContext": ("pod_security_context", "fs_gid", "extra_pod_config"),
    "serviceAccountName": ("service_account", "extra_pod_config"),
    "serviceAccount": ("service_account", "extra_pod_config"),
    "automountServiceAccountToken": ("automount_service_account_token", "extra_pod_config"),
    "tolerations": ("tolerations", "extra_pod_config"),
    "affinity": ("node_affinity_required", "pod_affinity_required", "extra_pod_config"),
}


def _nfs(source: Mapping[str, Any]) -> str:
    server = str(source.get("server"))
    return f"[{server}]:{source.get('path')}" if ":" in server else f"{server}:{source.get('path')}"


# The kinds of volumes that the settings can allow: the setting, and the name of a volume in it.
_ALLOWED_KINDS = (
    ("csi", "csi", lambda source: str(source.get("driver"))),
    ("hostPath", "host_paths", lambda source: str(source.get("path"))),
    ("nfs", "nfs", _nfs),
    ("image", "images", lambda source: str(source.get("reference"))),
    ("secret", "secrets", lambda source: str(source.get("secretName"))),
)


# A key or an index in a place: `['A']`, `[0]`.
_BELOW = re.compile(r"\[(?:'([^']*)'|(\d+))\]")


def has_path(values: Any, path: Path) -> bool:
    """Return whether the values have this path."""
    for part in path:
        keys = range(len(values)) if isinstance(values, list) else values if isinstance(values, dict) else ()
        if part not in keys:
            return False
        values = values[part]
    return True


def _set_by(key: str, section: str, trait: str, action: str = "") -> Origin:
    """Return the origin of a trait that this key has set."""
    if key.startswith(("hub.extraConfig.", "hub.extraFiles.")):
        change = Change(("c", section, trait))
        return Origin(key, action or f"Remove c.{section}.{trait} from this program", (change,))
    return Origin(key, action or "Remove it", (Change(tuple(key.split("."))),))


def _remove(path: Path) -> Origin:
    return Origin(written(path), "Remove it", (Change(path),))


def _shown(*changes: Change) -> str:
    """Return changes as text that can be written into the values: `a.b: {c: d}`."""
    shown = (
        f"{written(change.path[:-1])}: {{{_quoted(change.path[-1])}: {_inline(change.value)}}}" for change in changes
    )
    return " and ".join(shown)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_inline(below)}" for key, below in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else _quoted(value)


def _quoted(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[\w./-]+", text) else json.dumps(text)


def _entries(storage: Mapping[str, Any], key: str) -> Iterator[tuple[str | int, Mapping[str, Any]]]:
    """Yield the items of a list or a map of volumes or mounts, with their index or key."""
    found = storage.get(key)
    items = found.items() if isinstance(found, dict) else enumerate(found if isinstance(found, list) else ())
    for at, entry in items:
        if isinstance(entry, dict):
            yield at, entry


def _matches(template: Any, text: Any) -> bool:
    """Return whether KubeSpawner can have made `text` of a template such as `volume-{user_server}`."""
    if not isinstance(template, str) or not isinstance(text, str):
        return False
    return re.fullmatch(re.sub(r"\\\{\w+\\\}", ".*", re.escape(template)), text) is not None
