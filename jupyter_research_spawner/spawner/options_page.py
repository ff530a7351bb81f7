"""Renders the options form as HTML, with the options that a link selected or that were refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from kubespawner import KubeSpawner

from .. import web
from ..form import Form, build_form, refused_form
from ..metrics import count_refusal
from ..refusal import Refusal
from .process_state import ProcessState

_ATTRIBUTE = "_research_selection"
SELECTED_BY_LINK = "The link that you followed selected these options. Nothing has started yet."


@dataclass(frozen=True)
class Selection:
    """Options that the next options form shows as selected.

    refusal: why the options were refused; None if a link selected them.

    The selection is kept on the hub's User and not on the spawner, because after a refusal JupyterHub shows the form of
    a named server with the spawner of the default server.
    """

    options: Mapping[str, Any]
    refusal: Refusal | None
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


async def render_options_page(spawner: KubeSpawner, shared: ProcessState) -> str:
    """Return the options form as HTML, and set the HTTP status if the user cannot start any server."""
    selection = Selection.take(spawner.user, spawner.name or "")
    page, status = await _build_page(spawner, shared, selection)
    if status != 200 and spawner.handler is not None:
        spawner.handler.set_status(status)
    return web.render_template("options.html", base_url=spawner.hub.base_url, form=page)


async def _build_page(spawner: KubeSpawner, shared: ProcessState, selection: Selection | None) -> tuple[Form, int]:
    notice = [f"About your last server: {spawner.notice}"] if spawner.notice else []
    try:
        # A user who was just added to a group reloads the form.
        identity = await shared.identities(spawner.api.api_client).reload(spawner.user.name)
        page = build_form(
            shared.site,
            identity,
            datetime.now(timezone.utc),
            options=selection.options if selection is not None else _saved_options(spawner),
            refusal=selection.refusal if selection is not None else None,
            notes=[*notice, *([SELECTED_BY_LINK] if selection is not None and selection.refusal is None else ())],
        )
    except Refusal as refusal:
        count_refusal(refusal.code)
        return refused_form(refusal), refusal.status
    if selection is not None and selection.refusal is not None and page.offers:
        # JupyterHub shows the refusal above the form; a screen reader must not read it twice.
        page = replace(page, error="", hint="")
    return page, 200


def _saved_options(spawner: KubeSpawner) -> Mapping[str, Any]:
    """Return the options of the last start from the hub's database, where they can be any JSON value."""
    saved = spawner.orm_spawner.user_options if spawner.orm_spawner is not None else None
    return saved if isinstance(saved, dict) else {}
