"""The page "My work", and the pages with the jobs of a class or a queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..api_object import format_time
from ..shape import Json
from ..site import Site
from . import work_view
from .page_handlers import PageHandler, StreamHandler, find_scope, wants_page
from .work_scopes import WorkScope, title_of
from .work_view import ENDED, QueueUsage, Usage, WorkPage, WorkQuery, WorkRow


class Home(PageHandler):
    """The page "My work", and with `of` the page about a class or a queue."""

    async def get(self) -> None:
        user = self.hub_user
        if not wants_page(self):
            self.redirect(f"{self.request.path.rstrip('/')}/jobs")
            return
        scopes = await self.scopes()
        view = await read_work(self, user, await self.model(), WorkQuery.parse(self.arguments()), scopes)
        site = self.pages.reader.site
        self.send_page(
            self.render_page(
                "work.html",
                **work_values(view, self.pages.reader.queue_titles),
                has_servers=view.has_servers,
                is_complete=view.is_complete,
                heading=title_of(site, view.scope),
                scopes=[(scope.key, title_of(site, scope)) for scope in (WorkScope("own", user), *scopes)],
                done=self.done(),
                xsrf=self.xsrf(),
                periods=work_view.period_words(),
            )
        )


@dataclass(frozen=True)
class WorkView:
    """What "My work" shows.  Two views are equal if only the time has passed."""

    page: WorkPage
    usage: tuple[Usage, ...]
    scope: WorkScope
    has_servers: bool
    is_complete: bool
    queues: tuple[QueueUsage, ...]
    queues_read: datetime | None = field(compare=False)


async def read_work(
    handler: PageHandler,
    user: str,
    model: Json,
    query: WorkQuery,
    scopes: Collection[WorkScope],
    shown: frozenset[str] = frozenset(),
) -> WorkView:
    """Read the rows that a query asks for.  Raises Refusal.

    scopes: those of other users' jobs that the user may see.  shown: the ids of jobs that must be up to date.
    """
    reader, scope = handler.pages.reader, find_scope(query.scope, user, scopes)
    work = await reader.jobs_of(scope, user, shown)
    servers = await reader.servers_of(user, model, handler.hub_url) if scope.is_own else ()
    rows = (*(servers or ()), *work.rows)
    page = work_view.select(rows, query, datetime.now(timezone.utc))
    queues, queues_read = await reader.quotas_of(_shown_queues(reader.site, scope, rows, query))
    return WorkView(page, work.usage, scope, servers is not None, work.is_complete, queues, queues_read)


def _shown_queues(site: Site, scope: WorkScope, rows: Collection[WorkRow], query: WorkQuery) -> set[str]:
    """Return the queues whose quotas a page shows: those of work that has not ended, unless one is chosen."""
    if query.queue:
        return {query.queue} & {row.queue for row in rows}
    found = {row.queue for row in rows if row.state not in ENDED}
    if scope.kind == "queue":
        found.add(scope.name)
    elif scope.kind == "class":
        found.add(site.classes[scope.name].queue)
    return found


def work_values(view: WorkView, queue_titles: Mapping[str, str]) -> dict[str, Any]:
    """Return the values for the template of "My work" and of its parts."""
    headings = work_view.column_headings()
    columns = {name: text for name, text in headings.items() if name != "user" or not view.scope.is_own}
    return {
        "work": view.page,
        "usage": view.usage,
        "columns": columns,
        "queue_titles": queue_titles,
        "queues": view.queues,
        "queues_read": "" if view.queues_read is None else format_time(view.queues_read),
    }


class HomeEvents(StreamHandler):
    """The parts of "My work" as they change."""

    _shown: frozenset[str] = frozenset()

    async def get(self) -> None:
        await self.stream()

    async def look(self) -> WorkView:
        model, query = await self.hub_login.renewed_model(self), WorkQuery.parse(self.arguments())
        view = await read_work(self, self.hub_user, model, query, await self.scopes(), self._shown)
        self._shown = frozenset(row.id for row in view.page.rows)
        return view

    def render_parts(self, view: WorkView) -> dict[str, str]:
        values = work_values(view, self.pages.reader.queue_titles)
        return {part: self.render_page(f"work_{part}.html", **values) for part in ("usage", "queues", "states", "rows")}
