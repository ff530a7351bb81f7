"""Renders the options form as HTML, with the options that a link selected or that were refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from kubespawner import KubeSpawner
from markupsafe import Markup

from .. import web
from ..form import Closed, Form, Selected, closed_page
from ..identity import PosixIdentity
from ..metrics import count_refusal
from ..plan import plan
from ..refusal import Refusal
from ..texts import gettext
from . import options as notebook_options
from .never_fits import free_capacity_for
from .pod_page import path_of_pod
from .process_state import ProcessState

_ATTRIBUTE = "_research_selection"


@dataclass(frozen=True)
class Selection:
    """Options that the next options form of a server shows as selected.

    The selection is kept on the hub's User and not on the spawner, because after a refusal JupyterHub shows the form of
    a named server with the spawner of the default server.
    """

    selected: Selected
    server: str

    def keep_for_next_form(self, user: Any) -> None:
        """Keep this selection on the hub's User until `take` returns it."""
        setattr(user, _ATTRIBUTE, self)

    @staticmethod
    def take(user: Any, server: str) -> Selection | None:
        """Remove the selection that was kept for this server and return it; None if there is none."""
        kept: Selection | None = getattr(user, _ATTRIBUTE, None)
        if kept is None or server not in ("", kept.server):
            return None
        setattr(user, _ATTRIBUTE, None)
        return kept


class OptionsPage(Markup):
    """The options form as HTML for JupyterHub's template spawn.html, with what our own spawn.html shows outside of it.

    heading: the heading and title of the page, "" for the usual one.  error: why nothing was started, for the title.
    server: the name of the server that the form starts, "" for the default server.  asked_name: the name that its user
    has written, if this is its first start.
    shows_error: whether the HTML says why nothing was started, so that the template need not.
    """

    heading: str = ""
    error: str = ""
    server: str = ""
    asked_name: str = ""
    shows_error: bool = False


async def render_options_page(spawner: KubeSpawner, shared: ProcessState) -> OptionsPage:
    """Return the options form as HTML, and set the HTTP status if the user cannot start any server."""
    selection = Selection.take(spawner.user, spawner.name or "")
    server = selection.server if selection is not None else spawner.name or ""
    page, status, retry_after = await _build_page(spawner, shared, selection, server)
    if status != 200 and spawner.handler is not None:
        spawner.handler.set_status(status)
        if retry_after is not None:
            spawner.handler.set_header("Retry-After", str(retry_after))
    template = "closed.html" if isinstance(page, Closed) else "options.html"
    pod_path = path_of_pod(spawner.user, server)
    viewer = getattr(spawner.handler, "current_user", None)
    owner = "" if viewer is None or viewer.name == spawner.user.name else spawner.user.name
    found = OptionsPage(
        web.render_template(template, base_url=spawner.hub.base_url, form=page, pod_path=pod_path, owner=owner)
    )
    found.server = server
    # JupyterHub 6 keeps the name when the server starts.
    if server and spawner.handler is not None and hasattr(spawner, "display_name"):
        found.asked_name = spawner.handler.get_argument("display_name", "")
    if isinstance(page, Closed):
        found.heading = page.title
    elif page.error is not None:
        found.error = page.error.message
    found.shows_error = isinstance(page, Closed) or page.error is not None
    return found


async def _build_page(
    spawner: KubeSpawner, shared: ProcessState, selection: Selection | None, server: str
) -> tuple[Form | Closed, int, int | None]:
    notice = [gettext("About your last server: %(notice)s", notice=spawner.notice)] if spawner.notice else []
    user = spawner.user.name
    identity = None
    saved = _saved_options(spawner, server)
    selected = selection.selected if selection is not None else Selected(saved)
    now = datetime.now(timezone.utc)
    try:
        # A user who was just added to a group reloads the form.
        identity = await shared.identities(spawner.api.api_client).reload(user)
        free = free_capacity_for(spawner, shared)
        await free.wait_for_first_answer()
        page = shared.forms.build(
            identity,
            now,
            hub_user=user,
            selected=selected,
            last=_accepted(spawner, shared, identity, saved, now),
            notes=notice,
            answers=free.answers(),
        )
    except Refusal as refusal:
        count_refusal(refusal.code)
        return closed_page(shared.site, refusal, user, identity), refusal.status, refusal.retry_after
    return page, 403 if isinstance(page, Closed) else 200, None


def _saved_options(spawner: KubeSpawner, server: str) -> Mapping[str, Any]:
    """Return the options of the server's last start from the hub's database, where they can be any JSON value."""
    record = getattr(spawner.user, "orm_spawners", {}).get(server) or spawner.orm_spawner
    saved = record.user_options if record is not None else None
    return saved if isinstance(saved, dict) else {}


def _accepted(
    spawner: KubeSpawner, shared: ProcessState, identity: PosixIdentity, saved: Mapping[str, Any], now: datetime
) -> Mapping[str, str] | None:
    """Return the options of the last start if the user may start the same now; None if not."""
    if not saved:
        return None
    try:
        request = notebook_options.request(saved, hub_user=spawner.user.name, server="", pod_name=spawner.pod_name)
        plan(shared.site, identity, request, run_id="", now=now)
    except Refusal:
        return None
    return {option: text for option, text in saved.items() if isinstance(text, str)}
