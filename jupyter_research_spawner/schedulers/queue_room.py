"""What a scheduler's queues say about room for a pod now, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ..node_selection import NodeSelection
from ..resources import Gpu
from ..shape import Json


@dataclass(frozen=True)
class Demand:
    """What the pod of a notebook needs: its effective requests, its GPU, and what it requires of its node.

    node_requests: the requests of which nodes report how much they have.
    fits_by_sums: whether a node that has enough free of each of these can take the pod.
    """

    requests: Mapping[str, Decimal]
    node_requests: Mapping[str, Decimal]
    nodes: NodeSelection
    gpu: Gpu | None = None
    preemptible: bool = False
    fits_by_sums: bool = True


@dataclass(frozen=True)
class QueueRoom:
    """Whether a queue has room for a pod now.

    fits: whether the queue's quota has room for it, without preemption.
    waiting: the number of notebooks and jobs that wait for the same quota; None if the scheduler does not count them.
    is_too_large: whether the pod requests more than the queue has in total.  is_closed: whether the queue is stopped.
    """

    fits: bool
    waiting: int | None = None
    is_too_large: bool = False
    is_closed: bool = False


@dataclass(frozen=True)
class QuotaUse:
    """How much of a queue's quota of one resource is used.

    resource: the name that the scheduler has for it.  used, quota: in cores, bytes or devices.  `used` can be more than
    `quota` where the queue may borrow.  flavor: which part of the cluster, if the queue has several; "" otherwise.
    """

    resource: str
    used: Decimal
    quota: Decimal
    flavor: str = ""


@dataclass(frozen=True)
class QueueUse:
    """How much of a queue's quotas is used, by everybody who has work in it.

    waiting: the number of notebooks and jobs that wait for the same quota; None if the scheduler does not count them.
    """

    quotas: tuple[QuotaUse, ...]
    waiting: int | None = None


def queue_chain(queues: Mapping[str, Json], name: str, parent: str) -> list[Json]:
    """Return the queue with this name and those above it, from below; [] if one of them does not exist.

    parent: the field of the spec that names the queue above.
    """
    chain: list[Json] = []
    while name and len(chain) <= len(queues):
        if name not in queues:
            return []
        chain.append(queues[name])
        name = str((queues[name].get("spec") or {}).get(parent) or "")
    return chain
