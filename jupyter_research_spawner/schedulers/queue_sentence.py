"""The sentence that says where a notebook or job stands in its queue.  Pages, `job` and the API show the same one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_DOWN, Decimal
from itertools import groupby

from ..api_object import parse_quantity, parse_time
from ..texts import gettext, gettext_choice, gettext_list, gettext_noop, ngettext, ngettext_noop
from ..wording import format_moment
from .queue_status import ExcludedNodes, LargestNode, Limit, QueueStatus, Shortage

_GIB = 2**30
# Singular and plural.  Other resources keep their name in Kubernetes.
_WORDS = {
    "cpu": ngettext_noop("CPU", "CPUs"),
    "pods": ngettext_noop("pod", "pods"),
    "gpu": ngettext_noop("GPU", "GPUs"),
    "nvidia.com/gpu": ngettext_noop("NVIDIA GPU", "NVIDIA GPUs"),
    "nvidia.com/gpu.shared": ngettext_noop("share of an NVIDIA GPU", "shares of NVIDIA GPUs"),
    "amd.com/gpu": ngettext_noop("AMD GPU", "AMD GPUs"),
    "gpu.intel.com/xe": ngettext_noop("Intel GPU", "Intel GPUs"),
    "gpu.intel.com/i915": ngettext_noop("Intel GPU", "Intel GPUs"),
}
_SIZES = {"memory": gettext_noop("memory"), "ephemeral-storage": gettext_noop("local storage")}
_MIG = re.compile(r"nvidia\.com/mig-([a-z0-9.+-]+)")
# The words of kube-scheduler about nodes (1.36, pkg/scheduler/framework/plugins), and ours.
_EXCLUDED = (
    ("node(s) didn't match Pod's node affinity/selector", gettext_noop("%(number)s because of its node selector")),
    ("node(s) had untolerated taint", gettext_noop("%(number)s because of a taint that it does not tolerate")),
    ("node(s) were unschedulable", gettext_noop("%(number)s because they accept no new pods")),
    ("node(s) had volume node affinity conflict", gettext_noop("%(number)s because they cannot reach its volume")),
)
# By what is known: the queue, since when it waits, and its place.
_WAITING = {
    (True, True, True): gettext_noop("Waiting in queue %(queue)s since %(time)s, at place %(place)s."),
    (True, True, False): gettext_noop("Waiting in queue %(queue)s since %(time)s."),
    (True, False, True): gettext_noop("Waiting in queue %(queue)s, at place %(place)s."),
    (True, False, False): gettext_noop("Waiting in queue %(queue)s."),
    (False, True, True): gettext_noop("Waiting since %(time)s, at place %(place)s."),
    (False, True, False): gettext_noop("Waiting since %(time)s."),
    (False, False, True): gettext_noop("Waiting at place %(place)s."),
}


def describe(status: QueueStatus) -> str:
    """Return where a pod or job stands, why it waits and what happens next, as sentences; "" if nothing is known.

    Example: Waiting in queue climate since 28 Nov 10:02 UTC, at place 2 of 5. It starts when 1 more NVIDIA GPU is free
    in its queue.
    """
    if not status.waits:
        return ""
    queue, since, place = status.queue, _moment(status.since) if status.since else "", _place(status)
    waiting = _WAITING.get((bool(queue), bool(since), bool(place)), "")
    where = gettext(waiting, queue=queue, time=since, place=place) if waiting else ""
    return " ".join(filter(None, (where, why(status))))


def summarize(status: QueueStatus) -> str:
    """Return the most important facts of `describe` in a few words, for a column of a table; "" if there are none."""
    place, facts = status.place, []
    if place is not None:
        facts.append(gettext("place %(position)s of %(waiting)s", position=place.position, waiting=place.waiting))
    if status.largest is not None or status.limits:
        is_node = status.largest is not None
        facts.append(gettext("larger than any node") if is_node else gettext("larger than its queue"))
    elif status.missing:
        facts.append(_missing(status.missing))
    return ", ".join(facts)


def why(status: QueueStatus) -> str:
    """Return why a pod or job waits and what happens next, as sentences; "" if the scheduler does not say it."""
    known = _WHY.get(status.code)
    told = status.message or (known(status) if known else "")
    if status.largest is None:
        return told
    # That no node has room now adds nothing to the fact that no node is large enough.
    nodes = describe_largest(status.largest)
    return nodes if status.code == "nodes" else f"{told} {nodes}".strip()


def _place(status: QueueStatus) -> str:
    place = status.place
    if place is None:
        return ""
    if place.overall <= place.position:
        return gettext("%(position)s of %(waiting)s", position=place.position, waiting=place.waiting)
    return gettext(
        "%(position)s of %(waiting)s (%(overall)s with other queues)",
        position=place.position,
        waiting=place.waiting,
        overall=place.overall,
    )


def _quota(status: QueueStatus) -> str:
    what = _missing(status.missing)
    if not what:
        return gettext("Its queue is full.")
    if _is_single(status.missing):
        return gettext("It starts when %(resources)s is free in its queue.", resources=what)
    return gettext("It starts when %(resources)s are free in its queue.", resources=what)


def _nodes(status: QueueStatus) -> str:
    if status.missing:
        what = gettext_list(plural(found.resource) for found in status.missing)
        told = gettext("It starts when a node has enough free %(resources)s.", resources=what)
    else:
        told = gettext("It starts when a node can take it.")
    return f"{told} {_excluded(status.nodes, status.excluded)}".strip()


def _excluded(nodes: int, excluded: Iterable[ExcludedNodes]) -> str:
    found = list(excluded)
    if not found:
        return ""
    return ngettext(
        "Of %(count)s node, it cannot use %(nodes)s.",
        "Of %(count)s nodes, it cannot use %(nodes)s.",
        nodes,
        nodes=gettext_list(map(_excluded_by, found)),
    )


def _excluded_by(nodes: ExcludedNodes) -> str:
    known = next((text for start, text in _EXCLUDED if nodes.reason.startswith(start)), None)
    return f"{nodes.count} ({nodes.reason})" if known is None else gettext(known, number=nodes.count)


def _room(status: QueueStatus) -> str:
    if status.together < 2:
        return gettext("It starts when its queue is open and has room, and nodes have room.")
    return ngettext(
        "It starts when its queue is open and has room for its %(count)s pod, and nodes have room.",
        "It starts when its queue is open and has room for its %(count)s pods, which start together, and nodes have "
        "room.",
        status.together,
    )


def _preempting(status: QueueStatus) -> str:
    if not status.preempts:
        return gettext("It starts when the work that it preempts has ended.")
    return ngettext(
        "It starts when the workload that it preempts has ended.",
        "It starts when the %(count)s workloads that it preempts have ended.",
        status.preempts,
    )


def _requeued(status: QueueStatus) -> str:
    at = _moment(status.resumes_at) if status.resumes_at else ""
    return gettext("It is queued again at %(time)s.", time=at) if at else gettext("It is queued again later.")


def _too_large(status: QueueStatus) -> str:
    return gettext(
        "It cannot start, because it requests %(resources)s. Stop it and request less, or use another queue.",
        resources=gettext_list(map(_above, status.limits)),
    )


def _above(limit: Limit) -> str:
    if not limit.most:
        return gettext("%(resources)s, of which its queue has none", resources=plural(limit.resource))
    return gettext(
        "%(requested)s, but its queue has only %(most)s in total",
        requested=amount_of(limit.resource, limit.requested),
        most=amount_of(limit.resource, limit.most),
    )


_WHY: Mapping[str, Callable[[QueueStatus], str]] = {
    "quota": _quota,
    "nodes": _nodes,
    "room": _room,
    "preempting": _preempting,
    "requeued": _requeued,
    "turn": lambda _: gettext("It starts when it is its turn and its queue has room."),
    "too-large": _too_large,
    "no-quota": _too_large,
}


# By whether a larger node can be added.
_NO_NODE_HAS = {
    True: gettext_noop("No node here has %(resources)s now."),
    False: gettext_noop("No node here has %(resources)s."),
}
_NO_NODE_HAS_TOGETHER = {
    True: gettext_noop("No node here has %(resources)s together now."),
    False: gettext_noop("No node here has %(resources)s together."),
}
# By whether a larger node can be added, and whether the size of the largest is known exactly.
_LARGEST_HAS = {
    (True, True): ngettext_noop(
        "No node here is this big now: the largest has %(most)s.",
        "No node here is this big now: the largest have %(most)s.",
    ),
    (True, False): ngettext_noop(
        "No node here is this big now: the largest has at most %(most)s.",
        "No node here is this big now: the largest have at most %(most)s.",
    ),
    (False, True): ngettext_noop(
        "No node here is this big: the largest has %(most)s.",
        "No node here is this big: the largest have %(most)s.",
    ),
    (False, False): ngettext_noop(
        "No node here is this big: the largest has at most %(most)s.",
        "No node here is this big: the largest have at most %(most)s.",
    ),
}


def describe_largest(found: LargestNode) -> str:
    """Return the sentences that say why no node is large enough, and what follows from this."""
    follows = (
        gettext("It starts only if such a node is added.")
        if found.can_grow
        else gettext("It never starts: stop it and request less.")
    )
    return f"{_why_no_node(found)} {follows}"


def _why_no_node(found: LargestNode) -> str:
    if absent := _absent(found):
        return gettext(_NO_NODE_HAS[found.can_grow], resources=absent)
    if not found.limits:
        return gettext(_NO_NODE_HAS_TOGETHER[found.can_grow], resources=_together(found))
    return ngettext(*_LARGEST_HAS[found.can_grow, found.is_exact], len(found.limits), most=_most(found))


def _absent(found: LargestNode) -> str:
    """Return the resources that no node has at all; "" if each is on some node."""
    return gettext_list(plural(limit.resource) for limit in found.limits if not limit.most)


def _most(found: LargestNode) -> str:
    return gettext_list(amount_of(limit.resource, limit.most) for limit in found.limits)


def _together(found: LargestNode) -> str:
    return gettext_list(amount_of(one.resource, one.amount) for one in found.together)


def offer_too_big(found: LargestNode) -> str:
    """Return what the largest nodes have, and what follows from this, for something that has not been started."""
    number, most = len(found.limits), _most(found)
    if absent := _absent(found):
        told = gettext("No node here has %(resources)s.", resources=absent)
    elif not found.limits:
        told = gettext("No node here has %(resources)s together.", resources=_together(found))
    elif found.is_exact:
        told = ngettext("The largest has %(most)s.", "The largest have %(most)s.", number, most=most)
    else:
        told = ngettext("The largest has at most %(most)s.", "The largest have at most %(most)s.", number, most=most)
    if found.can_grow:
        return " ".join((told, gettext("It starts only if such a node is added.")))
    return " ".join((told, gettext("It can never start.")))


def requests_too_much(found: LargestNode) -> str:
    """Return what is requested and what the largest nodes have, as a sentence about something that can never start."""
    if absent := _absent(found):
        requested = _requested(limit for limit in found.limits if not limit.most)
        return gettext(
            "It requests %(requested)s, and no node has %(resources)s.", requested=requested, resources=absent
        )
    if not found.limits:
        return gettext("It requests %(requested)s, and no node has all of this.", requested=_together(found))
    values = {"requested": _requested(found.limits), "most": _most(found)}
    if found.is_exact:
        return ngettext(
            "It requests %(requested)s, and the largest node has %(most)s.",
            "It requests %(requested)s, and the largest nodes have %(most)s.",
            len(found.limits),
            **values,
        )
    return ngettext(
        "It requests %(requested)s, and the largest node has at most %(most)s.",
        "It requests %(requested)s, and the largest nodes have at most %(most)s.",
        len(found.limits),
        **values,
    )


def _requested(limits: Iterable[Limit]) -> str:
    return gettext_list(amount_of(limit.resource, limit.requested) for limit in limits)


def _missing(found: Iterable[Shortage]) -> str:
    """Return `1 more NVIDIA GPU and 2 more CPUs`; for several flavors, of which one suffices, all with their names."""
    by_flavor = {flavor: list(group) for flavor, group in groupby(found, key=lambda one: one.flavor)}
    return gettext_choice(
        _of_flavor(gettext_list(map(_more, group)), flavor if len(by_flavor) > 1 else "")
        for flavor, group in by_flavor.items()
    )


def _of_flavor(resources: str, flavor: str) -> str:
    if not flavor:
        return resources
    return gettext("%(resources)s of flavor %(flavor)s", resources=resources, flavor=flavor)


def _more(found: Shortage) -> str:
    if not found.amount:
        return gettext("more %(resources)s", resources=plural(found.resource))
    amount, resource = _amount_and_word(found.resource, found.amount)
    return gettext("%(amount)s more %(resource)s", amount=amount, resource=resource)


def _is_single(found: Iterable[Shortage]) -> bool:
    all_of_them = list(found)
    one = all_of_them[-1]
    return len(all_of_them) == 1 and (one.resource in _SIZES or (bool(one.amount) and _count(one.amount) <= 1))


def _count(amount: str) -> Decimal:
    return parse_quantity(amount)


def plural(resource: str) -> str:
    """Return the word for several of a resource, for example `NVIDIA GPUs`."""
    size = _SIZES.get(resource)
    return gettext(size) if size else _word(resource, 2)


def amount_of(resource: str, amount: str) -> str:
    """Return an amount of a resource in words: `1 NVIDIA GPU`, `0.5 CPU`, `16 GiB of memory`.

    amount: a quantity of Kubernetes.
    """
    number, word = _amount_and_word(resource, amount)
    if resource in _SIZES:
        return gettext("%(amount)s of %(resource)s", amount=number, resource=word)
    return gettext("%(amount)s %(resource)s", amount=number, resource=word)


def _amount_and_word(resource: str, amount: str) -> tuple[str, str]:
    number = _count(amount)
    if resource in _SIZES:
        return _gib(number), gettext(_SIZES[resource])
    return _decimal(number), _word(resource, 1 if number <= 1 else math.ceil(number))


def number_of(resource: str, amount: Decimal) -> str:
    """Return an amount without the name of its resource: `0`, `0.5`, `16 GiB`."""
    return _gib(amount) if amount and resource in _SIZES else _decimal(amount)


def _word(resource: str, count: int) -> str:
    if found := _MIG.fullmatch(resource):
        return ngettext("MIG slice %(profile)s", "MIG slices %(profile)s", count, profile=found[1])
    return ngettext(*_WORDS[resource], count) if resource in _WORDS else resource


def _gib(size: Decimal) -> str:
    if size < _GIB:
        return f"{_decimal(size / 2**20)} MiB"
    return f"{_decimal(size / _GIB)} GiB"


def _decimal(number: Decimal) -> str:
    """Return a number with at most one decimal place from 1 on, rounded down, and with three below 1."""
    places = Decimal("0.1") if number >= 1 else Decimal("0.001")
    return f"{number.quantize(places, ROUND_DOWN).normalize():f}"


def _moment(timestamp: str | None) -> str:
    """Return a Kubernetes timestamp as `28 Nov 10:02 UTC`; "" if it is not a valid one."""
    try:
        return format_moment(parse_time(str(timestamp)))
    except ValueError:
        return ""
