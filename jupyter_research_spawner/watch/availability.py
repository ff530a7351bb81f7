"""Say in words whether a notebook would start now: free now, would wait, too big, or nothing where it is not known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..schedulers import Demand, QueueRoom, offer_too_big, requests_too_much
from ..texts import gettext, ngettext
from .node_sizes import NodeSizes

State = Literal["free-now", "would-wait", "too-big"]


@dataclass(frozen=True)
class Availability:
    """Whether a notebook would start now, and when this was read.

    label: a few words.  detail: sentences that say more, or "".
    waiting: the number of notebooks and jobs that wait for the same quota; None if it is unknown.
    never: why it can never start, as a sentence; "" if it can, or if that is not known.
    """

    state: State
    label: str
    detail: str
    as_of: datetime
    waiting: int | None = None
    never: str = ""

    @property
    def can_never_start(self) -> bool:
        """Return whether no node can ever take it, or its queue never has that much, so that a start is refused."""
        return bool(self.never)


def availability(
    demand: Demand, room: QueueRoom | None, has_node: bool | None, sizes: NodeSizes, as_of: datetime
) -> Availability | None:
    """Return whether a notebook with this demand would start now; None if it is not known.

    room: what the queue says, or None.  has_node: whether a node has enough free, or None.  sizes: of the nodes, if
    they were empty.
    """
    if (largest := sizes.why_none(demand.node_requests)) is not None:
        label = gettext("No node is this big now") if largest.can_grow else gettext("No node is this big")
        never = "" if largest.can_grow else requests_too_much(largest)
        return Availability("too-big", label, offer_too_big(largest), as_of, never=never)
    waiting = None if room is None else room.waiting
    if room is not None and room.is_too_large:
        detail = gettext("It requests more than its queue has in total.")
        return Availability("too-big", gettext("Larger than its queue"), detail, as_of, never=detail)
    if room is not None and room.is_closed:
        detail = gettext("Its queue starts nothing now.")
        return Availability("would-wait", gettext("Queue stopped"), detail, as_of, waiting)
    if (room is not None and not room.fits) or has_node is False:
        label = gettext("You would wait")
        if waiting:
            label = ngettext("You would wait (%(count)s waiting)", "You would wait (%(count)s waiting)", waiting)
        return Availability("would-wait", label, "", as_of, waiting)
    if (room is not None and room.fits) or has_node:
        return Availability("free-now", gettext("Free now"), "", as_of, waiting)
    return None
