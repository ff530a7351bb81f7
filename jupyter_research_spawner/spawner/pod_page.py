"""The page that shows the pod that a start would create.  Written for JupyterHub 5.3 to 6.1."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote as quote_url

from jupyterhub.handlers import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web as tornado_web

from ..form import chosen_by_form
from ..pod.yaml_text import as_text
from ..refusal import Refusal
from ..texts import gettext
from .hub_errors import HubRefusal, explained_errors
from .pod_preview import HIDDEN, preview_pod

PAGE = "research-spawner/pod"


def path_of_pod(user: Any, server: str) -> str:
    """Return the path of the page for a server, below the hub's base URL."""
    return f"{PAGE}/{user.escaped_name}" + (f"/{quote_url(server, safe='')}" if server else "")


class PodHandler(BaseHandler):  # type: ignore[misc]
    """GET: the pod for the options in the query, for everybody who may start this server.  It starts nothing."""

    template = "research_pod.html"

    @tornado_web.authenticated
    def get(self, user_name: str, server_name: str = "") -> Any:
        return self._get(user_name=user_name, server_name=server_name)

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _get(self, user_name: str, server_name: str) -> None:
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise tornado_web.HTTPError(404, gettext("There is no server with this name."))
        query = {
            name: [value.decode(errors="replace") for value in values]
            for name, values in self.request.query_arguments.items()
        }
        options: dict[str, str] = {}
        refusal = None
        shown: dict[str, Any] = {}
        try:
            options = chosen_by_form(query)
            with explained_errors(self.log, f"The page with the pod of {user.name}"):
                shown = await self.shown(user, server_name, options)
        except (HubRefusal, Refusal) as found:
            refusal = found.refusal if isinstance(found, HubRefusal) else found
        if refusal is not None:
            self.set_status(refusal.status)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                self.template,
                **shown,
                pod_refusal=refusal,
                pod_options=", ".join(f"{_option_name(name)} {value}" for name, value in sorted(options.items())),
                pod_user=user.name,
                pod_server=server_name,
                hidden=HIDDEN,
            )
        )

    async def shown(self, user: Any, server: str, options: dict[str, str]) -> dict[str, Any]:
        """Return the variables of the template that show the pod.  Raises Refusal."""
        return {"pod": as_text(await preview_pod(user, server, options))}


def _option_name(option: str) -> str:
    """Return an option of the form as the page shows it; an option that the form does not have as it is."""
    known = {
        "profile": gettext("profile"),
        "class": gettext("class"),
        "queue": gettext("queue"),
        "wall_time": gettext("wall time"),
        "image": gettext("image"),
    }
    return known.get(option, option)


HANDLERS = ((rf"/{PAGE}/([^/]+)", PodHandler), (rf"/{PAGE}/([^/]+)/([^/]+)", PodHandler))
