"""Compute what "My work" shows: the rows of jobs and servers, filtered, sorted and paged, and the use of limits.

These are pure functions on the service's JSON responses, on the hub's user models, and on pods.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from ..api_object import annotations_of, parse_map, parse_time
from ..pod.deadline import WALL_TIME, deadline_of
from ..pod.overlay import PLAN
from ..schedulers import QueueUse, QuotaUse, number_of, plural
from ..shape import Json
from ..texts import gettext, gettext_noop
from ..watch import Phase

ROWS_ON_PAGE = 50
SERVER = "server"
# Each state of a job or server, in the order in which the page shows them, with its word in English.
STATES: Mapping[str, str] = {
    "running": gettext_noop("Running"),
    "starting": gettext_noop("Starting"),
    "queued": gettext_noop("Waiting"),
    "cancelling": gettext_noop("Ending"),
    "failed": gettext_noop("Failed"),
    "succeeded": gettext_noop("Succeeded"),
}
ENDED = ("failed", "succeeded")
# The choices of the filter by time, each with its text in English.
PERIODS: Mapping[str, tuple[str, timedelta]] = {
    "1h": (gettext_noop("Last hour"), timedelta(hours=1)),
    "24h": (gettext_noop("Last 24 hours"), timedelta(hours=24)),
    "7d": (gettext_noop("Last 7 days"), timedelta(days=7)),
    "30d": (gettext_noop("Last 30 days"), timedelta(days=30)),
}
# Each column by which the rows can be sorted, with its heading in English, and whether its first click sorts in
# descending order.
COLUMNS: Mapping[str, tuple[str, bool]] = {
    "name": (gettext_noop("Name"), False),
    "user": (gettext_noop("User"), False),
    "state": (gettext_noop("State"), False),
    "profile": (gettext_noop("Profile"), False),
    "queue": (gettext_noop("Queue"), False),
    "submitted": (gettext_noop("Submitted"), True),
    "time": (gettext_noop("Time"), True),
    "limit": (gettext_noop("Wall time"), True),
}
DEFAULT_SORT = "-submitted"
_LONGEST_TEXT = 200


def state_words() -> dict[str, str]:
    """Return the word for each state."""
    return {state: gettext(word) for state, word in STATES.items()}


def period_words() -> dict[str, str]:
    """Return the text of each choice of the filter by time."""
    return {period: gettext(word) for period, (word, _) in PERIODS.items()}


def column_headings() -> dict[str, str]:
    """Return the heading of each column."""
    return {column: gettext(heading) for column, (heading, _) in COLUMNS.items()}


@dataclass(frozen=True)
class WorkRow:
    """One job or server.  Times are RFC 3339 strings, and None if they are not known.

    `name` is what the user chose, and `id` what the command `job` prints, or the name of a server in addresses; the
    default server's is "".  `about` has the indexes of an array.  `href` is the address of its page.  `limit_seconds`
    is 0 if it is not known.
    """

    kind: str
    id: str
    name: str
    about: str
    href: str
    state: str
    message: str
    profile: str
    queue: str
    created: str | None
    started: str | None
    finished: str | None
    limit_seconds: int
    user: str = ""

    @property
    def key(self) -> str:
        return f"{'server' if self.kind == SERVER else 'job'}:{self.id}"

    @property
    def word(self) -> str:
        return gettext(STATES[self.state])

    @property
    def own_name(self) -> str:
        """Return the name that the user chose for a job, unless its id says the same."""
        words = re.sub(r"[^a-z0-9]+", "-", self.name.lower())
        return "" if words.startswith(self.id.rpartition("-")[0]) else self.name

    def seconds(self, now: datetime) -> int | None:
        """Return how long it has run, or how long it waits if it has not started; None if that is not known."""
        begin = parse_moment(self.started) or (None if self.state in ENDED else parse_moment(self.created))
        end = parse_moment(self.finished) if self.state in ENDED else now
        return None if begin is None or end is None else max(0, int((end - begin).total_seconds()))


def job_row(found: Json, titles: Mapping[str, str], prefix: str) -> WorkRow:
    """Return the row of a job from the service's response about it.

    titles: the title of each profile.  prefix: the path with which all URLs of the service begin.
    """
    array = found.get("array")
    return WorkRow(
        kind=str(found["kind"]),
        id=str(found["id"]),
        name=str(found["name"]),
        about=gettext("array %(indexes)s", indexes=array) if array else "",
        href=job_path(prefix, found["id"]),
        state=str(found["state"]),
        message=str(found["message"]),
        profile=titles.get(found["profile"], found["profile"]),
        queue=str(found["queue"]),
        created=found["created"],
        started=found["started"],
        finished=found["finished"],
        limit_seconds=int(found["wall_time_hard_seconds"]),
    )


def row_of_another(row: WorkRow, found: Json, user: str, scope: str, *, shows_output: bool) -> WorkRow:
    """Return the row of another user's job.  `scope` is the value of `of` in the address of its page.

    Without `shows_output`, it has only the scheduler's reason or a reason code, because sentences about the containers
    of a job can quote its output.
    """
    message = row.message if shows_output else str(without_output(found)["message"])
    return replace(row, user=user, message=message, href=f"{row.href}?{urlencode({'of': scope})}")


def without_output(found: Json) -> Json:
    """Return the response about a job without sentences that can quote its output, and without its warnings."""
    reason = str((found["waiting"] or {}).get("summary") or found["reason"])
    shown = {
        **found,
        "message": f"{reason[:1].upper()}{reason[1:]}",
        "warnings": [],
        "attempts": [{**attempt, "reason": ""} for attempt in found["attempts"]],
    }
    if "indexes" in found:
        shown["indexes"] = [{**index, "message": ""} for index in found["indexes"]]
    return shown


def server_row(
    name: str, model: Json, pod: Json | None, phase: Phase | None, titles: Mapping[str, str], hub_prefix: str
) -> WorkRow:
    """Return the row of a server from the hub's model of it, and from its pod if it was found.

    hub_prefix: the path with which all URLs of the hub begin.
    """
    options = model.get("user_options") if isinstance(model.get("user_options"), dict) else {}
    plan = parse_map(annotations_of(pod or {}).get(PLAN))
    profile = str(plan.get("profile") or (options or {}).get("profile") or "")
    state, message = _server_state(model, phase)
    is_ready = bool(model.get("ready")) and not model.get("pending")
    page = str(model.get("url") or "") if is_ready else f"{hub_prefix}spawn-pending/{_own_path(model, name)}"
    metadata = (pod or {}).get("metadata") or {}
    started = ((pod or {}).get("status") or {}).get("startTime") or (model.get("started") if is_ready else None)
    return WorkRow(
        kind=SERVER,
        id=name,
        # JupyterHub 5 has only the name in addresses.
        name=str(model.get("display_name") or name),
        about="",
        href=page if page.startswith(("/", "https://", "http://")) else hub_prefix,
        state=state,
        message=message,
        profile=titles.get(profile, profile),
        queue=str(plan.get("queue") or (options or {}).get("queue") or ""),
        created=metadata.get("creationTimestamp") or model.get("started"),
        started=started if state != "queued" else None,
        finished=None,
        limit_seconds=_server_limit(pod),
    )


def _server_state(model: Json, phase: Phase | None) -> tuple[str, str]:
    if model.get("pending") == "stop":
        return "cancelling", gettext("It is being stopped.")
    if model.get("ready"):
        return "running", ""
    if phase is not None and phase.name == "queued":
        return "queued", phase.message
    return "starting", "" if phase is None or phase.name == "running" else phase.message


def _server_limit(pod: Json | None) -> int:
    if pod is None:
        return 0
    deadline = deadline_of(pod)
    if deadline is not None:
        return int((deadline.ends - deadline.started).total_seconds())
    written = str(annotations_of(pod).get(WALL_TIME, ""))
    return int(written) if written.isdecimal() else 0


def _own_path(model: Json, name: str) -> str:
    """Return the user and the server in the path of the page of a starting server."""
    user = str(model.get("full_name") or "").rpartition("/")[0]
    return quote(f"{user}/{name}" if name else user, safe="/@")


def job_path(prefix: str, job_id: object) -> str:
    """Return the path of a job's page."""
    return f"{prefix}jobs/{quote(str(job_id), safe='')}/page"


