"""When a notebook ends: the times that follow from its pod, and the annotation that its deadline file contains.

The wall time counts from `status.startTime` of the pod, as activeDeadlineSeconds does (Kubernetes, Pod API), so time in
the queue does not count.  The annotation keeps an extension, so that a restarted hub finds it in the pod.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ..api_object import annotations_of, format_time, parse_map, parse_time
from ..shape import OUR_PREFIX, Json

DEADLINE = OUR_PREFIX + "deadline"
# A directory and not a file, because the kubelet does not update a mount with a subPath.
DEADLINE_DIRECTORY = "/run/research-spawner"
DEADLINE_NAME = "deadline.json"
# Until a kubelet has accepted the pod.  Not empty, because the server of JupyterLab 3 fails with an empty JSON file.
UNKNOWN_DEADLINE = "{}"
DEADLINE_VARIABLE = "RESEARCH_DEADLINE_FILE"
WALL_TIME = OUR_PREFIX + "wall-time"


@dataclass(frozen=True)
class Deadline:
    """When the hub ends a running notebook, and when the cluster does.  All times are timezone-aware.

    started: when the kubelet accepted the pod.
    soft: the soft wall time, which is also the length of one extension.
    ends: when the hub ends the notebook.  The user can extend it up to `hard_ends`.
    hard_ends: when the kubelet ends the pod (activeDeadlineSeconds).
    """

    started: datetime
    soft: timedelta
    ends: datetime
    hard_ends: datetime

    def annotation(self, notices: Sequence[timedelta], extend_path: str = "") -> str:
        """Return the content of the deadline file.

        notices: the times before the end when the user is told.  extend_path: the path of the page that extends the
        notebook, which the file names while there is something left to extend.
        """
        written = {
            "ends_at": format_time(self.ends),
            "hard_ends_at": format_time(self.hard_ends),
            "ends_at_seconds": int(self.ends.timestamp()),
            "hard_ends_at_seconds": int(self.hard_ends.timestamp()),
            "notices_seconds": [int(notice.total_seconds()) for notice in notices],
        }
        if self.choices() and extend_path:
            written["extend_path"] = extend_path
        return json.dumps(written)

    def choices(self, latest: datetime | None = None) -> tuple[datetime, ...]:
        """Return the times to which the user can extend: by the soft wall time, and to the hard end; () if none.

        latest: no time after it is returned, for example because the limit of the user's profile is lower now.
        """
        last = min(filter(None, (self.hard_ends, latest)))
        found = sorted({min(self.ends + self.soft, last), last})
        return tuple(time for time in found if time > self.ends)

    def extended(self, ends: datetime) -> Deadline:
        """Return the deadline with a later end, which is at most the hard end."""
        return replace(self, ends=min(max(self.ends, ends), self.hard_ends))


def deadline_of(pod: Json) -> Deadline | None:
    """Return when this pod ends; None if no kubelet has accepted it yet, or its wall time is not known.

    An annotation that is not valid, or that is outside the soft and the hard end, does not change when the pod ends.
    """
    started = _time((pod.get("status") or {}).get("startTime"))
    hard = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    soft = str(annotations_of(pod).get(WALL_TIME))
    if started is None or not isinstance(hard, int) or not soft.isdecimal():
        return None
    hard_ends = started + timedelta(seconds=hard)
    wall_time = timedelta(seconds=min(int(soft), hard))
    found = Deadline(started, wall_time, started + wall_time, hard_ends)
    extended = _time(parse_map(annotations_of(pod).get(DEADLINE)).get("ends_at"))
    return found if extended is None else found.extended(extended)


def _time(written: Any) -> datetime | None:
    try:
        found = parse_time(str(written))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
