"""The form between two requests: what was chosen and refused in one is shown by the next page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .. import web
from ..form import Form, form, refused_form
from ..refusal import Refusal

if TYPE_CHECKING:
    from .research import ResearchSpawner

_ATTRIBUTE = "_research_shown"
BY_LINK = "This was chosen by the link you followed. Nothing has started yet."


@dataclass(frozen=True)
class Shown:
    """Choices for the next page, and why they were refused (None: a link made them).

    They hang on the hub's User, since the hub shows a named server's refused form by the default server's spawner.
    """

    asked: Mapping[str, Any]
    refusal: Refusal | None
    server: str

    def keep(self, user: Any) -> None:
        setattr(user, _ATTRIBUTE, self)

    @staticmethod
    def take(user: Any, server: str) -> Shown | None:
        kept: Shown | None = getattr(user, _ATTRIBUTE, None)
        if kept is None or server not in ("", kept.server):
            return None
        setattr(user, _ATTRIBUTE, None)
        return kept


async def options_page(spawner: ResearchSpawner) -> str:
    shown = Shown.take(spawner.user, spawner.name or "")
    page, status = await _form(spawner, shown)
    if status != 200 and spawner.handler is not None:
        spawner.handler.set_status(status)
    return web.render("options.html", form=page)


async def _form(spawner: ResearchSpawner, shown: Shown | None) -> tuple[Form, int]:
    site = spawner.research.site
    try:
        identity = await spawner.research.resolver.resolve(spawner.user.name)
        asked = shown.asked if shown is not None else _saved(spawner)
        page = form(
            site,
            identity,
            datetime.now(timezone.utc),
            asked=asked,
            refusal=shown.refusal if shown is not None else None,
            notes=[BY_LINK] if shown is not None and shown.refusal is None else [],
        )
    except Refusal as refusal:
        return refused_form(refusal), refusal.status
    if shown is not None and shown.refusal is not None and page.offers:
        # The hub says it above the form, and no screen reader needs it twice.
        page = replace(page, error="", hint="")
    return page, 200


def _saved(spawner: ResearchSpawner) -> Mapping[str, Any]:
    """What was chosen last time; from the database, so it may be anything."""
    saved = spawner.orm_spawner.user_options if spawner.orm_spawner is not None else None
    return saved if isinstance(saved, dict) else {}
