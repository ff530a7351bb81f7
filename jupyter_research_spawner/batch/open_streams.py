"""Limits the open streams of server-sent events, so that no user takes the streams of the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..refusal import Refusal
from ..texts import gettext

# Of each user, and of all users together.
STREAMS_AT_ONCE, ALL_STREAMS_AT_ONCE = 10, 500


@dataclass(eq=False)
class OpenStream:
    """A stream, and the task that sends it, which is cancelled when another stream replaces this one."""

    user: str
    sending: asyncio.Task[None] | None = None
    is_replaced: bool = False


class OpenStreams:
    """The open streams of all users, by user, oldest first.

    A page that has just been opened is the one that its user looks at.  So a new stream replaces the user's oldest one,
    and not the other way round.
    """

    def __init__(self) -> None:
        self._of_user: dict[str, list[OpenStream]] = {}

    def open(self, user: str) -> OpenStream:
        """Return a new stream, which the caller must close.

        At STREAMS_AT_ONCE streams of this user, the new stream replaces the user's oldest one.  At ALL_STREAMS_AT_ONCE
        streams in all, it replaces the oldest one of the user with the most streams, or this user's own.  Raises
        Refusal if this user has no stream and every other user has at most one.
        """
        own = self._of_user.get(user, [])
        if len(own) >= STREAMS_AT_ONCE:
            self._replace(own[0])
        elif sum(map(len, self._of_user.values())) >= ALL_STREAMS_AT_ONCE:
            most = max(self._of_user.values(), key=len)
            if len(most) > len(own) + 1:
                self._replace(most[0])
            elif own:
                self._replace(own[0])
            else:
                raise Refusal(
                    "too-many-streams",
                    gettext("Too many pages of My work are open."),
                    hint=gettext("You can reload this page to see what has changed."),
                    status=429,
                    retry_after=60,
                )
        stream = OpenStream(user)
        self._of_user.setdefault(user, []).append(stream)
        return stream

    def close(self, stream: OpenStream) -> None:
        """Remove a stream.  Does nothing if it is removed already."""
        streams = self._of_user.get(stream.user, [])
        if stream in streams:
            streams.remove(stream)
        if not streams:
            self._of_user.pop(stream.user, None)

    def _replace(self, stream: OpenStream) -> None:
        stream.is_replaced = True
        if stream.sending is not None:
            stream.sending.cancel()
        self.close(stream)
