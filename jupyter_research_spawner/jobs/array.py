"""Kind `array`: an Indexed Job that runs one command once for each index.

The syntax of indexes is that of sbatch(1), --array.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints

from ..api_object import annotations_of
from ..plan import Plan
from ..shape import OUR_PREFIX, Json
from ..site import Batch
from . import batch_v1, indexed
from .request import JobRequest

KIND = "array"
SLOTS = batch_v1.SLOTS
RESOURCE = batch_v1.RESOURCE
POD_LABEL = batch_v1.POD_LABEL
# The requested indexes, for example 1,3-5%2.  Kubernetes' completion indexes always count from 0.
ARRAY = OUR_PREFIX + "array"
PREREQUISITES = batch_v1.PREREQUISITES
SUSPENSION = batch_v1.SUSPENSION
RULES = indexed.RULES

LARGEST_SIZE = 10_000
LARGEST_INDEX = 999_999
_PART = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6})(?::([0-9]{1,6}))?)?", re.ASCII)
_THROTTLE = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
# This script maps the completion index, 0 to N-1, to the requested index, and then executes the user's command.  The
# command's words are arguments of the script, so the shell does not interpret them.  A variable of the script without
# the prefix RESEARCH_ would replace the user's variable of that name.
SCRIPT = """\
RESEARCH_ARRAY_NUMBER=0
for RESEARCH_ARRAY_INDEX in $RESEARCH_ARRAY_INDEXES; do
  if [ "$RESEARCH_ARRAY_NUMBER" = "$JOB_COMPLETION_INDEX" ]; then
    export RESEARCH_ARRAY_INDEX SLURM_ARRAY_TASK_ID="$RESEARCH_ARRAY_INDEX"
    exec "$@"
  fi
  RESEARCH_ARRAY_NUMBER=$((RESEARCH_ARRAY_NUMBER + 1))
done
echo "The job array has no index number $JOB_COMPLETION_INDEX." >&2
exit 1
"""


@dataclass(frozen=True)
class Indexes:
    """The requested indexes in ascending order, and how many of them may run at the same time (`%N`)."""

    values: tuple[int, ...]
    throttle: int | None = None

    @property
    def at_once(self) -> int:
        """Return how many pods the array may have at the same time."""
        return min(self.throttle or len(self.values), len(self.values))


@lru_cache(maxsize=1024)
def parse_indexes(text: str) -> Indexes:
    """Parse indexes in the syntax of sbatch, for example `0-9`, `1,3,7` or `0-20:5%2`.  Raises ValueError."""
    listed, percent, throttle = text.partition("%")
    if percent and not _THROTTLE.fullmatch(throttle):
        raise ValueError(f"{throttle[:20]!r} after % is not a number of concurrent indexes. {_SYNTAX}")
    values: set[int] = set()
    for part in listed.split(","):
        found = _range(part)
        # Check the length of the range first, because creating a set of a huge range would take long.
        if len(found) > LARGEST_SIZE or len(values := values | set(found)) > LARGEST_SIZE:
            raise ValueError(f"An array can have at most {LARGEST_SIZE} indexes")
    return Indexes(tuple(sorted(values)), int(throttle) if percent else None)


_SYNTAX = "Write indexes as in 0-9, 1,3,7 or 0-20:5, and 0-9%3 to run at most 3 at the same time"


def _range(part: str) -> range:
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{part[:40]!r} is not an index or a range of indexes from 0 to {LARGEST_INDEX}. {_SYNTAX}")
    first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
    if last < first:
        raise ValueError(f"The last index of the range {part} is lower than its first index. {_SYNTAX}")
    if step < 1:
        raise ValueError(f"The step of the range {part} must be at least 1. {_SYNTAX}")
    return range(first, last + 1, step)


def _valid(text: str) -> str:
    parse_indexes(text)
    return text


class ArrayRequest(JobRequest):
    """A command that runs once for each index."""

    HINTS: ClassVar[Mapping[str, str]] = {**JobRequest.HINTS, "array": "For a single job, leave array out."}

    array: Annotated[str, StringConstraints(strict=True, max_length=1000), AfterValidator(_valid)] = Field(
        title="Indexes, in the syntax of sbatch --array", examples=["0-9%3"]
    )


REQUEST = ArrayRequest


def pod_count(request: ArrayRequest) -> int:
    return parse_indexes(request.array).at_once


def manifest(plan: Plan, request: ArrayRequest, batch_settings: Batch) -> Json:
    """Return an Indexed Job.  A failed index is not retried, and the other indexes continue."""
    asked = parse_indexes(request.array)
    spec = indexed.job_spec(len(asked.values), asked.at_once, batch_settings, "array")
    words = ["/bin/sh", "-c", SCRIPT, KIND]
    made = batch_v1.job_manifest(plan, request, batch_settings, spec, _environment(plan.shape.name, asked), words)
    made["metadata"]["annotations"][ARRAY] = request.array
    return made


def _environment(job_id: str, asked: Indexes) -> dict[str, str]:
    """Return the variables of sbatch(1) that are the same for all indexes.  SCRIPT sets the other variables.

    SLURM_JOB_ID and similar variables are not set, because programs would then call srun.
    """
    steps = {after - before for before, after in zip(asked.values, asked.values[1:], strict=False)}
    return {
        "RESEARCH_ARRAY_INDEXES": " ".join(map(str, asked.values)),
        "SLURM_ARRAY_JOB_ID": job_id,
        "SLURM_ARRAY_TASK_COUNT": str(len(asked.values)),
        "SLURM_ARRAY_TASK_MIN": str(asked.values[0]),
        "SLURM_ARRAY_TASK_MAX": str(asked.values[-1]),
        "SLURM_ARRAY_TASK_STEP": str(steps.pop() if len(steps) == 1 else 1),
    }


gang = batch_v1.gang
command = batch_v1.command
result = batch_v1.result
pod_decides = indexed.pod_decides
is_suspended = batch_v1.is_suspended
active_pod_count = indexed.active_pod_count


def request_fields(job: Json) -> Json:
    """Return the fields of all kinds, and the requested indexes."""
    return {**batch_v1.request_fields(job), "array": _written(job)}


def answer_fields(job: Json) -> Json:
    """Return the requested indexes as text."""
    return {"array": _written(job)}


def _written(job: Json) -> str:
    return str(annotations_of(job).get(ARRAY, ""))


def indexes(job: Json) -> Sequence[int]:
    """Return the requested indexes, or the completion indexes if the annotation does not fit the Job."""
    numbers = indexed.indexes(job)
    try:
        asked = parse_indexes(_written(job)).values
    except ValueError:
        return numbers
    return asked if len(asked) == len(numbers) else numbers


def index_of(job: Json, pod_name: str) -> int | None:
    """Return the requested index for the completion index in a pod's name; None if there is none."""
    number = indexed.index_of(job, pod_name)
    return None if number is None else indexes(job)[number]


def index_results(job: Json) -> Mapping[int, bool]:
    """Return the requested indexes that have ended, with True for those that succeeded."""
    asked = indexes(job)
    return {asked[number]: succeeded for number, succeeded in indexed.index_results(job).items()}
