"""Homes and mounts on shared storage, and the passwd(5) and group(5) text that gives the person a name in any image."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, StringConstraints, model_validator

from .identity import PosixIdentity
from .refusal import Refusal
from .settings import ByName, Groups, Settings
from .settings.strict import open_to

# Directories of the image: a mount there would hide what makes programs run, or our passwd and group.
IMAGE_DIRECTORIES = (
    "/etc",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/boot",
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/var",
)

# Environment that would change who programs think they are (ld.so(8), nss_wrapper(1)): names, or how they begin.
HIJACKING_ENV = ("LD_PRELOAD", "LD_AUDIT", "NSS_WRAPPER_")
IDENTITY_ENV = ("HOME", "USER", "LOGNAME", "SHELL", "NB_USER", "NB_UID", "NB_GID", "NB_GROUP")


def absolute(path: str) -> str:
    """A normal absolute path below /.  Raises ValueError with a sentence."""
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
        raise ValueError(f"{path!r} is not a plain absolute path. Write it as `realpath` prints it: /project/climate")
    if path == "/" or any(character in " :{}$" or not character.isprintable() for character in path):
        raise ValueError(f"{path!r} cannot be mounted on: it is the root, or has a space or one of : {{ }} $ in it")
    return path


def mountable(path: str) -> str:
    """An absolute path that is not the image's own.  Raises ValueError with a sentence."""
    absolute(path)
    for taken in IMAGE_DIRECTORIES:
        if within(path, taken):
            raise ValueError(f"{path!r} lies in the image's own {taken}, which programs need. Mount it elsewhere")
    return path


def within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


MountPath = Annotated[str, AfterValidator(mountable)]
ClaimName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$", strict=True)]


class Home(Settings):
    """A PersistentVolumeClaim that holds home directories."""

    claim: ClaimName = Field(title="PersistentVolumeClaim in the pods' namespace", examples=["home"])
    root: MountPath = Field(
        title="Where it is mounted, whole",
        description="As on the login nodes. HOME is the identity's own home directory below it.",
        examples=["/home"],
    )


class Mount(Settings):
    """A PersistentVolumeClaim that some groups see at one path."""

    claim: ClaimName = Field(title="PersistentVolumeClaim in the pods' namespace", examples=["project-climate"])
    path: MountPath = Field(title="Where it is mounted", examples=["/project/climate"])
    groups: Groups = Field(default_factory=dict, title="POSIX groups that see it. Empty: everybody")
    read_only: StrictBool = Field(False, title="Nobody writes to it")


class SystemAccounts(Settings):
    """Accounts of no person that every pod's /etc/passwd and /etc/group begin with."""

    passwd: str = Field(
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "bin:x:2:2:bin:/bin:/usr/sbin/nologin\n"
        "sys:x:3:3:sys:/dev:/usr/sbin/nologin\n"
        "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
        "_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"
        "sshd:x:110:65534::/run/sshd:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        title="Lines of passwd(5)",
        description="sshd is there for MPI's launchers, which need its name.",
    )
    group: str = Field(
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
        title="Lines of group(5)",
    )

    @model_validator(mode="after")
    def _lines(self) -> SystemAccounts:
        for name, text, fields in (("passwd", self.passwd, 7), ("group", self.group, 4)):
            for line in text.splitlines():
                parts = line.split(":")
                if len(parts) != fields or not parts[2].isdecimal():
                    raise ValueError(f"{name}: {line!r} is not a line of {name}(5): it needs {fields} fields")
                if int(parts[2]) >= 1000 and int(parts[2]) != 65534:
                    raise ValueError(f"{name}: {line!r} is a person's number; only system accounts belong here")
        return self


