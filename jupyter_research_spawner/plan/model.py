"""What a person asks for and what was decided.  Frozen: whoever has a plan can believe it."""

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


@dataclass(frozen=True)
class Request:
    """What a person asked for; None means "you choose".

    `hub_user` is the hub's name for the person, `server` the name of a named server.
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


@dataclass(frozen=True)
class WallTime:
    """`soft` is warned of and may be extended up to `hard`, which the cluster enforces; `reason` says whose rule."""

    soft: timedelta
    hard: timedelta
    reason: str


@dataclass(frozen=True)
class Plan:
    """The decision about one thing that is made (a notebook, a job), whole enough to compose its pods from."""

    request: Request
    identity: PosixIdentity
    namespace: str
    run_id: str
    profile: str
    queue: str
    scheduler: str
    priority: str
    preemptible: bool
    marks: Marks
    resources: Resources
    mounts: tuple[MountPoint, ...]
    wall_time: WallTime
    image: str | None
    home_check_image: str | None
    passwd: str
    group: str
    env: Mapping[str, str]
    pod_fields: PodFields
    allowed: Allowed
    prerequisites: tuple[Prerequisite, ...]
    warnings: tuple[str, ...]
    batch_url: str | None
    site_digest: str
    adoption_key: str = ""

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
        """The plan as bounded JSON without secrets, for the annotation, for pages and for audit."""
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
            "run_id": self.run_id,
            "warnings": list(self.warnings),
        }

    @cached_property
    def written(self) -> str:
        """The summary as compose writes it into the annotation, and check looks for it, on object and pods."""
        return json.dumps(self.summary(), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Offer:
    """A profile (or a class) that a person may take now, and the queues it may wait in, the default one first."""

    name: str
    title: str
    description: str
    profile: str
    resources: Resources
    wall_time: timedelta
    queues: tuple[str, ...]
    course: str | None = None
    is_default: bool = False
