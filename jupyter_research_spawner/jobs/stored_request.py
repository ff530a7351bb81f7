"""Store the user's request on the job object, so that the batch service can evaluate it again or recreate the job.

Defaults of the site are not stored, so that the site's current defaults apply.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..api_object import annotations_of, parse_map
from ..pod.overlay import PLAN
from ..shape import OUR_PREFIX, Json
from .request import JobRequest

# The choices of the request as JSON, and in `env` the names of the user's variables.
ASKED = OUR_PREFIX + "asked"
_CHOICES = frozenset({"profile", "queue", "wall_time", "image", "workdir", "inherited"})


def asked(request: JobRequest) -> str:
    """Return the value of the annotation ASKED."""
    chosen = request.model_dump(mode="json", include=set(_CHOICES), exclude_defaults=True)
    return json.dumps({**chosen, "env": list(request.env)}, ensure_ascii=False)


def is_complete(job: Json) -> bool:
    """Return whether the job has the annotation.  Jobs of older versions lack it and cannot be recreated."""
    return ASKED in annotations_of(job)


def choices(job: Json) -> Json:
    """Return the profile, queue, wall time, image and working directory that the user requested or inherited.

    For a job of an older version, they are those of the plan, as far as they are rights.
    """
    if is_complete(job):
        return {name: value for name, value in _asked(job).items() if name in _CHOICES}
    summary = parse_map(annotations_of(job).get(PLAN))
    found = {name: summary.get(name) for name in ("profile", "queue")}
    if str(summary.get("wall_time_reason", "")).startswith("asked for "):
        found["wall_time"] = summary.get("wall_time_hard")
    return {name: value for name, value in found.items() if value is not None}


def variables(job: Json) -> list[str]:
    """Return the names of the variables that the user set; [] for a job of an older version."""
    names = _asked(job).get("env")
    return [str(name) for name in names] if isinstance(names, list) else []


def _asked(job: Json) -> Mapping[str, Any]:
    return parse_map(annotations_of(job).get(ASKED))
