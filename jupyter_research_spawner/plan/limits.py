"""Wall time, image and working directory: what was asked, within what the site allows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from datetime import timedelta

from ..identity import PosixIdentity
from ..refusal import Refusal
from ..settings import format_duration
from ..shape import NOTEBOOK_KIND
from ..site import Site
from ..storage import MountPoint, within
from ..wording import format_list, quote
from .model import Request, WallTime


def wall_time_for(site: Site, request: Request, profile_name: str) -> WallTime:
    """A notebook's hard limit is its profile's.  A job that asked for a time gets that as its limit, as under Slurm."""
    profile = site.profiles[profile_name]
    is_notebook = request.shape.kind == NOTEBOOK_KIND
    ceiling = profile.hard if is_notebook else site.batch.wall_time_hard
    rule = f"profiles.{profile_name}.wall_time_hard" if is_notebook else "batch.wall_time_hard"
    asked = request.wall_time
    if asked is not None and asked < timedelta(seconds=1):
        raise Refusal(
            "wall-time-too-short",
            f"A wall time of {asked.total_seconds():g} seconds is none.",
            field="wall_time",
            hint="Ask for at least a second, or leave it out.",
        )
    if asked is not None and asked > ceiling:
        raise Refusal(
            "wall-time-too-long",
            f"A wall time of {format_duration(asked)} is more than the {format_duration(ceiling)} "
            f"that {'profile ' + repr(profile_name) if is_notebook else 'a job'} may have.",
            field="wall_time",
            hint=f"Ask for {format_duration(ceiling)} or less.",
        )
    if asked is None:
        return WallTime(min(profile.wall_time, ceiling), ceiling, f"{rule} is {format_duration(ceiling)}")
    if is_notebook:
        return WallTime(asked, ceiling, f"asked for {format_duration(asked)}; {rule} is {format_duration(ceiling)}")
    return WallTime(asked, asked, f"asked for {format_duration(asked)}")


def image_for(site: Site, request: Request, profile_name: str) -> str | None:
    """One of the profile's (or, for a job, of batch.images), by name or in full.  Nothing allowed means nothing."""
    profile = site.profiles[profile_name]
    is_notebook = request.shape.kind == NOTEBOOK_KIND
    allowed = dict(profile.images) if is_notebook else {**site.batch.images, **profile.images}
    asked = request.image
    if asked is not None:
        if asked in allowed or asked in allowed.values():
            return allowed.get(asked, asked)
    elif profile.images or is_notebook:
        return profile.default_image
    elif allowed:
        return allowed.get("default") or allowed[min(allowed)]
    if not allowed:
        raise Refusal(
            "no-image",
            f"No image is allowed for profile {profile_name!r}.",
            field="image",
            hint=f"The people who run this hub name them in profiles.{profile_name}.images or batch.images.",
        )
    raise Refusal(
        "image-not-allowed",
        f"The image {asked!r} is not allowed for profile {profile_name!r}.",
        field="image",
        hint=f"Allowed: {format_list(sorted(set(allowed.values())))}.",
    )


def workdir_for(request: Request, identity: PosixIdentity, mounts: Iterable[MountPoint]) -> str | None:
    """Their own home or a group's mount: the runtime makes a directory that is missing as root, in others' homes too.

    `~` is the identity's home, as in a shell: who submits need not know its path.
    """
    asked = request.workdir
    if asked is None:
        return None
    path = identity.home + asked[1:] if asked == "~" or asked.startswith("~/") else asked
    home, *shared = (mount.path for mount in mounts)
    is_theirs = path == home or any(within(path, root) for root in (identity.home, *shared))
    if is_theirs and posixpath.normpath(path) == path:
        return path
    raise Refusal(
        "workdir-elsewhere",
        f"The working directory {quote(asked)} lies on none of your file systems.",
        field="workdir",
        hint=f"Yours: {format_list((identity.home, *shared))}.",
    )
