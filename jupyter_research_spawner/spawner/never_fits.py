"""Refuses a start that can never succeed, because it is larger than any node of a cluster or than its queue."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Protocol

from kubespawner import KubeSpawner

from ..plan import Offer, Plan, offers, whom_to_ask
from ..refusal import Refusal
from ..shape import Json
from ..site import Site
from ..texts import gettext, gettext_choice
from ..watch import FreeCapacity
from ..wording import quote
from .pending_page import title_of
from .process_state import ProcessState


class Never(Protocol):
    """What is known about servers that can never start: see watch.FreeCapacity."""

    def why_never(self, profile: str, queue: str) -> str: ...


def free_capacity_for(spawner: KubeSpawner, shared: ProcessState) -> FreeCapacity:
    """Return what the hub knows about free capacity for the notebooks of this spawner."""
    return shared.free_capacity(spawner.api.api_client, _added_by_kubespawner(spawner))


def _added_by_kubespawner(spawner: KubeSpawner) -> Json:
    """Return the part of a PodSpec that KubeSpawner's settings add, as far as it decides on which node a pod fits."""
    values = spawner._sorted_dict_values  # these settings can be lists or maps
    spec: Json = {
        "nodeSelector": spawner.node_selector,
        "tolerations": values(spawner.tolerations),
        "containers": values(spawner.extra_containers),
        "initContainers": values(spawner.init_containers),
    }
    if terms := values(spawner.node_affinity_required):
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        spec["affinity"] = {"nodeAffinity": required}
    return spec


async def require_that_it_fits(spawner: KubeSpawner, shared: ProcessState, decided: Plan) -> None:
    """Raise Refusal if the start that was decided can never succeed."""
    known = free_capacity_for(spawner, shared)
    if not await known.learn_what_never_starts():
        return
    offered = offers(shared.site, decided.identity, datetime.now(timezone.utc))
    if (refusal := why_never(shared.site, decided, offered, known)) is not None:
        raise refusal


def why_never(site: Site, decided: Plan, offered: tuple[Offer, ...], known: Never) -> Refusal | None:
    """Return why the start that was decided can never succeed, and what would fit; None if nothing is known against it.

    offered: what the user may start.
    """
    why = known.why_never(decided.profile, decided.queue)
    if not why:
        return None
    fitting = {
        offer: [quote(queue.title) for queue in offer.offered_queues if not known.why_never(offer.profile, queue.name)]
        for offer in offered
    }
    course, profile = decided.request.course, decided.profile
    own = next((offer for offer in offered if (offer.course, offer.profile) == (course, profile)), None)
    if own is not None and fitting[own]:
        field = "queue"
        hint = gettext("Choose another queue: %(queues)s.", queues=gettext_choice(fitting[own]))
    else:
        field = "class" if course is not None else "profile"
        titles = [quote(offer.title) for offer, queues in fitting.items() if queues]
        fits = gettext_choice(titles)
        hint = gettext("Choose one that fits: %(offers)s.", offers=fits) if titles else whom_to_ask(site).text
    title = quote(title_of(site, profile, course))
    message = gettext("%(offer)s can never start here. %(why)s", offer=title, why=why)
    return Refusal("never-fits", message, field=field, hint=hint)
