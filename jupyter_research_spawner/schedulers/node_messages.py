"""Reads kube-scheduler's message about a pod for which no node has room.

Source: Kubernetes 1.36, pkg/scheduler/framework/types.go (FitError).  Plugins of other projects use the same form.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .queue_status import ExcludedNodes, QueueStatus, Shortage

_WHOLE = re.compile(r"0/(\d{1,6}) nodes are available: (.+)", re.DOTALL)
_REASON = re.compile(r"(\d{1,6}) (.+)", re.DOTALL)
_INSUFFICIENT = re.compile(r"Insufficient (\S+)")
_SHORTAGES = {"Too many pods": "pods"}


def with_nodes(status: QueueStatus, message: str) -> QueueStatus:
    """Return the status with the facts of kube-scheduler's message, or with the message if it has another form.

    Example: 0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: ...
    """
    whole = _WHOLE.fullmatch(message.strip())
    if whole is None:
        return replace(status, message=message)
    # What preemption could change follows after the reasons, as another sentence.
    reasons = re.split(r"\.(?:\s|$)", whole[2], maxsplit=1)[0]
    missing: list[Shortage] = []
    excluded: list[ExcludedNodes] = []
    for part in re.split(r", (?=\d+ )", reasons):
        found = _REASON.fullmatch(part)
        if found is None:
            return replace(status, message=message)
        insufficient = _INSUFFICIENT.fullmatch(found[2])
        resource = insufficient[1] if insufficient else _SHORTAGES.get(found[2])
        if resource:
            missing.append(Shortage(resource))
        else:
            excluded.append(ExcludedNodes(int(found[1]), found[2]))
    return replace(
        status, code="nodes", message="", missing=tuple(missing), nodes=int(whole[1]), excluded=tuple(excluded)
    )
