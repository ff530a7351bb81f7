"""Make a plan from a user's request, the user's identity and the site's settings."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..identity import PosixIdentity, warnings
from ..prerequisite import Prerequisite, claim_prerequisites
from ..refusal import Refusal
from ..resources import gpu_prerequisites
from ..schedulers import SCHEDULERS, Placement
from ..site import Site
from ..storage import MountPoint, environment, group_text, mounts_for, passwd_text
from .choices import (
    apply_class,
    check_class_jobs,
    choose_profile,
    choose_queue,
    class_end_warnings,
    classes_required,
    priority_of,
)
from .inherited import decide_with_inherited
from .limits import apply_workdir, choose_image, choose_wall_time
from .model import Plan, Request, WallTime
from .rights import Rights, rights_of

# Limit in bytes for this project's annotations on one object.  The API server allows 256 KiB for all annotations.
ANNOTATION_LIMIT = 64_000


def plan(
    site: Site,
    identity: PosixIdentity,
    request: Request,
    *,
    run_id: str,
    now: datetime,
    secret: bytes = b"",
) -> Plan:
    """Return the plan for a request that `identity` makes on `site`.

    `run_id` must be unique for each spawn or submission.  `now` must be timezone-aware.  `secret` is the hub's secret
    for the adoption key.  Raises Refusal with the invalid field.  The function is pure.
    """

    def decide(request: Request, notes: tuple[str, ...]) -> Plan:
        return _decide(site, identity, request, notes, run_id=run_id, now=now, secret=secret)

    return decide_with_inherited(request, decide)


def _decide(
    site: Site,
    identity: PosixIdentity,
    request: Request,
    notes: tuple[str, ...],
    *,
    run_id: str,
    now: datetime,
    secret: bytes,
) -> Plan:
    """Return the plan for a request without regard to inherited values, except the working directory."""
    request = apply_class(site, identity, request, now)
    rights = rights_of(site, identity, now)
    choice = _choose(site, rights, request, now)
    placement = _place(site, identity, request, choice, run_id)
    mounts = mounts_for(site.storage, identity, rights.classes)
    request, elsewhere = apply_workdir(request, identity, mounts)
    fields = site.pod_fields[choice.profile]
    then = rights_of(site, identity, now + choice.wall_time.hard)
    decided = Plan(
        request=request,
        identity=identity,
        namespace=placement.namespace,
        run_id=run_id,
        profile=choice.profile,
        queue=choice.queue,
        scheduler=site.scheduler.kind,
        priority=choice.priority,
        priority_value=placement.priority_value,
        preemptible=placement.preemptible,
        marks=SCHEDULERS[site.scheduler.kind].marks(placement),
        resources=placement.resources,
        mounts=mounts,
        shm=site.profiles[choice.profile].shm,
        wall_time=choice.wall_time,
        image=choose_image(site, request, choice.profile),
        home_check_image=site.storage.home_check_image,
        home_check_limit=site.storage.home_check_limit,
        passwd=passwd_text(site.storage.system_accounts, identity),
        group=group_text(site.storage.system_accounts, identity),
        env={**fields.env, **environment(identity), "RESEARCH_PROFILE": choice.profile, "RESEARCH_QUEUE": choice.queue},
        pod_fields=fields,
        allowed=site.pods.allow.of_user(identity.name),
        prerequisites=_prerequisites(site, choice, placement, mounts),
        warnings=(
            *notes,
            *elsewhere,
            *warnings(identity),
            *class_end_warnings(site, then, choice.classes, choice.profile, choice.queue),
        ),
        batch_url=site.batch.url,
        show_notices=site.hub.show_notices,
        site_digest=site.digest,
        adoption_key=_adoption_key(secret, request, placement, choice) if secret else "",
        home_claims=frozenset(home.claim for home in site.storage.homes.values()),
    )
    _check_annotation_size(decided)
    return decided


@dataclass(frozen=True)
class _Choice:
    """The names of the profile, queue and priority of a request, and its wall time.

    `classes` are the classes that the user needs as a student for the profile or the queue.
    """

    profile: str
    queue: str
    priority: str
    classes: tuple[str, ...]
    wall_time: WallTime


def _choose(site: Site, rights: Rights, request: Request, now: datetime) -> _Choice:
    """Return the choice for the request.  Raises Refusal if these rights do not allow it."""
    profile = choose_profile(site, rights, request, now)
    queue = choose_queue(site, rights, request, profile, now)
    classes, staffed = classes_required(site, rights, profile, queue)
    check_class_jobs(site, request, classes, queue)
    return _Choice(
        profile=profile,
        queue=queue,
        priority=priority_of(site, queue),
        classes=classes,
        wall_time=choose_wall_time(site, request, profile, classes, staffed),
    )


def _place(site: Site, identity: PosixIdentity, request: Request, choice: _Choice, run_id: str) -> Placement:
    """Return what the scheduler needs to know.  Raises Refusal if the scheduler cannot run it."""
    queue = site.queues[choice.queue]
    placement = Placement(
        queue=choice.queue,
        options=queue.options(site.scheduler.kind),
        priority_class=site.priority_class(choice.priority),
        namespace=site.namespaces.name,
        identity=identity,
        scheduler_name=site.scheduler.name,
        priority_value=site.priorities[choice.priority].value,
        preemptible=queue.preemptible,
        wall_time_hard=choice.wall_time.hard,
        resources=site.profiles[choice.profile].resources(),
        shape=request.shape,
        run_id=run_id,
    )
    if (refusal := SCHEDULERS[site.scheduler.kind].refuses(placement)) is not None:
        raise refusal
    return placement


def _prerequisites(
    site: Site, choice: _Choice, placement: Placement, mounts: Iterable[MountPoint]
) -> tuple[Prerequisite, ...]:
    return (
        *SCHEDULERS[site.scheduler.kind].prerequisites(placement),
        *claim_prerequisites((mount.claim for mount in mounts), placement.namespace),
        *gpu_prerequisites(site.profiles[choice.profile].gpu, placement.namespace),
    )


def _check_annotation_size(decided: Plan) -> None:
    """Raise Refusal if the annotations that compose writes for this plan would be larger than ANNOTATION_LIMIT."""
    texts = [decided.passwd, decided.group, decided.written]
    texts += [f"{group.name}:{group.gid}," for group in decided.identity.groups]
    texts += [*decided.marks.object.annotations.values(), *decided.marks.pod.annotations.values()]
    size = sum(len(text.encode()) for text in texts)
    if size > ANNOTATION_LIMIT:
        raise Refusal(
            "too-many-groups",
            f"You are in {len(decided.identity.groups)} groups. The pod's annotations list them and would be {size} "
            f"bytes long; the limit is {ANNOTATION_LIMIT} bytes.",
            field="groups",
            hint="Ask your administrators to make the identity source return fewer groups.",
            status=403,
        )


def _adoption_key(secret: bytes, request: Request, placement: Placement, choice: _Choice) -> str:
    """Return the key that a pending pod must have so that a restarted hub adopts it for this server.

    The key covers the request and the plan, but not the run id, the digest of the settings or the default image.  So a
    user keeps the place in the queue when the site is upgraded.
    """
    identity = placement.identity
    parts: list[Any] = [
        [identity.name, identity.uid, identity.gid, list(identity.gids), identity.home],
        [placement.namespace, request.hub_user, request.server, request.shape.kind],
        [request.course, request.image],
        [choice.profile, choice.queue, placement.hard_seconds, int(choice.wall_time.soft.total_seconds())],
    ]
    return hmac.digest(secret, json.dumps(parts).encode(), "sha256").hex()
