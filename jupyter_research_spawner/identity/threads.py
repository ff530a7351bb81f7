"""Runs blocking calls in a limited number of threads, each call with a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

from ..settings import format_duration
from .aio import within
from .source_interface import SourceDown

T = TypeVar("T")

_Call = tuple["Future[Any]", Callable[[], Any]]


class Threads:
    """Runs blocking calls in at most `most` threads.

    A ThreadPoolExecutor is not used, because Python waits for its threads at exit, and a hung lookup would keep the hub
    from exiting.  A thread cannot be stopped, so a call that exceeds its time limit uses a thread until it returns.  If
    all threads hang, further calls fail immediately.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[_Call] = deque()
        self._hung: set[Future[Any]] = set()

    async def run(self, call: Callable[[], T], limit: timedelta) -> T:
        """Run `call` and return its result.  Raises SourceDown after `limit`, or immediately if all threads hang."""
        self._hung = {future for future in self._hung if not future.done()}
        if len(self._hung) >= self._most:
            raise SourceDown(f"all {self._most} threads hang in earlier lookups")
        future: Future[T] = Future()
        self._submit((future, call))
        try:
            return await within(asyncio.wrap_future(future), limit)
        except asyncio.TimeoutError:
            raise SourceDown(f"there was no answer within {format_duration(limit)}") from None
        finally:
            # cancel() returns False if the call is running or has ended.  Only a running call can hang.
            if not future.cancel() and not future.done():
                self._hung.add(future)

    def _submit(self, call: _Call) -> None:
        with self._lock:
            if self._running >= self._most:
                self._waiting.append(call)
                return
            self._running += 1
        threading.Thread(target=self._work, args=(call,), name="identity-lookup", daemon=True).start()

    def _work(self, call: _Call) -> None:
        following: _Call | None = call
        while following is not None:
            _answer(*following)
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                if following is None:
                    self._running -= 1


def _answer(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        answer = call()
    except BaseException as error:  # run() raises it
        future.set_exception(error)
    else:
        future.set_result(answer)
