"""The routes of the HTML pages of the batch service."""

from __future__ import annotations

import re
from typing import Any

from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.web import HTTPError, RequestHandler

from .. import web
from .handlers import JsonHandler, Unknown
from .job_page import JobAction, JobEvents, JobPage
from .page_handlers import PageHandler, Pages, send_error_page, wants_page
from .work_page import Home, HomeEvents


class PageCallback(HubOAuthCallbackHandler, PageHandler):  # type: ignore[misc]
    """Handles the redirect from the hub after a browser has logged in."""

    async def prepare(self) -> None:
        """Do not authenticate the request: the library of the hub does it."""


class UnknownPage(Unknown):
    """Tells a browser with a page, and other clients as JSON, that an address does not exist."""

    def initialize(self, pages: Pages, **parts: Any) -> None:  # type: ignore[override]
        self.pages = pages
        super().initialize(**parts)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if wants_page(self):
            send_error_page(self, status_code, kwargs.get("exc_info", (None, None, None))[1], self.pages)
        else:
            super().write_error(status_code, **kwargs)


class StaticFile(JsonHandler):
    """Sends a static file of the pages.  It needs no login, because the files have nothing about users or the site."""

    def get(self, hashed_name: str) -> None:
        found = web.find_static_file(hashed_name)
        if found is None:
            raise HTTPError(404)
        for name, value in found.headers.items():
            self.set_header(name, value)
        self.finish(found.content)


def page_routes(prefix: str, pages: Pages, **parts: Any) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Return the routes of the pages.  `prefix` and `parts` are those of `handlers.routes`."""
    base, with_pages = re.escape(prefix.rstrip("/")), {"pages": pages, **parts}
    return [
        (rf"{base}/?", Home, with_pages),
        (rf"{base}/events", HomeEvents, with_pages),
        (rf"{base}/oauth_callback", PageCallback, with_pages),
        (rf"{base}/jobs/([^/]+)/page", JobPage, with_pages),
        (rf"{base}/jobs/([^/]+)/page/(again|cancel|remove)", JobAction, with_pages),
        (rf"{base}/jobs/([^/]+)/events", JobEvents, with_pages),
        (rf"{base}/{web.STATIC_PATH}/([a-z0-9_.-]+)", StaticFile, parts),
    ]
