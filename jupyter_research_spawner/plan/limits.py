"""Choose the wall time, the image and the working directory, within the limits of the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ..identity import PosixIdentity
from ..refusal import Refusal
from ..settings import format_duration
from ..shape import NOTEBOOK_KIND
from ..site import Site
from ..storage import MountPoint, within
from ..wording import format_list, quote
from .model import Request, WallTime
from .names import Names


@dataclass(frozen=True)
class _Limit:
    """A maximum wall time, the path of its setting, and what it limits."""

    duration: timedelta
    rule: str
    of: str


def choose_wall_time(
    site: Site, request: Request, profile_name: str, classes: Sequence[str] = (), staffed: Sequence[str] = ()
) -> WallTime:
    """Return the soft and the hard wall time.  Raises Refusal if the request exceeds the limit.

    For a notebook, the profile sets the hard limit.  For a job, the requested wall time is the hard limit, as in Slurm.
    `classes` are the classes that the user needs for this, and `staffed` those of which the user is staff.
    """
    profile = site.profiles[profile_name]
    is_notebook = request.shape.kind == NOTEBOOK_KIND
    limit = (
        _limit_of_profile(site, profile_name, f"profile {Names.in_request(site, request).of('profile', profile_name)}")
        if is_notebook
        else _limit_of_jobs(site, profile_name, classes, staffed)
    )
    asked, ceiling = request.wall_time, limit.duration
    if asked is not None and asked < timedelta(seconds=1):
        raise Refusal(
            "wall-time-too-short",
            f"Wall time must be longer than 0 seconds; you asked for {asked.total_seconds():g} seconds.",
            field="wall_time",
            hint="Ask for at least 1 second, or leave the wall time out to get the default.",
        )
    if asked is not None and asked > ceiling:
        longest = format_duration(ceiling)
        raise Refusal(
            "wall-time-too-long",
            f"Wall time {format_duration(asked)} is longer than {longest}, the maximum for {limit.of}.",
            field="wall_time",
            hint=f"Ask for {longest} or less.",
        )
    because = f"{limit.rule} is {format_duration(ceiling)}"
    if asked is None:
        return WallTime(min(profile.wall_time, ceiling), ceiling, because)
    if is_notebook:
        return WallTime(asked, ceiling, f"asked for {format_duration(asked)}; {because}")
    return WallTime(asked, asked, f"asked for {format_duration(asked)}")


def _limit_of_profile(site: Site, name: str, of: str) -> _Limit:
    profile = site.profiles[name]
    rule = "wall_time" if profile.wall_time_hard is None else "wall_time_hard"
    return _Limit(profile.hard, f"{site.profile_path(name)}.{rule}", of)


def _limit_of_jobs(site: Site, profile_name: str, classes: Sequence[str], staffed: Sequence[str]) -> _Limit:
    """Return the maximum wall time of a job.

    It is the limit of the profile for jobs, or else for all pods.  If all of `classes` have a limit, their longest
    limit replaces the limit for all pods, and it also bounds the limit for jobs.  The staff have what their students
    have.  No job exceeds the limit of the site.
    """
    of_profile = f"jobs in profile {profile_name!r}"
    limits = [_Limit(site.batch.wall_time_hard, "batch.wall_time_hard", "jobs")]
    of_classes = _limits_of_classes(site, classes)
    if of_classes and len(of_classes) == len(classes):
        limits.append(max(of_classes, key=lambda limit: limit.duration))
    if (own := site.profiles[profile_name].jobs.wall_time_hard) is not None:
        limits.append(_Limit(own, f"{site.profile_path(profile_name)}.jobs.wall_time_hard", of_profile))
    elif len(limits) == 1:
        for_all = _limit_of_profile(site, profile_name, of_profile)
        limits.append(max([for_all, *_limits_of_classes(site, staffed)], key=lambda limit: limit.duration))
    return min(reversed(limits), key=lambda limit: limit.duration)


def _limits_of_classes(site: Site, classes: Sequence[str]) -> list[_Limit]:
    return [
        _Limit(limit, f"classes.{name}.jobs.wall_time_hard", "jobs of your class")
        for name in classes
        if (limit := site.classes[name].jobs.wall_time_hard) is not None
    ]


def choose_image(site: Site, request: Request, profile_name: str) -> str | None:
    """Return the requested image or the default image; None means KubeSpawner's image.  Raises Refusal.

    A notebook may request the images of its profile; a job may also request those of batch.images.  The request names
    the image by its key in the settings or by its full name.  Both may request an image that matches a pattern of
    `other_images` of the profile.
    """
    profile = site.profiles[profile_name]
    is_notebook = request.shape.kind == NOTEBOOK_KIND
    allowed = profile.image_names if is_notebook else {**site.batch.images, **profile.image_names}
    patterns = sorted(pattern for pattern, may in profile.other_images.items() if may)
    asked = request.image
    if asked is not None:
        if asked in allowed or asked in allowed.values():
            return allowed.get(asked, asked)
        if any(matches_image_pattern(asked, pattern) for pattern in patterns):
            return asked
    elif profile.images or is_notebook:
        return profile.default_image
    elif allowed:
        return allowed.get("default") or allowed[min(allowed)]
    if asked is None or not (allowed or patterns):
        raise Refusal(
            "no-image",
            f"Profile {profile_name!r} has no allowed image.",
            field="image",
            hint=f"Ask your administrators to add an image to {site.profile_path(profile_name)}.images "
            "or batch.images.",
        )
    shown = Names.in_request(site, request).of("profile", profile_name)
    raise Refusal(
        "image-not-allowed",
        f"Image {quote(asked)} is not allowed for profile {shown}.",
        field="image",
        hint=f"Allowed images: {format_list([*sorted(set(allowed.values())), *patterns])}.",
    )


# The name of an image with an optional registry, tag and digest.  Source: github.com/distribution/reference, regexp.go.
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE_NAME = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    rf"{_PATH_PART}(?:/{_PATH_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def matches_image_pattern(image: str, pattern: str) -> bool:
    """Return whether `image` is a valid name of an image that matches the pattern, which can have a `*` at its end."""
    beginning = pattern.removesuffix("*")
    return (
        image.startswith(beginning)
        and len(image) > len(beginning)
        and len(image) <= 512
        and _IMAGE_NAME.fullmatch(image) is not None
    )


def apply_workdir(
    request: Request, identity: PosixIdentity, mounts: Iterable[MountPoint]
) -> tuple[Request, tuple[str, ...]]:
    """Return the request with its working directory as an absolute path in the user's home or on a mount, and warnings.

    `~` means the user's home directory.  Raises Refusal for any other directory, because the container runtime, which
    is root, would create a missing working directory even in another user's home.  An inherited directory is left out
    instead.
    """
    home, *shared = (mount.path for mount in mounts)
    roots = (identity.home, *shared)

    def is_allowed(path: str) -> bool:
        is_below = path == home or any(within(path, root) for root in roots)
        return is_below and posixpath.normpath(path) == path and path.isprintable()

    asked = request.workdir
    if asked is None:
        inherited = request.inherited.workdir
        for path in filter(is_allowed, inherited):
            return replace(request, workdir=path), ()
        return request, tuple(
            f"Your current directory {quote(path)} is not in your home directory or on a file system mounted for jobs. "
            f"The job starts in your home directory {identity.home}."
            for path in inherited[:1]
        )
    path = identity.home + asked[1:] if asked == "~" or asked.startswith("~/") else asked
    if is_allowed(path):
        return replace(request, workdir=path), ()
    raise Refusal(
        "workdir-elsewhere",
        f"Working directory {quote(asked)} is not in your home directory or on a file system mounted for you.",
        field="workdir",
        hint=f"Choose a directory in {format_list(roots, 'or')}.",
    )
