"""Decide whose jobs a user may see: one's own, those of a class whose staff one is, and those of a queue that one owns.

Nobody sees a job of another user otherwise.  The decision is made again for each page, from the user's groups now.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ..api_object import annotations_of
from ..jobs import kind_of
from ..plan import is_staff
from ..pod.overlay import KIND, USER_NAME, granted_to
from ..shape import OUR_PREFIX, Json
from ..site import Site
from ..texts import gettext
from .job_store import ALL, Owner

QUEUE, PROFILE = OUR_PREFIX + "queue", OUR_PREFIX + "profile"


@dataclass(frozen=True)
class WorkScope:
    """The jobs of one user (`own`, with the name in the hub), of a class, or in a queue."""

    kind: Literal["own", "class", "queue"]
    name: str

    @property
    def is_own(self) -> bool:
        return self.kind == "own"

    @property
    def key(self) -> str:
        """Return the value of `of` in an address; "" for one's own jobs."""
        return "" if self.is_own else f"{self.kind}:{self.name}"


def shared_scopes(site: Site, groups: Collection[str]) -> tuple[WorkScope, ...]:
    """Return the classes and queues whose jobs a user with these POSIX groups may see."""
    mine = tuple(groups)
    classes = [name for name, course in sorted(site.classes.items()) if is_staff(course, mine)]
    queues = [name for name, queue in sorted(site.queues.items()) if any(map(queue.owners.get, mine))]
    return (*(WorkScope("class", name) for name in classes), *(WorkScope("queue", name) for name in queues))


def title_of(site: Site, scope: WorkScope) -> str:
    """Return the heading of the page about a scope."""
    if scope.kind == "class":
        return gettext("Class %(name)s", name=site.classes[scope.name].title or scope.name)
    if scope.is_own:
        return gettext("My work")
    return gettext("Queue %(name)s", name=site.queue_titles[scope.name])


def selector_of(site: Site, scope: WorkScope, owner: Owner) -> str:
    """Return the label selector with which the jobs of a scope are read.  `owner` is the user who looks."""
    if scope.kind == "class":
        course = site.classes[scope.name]
        return f"{QUEUE}={course.queue},{PROFILE}={course.profile},{ALL}"
    return owner.selector if scope.is_own else f"{QUEUE}={scope.name},{ALL}"


def contains(site: Site, scope: WorkScope, owner: Owner, job: Json) -> bool:
    """Return whether a job belongs to a scope.

    A job is of a class if it is in the queue and the profile of the class, and its user was a student or on the staff
    of the class when it was submitted: other users and classes can share the queue and the profile.
    """
    if scope.is_own:
        return owner.owns(job)
    if not may_contain(site, scope, job) or KIND not in (job["metadata"].get("labels") or {}):
        return False
    if scope.kind == "queue":
        return True
    course = site.classes[scope.name]
    granted = granted_to(kind_of(job).SLOTS.pods(job)[0][1])
    groups = () if granted is None else tuple(name for name, _ in granted.groups)
    return course.roster.group in groups or is_staff(course, groups)


def may_contain(site: Site, scope: WorkScope, job: Json) -> bool:
    """Return whether a change of this job can change what a scope contains, also if the job is not valid."""
    if scope.is_own:
        return bool(annotations_of(job).get(USER_NAME) == scope.name)
    labels = job["metadata"].get("labels") or {}
    if scope.kind == "queue":
        return bool(labels.get(QUEUE) == scope.name)
    course = site.classes[scope.name]
    return (labels.get(QUEUE), labels.get(PROFILE)) == (course.queue, course.profile)


@dataclass(frozen=True)
class ScopeSelection:
    """Selects the jobs of a scope for a user who may see them.  `owner` is this user."""

    site: Site
    scope: WorkScope
    owner: Owner

    @property
    def selector(self) -> str:
        return selector_of(self.site, self.scope, self.owner)

    def owns(self, job: Json) -> bool:
        return contains(self.site, self.scope, self.owner, job)
