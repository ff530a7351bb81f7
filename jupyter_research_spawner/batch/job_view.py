"""Compute what the page of a job shows: pure functions on the service's JSON responses and on the stored job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..api_object import annotations_of, parse_map
from ..pod.overlay import GROUPS, PLAN
from ..shape import Json
from ..site import Profile, Queue, Site
from ..texts import gettext
from .work_view import ENDED, STATES, parse_moment

INDEXES_ON_PAGE = 50
# Control sequences of terminals (ECMA-48), such as colours.
_TERMINAL_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


@dataclass(frozen=True)
class AttemptView:
    """One attempt on a job's page: its number from 1, its state, and why it ended; "" if it succeeded or runs."""

    number: int
    state: str
    started: str | None
    finished: str | None
    exit_code: int | None
    reason: str

    @property
    def word(self) -> str:
        return gettext(STATES[self.state])

    def seconds(self, now: datetime) -> int | None:
        """Return how long the attempt ran; None if that is not known."""
        begin, end = parse_moment(self.started), parse_moment(self.finished) if self.state in ENDED else now
        return None if begin is None or end is None else max(0, int((end - begin).total_seconds()))


def attempt_views(found: Json) -> list[AttemptView]:
    """Return the attempts in the response about a job that is not an array, oldest first.

    A pod that waits is not an attempt yet.
    """
    attempts = found["attempts"]
    return [
        AttemptView(
            number=number,
            state=_attempt_state(found, attempt, is_last=number == len(attempts)),
            started=attempt["started"],
            finished=attempt["finished"],
            exit_code=attempt["exit_code"],
            reason=str(attempt["reason"]),
        )
        for number, attempt in enumerate(attempts, 1)
        if attempt["started"] or attempt["finished"] or attempt["reason"]
    ]


def _attempt_state(found: Json, attempt: Json, *, is_last: bool) -> str:
    if attempt["reason"] or attempt["exit_code"]:
        return "failed"
    if attempt["finished"] or attempt["exit_code"] == 0:
        return "succeeded"
    return str(found["state"]) if is_last else "failed"


@dataclass(frozen=True)
class IndexPage:
    """A page of the indexes of an array."""

    indexes: tuple[Json, ...]
    first: int
    last: int
    total: int
    page: int
    pages: int


def index_page(found: Json, page: int) -> IndexPage:
    """Return a page of the indexes in the response about an array.  A page after the last one is the last one."""
    indexes: Sequence[Json] = found.get("indexes") or []
    pages = max(1, -(-len(indexes) // INDEXES_ON_PAGE))
    page = min(max(1, page), pages)
    shown = tuple(indexes[(page - 1) * INDEXES_ON_PAGE : page * INDEXES_ON_PAGE])
    first = (page - 1) * INDEXES_ON_PAGE + 1 if shown else 0
    return IndexPage(shown, first, first + len(shown) - 1 if shown else 0, len(indexes), page, pages)


def identity_facts(job: Json, template: Json) -> list[tuple[str, str]]:
    """Return as whom a job runs, from its plan annotation and the annotations of its pod template."""
    plan = parse_map(annotations_of(job).get(PLAN))
    groups = str(annotations_of(template).get(GROUPS, "")).replace(":", " (").replace(",", "), ")
    mounts = plan.get("mounts")
    facts = [
        (gettext("User"), f"{plan.get('user', '')} (uid {plan['uid']})" if "uid" in plan else ""),
        (gettext("Groups"), f"{groups})" if groups else ""),
        (gettext("Home directory"), str(plan.get("home", ""))),
        (gettext("Mounts"), ", ".join(map(str, mounts)) if isinstance(mounts, list) else ""),
    ]
    return [(term, text) for term, text in facts if text]


def job_facts(found: Json, job: Json, site: Site, *, is_own: bool) -> list[tuple[str, str]]:
    """Return what a job is, from the response about it and its plan annotation, without the command and the times.

    The image and the directory are the user's choice like the command, so they are not shown to others.
    """
    plan = parse_map(annotations_of(job).get(PLAN))
    facts = [
        (gettext("Profile"), _titled(site.profiles, found["profile"])),
        (gettext("Resources"), _resources(site, str(found["profile"]), str(plan.get("resources", "")))),
        (gettext("Queue"), _titled(site.queues, found["queue"])),
        (gettext("Priority"), str(found["priority"])),
        (gettext("Class"), str(plan.get("class") or "")),
        (gettext("Image"), str(found["image"]) if is_own else ""),
        (gettext("Directory"), str(found["workdir"]) if is_own else ""),
        (gettext("Indexes"), str(found.get("array") or "")),
    ]
    return [(term, text) for term, text in facts if text]


def _resources(site: Site, profile: str, written: str) -> str:
    """Return a job's resources as the form shows them.

    written: those in the plan annotation, as they are if the profile has others now, or no longer exists.
    """
    now = site.profiles[profile].resources() if profile in site.profiles else None
    return now.described() if now is not None and str(now) == written else written


def _titled(choices: Mapping[str, Profile] | Mapping[str, Queue], name: str) -> str:
    """Return the title of a profile or queue, with the name that commands use in brackets if it differs."""
    title = choices[name].title if name in choices else ""
    return f"{title} ({name})" if title and title != name else name


def without_managed_fields(job: Json) -> Json:
    """Return a stored job for its owner to read, without the API server's list of who wrote each field."""
    metadata = {key: value for key, value in job["metadata"].items() if key != "managedFields"}
    return {**job, "metadata": metadata}


def plain_text(output: bytes) -> str:
    """Return a program's output without control sequences of terminals, and each line as a terminal shows it last.

    A carriage return moves to the beginning of the line, so a progress bar is one line.
    """
    text = _TERMINAL_CODES.sub("", output.decode("utf-8", "replace")).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
