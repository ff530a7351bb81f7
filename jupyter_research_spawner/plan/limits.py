"""Choose the wall time, the image and the working directory, within the limits of the site."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from ..identity import PosixIdentity
from ..refusal import Refusal
from ..settings import format_duration
from ..shape import NOTEBOOK_KIND
from ..site import Site
from ..storage import MountPoint, within
from ..wording import format_list, quote
from .model import Request, WallTime


def choose_wall_time(site: Site, request: Request, profile_name: str, classes: Sequence[str] = ()) -> WallTime:
    """Return the soft and the hard wall time.  Raises Refusal if the request exceeds the site's limit.

    For a notebook, the profile sets the hard limit.  For a job, the requested wall time is the hard limit, as in Slurm.
    `classes` are the classes without which the user could not run this.  A class can have a lower limit for jobs.
    """
    profile = site.profiles[profile_name]
    is_notebook = request.shape.kind == NOTEBOOK_KIND
    ceiling, rule = (
        (profile.hard, f"{site.profile_path(profile_name)}.wall_time_hard")
        if is_notebook
        else _limit_of_jobs(site, classes)
    )
    asked = request.wall_time
    if asked is not None and asked < timedelta(seconds=1):
        raise Refusal(
            "wall-time-too-short",
            f"Wall time must be longer than 0 seconds; you asked for {asked.total_seconds():g} seconds.",
            field="wall_time",
            hint="Ask for at least 1 second, or leave the wall time out to get the default.",
        )
    if asked is not None and asked > ceiling:
        raise Refusal(
            "wall-time-too-long",
            f"Wall time {format_duration(asked)} is longer than {format_duration(ceiling)}, the maximum for "
            f"{'profile ' + repr(profile_name) if is_notebook else 'jobs of your class' if classes else 'jobs'}.",
            field="wall_time",
            hint=f"Ask for {format_duration(ceiling)} or less.",
        )
    if asked is None:
        return WallTime(min(profile.wall_time, ceiling), ceiling, f"{rule} is {format_duration(ceiling)}")
    if is_notebook:
        return WallTime(asked, ceiling, f"asked for {format_duration(asked)}; {rule} is {format_duration(ceiling)}")
    return WallTime(asked, asked, f"asked for {format_duration(asked)}")


def _limit_of_jobs(site: Site, classes: Sequence[str]) -> tuple[timedelta, str]:
    """Return the maximum wall time of a job, and the name of the setting that it comes from.

    If all of these classes have a limit, their longest limit applies.  It cannot exceed the limit of the site.
    """
    limits = [
        (limit, f"classes.{name}.jobs.wall_time_hard")
        for name in classes
        if (limit := site.classes[name].jobs.wall_time_hard) is not None
    ]
    of_site = (site.batch.wall_time_hard, "batch.wall_time_hard")
    return min(of_site, max(limits)) if limits and len(limits) == len(classes) else of_site


def choose_image(site: Site, request: Request, profile_name: str) -> str | None:
    """Return the requested image or the default image; None means KubeSpawner's image.  Raises Refusal.

    A notebook may request the images of its profile; a job may also request those of batch.images.  The request names
    the image by its key in the settings or by its full name.
    """
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
            f"Profile {profile_name!r} has no allowed image.",
            field="image",
            hint=f"Ask your administrators to add an image to {site.profile_path(profile_name)}.images "
            "or batch.images.",
        )
    raise Refusal(
        "image-not-allowed",
        f"Image {quote(asked)} is not allowed for profile {profile_name!r}.",
        field="image",
        hint=f"Allowed images: {format_list(sorted(set(allowed.values())))}.",
    )


def apply_workdir(request: Request, identity: PosixIdentity, mounts: Iterable[MountPoint]) -> Request:
    """Return the request with its working directory as an absolute path in the user's home or on a mount.

    `~` means the user's home directory.  Raises Refusal for any other directory, because the container runtime, which
    is root, would create a missing working directory even in another user's home.
    """
    asked = request.workdir
    if asked is None:
        return request
    path = identity.home + asked[1:] if asked == "~" or asked.startswith("~/") else asked
    home, *shared = (mount.path for mount in mounts)
    is_allowed = path == home or any(within(path, root) for root in (identity.home, *shared))
    if is_allowed and posixpath.normpath(path) == path:
        return replace(request, workdir=path)
    raise Refusal(
        "workdir-elsewhere",
        f"Working directory {quote(asked)} is not in your home directory or on a file system mounted for you.",
        field="workdir",
        hint=f"Choose a directory in {format_list((identity.home, *shared), 'or')}.",
    )
