"""`research-spawner try --check`: start each offer for one user of each group, and tell in a table what happens."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ..demo.user_session import UnexpectedResult, UserSession
from ..embedded.apimachinery.api_resources import POD
from ..plan import Offer, offers
from ..shape import Json
from .running_trial import RunningTrial
from .trial_people import one_of_each_group

STARTS, WAITS, NO_NODE, REFUSED, FAILS = "starts", "waits", "fits on no node", "refused", "fails"
# The hub says what the largest node has a moment after the scheduler has found no node.
EXPLAIN_SECONDS = 5.0
STOP_SECONDS = 120.0
CONCURRENT_USERS = 4
# The servers of other users can be the reason: they fill the nodes, or reach a limit of the hub.
_TRIED_AGAIN_ALONE = (NO_NODE, REFUSED)
_USER_ANNOTATION = "hub.jupyter.org/username"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """A start of the check: a user starts an offer in a queue."""

    user: str
    offer: Offer
    queue: str


@dataclass(frozen=True)
class Outcome:
    """What happened when a user started an offer.  `why` is a sentence, or empty if it started."""

    user: str
    offer: str
    queue: str
    result: str
    why: str = ""


def starts_of(user: str, offered: Sequence[Offer]) -> list[Start]:
    """Return each offer in its default queue, and each further queue once, with the first offer that lists it."""
    seen = {offer.queues[0] for offer in offered}
    found = []
    for offer in offered:
        default, *others = offer.queues
        further = [queue for queue in others if queue not in seen]
        seen.update(further)
        found += [Start(user, offer, queue) for queue in (default, *further)]
    return found


async def check(trial: RunningTrial, start_seconds: float, say: Say) -> list[Outcome]:
    """Start each offer for one user of each group, and return what happened, in the order of users and offers.

    start_seconds: limit of each start.  say: gets a line about each start when it has ended.
    """
    now = datetime.now(timezone.utc)
    users = one_of_each_group(trial.site, trial.people)
    starts = [starts_of(user.name, offers(trial.site, user.identity, now)) for user in users if user.identity]
    total, ended = sum(map(len, starts)), 0
    slots = asyncio.Semaphore(CONCURRENT_USERS)

    def tell(outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        say(f"{ended} of {total}: {outcome.user}, {outcome.offer} in {outcome.queue}: {outcome.result}")

    async def check_user(of_user: list[Start]) -> list[Outcome]:
        found = []
        async with slots:
            for start in of_user:  # one after the other, because they have the same server
                found.append(await _outcome(trial, start, start_seconds))
                if not is_tried_again(found[-1]):
                    tell(found[-1])
        return found

    def is_tried_again(outcome: Outcome) -> bool:
        return len(starts) > 1 and outcome.result in _TRIED_AGAIN_ALONE

    found = []
    outcomes = await _gathered([asyncio.ensure_future(check_user(of_user)) for of_user in starts])
    for start, outcome in zip((start for of_user in starts for start in of_user), outcomes, strict=True):
        if is_tried_again(outcome):
            found.append(await _outcome(trial, start, start_seconds))
            tell(found[-1])
        else:
            found.append(outcome)
    return found


async def _gathered(tasks: Sequence[asyncio.Task[list[Outcome]]]) -> list[Outcome]:
    """Return the outcomes of all tasks.  If one fails, cancel the others and wait until they have ended."""
    try:
        return [outcome for found in await asyncio.gather(*tasks) for outcome in found]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(trial: RunningTrial, start: Start, seconds: float) -> Outcome:
    offer = start.offer
    options = {"class": offer.course} if offer.course else {"profile": offer.profile}
    async with UserSession(trial.url, start.user, trial.key) as session:
        await session.log_in()
        result, why = await _start(trial, session, {**options, "queue": start.queue}, seconds)
    return Outcome(start.user, offer.name, start.queue, result, why)


async def _start(trial: RunningTrial, session: UserSession, options: dict[str, str], seconds: float) -> tuple[str, str]:
    server = f"{trial.url}/hub/api/users/{session.name}/server"
    token = {"_xsrf": session.xsrf("/hub/")}
    async with session.http.post(server, params=token, json=options) as answer:
        if answer.status >= 400:
            return REFUSED, _message(await answer.text())
    try:
        return await _until_it_runs(trial, session, seconds)
    finally:
        await _stop(session, server, token)


async def _until_it_runs(trial: RunningTrial, session: UserSession, seconds: float) -> tuple[str, str]:
    events = session.progress()
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    said, no_node = "", None
    while True:
        try:
            event = await asyncio.wait_for(anext(events, None), max(0.0, deadline - clock()))
        except asyncio.TimeoutError:
            if no_node is not None:
                return NO_NODE, said or no_node
            return WAITS, f"It did not start within {seconds:g} s. {said}".strip()
        if event is None:
            return FAILS, said
        if event.get("ready"):
            return STARTS, ""
        if not event.get("log_only"):
            said = event.get("message") or said
        if event.get("failed"):
            return FAILS, said
        if no_node is None and (no_node := _unschedulable(trial, session.name)) is not None:
            deadline = min(deadline, clock() + EXPLAIN_SECONDS)


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
    """Stop the server, and wait until it has ended.  Raises UnexpectedResult."""
    async with session.http.delete(server, params=token):
        pass
    clock = asyncio.get_running_loop().time
    deadline = clock() + STOP_SECONDS
    while clock() < deadline:
        async with session.http.get(server.removesuffix("/server"), params=token) as answer:
            servers = (await answer.json())["servers"]
        if not servers:
            return
        await asyncio.sleep(0.3)
    raise UnexpectedResult(f"The server of {session.name} did not end within {STOP_SECONDS:g} s.")


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
