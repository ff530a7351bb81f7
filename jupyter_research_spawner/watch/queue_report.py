"""Returns the queue status of a notebook or job with what its scheduler does not report: the queue and the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..schedulers import Objects, QueueStatus, Scheduler
from ..shape import Json
from .node_sizes import NodeSizes


def unknown_nodes() -> NodeSizes:
    """Return the sizes of no nodes, with which nothing is said about nodes."""
    return NodeSizes()


def queue_report(
    scheduler: Scheduler,
    pod: Json,
    objects: Objects,
    *,
    queue: str,
    pod_specs: Sequence[Json],
    created: str | None,
    nodes: Callable[[], NodeSizes] = unknown_nodes,
) -> QueueStatus:
    """Return the queue status of a pod, or of a job without a pod ({}).

    queue: the name of the queue in the settings.
    pod_specs: that of the pod, or those of the templates of the job's pods.
    created: the Kubernetes timestamp since which it waits if the scheduler does not say it.
    nodes: called only if it waits, because this starts a watch.
    """
    status = scheduler.status(pod, objects, ())
    if not status.waits:
        return status
    sizes = nodes()
    for pod_spec in pod_specs:
        if status.largest is None:
            status = sizes.with_largest(status, pod_spec)
    return replace(status, queue=queue, since=status.since or created)
