"""Homes and mounts on shared storage, and the passwd(5) and group(5) files that define the user in any image."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StringConstraints, model_validator

from .identity import PosixIdentity
from .refusal import Refusal
from .settings import ByName, Duration, Groups, Settings, SeveralProblems
from .settings.strict import open_to
from .wording import quote

# Directories of the image.  A mount there would hide programs, libraries, or the passwd and group files.
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

# Prefixes of variables that could make programs believe that they run as another user (ld.so(8), nss_wrapper(1)).
HIJACKING_ENV = ("LD_PRELOAD", "LD_AUDIT", "NSS_WRAPPER_")
IDENTITY_ENV = ("HOME", "USER", "LOGNAME", "SHELL", "NB_USER", "NB_UID", "NB_GID", "NB_GROUP")


def env_text(value: Any) -> Any:
    """Return a number or a boolean as the text that Helm writes for it; return any other value unchanged.

    Kubernetes accepts only text as the value of a variable, and YAML reads `OMP_NUM_THREADS: 2` as a number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def validate_absolute_path(path: str) -> str:
    """Return `path` if it is absolute and normalized and has only allowed characters.  Raises ValueError."""
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
        raise ValueError(
            f"{quote(path, 256)} is not a normalized absolute path. Write it as `realpath` prints it: /project/climate"
        )
    if path == "/" or any(character in " :{}$" or not character.isprintable() for character in path):
        raise ValueError(
            f"{quote(path, 256)} cannot be a mount path. It must not be / or contain spaces, control characters or "
            ": { } $"
        )
    return path


def validate_mount_path(path: str) -> str:
    """Return `path` if it is a valid absolute path outside the image's own directories.  Raises ValueError."""
    validate_absolute_path(path)
    for directory in IMAGE_DIRECTORIES:
        if within(path, directory):
            raise ValueError(
                f"{quote(path, 256)} is in the image's directory {directory}, whose files a mount would hide. Choose "
                "another path"
            )
    return path