class Storage(Settings):
    """Shared storage, and who sees what of it."""

    homes: ByName[Home] = Field(title="Claims that hold home directories", min_length=1)
    mounts: ByName[Mount] = Field(default_factory=dict, title="Claims that groups share")
    home_check_image: Annotated[str, StringConstraints(strict=True, pattern=r"^\S+$")] | None = Field(
        None,
        title="Image with a shell that looks, before each start, whether the home directory is there",
        description="By default each pod's own image, whose `sh` does it. Set it where an image has no `sh`: container "
        "runtimes make a missing home as root, so nothing starts before somebody has looked.",
        examples=["docker.io/library/busybox:1.37"],
    )
    system_accounts: SystemAccounts = Field(default_factory=SystemAccounts, title="Names besides the person's own")

    @model_validator(mode="after")
    def _no_overlap(self) -> Storage:
        # Of the homes a person sees only her own, so one may lie below another.
        homes = [(f"homes.{name}.root", home.root) for name, home in self.homes.items()]
        mounts = [(f"mounts.{name}.path", mount.path) for name, mount in self.mounts.items()]
        for index, (this, path) in enumerate(places := homes + mounts):
            for that, other in places[:index]:
                hidden = within(path, other) or within(other, path)
                if path == other or (hidden and index >= len(homes)):
                    raise ValueError(
                        f"{this} ({path}) and {that} ({other}) lie on one another: one would hide the other. "
                        "Give each a path of its own"
                    )
        return self


@dataclass(frozen=True)
class MountPoint:
    """One claim at one path in the main container."""

    claim: str
    path: str
    read_only: bool = False

    def __str__(self) -> str:
        return f"{self.path} ({self.claim}{', read-only' if self.read_only else ''})"


def mounts_for(storage: Storage, identity: PosixIdentity) -> tuple[MountPoint, ...]:
    """The person's home and every mount that the groups give, home first.

    Raises Refusal if no claim holds the home directory: a notebook without it would write into nothing.
    """
    homes = [home for home in storage.homes.values() if within(identity.home, home.root) and identity.home != home.root]
    if not homes:
        roots = ", ".join(sorted(home.root for home in storage.homes.values()))
        raise Refusal(
            "home-elsewhere",
            f"Your home directory {identity.home} is on none of the file systems mounted here ({roots}).",
            field="home",
            hint="Ask the people who run this hub: storage.homes needs a claim for it.",
            status=403,
        )
    home = max(homes, key=lambda candidate: len(candidate.root))
    return (MountPoint(home.claim, home.root), *_shared(storage, identity))


def _shared(storage: Storage, identity: PosixIdentity) -> Iterator[MountPoint]:
    for mount in sorted(storage.mounts.values(), key=lambda candidate: candidate.path):
        if open_to(mount.groups, identity.group_names):
            yield MountPoint(mount.claim, mount.path, mount.read_only)


def passwd_text(system: SystemAccounts, identity: PosixIdentity) -> str:
    """passwd(5) with the system's names and the person.  No gecos: some controllers expand `{{...}}` in it."""
    own = f"{identity.name}:x:{identity.uid}:{identity.gid}::{identity.home}:{identity.shell}"
    return _with_own(system.passwd, [own])


def group_text(system: SystemAccounts, identity: PosixIdentity) -> str:
    """group(5) with the system's names and the person's groups, the person alone as their member."""
    return _with_own(system.group, [f"{g.name}:x:{g.gid}:{identity.name}" for g in identity.groups])


def _with_own(base: str, own: list[str]) -> str:
    """A base line that has the name or the number of one of ours would answer for it: it is left out."""
    names = {line.split(":")[0] for line in own}
    numbers = {line.split(":")[2] for line in own}
    kept = [line for line in base.splitlines() if line.split(":")[0] not in names and line.split(":")[2] not in numbers]
    return "\n".join([*kept, *own]) + "\n"


def environment(identity: PosixIdentity) -> dict[str, str]:
    """What login(1) would set, and what Jupyter's docker-stacks images ask for (their start.sh)."""
    primary = next((group.name for group in identity.groups if group.gid == identity.gid), str(identity.gid))
    return {
        "HOME": identity.home,
        "USER": identity.name,
        "LOGNAME": identity.name,
        "SHELL": identity.shell,
        "NB_USER": identity.name,
        "NB_UID": str(identity.uid),
        "NB_GID": str(identity.gid),
        "NB_GROUP": primary,
    }
