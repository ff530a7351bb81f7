"""The interface between the tour and its cluster, which is the embedded one or an external one."""

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
    """The demo cannot start.  The message says why and what would work."""


@dataclass(frozen=True)
class BatchNode:
    """The node that the batch jobs of the tour fill.

    `told` is a sentence about its size.  `job_cpu` is what each of two jobs requests, such as "2 CPUs".  `seconds` is
    how long such a job runs; it is long enough for another job to preempt it.
    """

    told: str
    job_cpu: str
    seconds: int


@dataclass(frozen=True)
class PreparedCluster:
    """A cluster with everything that the site's pods need: namespace, storage with homes, priorities, client.

    `kubeconfig` is as in $KUBECONFIG.  `address` is the address of this machine for pods.  `shortcoming` is the reason
    if pods do not run as their users, else empty.  `where` is the beginning of a sentence about where pods run.
    """

    kubeconfig: str
    settings: Json
    site: Site
    address: str
    batch: BatchNode
    where: str
    shortcoming: str = ""
    pods_are_root: bool = False


class DemoCluster(Protocol):
    """A cluster on which the demo can run."""

    @property
    def announced(self) -> str:
        """The sentence that is printed before the cluster is prepared."""

    def prepared(self, state: Path, people: People, say: Say) -> AbstractAsyncContextManager[PreparedCluster]:
        """Prepare the cluster, and remove everything from it at the end.  Raises CannotStart."""


def settings(more: Mapping[str, Any] | None = None) -> Json:
    """Return the demo's site settings merged with `more`, with absolute paths of its files."""
    files = {"passwd": str(HERE / "people.passwd"), "group": str(HERE / "people.group")}
    return merge(read(HERE / "site.yaml"), {"identity": {"sources": {"people": files}}}, more or {})
