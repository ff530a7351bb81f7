"""Logs one line about each start of a server, and counts the start in the metrics.

The line has the run id, which is also in the pod's annotation `research-spawner/plan`. It has no secrets: only the
fields of `describe_start`. All text is escaped, because users choose the names of their servers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from datetime import datetime, timezone
from typing import Any, Protocol

from ..api_object import annotations_of, condition, parse_map, parse_time
from ..metrics import ADMISSIONS, QUEUE_WAIT, TIME_TO_READY, create_end_series, create_series, show_queues
from ..pod.overlay import PLAN, USER_NAME
from ..refusal import Refusal
from ..shape import NOTEBOOK_KIND, Json
from ..site import Site
from ..watch.pod_end import HINTS
from .hub_errors import HubRefusal
from .start import Start

# Text that a text line has without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+-]*")
# An exception of an administrator's hook with a message for the user, which JupyterHub shows.
HOOK_ERROR = "hook-error"
REPLACED_CODE = "rights-changed"
json_log = logging.getLogger("jupyter_research_spawner.starts")


class RecordedServer(Protocol):
    """The attributes of a spawner that the recorder reads."""

    name: str
    log: Any
    user: Any
    current_start: Start | None

    def _reflected_pod(self) -> Json | None: ...


class StartRecorder:
    """Logs and counts the starts of one site. Each hub process has one instance for each site."""

    def __init__(self, site: Site) -> None:
        self._is_json = site.hub.start_log == "json"
        self._starting: set[RecordedServer] = set()
        create_series(NOTEBOOK_KIND, site.scheduler.kind, site.profiles)
        create_end_series(NOTEBOOK_KIND, HINTS)
        show_queues(NOTEBOOK_KIND, site.queues, self._queued_in)

    def _queued_in(self, queue: str) -> int:
        starts = (server.current_start for server in self._starting)
        return sum(
            start is not None and start.plan.queue == queue and start.wait.has_begun and not start.wait.is_admitted
            for start in starts
        )

    def record_when_done(self, server: RecordedServer, future: asyncio.Future[str]) -> None:
        """Log and count the start when the future is done."""
        self._starting.add(server)
        future.add_done_callback(lambda done: self._record_done(server, done))

    def record_refused(self, server: RecordedServer, refusal: Refusal) -> None:
        """Log a start that was refused before there was a plan."""
        self._log(server, describe_start(server.user.name, server.name, None, None, None, "refused", refusal.code))

    def record_replaced(self, server: RecordedServer) -> None:
        """Log the run of a waiting pod that is replaced, because the user's rights have changed."""
        self._record(server, "replaced", REPLACED_CODE)

    def _record_done(self, server: RecordedServer, done: asyncio.Future[str]) -> None:
        self._starting.discard(server)
        if done.cancelled():
            self._record(server, "cancelled", "")
        elif (error := done.exception()) is None:
            self._record(server, "ready", "")
        else:
            code = error.refusal.code if isinstance(error, HubRefusal) else HOOK_ERROR
            start = server.current_start
            self._record(server, "failed" if start is not None and start.wait.has_begun else "refused", code)

    def _record(self, server: RecordedServer, outcome: str, code: str) -> None:
        start, user = server.current_start, server.user.name
        pod = None if start is None else own_pod(server._reflected_pod() or start.wait.last_pod, user)
        if start is not None:
            _count(start, pod, is_ready=outcome == "ready")
        ready = datetime.now(timezone.utc) if outcome == "ready" else None
        self._log(server, describe_start(user, server.name, start, pod, ready, outcome, code))

    def _log(self, server: RecordedServer, fields: Json) -> None:
        if self._is_json:
            _open_json_log()
            json_log.info("%s", json.dumps(fields))
        else:
            server.log.info("%s", text_line(fields))


def _count(start: Start, pod: Json | None, *, is_ready: bool) -> None:
    plan = start.plan
    created, admitted = (parse_time(text) if text else None for text in (created_at(pod), admitted_at(pod)))
    if created is not None and admitted is not None:
        ADMISSIONS.labels(NOTEBOOK_KIND, plan.queue).inc()
        QUEUE_WAIT.labels(NOTEBOOK_KIND, plan.scheduler, plan.profile).observe(
            max(0.0, (admitted - created).total_seconds())
        )
    if is_ready:
        TIME_TO_READY.labels(NOTEBOOK_KIND, plan.scheduler, plan.profile).observe(max(0.0, start.wait.waited_seconds))


def describe_start(
    user: str,
    server: str,
    start: Start | None,
    pod: Json | None,
    ready: datetime | None,
    outcome: str,
    code: str,
) -> Json:
    """Return the fields of the log line about a start. Times are in UTC; unknown values are empty.

    `decided` and `ready` are times of the hub's clock, `created` and `admitted` of the API server's clock.
    """
    plan = None if start is None else start.plan
    metadata = (pod or {}).get("metadata") or {}
    # An adopted pod has the run id of the start that created it.
    run_id = parse_map(annotations_of(pod or {}).get(PLAN)).get("run_id") or (plan.run_id if plan else "")
    return {
        "event": "start",
        "run_id": str(run_id),
        "user": user,
        "server": server or "",
        "profile": plan.profile if plan else "",
        "queue": plan.queue if plan else "",
        "scheduler": plan.scheduler if plan else "",
        "namespace": plan.namespace if plan else "",
        "pod": plan.shape.name if plan else "",
        "pod_uid": str(metadata.get("uid") or ""),
        "decided": _utc(start.decided) if start else "",
        "created": created_at(pod),
        "admitted": admitted_at(pod),
        "ready": _utc(ready) if ready else "",
        "outcome": outcome,
        "code": code,
    }


def text_line(fields: Json) -> str:
    """Return the fields as `key=value` pairs in one line of ASCII. Other values than plain text are JSON strings."""
    return " ".join(f"{key}={text if _PLAIN.fullmatch(text) else json.dumps(text)}" for key, text in fields.items())


def own_pod(pod: Json | None, user: str) -> Json | None:
    """Return the pod if it belongs to this user of the hub, else None."""
    return pod if pod is not None and annotations_of(pod).get(USER_NAME) == user else None


def created_at(pod: Json | None) -> str:
    """Return when the API server created the pod, as RFC 3339; "" if it is not known."""
    return str(((pod or {}).get("metadata") or {}).get("creationTimestamp") or "")


def admitted_at(pod: Json | None) -> str:
    """Return when the pod got a node, as RFC 3339; "" if it has none."""
    scheduled = condition(pod or {}, "PodScheduled")
    return str(scheduled.get("lastTransitionTime") or "") if scheduled.get("status") == "True" else ""


def _utc(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _open_json_log() -> None:
    """Write the lines to standard error, unless the site's configuration has given the logger a handler already."""
    json_log.setLevel(logging.INFO)
    if not json_log.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        json_log.addHandler(handler)
        json_log.propagate = False
