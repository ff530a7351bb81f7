"""Make a plan from a user's request, the user's identity and the site's settings."""

from __future__ import annotations

import hmac
import json
from datetime import datetime
from typing import Any

from ..identity import PosixIdentity, warnings
from ..prerequisite import claim_prerequisites
from ..refusal import Refusal
from ..resources import gpu_prerequisites
from ..schedulers import SCHEDULERS, Placement
from ..site import Site
from ..storage import environment, group_text, mounts_for, passwd_text
from .choices import (
    apply_class,
    check_class_jobs,
    choose_profile,
    choose_queue,
    class_end_warnings,
    classes_required,
)
from .inherited import decide_with_inherited
from .limits import apply_workdir, choose_image, choose_wall_time
from .model import Plan, Request, WallTime
from .rights import rights_of

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
    profile_name = choose_profile(site, rights, request, now)
    profile = site.profiles[profile_name]
    queue_name = choose_queue(site, rights, request, profile_name, now)
    classes, staffed = classes_required(site, rights, profile_name, queue_name)
    check_class_jobs(site, request, classes, queue_name)
    priority = site.queues[queue_name].priority or site.default_priority
    wall_time = choose_wall_time(site, request, profile_name, classes, staffed)
    placement = Placement(
        **_queue_fields(site, queue_name, priority),
        identity=identity,
        wall_time_hard=wall_time.hard,
        resources=profile.resources(),
        shape=request.shape,
        run_id=run_id,
    )
    scheduler = SCHEDULERS[site.scheduler.kind]
    if (refusal := scheduler.refuses(placement)) is not None:
        raise refusal
    mounts = mounts_for(site.storage, identity, rights.classes)
    request, elsewhere = apply_workdir(request, identity, mounts)
    fields = site.pod_fields[profile_name]
    then = rights_of(site, identity, now + wall_time.hard)
    decided = Plan(
        request=request,
        identity=identity,
        namespace=placement.namespace,
        run_id=run_id,
        profile=profile_name,
        queue=queue_name,
        scheduler=site.scheduler.kind,
        priority=priority,
        priority_value=placement.priority_value,
        preemptible=placement.preemptible,
        marks=scheduler.marks(placement),
        resources=placement.resources,
        mounts=mounts,
        shm=profile.shm,
        wall_time=wall_time,
        image=choose_image(site, request, profile_name),
        home_check_image=site.storage.home_check_image,
        home_check_limit=site.storage.home_check_limit,
        passwd=passwd_text(site.storage.system_accounts, identity),
        group=group_text(site.storage.system_accounts, identity),
        env={**fields.env, **environment(identity), "RESEARCH_PROFILE": profile_name, "RESEARCH_QUEUE": queue_name},
        pod_fields=fields,
        allowed=site.pods.allow.of_user(identity.name),
        prerequisites=(
            *scheduler.prerequisites(placement),
            *claim_prerequisites((mount.claim for mount in mounts), placement.namespace),
            *gpu_prerequisites(profile.gpu, placement.namespace),
        ),
        warnings=(
            *notes,
            *elsewhere,
            *warnings(identity),
            *class_end_warnings(site, then, classes, profile_name, queue_name),
        ),
        batch_url=site.batch.url,
        show_notices=site.hub.show_notices,
        site_digest=site.digest,
        adoption_key=_adoption_key(secret, request, placement, profile_name, wall_time) if secret else "",
        home_claims=frozenset(home.claim for home in site.storage.homes.values()),
    )
    _check_annotation_size(decided)
    return decided


def _queue_fields(site: Site, queue_name: str, priority: str) -> dict[str, Any]:
    """Return the fields of Placement that come from the settings of the queue, its priority and the scheduler."""
    queue = site.queues[queue_name]
    return {
        "queue": queue_name,
        "options": queue.options(site.scheduler.kind),
        "scheduler_name": site.scheduler.name,
        "priority_class": site.priority_class(priority),
        "priority_value": site.priorities[priority].value,
        "preemptible": queue.preemptible,
        "namespace": site.namespaces.name,
    }


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


def _adoption_key(secret: bytes, request: Request, placement: Placement, profile: str, wall_time: WallTime) -> str:
    """Return the key that a pending pod must have so that a restarted hub adopts it for this server.

    The key covers the request and the plan, but not the run id, the digest of the settings or the default image.  So a
    user keeps the place in the queue when the site is upgraded.
    """
    identity = placement.identity
    parts: list[Any] = [
        [identity.name, identity.uid, identity.gid, list(identity.gids), identity.home],
        [placement.namespace, request.hub_user, request.server, request.shape.kind],
        [request.course, request.image],
        [profile, placement.queue, placement.hard_seconds, int(wall_time.soft.total_seconds())],
    ]
    return hmac.digest(secret, json.dumps(parts).encode(), "sha256").hex()
