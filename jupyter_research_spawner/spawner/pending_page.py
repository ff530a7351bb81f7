"""What the page of a starting server shows when it is loaded.  Afterwards, static/pending.js follows the progress."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo
from zoneinfo import ZoneInfo

from ..api_object import parse_time
from ..plan import Plan
from ..settings import format_duration
from ..shape import Json
from ..site import Site
from ..texts import gettext, gettext_noop
from ..watch.container_reasons import event_time
from .background import run_in_background
from .page_times import describe_whole_minutes, sentence_parts, shown_time
from .progress import StartingServer, describe_start
from .start import Start
from .start_phases import StartPhase, find_phases

# The page does not wait longer for the place in the queue, which the progress stream shows when it is known.
PLACE_SECONDS = 0.5
DECIDING = gettext_noop("The hub checks the request and the rights of the user.")


@dataclass(frozen=True)
class PendingPage:
    """What the template of the page needs.

    headline: the sentence that says what the start waits for, and in parts with its times.
    is_queued: whether it waits in its queue.
    offer, queue: the titles of the profile or class, and of the queue.  decided: what the server gets, in words.  All
    are "" until that is decided.  notes: sentences that stay on the page.
    phases: of each phase the name, the state and the times.  log: the events of Kubernetes.
    """

    headline: str
    headline_parts: tuple[Json, ...]
    is_queued: bool
    offer: str
    queue: str
    decided: str
    notes: tuple[str, ...]
    phases: tuple[Json, ...]
    log: tuple[Json, ...]
    now: str
    time_zone: str


async def pending_page(server: StartingServer, site: Site) -> PendingPage:
    """Return the page of this server.  It waits for PLACE_SECONDS at most."""
    start, events, now = server.current_start, server.events, datetime.now(timezone.utc)
    if start is not None and start.wait.is_queued:
        await asyncio.wait([run_in_background(_set_place(start, server))], timeout=PLACE_SECONDS)
    zone = ZoneInfo(site.time_zone)
    headline = describe_start(start, events, server.lost_since) if start is not None else gettext(DECIDING)
    return PendingPage(
        headline=headline,
        headline_parts=tuple(sentence_parts(headline)),
        is_queued=start is not None and start.wait.is_queued,
        offer=title_of(site, start.plan.profile, start.plan.request.course) if start is not None else "",
        queue=queue_title(site, start.plan.queue) if start is not None else "",
        decided=describe_decision(start.plan) if start is not None else "",
        notes=(*start.plan.warnings, *start.notes) if start is not None else (),
        phases=tuple(_shown_phase(phase, zone, now) for phase in find_phases(start, events)),
        log=tuple(_logged(event, zone, now) for event in events),
        now=now.isoformat(timespec="seconds"),
        time_zone=site.time_zone,
    )


async def _set_place(start: Start, server: StartingServer) -> None:
    start.wait.set_place(await server.find_place())


def describe_decision(plan: Plan) -> str:
    """Return what the server gets: `4 CPU, 24 GiB, 1 NVIDIA A100, up to 8h, can be extended to 1d`."""
    soft, hard = format_duration(plan.wall_time.soft), format_duration(plan.wall_time.hard)
    resources = plan.resources.described()
    if soft == hard:
        return gettext("%(resources)s, up to %(time)s", resources=resources, time=soft)
    return gettext(
        "%(resources)s, up to %(time)s, can be extended to %(longest)s", resources=resources, time=soft, longest=hard
    )


def title_of(site: Site, profile: str, course: str | None = None) -> str:
    """Return the title of a class or a profile; its name if the settings do not have it any more."""
    found = site.classes.get(course) if course else site.profiles.get(profile)
    return (found.title if found is not None else None) or course or profile


def queue_title(site: Site, queue: str) -> str:
    """Return the title of a queue; its name if it has none, or if the settings do not have the queue any more."""
    return site.queue_titles.get(queue, queue)


def _shown_phase(phase: StartPhase, zone: tzinfo, now: datetime) -> Json:
    """Return the name and the state of a phase, and its beginning and duration so far as they are known."""
    begun, ended = phase.begun, phase.ended or (now if phase.state == "current" else None)
    duration = describe_whole_minutes(ended - begun) if begun is not None and ended is not None else ""
    return {
        "name": phase.name,
        "state": phase.state,
        "begun": shown_time(begun, zone, now) if begun is not None else None,
        "duration": duration,
    }


def _logged(event: Json, zone: tzinfo, now: datetime) -> Json:
    try:
        at: Json | None = shown_time(parse_time(event_time(event)), zone, now, seconds=True)
    except ValueError:
        at = None
    return {"time": at, "is_warning": event.get("type") == "Warning", "message": str(event.get("message") or "")}
