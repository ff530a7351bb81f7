"""Groups of tests that run one after the other in one process, because they share what is slow to start.

pytest-xdist runs each group on one of its processes (`--dist loadgroup`). The longest are first, so that no process is
left with a long one at the end (`--no-loadscope-reorder`).
"""

from __future__ import annotations

import pytest

# Modules whose tests leave a scheduler or other objects behind: their cluster is thrown away, which is faster than
# to clean it. All other modules that a process runs have one cluster.
OWN_CLUSTER = {
    "test_kai": "kai",
    "test_kueue": "kueue",
    "test_queued_kinds": "queued_kinds",
    "test_vgpu": "volcano",
    "test_volcano": "volcano",
    "test_yunikorn": "yunikorn",
}
SHARED_CLUSTER = "shared"
# By the time that they take; what is not here comes last.
LONGEST_FIRST = ("volcano", "kai", "yunikorn", "kueue", "notebook", "node", "scale", "behaviour", "plain")


def cluster_of(module: str) -> str:
    """Return the name of the cluster of that module's tests."""
    return OWN_CLUSTER.get(module, SHARED_CLUSTER)


def of(item: pytest.Item) -> str:
    """Return the name of the test's group: its scheduler's, or else that of its module."""
    module = item.path.stem
    group = OWN_CLUSTER.get(module, module.removeprefix("test_"))
    queueing = getattr(item, "callspec", None) and item.callspec.params.get("queued")  # type: ignore[attr-defined]
    return f"{group}-{queueing.kind}" if queueing else group


def order(item: pytest.Item) -> int:
    group = of(item).split("-")[0]
    return LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)
