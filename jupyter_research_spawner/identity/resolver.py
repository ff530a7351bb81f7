"""Resolves a hub user with all identity sources, refuses conflicting answers, and caches the result."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from ..metrics import IDENTITY_CACHE, create_identity_series
from ..refusal import Refusal
from ..settings import format_duration
from ..wording import quote
from .accepted_uid import AcceptedUid
from .aio import within
from .identity_settings import IdentitySettings
from .lookup import Lookup, identity_refused, open_sources, source_down
from .posix import PosixIdentity
from .username import posix_name

logger = logging.getLogger(__name__)
V = TypeVar("V")


@dataclass(frozen=True)
class _Answer:
    """The result for one POSIX user name.

    `asked` and `until` are times of the resolver's clock: when the sources were asked, and when the result expires.
    """

    outcome: PosixIdentity | Refusal
    asked: float
    until: float


@dataclass(frozen=True)
class _Remembered(Generic[V]):
    """A value, and the time on the resolver's clock until which another value is refused."""

    value: V
    until: float


class Resolver:
    """Resolves hub users to POSIX identities.  There is one per process, used in one event loop.

    The resolver remembers the uid of each POSIX name and the hub user of each uid for `cache.uids` after they were last
    seen together.  Until then it refuses a name whose uid has changed (a recycled account), and a second hub user with
    the same uid, unless `accepted` returns that an administrator has accepted the change.
    Relative paths in the settings are relative to `base`.  `clock` returns seconds.
    """

    def __init__(
        self, settings: IdentitySettings, base: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        # Absolute, because the process may change its working directory later.
        self._lookup = Lookup(settings, open_sources(settings, (base or Path()).absolute()))
        create_identity_series(settings.sources)
        self._answers: dict[str, _Answer] = {}
        self._flights: dict[str, asyncio.Task[_Answer]] = {}
        self._uid_of: dict[str, _Remembered[int]] = {}
        self._hub_name_of: dict[int, _Remembered[str]] = {}
        # The uid that an administrator has accepted for a POSIX name.
        self.accepted: Callable[[str], Awaitable[AcceptedUid | None]] | None = None

    async def resolve(self, hub_name: str, max_age: float = math.inf) -> PosixIdentity:
        """Return the identity of a hub user, from an answer that is at most `cache.found` and `max_age` seconds old.

        If the sources are down, an answer that is older than `max_age` is used.
        Raises Refusal: 403 `unknown-person`, `ambiguous-person`, `invalid-identity`, `account-locked`, `uid-changed`,
        `uid-taken`; 503 `source-down`.  While one source is down no user is resolved, even if another source has the
        account, because the source that is down may have another uid for the user.
        """
        name = posix_name(self._settings.username, hub_name)
        answer = self._fresh(name, max_age)
        IDENTITY_CACHE.labels("miss" if answer is None else "hit").inc()
        if answer is None:
            # Shielded: other callers wait for the same lookup if this one is cancelled.
            answer = await asyncio.shield(self._flight(name))
        if isinstance(answer.outcome, Refusal):
            # Raise a copy, because each `raise` adds its traceback to the exception.
            raise replace(answer.outcome) from answer.outcome.__cause__
        await self._hold(hub_name, answer.outcome)
        return answer.outcome

    async def decide(self, hub_name: str, make: Callable[[PosixIdentity], V]) -> V:
        """Return what `make` decides about the identity of a hub user.

        If the user or the decision is refused (403), the identity is reloaded: the user may have just been added to
        a group.  Raises the refusal of the last try.
        """
        try:
            return make(await self.resolve(hub_name))
        except Refusal as refusal:
            if refusal.status != 403:
                raise
        return make(await self.reload(hub_name))

    async def reload(self, hub_name: str) -> PosixIdentity:
        """Return the identity of a hub user, from an answer that is at most `cache.reload` old."""
        return await self.resolve(hub_name, self._settings.cache.reload.total_seconds())

    def _fresh(self, name: str, max_age: float) -> _Answer | None:
        answer, now = self._answers.get(name), self._clock()
        return answer if answer is not None and now < min(answer.until, answer.asked + max_age) else None

    def _flight(self, name: str) -> asyncio.Task[_Answer]:
        flight = self._flights.get(name)
        if flight is None:
            flight = asyncio.create_task(self._ask(name))
            self._flights[name] = flight
            flight.add_done_callback(lambda done: self._land(name, done))
        return flight

    def _land(self, name: str, flight: asyncio.Task[_Answer]) -> None:
        del self._flights[name]
        if flight.cancelled() or flight.exception() is not None:
            return
        self._answers.pop(name, None)
        self._answers[name] = flight.result()
        while len(self._answers) > self._settings.cache.size:
            del self._answers[next(iter(self._answers))]

    async def _ask(self, name: str) -> _Answer:
        # Read the clock before asking the sources, so that no answer is used for longer than its cache time.
        asked = self._clock()
        cache = self._settings.cache
        limit = self._settings.resolve_limit
        try:
            identity = await within(self._lookup.identity(name), limit)
        except asyncio.TimeoutError:
            logger.error("The identity sources did not answer for %s within %s", quote(name), format_duration(limit))
            refusal = source_down()
        except Refusal as refused:
            refusal = refused
        else:
            return _Answer(identity, asked, asked + cache.found.total_seconds())
        old = self._fresh(name, math.inf)
        if refusal.status == 503 and old is not None and isinstance(old.outcome, PosixIdentity):
            return replace(old, asked=asked)
        kept = cache.unknown if refusal.code == "unknown-person" else cache.failed
        return _Answer(refusal, asked, asked + kept.total_seconds())

    async def _hold(self, hub_name: str, identity: PosixIdentity) -> None:
        """Record the uid of this user.  Raise Refusal if another user had this uid lately, or this user another uid."""
        refusal = self._contradiction(hub_name, identity)
        if refusal is not None:
            if not await self._is_accepted(hub_name, identity):
                raise refusal
            logger.warning(
                "The hub user %s is uid %d from now on, as an administrator has accepted", quote(hub_name), identity.uid
            )
            known = self._uid_of.get(identity.name)
            if known is not None and known.value != identity.uid:
                self._hub_name_of.pop(known.value, None)
        until = self._clock() + self._settings.cache.uids.total_seconds()
        self._uid_of[identity.name] = _Remembered(identity.uid, until)
        self._hub_name_of[identity.uid] = _Remembered(hub_name, until)

    def _contradiction(self, hub_name: str, identity: PosixIdentity) -> Refusal | None:
        """Return why the user is refused, if the user had another uid lately or another user had this one."""
        name, now = quote(identity.name), self._clock()
        advice = f"If this is planned: research-spawner accept-uid --user {quote(hub_name)} --uid {identity.uid}"
        known = self._uid_of.get(identity.name)
        if known is not None and now < known.until and known.value != identity.uid:
            logger.error("The account %s had uid %d and now has uid %d. %s", name, known.value, identity.uid, advice)
            return identity_refused("uid-changed", f"The uid of the account {name} has changed.", field="uid")
        holder = self._hub_name_of.get(identity.uid)
        if holder is not None and now < holder.until and holder.value != hub_name:
            names = quote(holder.value), quote(hub_name)
            logger.error("The hub users %s and %s are both uid %d. %s", *names, identity.uid, advice)
            return identity_refused("uid-taken", f"Another hub user already uses the account {name}.", field="uid")
        return None

    async def _is_accepted(self, hub_name: str, identity: PosixIdentity) -> bool:
        accepted = None if self.accepted is None else await self.accepted(identity.name)
        return accepted is not None and (accepted.hub_user, accepted.uid) == (hub_name, identity.uid)
