"""The frozen dataclasses Request and Plan: what a user requests, and what the pod will get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from ..identity import PosixIdentity
from ..prerequisite import Prerequisite
from ..resources import Resources
from ..schedulers import Marks
from ..settings import format_duration
from ..shape import Shape
from ..site import Allowed, PodFields
from ..storage import MountPoint

_SUMMARY_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Inherited:
    """The values of the notebook that submits a job.  They are used as far as they fit, and never cause a refusal.

    `workdir` has the paths of the notebook's current directory.  The first path that the user may use is used.
    """

    profile: str | None = None
    queue: str | None = None
    image: str | None = None
    workdir: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a user requests.  None means that an inherited value or the site's default applies.

    `hub_user` is the user's name in the hub.  `server` is the name of a named server, or empty.
    """

    shape: Shape
    hub_user: str
    server: str = ""
    profile: str | None = None
    queue: str | None = None
    course: str | None = None
    wall_time: timedelta | None = None
    image: str | None = None
    workdir: str | None = None
    inherited: Inherited = Inherited()


@dataclass(frozen=True)
class WallTime:
    """The wall time limits of a notebook or job.

    The user is warned before the time `soft` ends, and may extend it up to `hard`, which the cluster enforces.
    `reason` names the request and the setting that determined the limits.
    """

    soft: timedelta
    hard: timedelta
    reason: str


@dataclass(frozen=True)
class Plan:
    """All decisions about one notebook or job.  `compose` needs nothing else to write its manifest."""

    request: Request
    identity: PosixIdentity
    namespace: str
    run_id: str
    profile: str
    queue: str
    scheduler: str
    priority: str
    priority_value: int
    preemptible: bool
    marks: Marks
    resources: Resources
    mounts: tuple[MountPoint, ...]
    shm: int | None  # the size of /dev/shm in bytes; None for the runtime's 64 MiB
    wall_time: WallTime
    image: str | None
    home_check_image: str | None
    home_check_limit: timedelta
    passwd: str
    group: str
    env: Mapping[str, str]
    pod_fields: PodFields
    allowed: Allowed
    prerequisites: tuple[Prerequisite, ...]
    warnings: tuple[str, ...]
    batch_url: str | None
    show_notices: bool
    site_digest: str
    adoption_key: str = ""
    # The keys by which a hub recognizes its pods. Only the spawner sets them.
    owner_keys: str = ""
    # The claims of storage.homes, also those without this user's home.
    home_claims: frozenset[str] = frozenset()

    @property
    def shape(self) -> Shape:
        return self.request.shape

    @property
    def workdir(self) -> str:
        return self.request.workdir or self.identity.home

    @property
    def hard_seconds(self) -> int:
        return int(self.wall_time.hard.total_seconds())

    def summary(self) -> dict[str, Any]:
        """Return the plan as a small JSON object without secrets, for the plan annotation, web pages and audit logs."""
        return {
            "kind": self.shape.kind,
            "name": self.shape.name,
            "hub_user": self.request.hub_user,
            "server": self.request.server,
            "user": self.identity.name,
            "uid": self.identity.uid,
            "gid": self.identity.gid,
            "home": self.identity.home,
            "source": self.identity.source,
            "namespace": self.namespace,
            "profile": self.profile,
            "class": self.request.course,
            "queue": self.queue,
            "scheduler": self.scheduler,
            "priority": self.priority,
            "preemptible": self.preemptible,
            "resources": str(self.resources),
            "mounts": [str(mount) for mount in self.mounts],
            "wall_time": format_duration(self.wall_time.soft),
            "wall_time_hard": format_duration(self.wall_time.hard),
            "wall_time_reason": self.wall_time.reason,
            "image": self.image,
            "workdir": self.request.workdir,
            "run_id": self.run_id,
            "warnings": list(self.warnings),
        }

    @cached_property
    def written(self) -> str:
        """Return the summary as JSON text, the value of the plan annotation."""
        return _SUMMARY_ENCODER.encode(self.summary())


@dataclass(frozen=True)
class OfferedQueue:
    """A queue that a user may choose for an offer.

    `description` says what the queue means: the site's own sentence, the weight if the site sets it, and whether its
    work can be preempted.
    """

    name: str
    title: str
    description: str
    preemptible: bool


@dataclass(frozen=True)
class OfferedImage:
    """An image that a user may choose for an offer.  `image` is its full name."""

    name: str
    title: str
    description: str
    image: str


@dataclass(frozen=True)
class Offer:
    """A profile or class that a user may choose now, with the queues and images that the user may choose for it.

    The default image and the default queue are the first.  `other_images` are the patterns of images that the user may
    enter.  `heading` is the heading of a group of offers, or empty.  `is_default`: the options form shows the offer as
    selected. A request without a profile and a class gets another default, the profile that `choose_profile` returns.
    """

    name: str
    title: str
    description: str
    profile: str
    resources: Resources
    wall_time: timedelta
    offered_queues: tuple[OfferedQueue, ...]
    images: tuple[OfferedImage, ...] = ()
    other_images: tuple[str, ...] = ()
    heading: str = ""
    course: str | None = None
    is_default: bool = False

    @property
    def queues(self) -> tuple[str, ...]:
        """Return the names of the queues, the default first."""
        return tuple(queue.name for queue in self.offered_queues)


@dataclass(frozen=True)
class Help:
    """Whom a user asks for help: a sentence, and its link or an empty text."""

    text: str
    url: str
