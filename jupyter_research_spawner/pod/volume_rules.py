"""Rules of `check` for volumes and mounts."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping

from ..plan import Plan
from ..shape import Json
from ..site import nfs_export
from ..storage import overlap
from ..wording import format_list
from .findings import Findings, PodUnderCheck

HARMLESS = frozenset(("emptyDir", "configMap", "downwardAPI"))
# These files could make programs believe that they run as another user (ld.so(8), nsswitch.conf(5)).
HIJACKING_FILES = ("/etc/ld.so.preload", "/etc/nsswitch.conf")
# Directories of the node with its devices, secrets, and the sockets of its services.
OF_NODE = ("/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib", "/var/log", "/var/run")


def check_volume_sources(checked: PodUnderCheck) -> Findings:
    """Require the overlay's volumes, and refuse other volumes that are neither harmless nor allowed by the settings."""
    volumes = checked.spec.get("volumes", [])
    for own in checked.overlay.volumes:
        if own not in volumes:
            yield f"spec.volumes[{own['name']}]", "is missing or was changed"
    for volume in volumes:
        path = f"spec.volumes[{volume['name']}]"
        kinds = set(volume) - {"name"}
        if len(kinds) != 1:
            yield path, f"must be of exactly one kind, not {format_list(sorted(kinds)) or 'none'}"
            continue
        kind = kinds.pop()
        if why := _refused(checked.plan, kind, volume[kind]):
            yield f"{path}.{kind}", why


def _refused(plan: Plan, kind: str, source: Json) -> str | None:
    """Return why a volume is not allowed; None if it is."""
    if kind in HARMLESS:
        return None
    rule = _BY_KIND.get(kind)
    return rule(plan, source) if rule else "is a kind of volume that is not known to be harmless"


def _claim(plan: Plan, source: Json) -> str | None:
    claim = source.get("claimName")
    if claim in plan.allowed.claims or claim in {mount.claim for mount in plan.mounts}:
        return None
    if claim in plan.home_claims:
        why = "which has the homes of all users"
        return f"mounts the claim {claim!r}, {why}. Remove the volume: the user's home is mounted from storage.homes"
    allow = f"set pods.allow.claims: {{{claim}: ro}}"
    return f"mounts the claim {claim!r}, which is not one of the user's. To allow all of it for all users, {allow}"


def _host_path(plan: Plan, source: Json) -> str | None:
    path = source.get("path")
    if path in plan.allowed.host_paths:
        return None
    if any(overlap(posixpath.normpath(str(path)), own) for own in OF_NODE):
        return f"is {path!r} on the node, which could give users control of the node"
    return f"is {path!r} on the node, which is not allowed. To allow it for all users, set pods.allow.host_paths"


def _csi(plan: Plan, source: Json) -> str | None:
    driver, secret = source.get("driver"), source.get("nodePublishSecretRef", {}).get("name")
    if driver not in plan.allowed.csi:
        return f"is of the CSI driver {driver!r}, which is not allowed. To allow it for all users, set pods.allow.csi"
    if secret is not None and not plan.allowed.secrets.get(secret):
        return f"uses the secret {secret!r}, which pods.allow.secrets does not name"
    return None


def _nfs(plan: Plan, source: Json) -> str | None:
    if (export := _export(source)) in plan.allowed.nfs:
        return None
    return f"is {export!r}, which is not allowed. To allow it for all users, set pods.allow.nfs"


def _export(source: Json) -> str:
    return nfs_export(str(source.get("server")), str(source.get("path")))


def _image(plan: Plan, source: Json) -> str | None:
    reference = source.get("reference")
    if plan.allowed.images.get(str(reference)):
        return None
    return f"is the image {reference!r}, which is not allowed. To allow it for all users, set pods.allow.images"


def _secret(plan: Plan, source: Json) -> str | None:
    secret = source.get("secretName")
    if plan.allowed.secrets.get(str(secret)):
        return None
    return f"is the secret {secret!r}, which pods.allow.secrets does not name"


