"""Decide again about a notebook or job that exists, because rights can be withdrawn after it was created.

The hub does this for notebooks, and the batch service for jobs.  They decide again every RECHECK_SECONDS while the work
waits or runs, and when its pod is bound to a node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..refusal import Refusal
from ..wording import format_list
from .model import Plan

RECHECK_SECONDS = 60.0


@dataclass(frozen=True)
class Granted:
    """The rights that a plan gives.  A change of the user's groups or of the settings can withdraw them later."""

    user: str
    uid: int
    gid: int
    groups: frozenset[tuple[str, int]]
    home: str
    mounts: tuple[str, ...]
    namespace: str
    profile: str
    resources: str
    queue: str
    scheduler: str
    priority: str
    preemptible: bool


@dataclass(frozen=True)
class Verdict:
    """The result of deciding again.

    plan: the new plan; None if the work is refused or nothing is known.  refusal: the reason why the work is refused
    now.  changes: sentences that name the differences between the old and the new rights; () if there are none.  All
    three are empty if an identity source or the cluster does not answer, so that the work stays unchanged.
    """

    plan: Plan | None = None
    refusal: Refusal | None = None
    changes: tuple[str, ...] = ()


async def decide_again(granted: Granted | None, decide: Callable[[], Awaitable[Plan]]) -> Verdict:
    """Return the verdict about work that has the rights `granted`.  `decide` makes a new plan or raises Refusal.

    `granted` is None if the annotations of the work are not valid.  Its rights then count as changed.
    """
    try:
        plan = await decide()
    except Refusal as refusal:
        return Verdict() if refusal.status == 503 else Verdict(refusal=refusal)
    return Verdict(plan, changes=changes(granted, granted_by(plan)))


def granted_by(plan: Plan) -> Granted:
    """Return the rights that this plan gives."""
    found = granted_in(plan.summary(), groups_text(plan))
    assert found is not None
    return found


def groups_text(plan: Plan) -> str:
    """Return the user's groups as name:gid with commas, the value of the pod's annotation research-spawner/groups."""
    return ",".join(f"{group.name}:{group.gid}" for group in plan.identity.groups)


def granted_in(summary: Mapping[str, Any], groups: str) -> Granted | None:
    """Return the rights that stored work has, from its annotations `plan` and `groups`; None if they are not valid."""
    try:
        return Granted(
            user=str(summary["user"]),
            uid=int(summary["uid"]),
            gid=int(summary["gid"]),
            groups=frozenset(_group(text) for text in groups.split(",") if text),
            home=str(summary["home"]),
            mounts=tuple(map(str, summary["mounts"])),
            namespace=str(summary["namespace"]),
            profile=str(summary["profile"]),
            resources=str(summary["resources"]),
            queue=str(summary["queue"]),
            scheduler=str(summary["scheduler"]),
            priority=str(summary["priority"]),
            preemptible=bool(summary["preemptible"]),
        )
    except (KeyError, ValueError, TypeError):
        return None


def _group(text: str) -> tuple[str, int]:
    name, _, gid = text.rpartition(":")
    return name, int(gid)


def changes(before: Granted | None, now: Granted) -> tuple[str, ...]:
    """Return sentences that name the differences between two grants; () if there are none."""
    if before is None:
        return ("Its earlier rights cannot be read from its annotations.",)
    found = []
    for word, old, new in (
        ("group", {name for name, _ in before.groups}, {name for name, _ in now.groups}),
        ("mount", set(before.mounts), set(now.mounts)),
    ):
        found += [_told(word, sorted(old - new), "is no longer yours", "are no longer yours")]
        found += [_told(word, sorted(new - old), "was added", "were added")]
    found += [
        f"The gid of group {name} is {gid} now."
        for name, gid in sorted(now.groups - before.groups)
        if name in {known for known, _ in before.groups}
    ]
    found += [
        f"The {word} was {old} and is {new} now."
        for word, old, new in (
            ("account", before.user, now.user),
            ("uid", before.uid, now.uid),
            ("primary gid", before.gid, now.gid),
            ("home", before.home, now.home),
            ("namespace", before.namespace, now.namespace),
            ("profile", before.profile, now.profile),
            ("size", before.resources, now.resources),
            ("queue", before.queue, now.queue),
            ("scheduler", before.scheduler, now.scheduler),
            ("priority", before.priority, now.priority),
        )
        if old != new
    ]
    if before.preemptible != now.preemptible:
        found.append("It can be preempted now." if now.preemptible else "It can no longer be preempted.")
    return tuple(filter(None, found))


def _told(word: str, names: list[str], one: str, several: str) -> str:
    if not names:
        return ""
    is_one = len(names) == 1
    return f"{word.capitalize()}{'' if is_one else 's'} {format_list(names)} {one if is_one else several}."
