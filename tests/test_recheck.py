"""Deciding again about a notebook or job that exists: plan/recheck.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from samples import decide, person, site_with

from jupyter_research_spawner.api_object import parse_map
from jupyter_research_spawner.plan import (
    Granted,
    Plan,
    Verdict,
    decide_again,
    granted_by,
    granted_in,
    groups_text,
)
from jupyter_research_spawner.plan.recheck import changes
from jupyter_research_spawner.refusal import Refusal

PLAN = decide(site_with(), person("alice"))


def stored(plan: Plan = PLAN) -> Granted | None:
    return granted_in(parse_map(plan.written), groups_text(plan))


def verdict_of(outcome: Plan | Refusal) -> Verdict:
    async def again() -> Plan:
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    return asyncio.run(decide_again(stored(), again))


def test_the_rights_read_from_stored_work_are_those_of_its_plan() -> None:
    assert stored() == granted_by(PLAN)


def test_another_run_id_and_another_warning_change_no_right() -> None:
    verdict = verdict_of(replace(PLAN, run_id="other", warnings=("Something.",), site_digest="other"))
    assert verdict.plan is not None
    assert (verdict.changes, verdict.refusal) == ((), None)


def test_while_a_source_is_down_nothing_is_known() -> None:
    assert verdict_of(Refusal("source-down", "The directory does not answer.", status=503)) == Verdict()


def test_any_other_refusal_is_the_verdict() -> None:
    locked = Refusal("account-locked", "The account is locked.", status=403)
    assert verdict_of(locked) == Verdict(refusal=locked)


def test_a_group_that_was_left_is_named_with_its_mount() -> None:
    groups = tuple(group for group in PLAN.identity.groups if group.name != "climate")
    assert len(groups) < len(PLAN.identity.groups)
    mounts = tuple(mount for mount in PLAN.mounts if "climate" not in mount.claim)
    verdict = verdict_of(replace(PLAN, identity=replace(PLAN.identity, groups=groups), mounts=mounts))
    assert verdict.changes[0] == "Group climate is no longer yours."
    assert [word for word in verdict.changes if "climate" in word and word.startswith("Mount")]


@pytest.mark.parametrize(
    "field", [field for field in Granted.__dataclass_fields__ if field not in ("groups", "mounts")]
)
def test_each_right_counts(field: str) -> None:
    before = granted_by(PLAN)
    value = getattr(before, field)
    after = replace(before, **{field: not value if isinstance(value, bool) else value * 2})
    (sentence,) = changes(before, after)
    assert sentence.endswith(".")
    assert isinstance(value, bool) or str(value * 2) in sentence


def test_a_group_with_another_gid_is_a_change() -> None:
    before = granted_by(PLAN)
    after = replace(before, groups=frozenset((name, gid + 1) for name, gid in before.groups))
    assert len(changes(before, after)) == len(before.groups) > 0


@pytest.mark.parametrize("text", ["", "[]", "{}", "not JSON", '{"uid": "x"}'])
def test_unreadable_grants_count_as_changed(text: str) -> None:
    assert granted_in(parse_map(text), "") is None
    assert changes(None, granted_by(PLAN)) == ("Its earlier rights cannot be read from its annotations.",)
