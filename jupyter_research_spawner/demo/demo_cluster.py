"""What the tour needs of a cluster, whichever it is: the embedded one, or one that a kubeconfig gives."""

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
    """A sentence: what is in the way, and what would work."""


@dataclass(frozen=True)
class BatchNode:
    """What the second act fills.

    `told` is the sentence that says how large it is, `job_cpu` ("2 CPUs") what each of two jobs takes of it, `seconds`
    how long such a job works: so long that it is still there when somebody wants its place.
    """

    told: str
    job_cpu: str
    seconds: int


@dataclass(frozen=True)
class PreparedCluster:
    """A cluster with all that the site's pods look for: namespace, storage with people's homes, priorities, client.

    `kubeconfig` is as in $KUBECONFIG, `address` is this machine's, as pods reach it.  `shortcoming` says why pods do
    not run as the people they belong to; it is empty where they do, and then `where` begins the sentence that says so.
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
    """A cluster to play on."""

    @property
    def announced(self) -> str:
        """What is started now, in one sentence."""

    def prepared(self, state: Path, people: People, say: Say) -> AbstractAsyncContextManager[PreparedCluster]:
        """Everything but the hub; on the way out all of it goes again.  Raises CannotStart."""


def settings(more: Mapping[str, Any] | None = None) -> Json:
    """The demo's site with `more` over it, and its files by absolute paths."""
    files = {"passwd": str(HERE / "people.passwd"), "group": str(HERE / "people.group")}
    return merge(read(HERE / "site.yaml"), {"identity": {"sources": {"people": files}}}, more or {})
