"""The interface of the clusters on which the tour can run: the embedded cluster and an external cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..identity import PosixIdentity
from ..settings import merge, read
from ..shape import Json
from ..site import Site

HERE = Path(__file__).parent

Say = Callable[[str], None]
People = Mapping[str, PosixIdentity]


class CannotStart(RuntimeError):
    """The demo cannot start.  The message says why, and what to do."""


@dataclass(frozen=True)
class BatchNode:
    """The node for the batch jobs of the tour, and the size of these jobs.

    `told` is a sentence about the CPUs that jobs can use there.  `job_cpu` is the CPU request of each of bob's two
    jobs, such as "2 CPUs".  Each of them runs for `seconds`, which is long enough for another job to preempt it.
    """

    told: str
    job_cpu: str
    seconds: int


@dataclass(frozen=True)
class PreparedCluster:
    """A cluster with everything that the site's pods need: namespace, storage with homes, priorities, client.

    `kubeconfig` is one path or several, as in $KUBECONFIG.  Pods reach this machine at `address`.  `where` is a
    clause that says where pods run.  If pods cannot run as their users, `shortcoming` says why.
    """

    kubeconfig: str
    settings: Json
    site: Site
    address: str
    batch: BatchNode
    where: str
    shortcoming: str = ""
    pods_are_root: bool = False
    pods_have_mounts: bool = True


class DemoCluster(Protocol):
    """A cluster on which the demo can run."""

    @property
    def announced(self) -> str:
        """Return the line that the demo prints before it prepares the cluster."""

    def prepared(self, state: Path, people: People, say: Say) -> AbstractAsyncContextManager[PreparedCluster]:
        """Prepare the cluster, and remove the demo's objects when the context ends.  Raises CannotStart."""


def settings(more: Mapping[str, Any] | None = None) -> Json:
    """Return the demo's site settings merged with `more`.  The paths in them are absolute."""
    files = {"passwd": str(HERE / "people.passwd"), "group": str(HERE / "people.group")}
    return merge(read(HERE / "site.yaml"), {"identity": {"sources": {"people": files}}}, more or {})