@dataclass(frozen=True)
class WorkQuery:
    """What the page shows of the user's work.  Unknown values of the address count as the default."""

    name: str = ""
    state: str = ""
    queue: str = ""
    period: str = ""
    sort: str = DEFAULT_SORT
    page: int = 1
    scope: str = ""

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> WorkQuery:
        """Return the query in the arguments of an address."""
        state, period, sort = (arguments.get(key, "") for key in ("state", "period", "sort"))
        page = arguments.get("page", "")
        return cls(
            name=arguments.get("name", "").strip()[:_LONGEST_TEXT],
            state=state if state in STATES else "",
            queue=arguments.get("queue", "").strip()[:_LONGEST_TEXT],
            period=period if period in PERIODS else "",
            sort=sort if sort.removeprefix("-") in COLUMNS else DEFAULT_SORT,
            page=int(page) if re.fullmatch(r"[1-9][0-9]{0,5}", page) else 1,
            scope=arguments.get("of", "")[:_LONGEST_TEXT],
        )

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def is_filtered(self) -> bool:
        return bool(self.name or self.state or self.queue or self.period)

    def address(self, **changes: Any) -> str:
        """Return the arguments of an address, with `?`, for this query with changes.  Defaults are left out."""
        query, default = replace(self, **changes), WorkQuery()
        arguments = {
            "of" if key == "scope" else key: str(getattr(query, key))
            for key in ("scope", "name", "state", "queue", "period", "sort", "page")
            if getattr(query, key) != getattr(default, key)
        }
        return f"?{urlencode(arguments)}" if arguments else "?"

    def sorted_by(self, column: str) -> str:
        """Return the arguments of the address behind the heading of a column."""
        is_descending = not self.is_descending if column == self.column else COLUMNS[column][1]
        return self.address(sort=f"-{column}" if is_descending else column, page=1)

    def direction(self, column: str) -> str:
        """Return the value of aria-sort for a column."""
        if column != self.column:
            return "none"
        return "descending" if self.is_descending else "ascending"