def within(path: str, root: str) -> bool:
    """Return whether `path` is `root` or is below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def overlap(path: str, other: str) -> bool:
    """Return whether one of the paths is the other or is below it."""
    path, other = path.rstrip("/") + "/", other.rstrip("/") + "/"
    return path.startswith(other) or other.startswith(path)


def validate_sub_path(path: str) -> str:
    """Return a path below the root of a volume.  Raises ValueError with a message for the administrator."""
    is_below = not path.startswith(("/", "../")) and path not in (".", "..")
    if not is_below or posixpath.normpath(path) != path:
        raise ValueError(
            f"{quote(path, 256)} is not a normalized path below the root of the claim. Write it like courses/101"
        )
    if not path.isprintable() or any(sign in path for sign in ":{}$"):
        raise ValueError(
            f"{quote(path, 256)} cannot be a path in a claim. It must not contain control characters or : {{ }} $"
        )
    return path


MountPath = Annotated[str, AfterValidator(validate_mount_path)]
SubPath = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=1024), AfterValidator(validate_sub_path)
]
ClaimName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$", strict=True)]


class Home(Settings):
    """A PersistentVolumeClaim that holds home directories."""

    claim: ClaimName = Field(title="PersistentVolumeClaim in the pods' namespace", examples=["home"])
    root: MountPath = Field(
        title="Mount path of the whole claim",
        description="The same path as on the login nodes. The home directories of users are below this path.",
        examples=["/home"],
    )


class Mount(Settings):
    """A PersistentVolumeClaim that is mounted at one path for all users, or for some groups and classes."""

    claim: ClaimName = Field(title="PersistentVolumeClaim in the pods' namespace", examples=["project-climate"])
    path: MountPath = Field(title="Mount path", examples=["/project/climate"])
    groups: Groups = Field(default_factory=dict, title="POSIX groups that get this mount")
    sub_path: SubPath | None = Field(
        None,
        title="Directory of the claim that is mounted",
        description="Default: the whole claim. The directory must exist, because the kubelet would create it as root.",
        examples=["courses/stats-101"],
    )
    mount_propagation: Literal["HostToContainer"] | None = Field(
        None,
        title="Mount propagation",
        description="HostToContainer shows mounts that appear on the node later, for example by autofs (CVMFS).",
    )
    classes: ByName[StrictBool] = Field(
        default_factory=dict,
        title="Classes that get this mount",
        description="Names in `classes`. Students get the mount while the class runs, and the staff always. A "
        "mount without groups and classes is for all users.",
        examples=[{"stats-101": True}],
    )
    read_only: StrictBool = Field(False, title="Mount read-only")


class SystemAccounts(Settings):
    """System accounts that are the first lines of /etc/passwd and /etc/group in every pod."""

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
        description="MPI launchers need the account sshd.",
    )
    group: str = Field(
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n",
        title="Lines of group(5)",
    )

    @model_validator(mode="after")
    def _lines(self) -> SystemAccounts:
        fields = (("passwd", self.passwd, 7), ("group", self.group, 4))
        lines = ((name, line, count) for name, text, count in fields for line in text.splitlines())
        SeveralProblems.check((name, why) for name, line, count in lines if (why := _why_no_account(name, line, count)))
        return self


def _why_no_account(name: str, line: str, count: int) -> str | None:
    parts = line.split(":")
    if len(parts) != count or not parts[2].isdecimal():
        return (
            f"{quote(line, 256)} is not a valid line of {name}(5). It must have {count} fields separated by colons, "
            "with a numeric ID"
        )
    if int(parts[2]) >= 1000 and int(parts[2]) != 65534:
        why = "has an ID of 1000 or higher. Only system accounts, which have lower IDs, are allowed here"
        return f"{quote(line, 256)} {why}"
    return None


def _whole_seconds(limit: timedelta) -> timedelta:
    if limit < timedelta(seconds=1) or limit.microseconds:
        raise ValueError("must be at least 1s, in whole seconds")
    return limit


class Storage(Settings):
    """The shared storage, and who gets which mounts."""

    homes: ByName[Home] = Field(title="PersistentVolumeClaims with home directories", min_length=1)
    mounts: ByName[Mount] = Field(default_factory=dict, title="PersistentVolumeClaims that groups share")
    home_check_image: Annotated[str, StringConstraints(strict=True, pattern=r"^\S+$")] | None = Field(
        None,
        title="Image of the init container that checks that the home directory exists",
        description="Container runtimes create a missing home directory as root, so an init container first checks "
        "with `sh` that the directory exists and that the user can create files in it. A directory that belongs to "
        "another user but is writable is accepted, as on CIFS. Default: the pod's image. Set this if an image has no "
        "`sh`.",
        examples=["docker.io/library/busybox:1.37"],
    )
    home_check_limit: Annotated[Duration, AfterValidator(_whole_seconds)] = Field(
        timedelta(seconds=30),
        title="How long that init container waits for a file system",
        description="After this time the start fails, and the user reads that the file system does not answer. "
        "This needs `sleep` in the image.",
        examples=["1m"],
    )
    system_accounts: SystemAccounts = Field(
        default_factory=SystemAccounts, title="System accounts in the passwd and group files of every pod"
    )

    @model_validator(mode="after")
    def _no_overlap(self) -> Storage:
        # A pod mounts only one of the homes, so their roots may contain each other.
        homes = [(f"homes.{name}.root", home.root) for name, home in self.homes.items()]
        mounts = [(f"mounts.{name}.path", mount.path) for name, mount in self.mounts.items()]
        problems = []
        for index, (this, path) in enumerate(places := homes + mounts):
            for that, other in places[:index]:
                hidden = overlap(path, other)
                if path == other or (hidden and index >= len(homes)):
                    why = f"{this} ({path}) and {that} ({other}) overlap, so one mount would hide the other. "
                    problems.append((this, f"{why}Choose paths that do not contain each other"))
        SeveralProblems.check(problems)
        return self


def root_above(storage: Storage, path: str) -> str | None:
    """Return the mount path of the homes that `path` is below; None if it is not below one."""
    normal = posixpath.normpath(path)
    roots = [home.root for home in storage.homes.values()]
    return next((root for root in roots if within(normal, root) and normal != root), None)


@dataclass(frozen=True)
class MountPoint:
    """A PersistentVolumeClaim and the path where the main container mounts it."""

    claim: str
    path: str
    read_only: bool = False
    sub_path: str | None = None
    mount_propagation: str | None = None

    def __str__(self) -> str:
        source = self.claim if self.sub_path is None else f"{self.claim}, directory {self.sub_path}"
        return f"{self.path} ({source}{', read-only' if self.read_only else ''})"


def mounts_for(storage: Storage, identity: PosixIdentity, classes: Collection[str] = ()) -> tuple[MountPoint, ...]:
    """Return the mount of the user's home, then the shared mounts of the user's groups and `classes`.

    Raises Refusal if no claim contains the home directory, because files that the user writes there would be lost.
    """
    homes = [home for home in storage.homes.values() if within(identity.home, home.root) and identity.home != home.root]
    if not homes:
        roots = ", ".join(sorted(home.root for home in storage.homes.values()))
        raise Refusal(
            "home-elsewhere",
            f"Your home directory {identity.home} is not on a file system that is mounted here ({roots}).",
            field="home",
            hint="Ask your administrators to mount the file system of your home directory.",
            status=403,
        )
    home = max(homes, key=lambda candidate: len(candidate.root))
    return (MountPoint(home.claim, home.root), *_shared(storage, identity, classes))


def _shared(storage: Storage, identity: PosixIdentity, classes: Collection[str]) -> Iterator[MountPoint]:
    for mount in sorted(storage.mounts.values(), key=lambda candidate: candidate.path):
        if open_to(mount.groups, identity.group_names, mount.classes, classes):
            yield MountPoint(mount.claim, mount.path, mount.read_only, mount.sub_path, mount.mount_propagation)


def passwd_text(system: SystemAccounts, identity: PosixIdentity) -> str:
    """Return a passwd(5) file with the system accounts and the user.

    The gecos field is empty, because some controllers would expand `{{...}}` in a user's full name.
    """
    own = f"{identity.name}:x:{identity.uid}:{identity.gid}::{identity.home}:{identity.shell}"
    return _append_own(system.passwd, [own])


def group_text(system: SystemAccounts, identity: PosixIdentity) -> str:
    """Return a group(5) file with the system groups and the user's groups, whose only member is the user."""
    return _append_own(system.group, [f"{g.name}:x:{g.gid}:{identity.name}" for g in identity.groups])


def _append_own(base: str, own: list[str]) -> str:
    """Return the lines of `base` and then `own`.  Leave out lines of `base` whose name or ID is also in `own`."""
    parts = [line.split(":", 3) for line in own]
    names, numbers = {name for name, *_ in parts}, {number for _, _, number, *_ in parts}
    kept = [line for line, name, number in _system_lines(base) if name not in names and number not in numbers]
    return "\n".join([*kept, *own]) + "\n"


@lru_cache
def _system_lines(base: str) -> tuple[tuple[str, str, str], ...]:
    """Return each line of a passwd(5) or group(5) file with the name and the ID in it."""
    split = [(line, line.split(":", 3)) for line in base.splitlines()]
    return tuple((line, name, number) for line, (name, _, number, *_) in split)


def environment(identity: PosixIdentity) -> dict[str, str]:
    """Return the variables that login(1) sets and those that start.sh in Jupyter's docker-stacks images reads."""
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
