"""Use the values of the notebook that submits a job, as far as they fit the request.

The user did not ask for these values, so an inherited value never causes a refusal.  A value that would cause one is
left out, and the plan has a warning.  Only a wall time that the user asks for is not moved to another profile or queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, TypeVar

from ..refusal import Refusal
from ..wording import quote
from .model import Request

# In order of priority: a conflict drops the later field.
_FIELDS = ("profile", "queue", "image")

T = TypeVar("T")


def decide_with_inherited(request: Request, decide: Callable[[Request, tuple[str, ...]], T]) -> T:
    """Return what `decide` returns for the request with as many inherited values as possible.

    `decide` gets a request and sentences for the user about the values that were left out.  Raises its Refusal for the
    request without any inherited value, or the one for a wall time that is not possible with an inherited value: in
    another profile the job could lack the GPU or the memory that its program needs.
    """
    inherited = _usable(request)
    refusals: dict[tuple[str, ...], Refusal] = {}
    for kept in _subsets(tuple(inherited)):
        left_out = [_left_out(field, inherited[field], refusals, kept) for field in inherited if field not in kept]
        chosen: dict[str, Any] = {field: inherited[field] for field in kept}
        try:
            return decide(replace(request, **chosen), tuple(left_out))
        except Refusal as refusal:
            if refusal.field == "wall_time":
                raise _with_other_profile(refusal) if "profile" in kept else refusal from None
            refusals[kept] = refusal
    raise refusals[()]


def _with_other_profile(refusal: Refusal) -> Refusal:
    hint = f"{refusal.hint} This is the profile of your notebook: choose another one if you need more."
    return replace(refusal, hint=hint.lstrip())


def _usable(request: Request) -> dict[str, str]:
    """Return the inherited values of fields that the user left open.

    If the request has a profile or a class, its queue and image apply too.
    """
    if request.profile is not None or request.course is not None:
        return {}
    values = {field: getattr(request.inherited, field) for field in _FIELDS if getattr(request, field) is None}
    return {field: value for field, value in values.items() if value is not None}


def _subsets(fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield all subsets, the largest ones first, so that each one comes after those that contain it."""
    for size in range(len(fields), -1, -1):
        yield from combinations(fields, size)


def _left_out(field: str, value: str, refusals: dict[tuple[str, ...], Refusal], kept: tuple[str, ...]) -> str:
    """Return the warning for an inherited value that is left out.  It contains the refusal that it would cause."""
    refusal = refusals[tuple(name for name in _FIELDS if name in kept or name == field)]
    return f"The {field} of your notebook, {quote(value)}, is not used for this job. {refusal.message}"
