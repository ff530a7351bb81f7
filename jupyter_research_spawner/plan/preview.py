"""Show in advance what a notebook of an offer would get, without a plan for each offer of the options form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..identity import PosixIdentity
from ..shape import NOTEBOOK_KIND, Shape
from ..site import Site
from .choices import class_end_warnings, classes_required, priority_of
from .limits import choose_wall_time
from .model import Offer, Request, WallTime
from .rights import Rights, rights_of

_NOTEBOOK = Request(Shape(NOTEBOOK_KIND, ""), hub_user="")


@dataclass(frozen=True)
class QueuePreview:
    """Parts of the plan for an offer in one of its queues, without other choices."""

    queue: str
    priority: str
    wall_time: WallTime
    warnings: tuple[str, ...]


def preview(
    site: Site, identity: PosixIdentity, rights: Rights, offer: Offer, now: datetime
) -> tuple[QueuePreview, ...]:
    """Return the parts of the plan for each queue of the offer; the functions of `plan` decide them.

    rights: the user's rights now.
    """
    return tuple(_preview(site, identity, rights, offer.profile, queue, now) for queue in offer.queues)


def _preview(
    site: Site, identity: PosixIdentity, rights: Rights, profile: str, queue: str, now: datetime
) -> QueuePreview:
    classes, staffed = classes_required(site, rights, profile, queue)
    wall_time = choose_wall_time(site, _NOTEBOOK, profile, classes, staffed)
    warnings: tuple[str, ...] = ()
    if classes:
        then = rights_of(site, identity, now + wall_time.hard)
        warnings = class_end_warnings(site, then, classes, profile, queue)
    return QueuePreview(queue, priority_of(site, queue), wall_time, warnings)
