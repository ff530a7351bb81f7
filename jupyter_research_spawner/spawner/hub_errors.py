"""Exceptions with which JupyterHub 5 and 6 show a refusal to the user, and a log filter that removes tracebacks."""

from __future__ import annotations

import logging
from typing import Any

from jupyterhub import spawner as _hub_spawner
from markupsafe import escape
from tornado.log import app_log
from tornado.web import HTTPError

from ..refusal import Refusal

# JupyterHub 6 does not count a SpawnException as a failed start. JupyterHub 5 does not have this class and counts each
# HTTPError, so `configure` turns consecutive_failure_limit off for JupyterHub 5.
_SpawnException: type[HTTPError] | None = getattr(_hub_spawner, "SpawnException", None)


class HubRefusal(_SpawnException or HTTPError):  # type: ignore[misc]
    """A refusal that JupyterHub shows on its pages and in its REST API."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        text = str(refusal)
        if _SpawnException is None:
            super().__init__(refusal.status, "%s", text)
        else:
            super().__init__(text, reason=refusal.code, status_code=refusal.status)
        self.jupyterhub_message = text
        self.jupyterhub_html_message = refusal_html(refusal)
        self.headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after is not None else {}


class FormPreselected(Exception):
    """Makes JupyterHub show the options form after a link selected options, instead of starting the server.

    The exception has no message, because the form shows the selected options.
    """

    jupyterhub_message = None
    jupyterhub_html_message = None


def refusal_html(refusal: Refusal) -> str:
    """Return the refusal's message and hint as escaped HTML."""
    hint = f"<br>{escape(refusal.hint)}" if refusal.hint else ""
    return f"{escape(refusal.message)}{hint}"


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
