"""A start that can never succeed is refused with a sentence that says why, and what would fit."""

from __future__ import annotations

from typing import Any

import pytest
from samples import NOW, decide, person, site_with

from jupyter_research_spawner.plan import offers
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.spawner.never_fits import why_never

WHY = "It requests 64 CPUs, and the largest node has 4 CPUs."
TITLES = {"queues": {"backfill": {"title": "Left over"}}, "classes": {"stats-101": {"title": "Statistics 101"}}}


class Known:
    """What can never start: pairs of a profile and a queue; None is all queues."""

    def __init__(self, *never: tuple[str, str | None]) -> None:
        self._never = never

    def why_never(self, profile: str, queue: str) -> str:
        return WHY if {(profile, queue), (profile, None)} & set(self._never) else ""


def refusal(who: str, known: Known, **wishes: Any) -> Refusal | None:
    site = site_with(TITLES)
    identity = person(who)
    return why_never(site, decide(site, identity, **wishes), offers(site, identity, NOW), known)


def test_nothing_is_refused_that_can_start_or_of_which_nothing_is_known() -> None:
    assert refusal("alice", Known(), profile="a100") is None
    assert refusal("alice", Known(("a100", None)), profile="small") is None
    assert refusal("alice", Known(("small", "climate")), profile="small", queue="backfill") is None


@pytest.mark.parametrize(
    ("who", "never", "wishes", "field", "hint"),
    [
        ("alice", [("a100", None)], {"profile": "a100"}, "profile", "Choose one that fits: 'Small'."),
        ("alice", [("small", "climate")], {"profile": "small"}, "queue", "Choose another queue: 'Left over'."),
        (
            "alice",
            [("small", None)],
            {"profile": "small"},
            "profile",
            "Choose one that fits: 'A100, one NUMA node'.",
        ),
        ("bob", [("small", "teaching")], {"course": "stats-101"}, "class", "Choose one that fits: 'Small'."),
        ("bob", [("small", None)], {"course": "stats-101"}, "class", "Ask your administrators."),
    ],
)
def test_the_refusal_says_why_and_what_would_fit(
    who: str, never: list[tuple[str, str | None]], wishes: dict[str, Any], field: str, hint: str
) -> None:
    found = refusal(who, Known(*never), **wishes)
    assert found is not None
    titles = {"a100": "A100, one NUMA node", "small": "Small"}
    title = "Statistics 101" if "course" in wishes else titles[wishes["profile"]]
    assert (found.code, found.status, found.field) == ("never-fits", 400, field)
    assert str(found) == f"{title!r} can never start here. {WHY} {hint}"
