"""Groups of tests that run one after the other in one process, because they share what is slow to start.

pytest-xdist runs each group on one of its processes, by a scheduler of its own: with pytest 9.2 and pytest-xdist 3.8
the marks `xdist_group` have no effect. The longest are first, so that no process is left with a long one at the end
(`--no-loadscope-reorder`).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Modules whose tests leave a scheduler or other objects behind, or restart the API server: their cluster is thrown
# away, which is faster than to clean it. All other modules that a process runs have one cluster.
OWN_CLUSTER = {
    "test_adoption": "adoption",
    "test_kai": "kai",
    "test_kueue": "kueue",
    "test_queued_kinds": "queued_kinds",
    "test_vgpu": "volcano",
    "test_volcano": "volcano",
    "test_watch_faults": "watch_faults",
    "test_yunikorn": "yunikorn",
}
SHARED_CLUSTER = "shared"
# Modules whose tests are a group for each scheduler, which is their first parameter.
GROUPED_BY_SCHEDULER = ("test_queued_kinds", "test_adoption")
# By the time that they take; what is not here comes last.
LONGEST_FIRST = ("volcano", "kai", "yunikorn", "kueue", "notebook", "node", "scale", "behaviour", "plain")


def cluster_of(module: str) -> str:
    """Return the name of the cluster of that module's tests."""
    return OWN_CLUSTER.get(module, SHARED_CLUSTER)


def of(nodeid: str) -> str:
    """Return the name of the group of the test with this node id: its scheduler's, or else that of its module."""
    path, _, test = nodeid.partition("::")
    module = PurePosixPath(path).stem
    group = OWN_CLUSTER.get(module, module.removeprefix("test_"))
    scheduler = test.partition("[")[2].rstrip("]").split("-")[0] if module in GROUPED_BY_SCHEDULER else ""
    return f"{group}-{scheduler}" if scheduler else group


def order(nodeid: str) -> int:
    group = of(nodeid).split("-")[0]
    return LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives all tests of a group to one process, one group after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return of(nodeid)


def make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Return the scheduler for `--dist loadgroup`, as the hook pytest_xdist_make_scheduler."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
