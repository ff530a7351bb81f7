"""The metrics of this project, in the registry of the process. JupyterHub and the batch service serve it at /metrics.

No label has a value that a user can choose: profiles, queues and sources are names in the site's settings, and all
others are constants of the code. Source: Prometheus, Metric and label naming; Histograms and summaries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

# The value of a label for a name that is not in the site's settings.
OTHER = "other"

_PREFIX = "research_spawner_"
# From a second to a week.
_WAIT_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200, 604800)
_LOOKUP_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RightsOutcome = Literal["waiting-refused", "waiting-renewed", "running-refused", "running-stopped", "running-changed"]
# kind: notebook or a kind of job. outcome: a RightsOutcome.
RIGHTS_CHANGED = Counter(
    _PREFIX + "rights_changed",
    "Notebooks and jobs whose user's rights have changed since they were created",
    ("kind", "outcome"),
)
QUEUE_WAIT = Histogram(
    _PREFIX + "queue_wait_seconds",
    "Time from the creation of a notebook's pod or of a job until it had a node",
    ("kind", "scheduler", "profile"),
    buckets=_WAIT_BUCKETS,
)
TIME_TO_READY = Histogram(
    _PREFIX + "time_to_ready_seconds",
    "Time from a user's request until the notebook answered or the job's program began",
    ("kind", "scheduler", "profile"),
    buckets=_WAIT_BUCKETS,
)
ADMISSIONS = Counter(_PREFIX + "admissions", "Notebooks and jobs that got a node", ("kind", "queue"))
QUEUED = Gauge(_PREFIX + "queued_workloads", "Notebooks and jobs that wait for a node", ("kind", "queue"))
# code: a code of the code base, never text of a user.
REFUSALS = Counter(_PREFIX + "refusals", "Refused requests and failed starts", ("code",))
# reason: a code of the code base.
ENDS = Counter(_PREFIX + "ends", "Notebooks and jobs that ended", ("kind", "reason"))
# source: its name in identity.sources. result: one of LOOKUP_RESULTS.
LOOKUP_RESULTS = ("answered", "failed")
LOOKUPS = Histogram(
    _PREFIX + "identity_lookup_seconds",
    "Duration of the requests to an identity source",
    ("source", "result"),
    buckets=_LOOKUP_BUCKETS,
)
# result: one of CACHE_RESULTS. hit: answered from the memory of the process.
CACHE_RESULTS = ("hit", "miss")
IDENTITY_CACHE = Counter(_PREFIX + "identity_cache_requests", "Users whose identity was needed", ("result",))
# outcome: one of ADOPTION_OUTCOMES.
ADOPTION_OUTCOMES = ("adopted", "deleted", "other-user")
ADOPTIONS = Counter(
    _PREFIX + "adoptions",
    "Pods that existed already under the name of a starting server, by what the hub did with them",
    ("outcome",),
)
# resource: a resource of Kubernetes with its API group, such as jobs.batch.
WATCH_RESTARTS = Counter(_PREFIX + "watch_restarts", "Watches that failed and were started again", ("resource",))
WATCH_UP = Gauge(
    _PREFIX + "watch_up", "Whether the objects of a resource are listed and watched (1) or not (0)", ("resource",)
)
PACING_LIMIT = Gauge(_PREFIX + "pacing_slots", "Starts whose pods may be created at once (hub.concurrent_starts)")
PACING_IN_USE = Gauge(_PREFIX + "pacing_slots_in_use", "Starts whose pod is being created")
PACING_WAITING = Gauge(_PREFIX + "pacing_starts_waiting", "Starts that wait for a slot")

_CODE = re.compile(r"[a-z][a-z0-9-]{0,39}")
_WATCH_PATH = re.compile(r"/(?:api|apis/(?P<group>[^/]+))/v[^/]+/(?:namespaces/[^/]+/)?(?P<resource>[^/]+)")


def count_refusal(code: str) -> None:
    """Count a refused request or a failed start by the code of its Refusal."""
    REFUSALS.labels(_code(code)).inc()


def count_end(kind: str, reason: str) -> None:
    """Count a notebook or job that ended. kind: notebook or a kind of job. reason: a constant of the code base."""
    ENDS.labels(kind, _code(reason)).inc()


def count_watch_restart(path: str) -> None:
    """Count the restart of the watch of the objects at an API path, and show it as down until it lists them again."""
    resource = watched_resource(path)
    WATCH_RESTARTS.labels(resource).inc()
    WATCH_UP.labels(resource).set(0)


def show_watch_up(path: str) -> None:
    """Show that the objects at an API path were listed and are watched."""
    resource = watched_resource(path)
    WATCH_RESTARTS.labels(resource)
    WATCH_UP.labels(resource).set(1)


def watched_resource(path: str) -> str:
    """Return the resource in an API path with its group, such as `pods` or `jobs.batch`."""
    found = _WATCH_PATH.fullmatch(path)
    if found is None:
        return OTHER
    return found["resource"] if found["group"] is None else f"{found['resource']}.{found['group']}"


def show_pacing(limit: int, in_use: Callable[[], int], waiting: Callable[[], int]) -> None:
    """Show the slots of the hub's limit of concurrent starts. The functions are called for each scrape."""
    PACING_LIMIT.set(limit)
    PACING_IN_USE.set_function(in_use)
    PACING_WAITING.set_function(waiting)


def show_queues(kind: str, queues: Collection[str], queued_in: Callable[[str], int]) -> None:
    """Show how many workloads of this kind wait in each queue. Each scrape calls `queued_in` with the queue's name."""
    for queue in queues:
        ADMISSIONS.labels(kind, queue)
        QUEUED.labels(kind, queue).set_function(partial(queued_in, queue))


def create_series(kind: str, scheduler: str, profiles: Collection[str]) -> None:
    """Create the time series of all profiles with the value 0, because Prometheus does not see a first increase."""
    for profile in profiles:
        QUEUE_WAIT.labels(kind, scheduler, profile)
        TIME_TO_READY.labels(kind, scheduler, profile)
    for outcome in ADOPTION_OUTCOMES:
        ADOPTIONS.labels(outcome)


def create_end_series(kind: str, reasons: Collection[str]) -> None:
    """Create the time series of the ends of this kind with the value 0."""
    for reason in reasons:
        ENDS.labels(kind, reason)


def create_identity_series(sources: Collection[str]) -> None:
    """Create the time series of the identity sources with these names with the value 0."""
    for source in sources:
        for result in LOOKUP_RESULTS:
            LOOKUPS.labels(source, result)
    for result in CACHE_RESULTS:
        IDENTITY_CACHE.labels(result)


def _code(code: str) -> str:
    """Return a code of the code base; OTHER for anything else."""
    return code if _CODE.fullmatch(code) else OTHER
