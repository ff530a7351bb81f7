"""The sentence that says where a notebook or job stands in its queue.  Pages, `job` and the API show the same one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_DOWN, Decimal
from itertools import groupby

from ..api_object import parse_quantity, parse_time
from ..wording import format_list
from .queue_status import ExcludedNodes, LargestNode, QueueStatus, Shortage

_GIB = 2**30
# Singular and plural.  Other resources keep their name in Kubernetes.
_WORDS = {
    "cpu": ("CPU", "CPUs"),
    "pods": ("pod", "pods"),
    "gpu": ("GPU", "GPUs"),
    "nvidia.com/gpu": ("NVIDIA GPU", "NVIDIA GPUs"),
    "nvidia.com/gpu.shared": ("share of an NVIDIA GPU", "shares of NVIDIA GPUs"),
    "amd.com/gpu": ("AMD GPU", "AMD GPUs"),
    "gpu.intel.com/xe": ("Intel GPU", "Intel GPUs"),
    "gpu.intel.com/i915": ("Intel GPU", "Intel GPUs"),
}
_SIZES = {"memory": "memory", "ephemeral-storage": "local storage"}
_MIG = re.compile(r"nvidia\.com/mig-([a-z0-9.+-]+)")
# The words of kube-scheduler about nodes (1.36, pkg/scheduler/framework/plugins), and ours.
_EXCLUDED = (
    ("node(s) didn't match Pod's node affinity/selector", "by its node selector"),
    ("node(s) had untolerated taint", "by a taint that it does not tolerate"),
    ("node(s) were unschedulable", "because they accept no new pods"),
    ("node(s) had volume node affinity conflict", "because they cannot reach its volume"),
)


def describe(status: QueueStatus) -> str:
    """Return where a pod or job stands, why it waits and what happens next, as sentences; "" if nothing is known.

    Example: Waiting in queue climate since 28 Nov 10:02 UTC, at place 2 of 5. It starts when 1 more NVIDIA GPU is free
    in its queue.
    """
    if not status.waits:
        return ""
    place = f"at place {_place(status)}" if status.place else ""
    since = f"since {_moment(status.since)}" if status.since and _moment(status.since) else ""
    where = ", ".join(filter(None, (" ".join(filter(None, (_in_queue(status), since))), place)))
    return " ".join(filter(None, (f"Waiting {where}." if where else "", why(status))))


def summarize(status: QueueStatus) -> str:
    """Return the most important facts of `describe` in a few words, for a column of a table; "" if there are none."""
    facts = [f"place {status.place.position} of {status.place.waiting}"] if status.place else []
    if status.largest is not None or status.limits:
        facts.append("larger than any node" if status.largest is not None else "larger than its queue")
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


def _in_queue(status: QueueStatus) -> str:
    return f"in queue {status.queue}" if status.queue else ""


def _place(status: QueueStatus) -> str:
    place = status.place
    assert place is not None
    overall = place.overall if place.overall > place.position else 0
    return f"{place.position} of {place.waiting}" + (f" ({overall} with other queues)" if overall else "")


def _quota(status: QueueStatus) -> str:
    what = _missing(status.missing)
    return f"It starts when {what} {_is_free(status.missing)} in its queue." if what else "Its queue is full."


def _nodes(status: QueueStatus) -> str:
    if status.missing:
        what = format_list(plural(found.resource) for found in status.missing)
        told = f"It starts when a node has enough free {what}."
    else:
        told = "It starts when a node can take it."
    return f"{told} {_excluded(status.nodes, status.excluded)}".strip()


def _excluded(nodes: int, excluded: Iterable[ExcludedNodes]) -> str:
    found = list(excluded)
    if not found:
        return ""
    reasons = format_list(f"{one.count} {_excluded_by(one.reason)}" for one in found)
    return f"Of {nodes} {'node' if nodes == 1 else 'nodes'}, it cannot use {reasons}."


def _excluded_by(reason: str) -> str:
    return next((words for start, words in _EXCLUDED if reason.startswith(start)), f"({reason})")


def _room(status: QueueStatus) -> str:
    whole = f" for its {status.together} pods, which start together" if status.together > 1 else ""
    return f"It starts when its queue is open and has room{whole}, and nodes have room."


def _preempting(status: QueueStatus) -> str:
    work = {0: "the work that it preempts has", 1: "the workload that it preempts has"}
    return (
        f"It starts when {work.get(status.preempts, f'the {status.preempts} workloads that it preempts have')} ended."
    )


def _requeued(status: QueueStatus) -> str:
    at = _moment(status.resumes_at) if status.resumes_at else ""
    return f"It is queued again {f'at {at}' if at else 'later'}."


def _too_large(status: QueueStatus) -> str:
    whole = format_list(
        f"{amount_of(limit.resource, limit.requested)}, but its queue has only "
        f"{amount_of(limit.resource, limit.most)} in total"
        if limit.most
        else f"{plural(limit.resource)}, of which its queue has none"
        for limit in status.limits
    )
    return f"It cannot start, because it requests {whole}. Stop it and request less, or use another queue."


_WHY: Mapping[str, Callable[[QueueStatus], str]] = {
    "quota": _quota,
    "nodes": _nodes,
    "room": _room,
    "preempting": _preempting,
    "requeued": _requeued,
    "turn": lambda _: "It starts when it is its turn and its queue has room.",
    "too-large": _too_large,
    "no-quota": _too_large,
}


def describe_largest(found: LargestNode) -> str:
    """Return the sentences that say why no node is large enough, and what follows from this."""
    now = " now" if found.can_grow else ""
    absent = [limit for limit in found.limits if not limit.most]
    if absent:
        told = f"No node here has {format_list(plural(limit.resource) for limit in absent)}{now}."
    elif found.limits:
        most = format_list(amount_of(limit.resource, limit.most) for limit in found.limits)
        largest = "the largest has" if len(found.limits) == 1 else "the largest have"
        told = f"No node here is this big{now}: {largest} {'' if found.is_exact else 'at most '}{most}."
    else:
        whole = format_list(amount_of(one.resource, one.amount) for one in found.together)
        told = f"No node here has {whole} together{now}."
    if found.can_grow:
        return f"{told} It starts only if such a node is added."
    return f"{told} It never starts: stop it and request less."


def offer_too_big(found: LargestNode) -> str:
    """Return what the largest nodes have, and what follows from this, for something that has not been started."""
    absent = [limit for limit in found.limits if not limit.most]
    if absent:
        told = f"No node has {format_list(plural(limit.resource) for limit in absent)}."
    elif found.limits:
        most = format_list(amount_of(limit.resource, limit.most) for limit in found.limits)
        told = (
            f"The largest {'has' if len(found.limits) == 1 else 'have'} {'' if found.is_exact else 'at most '}{most}."
        )
    else:
        whole = format_list(amount_of(one.resource, one.amount) for one in found.together)
        told = f"No node has {whole} together."
    return f"{told} It starts only if such a node is added." if found.can_grow else f"{told} It can never start."


def _missing(found: Iterable[Shortage]) -> str:
    """Return `1 more NVIDIA GPU and 2 more CPUs`; for several flavors, of which one suffices, all with their names."""
    by_flavor = {flavor: list(group) for flavor, group in groupby(found, key=lambda one: one.flavor)}
    each = [
        format_list(_more(one) for one in group) + (f" of flavor {flavor}" if len(by_flavor) > 1 and flavor else "")
        for flavor, group in by_flavor.items()
    ]
    return format_list(each, "or")


def _more(found: Shortage) -> str:
    return amount_of(found.resource, found.amount, "more ") if found.amount else f"more {plural(found.resource)}"


def _is_free(found: Iterable[Shortage]) -> str:
    all_of_them = list(found)
    one = all_of_them[-1]
    is_single = len(all_of_them) == 1 and (one.resource in _SIZES or (bool(one.amount) and _count(one.amount) <= 1))
    return "is free" if is_single else "are free"


def _count(amount: str) -> Decimal:
    return parse_quantity(amount)


def plural(resource: str) -> str:
    """Return the word for several of a resource, for example `NVIDIA GPUs`."""
    return _SIZES.get(resource) or _words(resource)[1]


def amount_of(resource: str, amount: str, more: str = "") -> str:
    """Return an amount of a resource in words: `1 NVIDIA GPU`, `0.5 CPU`, `16 GiB of memory`.

    amount: a quantity of Kubernetes.  more: the word between number and resource, with a space.
    """
    number = _count(amount)
    if resource in _SIZES:
        return f"{_gib(number)} {more or 'of '}{_SIZES[resource]}"
    return f"{_decimal(number)} {more}{_words(resource)[number > 1]}"


def number_of(resource: str, amount: Decimal) -> str:
    """Return an amount without the name of its resource: `0`, `0.5`, `16 GiB`."""
    return _gib(amount) if amount and resource in _SIZES else _decimal(amount)


def _words(resource: str) -> tuple[str, str]:
    if found := _MIG.fullmatch(resource):
        return f"MIG slice {found[1]}", f"MIG slices {found[1]}"
    return _WORDS.get(resource, (resource, resource))


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
        at = parse_time(str(timestamp))
    except ValueError:
        return ""
    return f"{at.day} {at:%b %H:%M} UTC"
