"""An object of another kind in a scheduler's queue, beside alice's notebooks, and what there is to see of it.

All of them are as heavy: the queue has room for it alone, and a notebook needs the place of one of its workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from alice import Alice
from kinds import Composed, Kind, Kinds, conditions, is_running, uid
from queueing import Queueing
from rig.api import Json, until

LEADER, WORKER = "20m", "165m"
# For what must not change: five cycles of each scheduler.
SECONDS = 1


@dataclass(frozen=True)
class Queued:
    """One scheduler with its queue, and alice's objects in it."""

    queueing: Queueing
    alice: Alice
    kinds: Kinds

    @contextmanager
    def made(self, kind: Kind, name: str) -> Iterator[Object]:
        composed = kind.weighed(self.kinds, name, LEADER, WORKER)
        with self.kinds.created(composed):
            yield Object(self, kind, composed)

    @contextmanager
    def notebook(self, name: str, queue: str) -> Iterator[None]:
        """One that needs more than what an object leaves of the room."""
        made = self.alice.notebook(name, queue=queue)
        try:
            yield
        finally:
            self.alice.api.remove(made)


@dataclass
class Object:
    """One of a kind; `before` are the pods that were there when `remember` was called."""

    queued: Queued
    kind: Kind
    composed: Composed
    before: frozenset[str] = frozenset()

    def remember(self) -> None:
        self.before = frozenset(uid(pod) for pod in self._pods())

    def kill(self, name: str) -> None:
        """That pod of it."""
        prefix = f"{self.composed.name}-{name}"
        (pod,) = (pod for pod in self._pods() if pod["metadata"]["name"].startswith(prefix))
        self.queued.kinds.kill(pod)

    def is_whole(self) -> bool:
        whole = sum(is_running(pod) for pod in self._pods()) == len(self.kind.pods)
        return whole and self.kind.knows(self.queued.kinds.now(self.composed))

    def runs(self) -> None:
        try:
            until(self.is_whole, f"all pods of {self.composed.name} run")
        except TimeoutError as error:
            raise AssertionError(f"{error} It is {self.picture()}") from None

    def becomes(self, *pictures: str) -> None:
        """Wait until it is one of these, and then see that it stays one of them."""

        def look() -> str:
            found = self.picture()
            return found if found in pictures else ""

        try:
            until(look, f"{self.composed.name} to be {' or '.join(pictures)}")
        except TimeoutError as error:
            raise AssertionError(f"{error} It is {self.picture()}") from None
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            now = self.picture()
            assert now in pictures, f"{self.composed.name} did not stay {' or '.join(pictures)}, but is {now}"
            time.sleep(0.2)

    def picture(self) -> str:
        """As 'LEADER, WORKER WORKER: CONDITIONS': of each pod whether it runs, waits, runs anew, or is not there."""
        pods = self._pods()
        words = {name: self._word(name, pods) for name in self.kind.pods}
        leader = words.pop(self.kind.leader, "") if self.kind.leader else ""
        told = " ".join(sorted(conditions(self.queued.kinds.now(self.composed))))
        return f"{leader}, {' '.join(sorted(words.values()))}: {told}".removeprefix(", ")

    def _word(self, name: str, pods: list[Json]) -> str:
        found = [pod for pod in pods if pod["metadata"]["name"].startswith(f"{self.composed.name}-{name}")]
        if not found:
            return "-"
        (pod,) = found
        again = "" if uid(pod) in self.before or not self.before else "-anew"
        return ("runs" if is_running(pod) else "waits" if pod["status"]["phase"] == "Pending" else "ended") + again

    def _pods(self) -> list[Json]:
        """Without those that are on their way out."""
        return [pod for pod in self.queued.kinds.of(self.composed) if "deletionTimestamp" not in pod["metadata"]]