@dataclass(frozen=True)
class WorkPage:
    """One page of the rows that match a query.

    `total` is the number of all rows, and `matching` that of the rows that match.  `states` counts the rows that match
    the query without its state.
    """

    rows: tuple[WorkRow, ...]
    total: int
    matching: int
    states: Mapping[str, int]
    queues: tuple[str, ...]
    query: WorkQuery

    @property
    def first(self) -> int:
        return min(self.matching, (self.query.page - 1) * ROWS_ON_PAGE + 1)

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1 if self.rows else 0

    @property
    def of_any_state(self) -> int:
        return sum(self.states.values())

    @property
    def pages(self) -> int:
        return max(1, -(-self.matching // ROWS_ON_PAGE))


def select(rows: Sequence[WorkRow], query: WorkQuery, now: datetime) -> WorkPage:
    """Return the page of the rows that a query asks for.  A page after the last one is the last one."""
    of_any_state = [row for row in rows if _matches(row, query, now)]
    found = [row for row in of_any_state if query.state in ("", row.state)]
    found.sort(key=lambda row: (row.created or "", row.name, row.id), reverse=True)
    found.sort(key=lambda row: _sort_key(row, query.column, now), reverse=query.is_descending)
    page = min(query.page, max(1, -(-len(found) // ROWS_ON_PAGE)))
    counts = Counter(row.state for row in of_any_state)
    return WorkPage(
        rows=tuple(found[(page - 1) * ROWS_ON_PAGE : page * ROWS_ON_PAGE]),
        total=len(rows),
        matching=len(found),
        states={state: counts[state] for state in STATES if counts[state] or state == query.state},
        queues=tuple(sorted({row.queue for row in rows if row.queue} | ({query.queue} if query.queue else set()))),
        query=replace(query, page=page),
    )


def _matches(row: WorkRow, query: WorkQuery, now: datetime) -> bool:
    if query.queue and row.queue != query.queue:
        return False
    if query.name and query.name.casefold() not in f"{row.name}\n{row.id}\n{row.user}".casefold():
        return False
    if not query.period:
        return True
    # What has not ended is part of each period.
    begin = now - PERIODS[query.period][1]
    return row.state not in ENDED or (parse_moment(row.finished) or parse_moment(row.created) or begin) >= begin


def _sort_key(row: WorkRow, column: str, now: datetime) -> Any:
    if column == "submitted":
        return row.created or ""
    if column == "time":
        seconds = row.seconds(now)
        return -1 if seconds is None else seconds
    if column == "limit":
        return row.limit_seconds
    if column == "state":
        return list(STATES).index(row.state)
    if column == "name":
        return (row.name.casefold(), row.id)
    return str(getattr(row, column)).casefold()


@dataclass(frozen=True)
class Usage:
    """How much of a limit is used.  `used` and `limit` are numbers for a bar, and the texts are shown beside it.

    `above_text` is how much more than the limit is used; "" if it is not more.
    """

    title: str
    used: float
    limit: float
    used_text: str
    limit_text: str
    above_text: str = ""

    @property
    def is_high(self) -> bool:
        return self.used * 10 >= self.limit * 9


def usage(active: int, ended: int, size: int, max_jobs: int, keep_jobs: int, max_size: int) -> tuple[Usage, ...]:
    """Return the use of the limits of one user's jobs.  `size` and `max_size` are in bytes."""
    return (
        Usage(gettext("Jobs that have not ended"), active, max_jobs, f"{active:,}", f"{max_jobs:,}"),
        Usage(gettext("Ended jobs that are kept"), ended, keep_jobs, f"{ended:,}", f"{keep_jobs:,}"),
        Usage(
            gettext("Size of jobs and scripts"),
            size,
            max_size,
            _mebibytes(size),
            f"{_mebibytes(max_size)} MiB",
        ),
    )


@dataclass(frozen=True)
class QueueUsage:
    """How much of a queue's quotas is used by everybody.  `name` is that of the settings, and `title` what users read.

    `waiting` is the number of notebooks and jobs that wait for them; None if it is not known.
    """

    name: str
    title: str
    waiting: int | None
    usage: tuple[Usage, ...]


def queue_usage(name: str, title: str, found: QueueUse) -> QueueUsage:
    """Return how much of a queue's quotas is used, in words."""
    return QueueUsage(name, title, found.waiting, tuple(map(_quota_usage, found.quotas)))


def _quota_usage(found: QuotaUse) -> Usage:
    resource = plural(found.resource)
    above = max(Decimal(0), found.used - found.quota)
    return Usage(
        title=resource[:1].upper() + resource[1:] + (f" ({found.flavor})" if found.flavor else ""),
        used=float(found.used),
        limit=float(found.quota),
        used_text=number_of(found.resource, found.used),
        limit_text=number_of(found.resource, found.quota),
        above_text=number_of(found.resource, above) if above else "",
    )


def _mebibytes(size: int) -> str:
    found = f"{size / 2**20:,.1f}"
    return found.removesuffix(".0")


def format_clock(seconds: int | None) -> str:
    """Return `2:14:08`, or `1d 02:14:08` from one day on; "" for None."""
    if seconds is None:
        return ""
    days, rest = divmod(seconds, 24 * 3600)
    clock = f"{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}d {rest // 3600:02}:{clock}" if days else f"{rest // 3600}:{clock}"


def format_moment(at: str | None, zone: tzinfo, now: datetime) -> str:
    """Return an RFC 3339 time in a time zone: `29 Nov 13:12`, or `2025-11-29 13:12` if it is of another year."""
    moment = parse_moment(at)
    if moment is None:
        return ""
    moment = moment.astimezone(zone)
    is_this_year = moment.year == now.astimezone(zone).year
    return f"{moment.day} {moment:%b %H:%M}" if is_this_year else f"{moment:%Y-%m-%d %H:%M}"


def since_seconds(row: WorkRow) -> int | None:
    """Return the Unix time from which the page's script counts the time of a row; None if the time has ended."""
    begin = None if row.state in ENDED else parse_moment(row.started) or parse_moment(row.created)
    return None if begin is None else int(begin.timestamp())


def parse_moment(written: str | None) -> datetime | None:
    """Return a time in a response or of the hub as a timezone-aware time; None if there is none."""
    try:
        found = parse_time(written) if written else None
    except ValueError:
        return None
    return found.replace(tzinfo=timezone.utc) if found is not None and found.tzinfo is None else found
