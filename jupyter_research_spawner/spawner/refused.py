"""A Refusal as the exception that each version of JupyterHub shows to the person, and that no log prints a trace of."""

from __future__ import annotations

import logging
from typing import Any

from jupyterhub import spawner as _hub_spawner
from markupsafe import escape
from tornado.log import app_log
from tornado.web import HTTPError

from ..refusal import Refusal

# Hub 6: a policy refusal, which never counts towards the failure limit.  Hub 5 has none, and counts every HTTPError;
# there `configure` turns the limit off.
_SpawnException: type[HTTPError] | None = getattr(_hub_spawner, "SpawnException", None)


class HubRefusal(_SpawnException or HTTPError):  # type: ignore[misc]
    """Why not, in the hub's terms: `jupyterhub_message` and `jupyterhub_html_message` are what pages and REST show."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        text = str(refusal)
        if _SpawnException is None:
            super().__init__(refusal.status, "%s", text)
        else:
            super().__init__(text, reason=refusal.code, status_code=refusal.status)
        self.jupyterhub_message = text
        self.jupyterhub_html_message = html(refusal)
        self.headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after is not None else {}


class Preselected(Exception):
    """A link chose something, and a GET never starts a server: the hub shows the form in answer to any exception.

    Without messages: the form itself says what was chosen.
    """

    jupyterhub_message = None
    jupyterhub_html_message = None


def html(refusal: Refusal) -> str:
    hint = f"<br>{escape(refusal.hint)}" if refusal.hint else ""
    return f"{escape(refusal.message)}{hint}"


class NoTraces(logging.Filter):
    """The hub logs every failed start with its traceback.  A refusal is no failure: its sentence is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        error: Any = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Preselected):
            return False
        if isinstance(error, HubRefusal):
            record.exc_info = record.exc_text = None
            record.msg, record.args = "%s: %s", (record.getMessage(), error.refusal)
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


_no_traces = NoTraces()


def without_traces(logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
    """Idempotent: a filter is added once.  Tornado logs a refusal too, when the hub has stopped waiting for it."""
    for target in (logger.logger if isinstance(logger, logging.LoggerAdapter) else logger, app_log):
        target.addFilter(_no_traces)
