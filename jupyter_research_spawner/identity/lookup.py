"""Asks all identity sources for an account, and decides which answer is used."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..metrics import LOOKUPS
from ..refusal import Refusal
from ..settings import format_duration, ordered
from ..wording import quote
from .aio import within
from .checks import check
from .identity_settings import IdentitySettings
from .posix import PosixIdentity
from .source_interface import Account, InvalidAccount, Source, SourceDown, SourceOptions
from .sources import SOURCES
from .username import posix_name

logger = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_AFTER_SECONDS = 10
NamedSource = tuple[str, Source]


def open_sources(settings: IdentitySettings, base: Path) -> list[NamedSource]:
    """Open the identity sources of the settings.  Return them with their names, in the order of the settings.

    Relative paths in the settings are relative to `base`, an absolute path.
    """
    return [(name, SOURCES[options.kind].open_source(options, base)) for name, options in ordered(settings.sources)]


class Lookup:
    """Finds the account of a user in several sources.  It caches nothing."""

    def __init__(self, settings: IdentitySettings, sources: Sequence[NamedSource]) -> None:
        self._settings = settings
        self._sources = sources

    async def identity(self, name: str) -> PosixIdentity:
        """Return the identity of the user with this POSIX name.  Raises Refusal, see Resolver.resolve."""
        found = self._in_range(name, await self._accounts(name))
        if not found:
            raise identity_refused(
                "unknown-person",
                f"There is no account named {quote(name)}.",
                "If your account is new, try again in a minute; otherwise ask your administrators.",
            )
        if len({account.uid for _, account in found}) > 1:
            listed = ", ".join(f"{source} has uid {account.uid}" for source, account in found)
            logger.error("The identity sources have different accounts for %s: %s", quote(name), listed)
            raise identity_refused(
                "ambiguous-person", f"Two different accounts have the name {quote(name)}.", field="uid"
            )
        source, account = found[0]
        return check(self._settings.checks, source, name, await self._with_own_groups(source, account))

    def _in_range(self, name: str, found: list[tuple[str, Account]]) -> list[tuple[str, Account]]:
        """Return the accounts whose ids are in the ranges of their sources.

        Raises Refusal if there are accounts, but none of them is in its range.
        """
        inside = []
        problems = []
        for source, account in found:
            problem = _out_of_range(self._settings.sources.get(source), account)
            if problem is None:
                inside.append((source, account))
            else:
                logger.error("Identity source %s: the account %s is ignored: %s", source, quote(name), problem)
                problems.append(problem)
        if problems and not inside:
            raise identity_refused(
                "invalid-identity", f"Your account {quote(name)} is not allowed: {problems[0]}.", field="uid"
            )
        return inside

    async def _with_own_groups(self, source: str, account: Account) -> Account:
        """Return the account without the groups to which an earlier source gives another gid."""
        earlier = list(itertools.takewhile(lambda named: named[0] != source, self._sources))
        names = sorted({group for _, group in account.groups if group is not None})
        if not earlier or not names:
            return account
        taken: dict[str, tuple[str, int]] = {}
        for other, opened in earlier:
            for taken_name, taken_gid in (await self._gids(other, opened, names)).items():
                taken.setdefault(taken_name, (other, taken_gid))
        left_out: list[tuple[str, str]] = []
        kept: list[tuple[int, str | None]] = []
        for gid, group in account.groups:
            owner, right = taken.get(group or "", (source, gid))
            if group is None or right == gid:
                kept.append((gid, group))
            elif gid != account.gid:
                left_out.append((group, f"its gid is {gid} in source {source!r} and {right} in source {owner!r}"))
            else:
                message = (
                    f"Your primary group {quote(group)} has gid {gid}, but in source {owner!r} it has gid {right}."
                )
                raise identity_refused("invalid-identity", message, field="gid")
        return replace(account, groups=tuple(kept), left_out=(*account.left_out, *left_out))

    async def _accounts(self, name: str) -> list[tuple[str, Account]]:
        """Return the accounts of all sources, in their order.  Raises Refusal (503) if a source is down."""
        asked = [self._account(source_name, source, name) for source_name, source in self._sources]
        accounts = await asyncio.gather(*asked)
        return [
            (source_name, account)
            for (source_name, _), account in zip(self._sources, accounts, strict=True)
            if account is not None
        ]

    async def _account(self, source_name: str, source: Source, name: str) -> Account | None:
        try:
            return await _answer(source_name, source.lookup(name))
        except InvalidAccount as invalid:
            logger.error("Identity source %s: the account %s is invalid: %s", source_name, quote(name), invalid)
            raise identity_refused(
                "invalid-identity",
                f"The entry of your account {quote(name)} is not valid: {invalid}.",
                "Ask your administrators to correct the entry in its directory.",
            ) from invalid

    async def _gids(self, source_name: str, source: Source, groups: list[str]) -> Mapping[str, int]:
        return await _answer(source_name, source.gids(groups))


async def _answer(source_name: str, asked: Awaitable[T]) -> T:
    """Return the answer of a source.  Raises Refusal (503) if the source is down or fails."""
    begun, result = time.monotonic(), "failed"
    try:
        answer = await asked
        result = "answered"
        return answer
    except InvalidAccount:
        result = "answered"
        raise
    except SourceDown as down:
        logger.error("Identity source %s is down: %s", source_name, down)
        raise source_down() from down
    except Exception as error:  # an unexpected error must not look like an unknown user
        logger.exception("Identity source %s failed", source_name)
        raise source_down() from error
    finally:  # also of a request that has reached the time limit and is cancelled
        LOOKUPS.labels(source_name, result).observe(time.monotonic() - begun)


async def answers(settings: IdentitySettings, base: Path, hub_name: str) -> list[str]:
    """Return what each identity source answers about a hub user, a sentence each, for administrators.

    Relative paths in the settings are relative to `base`, an absolute path.  Raises Refusal if the user cannot have a
    POSIX name.
    """
    name = posix_name(settings.username, hub_name)
    opened = open_sources(settings, base)
    found = await asyncio.gather(*(_described(settings, source_name, source, name) for source_name, source in opened))
    return [
        f"identity.sources.{source_name} (kind {settings.sources[source_name].kind}) {answer}."
        for (source_name, _), answer in zip(opened, found, strict=True)
    ]


async def _described(settings: IdentitySettings, source_name: str, source: Source, name: str) -> str:
    try:
        account = await within(source.lookup(name), settings.resolve_limit)
    except InvalidAccount as invalid:
        return f"has an entry for {quote(name)} that is not valid: {invalid}"
    except SourceDown as down:
        return f"could not be asked: {down}"
    except asyncio.TimeoutError:
        return f"did not answer within {format_duration(settings.resolve_limit)}"
    if account is None:
        return f"has no account {quote(name)}"
    outside = _out_of_range(settings.sources[source_name], account)
    what = f"has the account {quote(name)} with uid {account.uid} and gid {account.gid}"
    return f"{what}, which is ignored: {outside}" if outside else what


def _out_of_range(options: SourceOptions | None, account: Account) -> str | None:
    """Return a clause about the id of the account that is outside the ranges of its source, or None."""
    if options is None:
        return None
    if options.uid_range is not None and account.uid not in options.uid_range:
        return f"its uid {account.uid} is outside the range of uids of its directory"
    gids = {account.gid, *(gid for gid, _ in account.groups)}
    if options.gid_range is not None and (outside := sorted(gid for gid in gids if gid not in options.gid_range)):
        return f"its gid {outside[0]} is outside the range of gids of its directory"
    return None


def identity_refused(code: str, message: str, hint: str = "", field: str = "name") -> Refusal:
    """Return the refusal (403) for an account that may not be used."""
    return Refusal(code, message, field=field, hint=hint or "Ask your administrators.", status=403)


def source_down() -> Refusal:
    """Return the refusal (503) for a source that does not answer."""
    return Refusal(
        "source-down",
        "A directory service with user accounts does not answer, so nothing can start at the moment.",
        hint="Try again in a moment.",
        status=503,
        retry_after=RETRY_AFTER_SECONDS,
    )
