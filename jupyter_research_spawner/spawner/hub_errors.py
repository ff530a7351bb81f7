"""Exceptions that make JupyterHub 5 and 6 show a refusal to the user, and a log filter that removes tracebacks.

Instead of an exception of other code, for example of an administrator's hook, the user sees a sentence with an id.  The
log has the traceback under the same id.  The sentence never has the exception's own text, which can contain a secret.
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from traceback import walk_tb
from typing import Any

from jupyterhub import spawner as _hub_spawner
from markupsafe import escape
from tornado.log import app_log
from tornado.web import HTTPError

from ..metrics import count_refusal
from ..refusal import Refusal
from ..texts import gettext

# JupyterHub 6 does not count a SpawnException as a failed start. JupyterHub 5 does not have this class and counts each
# HTTPError, so `configure` turns consecutive_failure_limit off for JupyterHub 5.
_SpawnException: type[HTTPError] | None = getattr(_hub_spawner, "SpawnException", None)


class HubRefusal(_SpawnException or HTTPError):  # type: ignore[misc]
    """A refusal that JupyterHub shows on its pages and in its REST API. Each one is counted in the metrics."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        count_refusal(refusal.code)
        text = str(refusal)
        if _SpawnException is None:
            super().__init__(refusal.status, "%s", text)
        else:
            super().__init__(text, reason=refusal.code, status_code=refusal.status)
        self.jupyterhub_message = text
        self.jupyterhub_html_message = refusal_html(refusal)
        self.headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after is not None else {}


@dataclass(frozen=True)
class HookFrame:
    """The place in administrators' code from which an exception came."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}, line {self.line})"


# The packages that call hooks, or that a start uses without a hook.
_OWN = frozenset(
    {__package__.partition(".")[0], "aiohttp", "jupyterhub", "kubernetes_asyncio", "kubespawner", "tornado"}
)
_OWN_OR_STANDARD = _OWN | {"jinja2", "markupsafe", "pydantic", "traitlets"} | sys.stdlib_module_names


def hook_frame(error: BaseException) -> HookFrame | None:
    """Return the line of administrators' code from which an exception came; None if it did not come from their code."""
    found: HookFrame | None = None
    for frame, line in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__") or "").partition(".")[0]
        is_theirs = module == "__main__" or module not in _OWN_OR_STANDARD
        if is_theirs and (found is None or found.file == frame.f_code.co_filename):
            found = HookFrame(frame.f_code.co_name, frame.f_code.co_filename, line)
    return found


def came_from(error: BaseException, functions: Iterable[Any]) -> bool:
    """Return whether an exception passed through one of these functions."""
    codes = {_code(function) for function in functions} - {None}
    return any(frame.f_code in codes for frame, _ in walk_tb(error.__traceback__))


def _code(function: Any) -> Any:
    """Return the code object of a function, of a partial function, or of an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)


@contextmanager
def explained_errors(log: logging.Logger | logging.LoggerAdapter[Any], what: str) -> Iterator[None]:
    """Turn an exception of other code into a refusal with an id, and log the exception with its traceback and the id.

    what: what failed, for the log.  HTTPError and exceptions with `jupyterhub_message` are raised unchanged, because
    JupyterHub documents them for messages of hooks to the user.
    """
    try:
        yield
    except Refusal as refusal:
        raise HubRefusal(refusal) from None
    except Exception as error:  # administrators' hooks can raise anything
        if isinstance(error, HTTPError) or hasattr(error, "jupyterhub_message"):
            raise
        number, frame = secrets.token_hex(4), hook_frame(error)
        place = f" in {frame}" if frame else ""
        log.error("%s failed%s. The user was told the id %s", what, place, number, exc_info=error)
        raise HubRefusal(_unexpected(number)) from None


def _unexpected(number: str) -> Refusal:
    return Refusal(
        "hub-error",
        gettext(
            "Your server could not be started: an error in the hub's configuration or its code stopped it (id %(id)s).",
            id=number,
        ),
        hint=gettext(
            "Tell your administrators the id %(id)s. The hub's log explains the error under this id.", id=number
        ),
        status=500,
    )


class FormPreselected(Exception):
    """Makes JupyterHub show the options form after a link selected options, instead of starting the server.

    The exception has no message, because the form shows the selected options.
    """

    jupyterhub_message = None
    jupyterhub_html_message = None


def refusal_html(refusal: Refusal) -> str:
    """Return the refusal's sentences and hint as escaped HTML."""
    hint = f"<br>{escape(refusal.hint)}" if refusal.hint else ""
    told = f"{refusal.heading} {refusal.shown_message}".strip()
    return f"{escape(told)}{hint}"


class RefusalLogFilter(logging.Filter):
    """Removes the traceback of a refused start from the log.  JupyterHub logs tracebacks of all failed starts."""

    def filter(self, record: logging.LogRecord) -> bool:
        error: Any = record.exc_info[1] if record.exc_info else None
        if isinstance(error, FormPreselected):
            return False
        if isinstance(error, HubRefusal):
            record.exc_info = record.exc_text = None
            record.msg, record.args = "%s: %s", (record.getMessage(), error.refusal)
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


_filter = RefusalLogFilter()


def filter_refusals(logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
    """Add the filter to `logger` and to tornado's `app_log`. A second call changes nothing.

    Tornado logs a refusal that comes after the hub has stopped waiting for the start.
    """
    for target in (logger.logger if isinstance(logger, logging.LoggerAdapter) else logger, app_log):
        target.addFilter(_filter)
