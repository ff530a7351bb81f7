"""What the hub's home page shows about each server of a user: its state, what it runs as, its end, and why it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal
from zoneinfo import ZoneInfo

from ..api_object import annotations_of, parse_map
from ..plan import Help, whom_to_ask
from ..pod.deadline import deadline_of
from ..pod.overlay import PLAN
from ..shape import Json
from ..site import Site
from ..texts import gettext, gettext_noop
from .end_pages import describe_end, shown_name
from .page_messages import take_message
from .page_times import describe_minutes, sentence_parts, shown_time
from .pending_page import queue_title, title_of
from .process_state import ProcessState, registered_state
from .recorded_ends import STATE_KEY, read_ends, shown_end

State = Literal["running", "starting", "waiting", "stopping", "stopped"]
RESUMING = gettext_noop("The hub has restarted, and continues this start in a moment.")


@dataclass(frozen=True)
class ServerRow:
    """One server of a user.

    title: the name that pages show; "" for the default server.
    offer, queue: the title of the profile or class and the queue that it runs with, or that it last ran with.
    told: a sentence about a server that starts or stops.  notice: one about the user's rights.
    deadline: when a running server ends; None if that is not known.
    end: why it ended or was restarted, which the pages show until the user dismisses it.
    last_end: why it ended, if that is another end, for example because the user has stopped it.
    """

    name: str
    title: str
    state: State
    offer: str = ""
    queue: str = ""
    told: str = ""
    notice: str = ""
    deadline: Json | None = None
    end: Json | None = None
    last_end: Json | None = None
    can_start_again: bool = False

    @property
    def told_parts(self) -> list[Json]:
        """Return the sentence `told` in parts with its times."""
        return sentence_parts(self.told)


@dataclass(frozen=True)
class UserServers:
    """The value of `research_servers` in the hub's templates for one user.  It reads nothing until a template asks."""

    user: Any
    installation: str

    def rows(self) -> list[ServerRow]:
        """Return the user's servers, the default server first."""
        if not hasattr(self.user, "orm_spawners"):
            return []
        shared = registered_state(self.installation)
        return list(server_rows(self.user, shared, datetime.now(timezone.utc)))

    def row(self, server: str) -> ServerRow | None:
        """Return the row of this server; None if the user has no such server."""
        return next((row for row in self.rows() if row.name == server), None)

    def name_of_other(self, user: Any, server: str) -> str:
        """Return how pages name the server of another user, for an administrator; "" for the user's own server."""
        return name_of_other(self.user, user, server)

    def shown_name(self, user: Any, server: str) -> str:
        """Return the name of a server as its user has written it."""
        return shown_name(user, server)

    def note_about_other(self, user: Any) -> str:
        """Return a sentence for a page about another user, whose texts speak to that user; "" for the user's own."""
        if self.user is None or self.user.name == user.name:
            return ""
        return gettext("You see a page of %(user)s. Where it says “you”, it means %(user)s.", user=user.name)

    def contact(self) -> Help:
        """Return whom the site's users ask for help."""
        return whom_to_ask(registered_state(self.installation).site)

    def take_message(self) -> str:
        """Return what the last button of the user did; "" if the home page has shown it."""
        return take_message(self.user)


def name_of_other(viewer: Any, user: Any, server: str) -> str:
    """Return how texts for `viewer` name a server of another user; "" if it is the viewer's own."""
    if viewer is None or viewer.name == user.name:
        return ""
    if server:
        return gettext("%(user)s's server %(name)s", user=user.name, name=shown_name(user, server))
    return gettext("%(user)s's server", user=user.name)


@dataclass(frozen=True)
class TemplateServers:
    """JupyterHub calls it with the user of each page; None if nobody has logged in."""

    installation: str

    def __call__(self, user: Any) -> UserServers:
        return UserServers(user, self.installation)


def server_rows(user: Any, shared: ProcessState, now: datetime) -> Iterator[ServerRow]:
    """Yield a row for each server of the user."""
    saved: Mapping[str, Any] = user.orm_spawners
    names = sorted({"", *saved}) if user.allow_named_servers else [""]
    for name in names:
        yield _row(name, user, saved.get(name), shared, now)


def _row(name: str, user: Any, saved: Any, shared: ProcessState, now: datetime) -> ServerRow:
    site = shared.site
    zone = ZoneInfo(site.time_zone)
    spawner = user.spawners.get(name)
    state, told = _state(spawner, is_resuming=(user.name, name) in shared.resuming_servers)
    ends = read_ends(saved.state if saved is not None else None)
    end, last_end = shown_end(ends), ends[-1].end if ends and state == "stopped" else None
    own = ((saved.state if saved is not None else None) or {}).get(STATE_KEY) or {}
    offer, queue = _choices(spawner if state != "stopped" else None, own, site)
    if state == "stopped" and end is None:
        told = _why_refused(spawner)
    return ServerRow(
        name=name,
        title=shown_name(user, name),
        state=state,
        offer=offer,
        queue=queue,
        told=told,
        notice=str(own.get("notice") or ""),
        deadline=_deadline(spawner, zone, now) if state == "running" else None,
        end=None if end is None else describe_end(user, name, end, zone),
        last_end=None if last_end in (None, end) else describe_end(user, name, last_end, zone),
        can_start_again=state == "stopped" and bool(getattr(saved, "user_options", None)),
    )


def _state(spawner: Any, *, is_resuming: bool) -> tuple[State, str]:
    if spawner is None or not spawner.active:
        return ("waiting", gettext(RESUMING)) if is_resuming else ("stopped", "")
    if spawner.pending == "stop":
        return "stopping", str(getattr(spawner, "stop_waits_for", ""))
    if spawner.pending == "spawn":
        start = getattr(spawner, "current_start", None)
        told = start.wait.message if start is not None else ""
        return ("waiting" if start is not None and start.wait.is_queued else "starting"), told
    return "running", ""


def _choices(spawner: Any, own: Mapping[str, Any], site: Site) -> tuple[str, str]:
    """Return the title of the profile or class and the queue: of the start, of the pod, or of the last start.

    own: what the hub's database keeps about the server.
    """
    start = getattr(spawner, "current_start", None)
    if start is not None:
        return title_of(site, start.plan.profile, start.plan.request.course), queue_title(site, start.plan.queue)
    pod = spawner.find_own_pod() if spawner is not None and hasattr(spawner, "find_own_pod") else None
    found = parse_map(annotations_of(pod).get(PLAN)) if pod is not None else own.get("last") or {}
    profile, course, queue = (str(found.get(key) or "") for key in ("profile", "class", "queue"))
    return (title_of(site, profile, course) if profile else ""), (queue_title(site, queue) if queue else "")


def _why_refused(spawner: Any) -> str:
    """Return why the options of the last start were refused; "" if they were not."""
    if not getattr(spawner, "_failed", False):
        return ""
    refusal = getattr(spawner._spawn_future.exception(), "refusal", None)
    if refusal is None or refusal.status >= 500:
        return ""
    return gettext("The last start was refused. %(reason)s", reason=refusal)


def _deadline(spawner: Any, zone: ZoneInfo, now: datetime) -> Json | None:
    pod = spawner.find_own_pod() if hasattr(spawner, "find_own_pod") else None
    deadline = None if pod is None else deadline_of(pod)
    if deadline is None:
        return None
    return {
        **shown_time(deadline.ends, zone, now),
        "left": describe_minutes(deadline.ends - now),
        "extend_path": spawner.extend_path if deadline.choices() else "",
    }
