"""Decide again about notebooks that wait or run, because their user's rights can be withdrawn after the start.

Nothing here sends a request to the API server: the pods are those in the memory of the reflector. An identity source is
asked only when the resolver's cache has expired, and again before a refusal.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..metrics import RIGHTS_CHANGED, RightsOutcome
from ..plan import RECHECK_SECONDS, Plan, Verdict, decide_again, granted_by
from ..pod.overlay import granted_to
from ..shape import NOTEBOOK_KIND, Json
from ..texts import gettext
from ..watch.phase import has_begun
from ..watch.pod_end import End, make_end
from .start import Start

Decide = Callable[[], Awaitable[Plan]]
FindPod = Callable[[], Json | None]


async def withdrawn(start: Start, find_pod: FindPod, decide: Decide, main: str) -> Verdict:
    """Return when the user of a waiting notebook is refused now, or has other rights than the plan of `start`.

    It is decided again every RECHECK_SECONDS, and when the pod is bound to a node. After the main container has begun,
    the notebook counts as running, and this coroutine waits until it is cancelled.
    """
    due, was_bound = time.monotonic() + _first_pause(), False
    while True:
        seen, pod = start.changes.count, find_pod()
        if has_begun(pod, main):
            await asyncio.Event().wait()
        bound = is_bound(pod)
        if (bound and not was_bound) or time.monotonic() >= due:
            was_bound = bound
            verdict = await decide_again(granted_by(start.plan), decide)
            if verdict.refusal is not None or verdict.changes:
                return verdict
            due = time.monotonic() + RECHECK_SECONDS
        await start.changes.wait(seen, due - time.monotonic())


def _first_pause() -> float:
    """Return a random time, so that notebooks which a hub has started or found together are not decided together."""
    return RECHECK_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - not a secret


def is_bound(pod: Json | None) -> bool:
    """Return whether a scheduler has bound the pod to a node."""
    return bool(pod and (pod.get("spec") or {}).get("nodeName"))


class RunningServer(Protocol):
    """What `check_while_running` needs from a spawner."""

    @property
    def notice(self) -> str:
        """A sentence about the rights of this server, which the hub's pages show to the user."""

    def find_running_pod(self) -> Json | None: ...

    async def decide_as_accepted(self) -> Plan: ...

    def tell(self, notice: str) -> None: ...

    async def end_with(self, end: End) -> None: ...


async def check_while_running(server: RunningServer, *, stops: bool) -> None:
    """Decide again about a running notebook every RECHECK_SECONDS, until its pod is gone.

    stops: whether a notebook whose user is refused now is stopped (`on_lost_right: stop`).
    """
    await asyncio.sleep(_first_pause())
    while (pod := server.find_running_pod()) is not None:
        verdict = await decide_again(granted_to(pod), server.decide_as_accepted)
        if verdict.refusal is not None and stops:
            count("running-stopped")
            told = gettext("It was stopped, because you may no longer run it. %(why)s", why=verdict.refusal)
            await server.end_with(make_end("rights-lost", told))
            return
        if verdict.refusal is not None or verdict.plan is not None:
            outcome, notice = _noticed(verdict)
            if notice != server.notice:  # each change once
                server.tell(notice)
                if outcome is not None:
                    count(outcome)
        await asyncio.sleep(RECHECK_SECONDS)


def _noticed(verdict: Verdict) -> tuple[RightsOutcome | None, str]:
    """Return the outcome for the metric and the notice for the user; None and "" if no right has changed."""
    if verdict.refusal is not None:
        told = gettext("You may no longer start it, but it continues to run. %(why)s", why=verdict.refusal)
        return "running-refused", told
    if not verdict.changes:
        return None, ""
    changes = " ".join(verdict.changes)
    return "running-changed", gettext(
        "Your rights have changed. %(changes)s It keeps the rights that it started with until you stop it.",
        changes=changes,
    )


def renewed(changes: tuple[str, ...]) -> str:
    """Return the sentences for the user of a waiting notebook whose pod is recreated."""
    why = gettext("Your rights have changed.") if changes else gettext("The settings of the site have changed.")
    recreated = gettext("A pod cannot be changed, so yours was recreated and is last in its queue.")
    return " ".join((why, *changes, recreated))


def count(outcome: RightsOutcome) -> None:
    """Count a notebook whose user's rights were found changed."""
    RIGHTS_CHANGED.labels(NOTEBOOK_KIND, outcome).inc()