def _projected(plan: Plan, source: Json) -> str | None:
    for part in source.get("sources", []):
        for kind, content in part.items():
            if kind == "secret" and plan.allowed.secrets.get(str(content.get("name"))):
                continue
            if kind not in ("configMap", "downwardAPI"):
                return f"has a {kind}, which could give the user a credential"
    return None


# For each kind of volume that the settings can allow, the function that returns why it is not allowed.
_BY_KIND: Mapping[str, Callable[[Plan, Json], str | None]] = {
    "csi": _csi,
    "hostPath": _host_path,
    "image": _image,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
    "projected": _projected,
    "secret": _secret,
}


def check_mounts(checked: PodUnderCheck) -> Findings:
    """Require the overlay's mounts, and refuse other mounts that hide these or give more access than allowed."""
    volumes = {volume["name"]: volume for volume in checked.spec.get("volumes", [])}
    own = checked.overlay.mounts
    taken = [*(mount["mountPath"] for mount in own), *HIJACKING_FILES]
    present = checked.main.get("volumeMounts", [])
    for mount in own:
        if present.count(mount) != 1:
            yield f"the mount {mount['mountPath']}", "is missing or was changed"
    # At this path, the kubelet mounts a file that every process of the container can write.
    message_path = checked.main.get("terminationMessagePath", "/dev/termination-log")
    yield from _on_taken("terminationMessagePath of the main container", message_path, taken)
    for where, container in checked.containers:
        for index, mount in enumerate(container.get("volumeMounts", [])):
            path = f"{where}.volumeMounts[{index}]"
            # Any container may have the same mounts as the overlay.
            if mount in own:
                continue
            if container is checked.main:
                yield from _on_taken(f"{path}.mountPath", mount.get("mountPath", ""), taken)
            if mount.get("mountPropagation", "None") == "Bidirectional":
                yield (
                    f"{path}.mountPropagation",
                    "must not be Bidirectional: its mounts would stay on the node",
                )
            if mount["name"] not in volumes:
                yield f"{path}.name", f"is {mount['name']!r}, but the pod has no such volume"
            else:
                yield from _access(checked.plan, path, mount, volumes[mount["name"]])


def _on_taken(path: str, at: str, taken: list[str]) -> Findings:
    """Refuse the mount path `at` if it is not normalized, or if it is above or below one of the `taken` paths."""
    normal = posixpath.normpath(at)
    if not at.startswith("/") or at.startswith("//") or normal != (at.rstrip("/") or "/"):
        yield path, f"is {at!r}, not a normalized absolute path"
        return
    for other in taken:
        if overlap(normal, other):
            yield path, f"({normal}) overlaps the mount {other}, so one mount would hide the other"
            return


def _access(plan: Plan, path: str, mount: Json, volume: Json) -> Findings:
    what, access = _granted(plan, volume)
    if access is None and what in {point.claim for point in plan.mounts}:
        why = "with another path, subPath or access than allowed"
        yield path, f"mounts the user's claim {what!r} {why}"
    if access == "ro" and mount.get("readOnly") is not True:
        yield f"{path}.readOnly", f"must be true: {what} may only be mounted read-only"


def _granted(plan: Plan, volume: Json) -> tuple[str | None, str | None]:
    """Return the name of what a volume mounts, and the access that pods.allow gives to it; None for each if absent."""
    allowed = plan.allowed
    if claim := volume.get("persistentVolumeClaim", {}).get("claimName"):
        return claim, allowed.claims.get(claim)
    if host_path := volume.get("hostPath", {}).get("path"):
        return host_path, allowed.host_paths.get(host_path)
    if driver := volume.get("csi", {}).get("driver"):
        return driver, allowed.csi.get(driver)
    if "nfs" in volume:
        export = _export(volume["nfs"])
        return export, allowed.nfs.get(export)
    return None, None
