"""Serves the static files of our pages on the hub, such as /hub/research-spawner/static/research.0123456789ab.css."""

from __future__ import annotations

from jupyterhub.handlers import BaseHandler
from tornado import web as tornado_web

from .. import web


class StaticHandler(BaseHandler):  # type: ignore[misc]
    """GET: a static file.  It needs no login, because the files contain nothing about users or the site."""

    def get(self, hashed_name: str) -> None:
        found = web.find_static_file(hashed_name)
        if found is None:
            raise tornado_web.HTTPError(404)
        for name, value in found.headers.items():
            self.set_header(name, value)
        self.finish(found.content)


HANDLERS = ((rf"/{web.STATIC_PATH}/([a-z0-9_.-]+)", StaticHandler),)
