"""`research-spawner try --check`: start each offer for one user of each group, and tell in a table what happens."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ..demo.user_session import UserSession
from ..embedded.apimachinery.api_resources import POD
from ..plan import Offer, offers
from ..shape import Json
from .running_trial import RunningTrial
from .trial_people import TrialUser, one_of_each_group

STARTS, WAITS, NO_NODE, REFUSED, FAILS = "starts", "waits", "fits on no node", "refused", "fails"
# A notebook that has a node starts in a few seconds, and the nodes are empty.
START_SECONDS = 120.0
# The hub says what the largest node has a moment after the scheduler has found no node.
EXPLAIN_SECONDS = 5.0
_USER_ANNOTATION = "hub.jupyter.org/username"


@dataclass(frozen=True)
class Outcome:
    """What happened when a user started an offer.  `why` is a sentence, or empty if it started."""

    user: str
    offer: str
    queue: str
    result: str
    why: str = ""


async def check(trial: RunningTrial) -> list[Outcome]:
    """Start each offer for one user of each group, and return what happened, in the order of users and offers."""
    found: list[Outcome] = []
    for user in one_of_each_group(trial.site, trial.people):
        assert user.identity is not None
        offered = offers(trial.site, user.identity, datetime.now(timezone.utc))
        async with UserSession(trial.url, user.name, trial.key) as session:
            await session.log_in()
            # One after the other, because they have the same server.
            found += [await _outcome(trial, session, user, offer) for offer in offered]
    return found


async def _outcome(trial: RunningTrial, session: UserSession, user: TrialUser, offer: Offer) -> Outcome:
    queue = offer.offered_queues[0].name
    options = {"class": offer.course} if offer.course else {"profile": offer.profile}
    result, why = await _start(trial, session, {**options, "queue": queue})
    return Outcome(user.name, offer.name, queue, result, why)


async def _start(trial: RunningTrial, session: UserSession, options: dict[str, str]) -> tuple[str, str]:
    server = f"{trial.url}/hub/api/users/{session.name}/server"
    token = {"_xsrf": session.xsrf("/hub/")}
    async with session.http.post(server, params=token, json=options) as answer:
        if answer.status >= 400:
            return REFUSED, _message(await answer.text())
    try:
        return await asyncio.wait_for(_until_it_runs(trial, session), START_SECONDS)
    except asyncio.TimeoutError:
        return WAITS, f"It did not start within {START_SECONDS:.0f} s."
    finally:
        await _stop(session, server, token)


async def _until_it_runs(trial: RunningTrial, session: UserSession) -> tuple[str, str]:
    events = session.progress()
    said, no_node, seconds_left = "", "", None
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            event = await asyncio.wait_for(anext(events, None), seconds_left)
        except asyncio.TimeoutError:
            return NO_NODE, said or no_node
        if event is None:
            return FAILS, said
        if event.get("ready"):
            return STARTS, ""
        if not event.get("log_only"):
            said = event.get("message") or said
        if event.get("failed"):
            return FAILS, said
        if seconds_left is not None:
            seconds_left = max(0.0, seconds_left - (clock() - began))
        elif (why := _unschedulable(trial, session.name)) is not None:
            no_node, seconds_left = why, EXPLAIN_SECONDS


def _unschedulable(trial: RunningTrial, user: str) -> str | None:
    """Return what the scheduler says about the user's pod; None if it has found a node."""
    for pod in trial.cluster.store.list(POD, trial.site.namespaces.name):
        if (pod["metadata"].get("annotations") or {}).get(_USER_ANNOTATION) == user:
            for condition in _conditions(pod):
                if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                    return str(condition.get("message"))
    return None


def _conditions(pod: Json) -> list[Json]:
    found: list[Json] = pod["status"].get("conditions") or []
    return found


async def _stop(session: UserSession, server: str, token: dict[str, str]) -> None:
    async with session.http.delete(server, params=token):
        pass
    while True:
        async with session.http.get(server.removesuffix("/server"), params=token) as answer:
            servers = (await answer.json())["servers"]
        if not servers:
            return
        await asyncio.sleep(0.3)


def _message(answer: str) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:300]


def table(outcomes: Sequence[Outcome], width: int = 80) -> str:
    """Return the table.  The reason is below its row, so that it is never cut off."""
    rows = [("user", "offer", "queue", "result")]
    rows += [(one.user, one.offer, one.queue, one.result) for one in outcomes]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row, why in zip(rows, ["", *(one.why for one in outcomes)], strict=True):
        lines.append("  ".join([*(f"{text:<{size}}" for text, size in zip(row, widths, strict=False)), row[3]]))
        lines += textwrap.wrap(why, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def not_tried(trial: RunningTrial, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a sentence about the profiles and classes that none of the users was offered."""
    tried = {one.offer for one in outcomes}
    course_profiles = {course.profile for course in trial.site.classes.values()}
    names = [name for name in trial.site.classes if name not in tried]
    names += [name for name in trial.site.profiles if name not in tried and name not in course_profiles]
    if names:
        yield f"None of these users is offered {', '.join(names)}."
