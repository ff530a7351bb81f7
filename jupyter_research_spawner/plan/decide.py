"""The one decision: everything about a thing that is made follows from it."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..identity import PosixIdentity, warnings
from ..prerequisite import claim_prerequisites
from ..refusal import Refusal
from ..resources import gpu_prerequisites
from ..schedulers import SCHEDULERS, Placement
from ..site import Site
from ..storage import environment, group_text, mounts_for, passwd_text
from .choices import as_course, profile_for, queue_for
from .limits import image_for, wall_time_for, workdir_for
from .model import Plan, Request

# All annotations of ours on one object together; the API server's own limit is 256 KiB for everybody's.
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
    """Decide what `request` becomes when `identity` makes it on `site`.

    `run_id` is fresh for each spawn and submission, `now` is aware, `secret` is the hub's, for the adoption key.
    Raises Refusal with the field at fault.  Pure: same arguments, same plan.
    """
    request = as_course(site, identity, request, now)
    profile_name = profile_for(site, identity, request)
    profile = site.profiles[profile_name]
    queue_name = queue_for(site, identity, request, profile_name)
    queue = site.queues[queue_name]
    priority = queue.priority or site.default_priority
    wall_time = wall_time_for(site, request, profile_name)
    placement = Placement(
        identity=identity,
        queue=queue_name,
        options=queue.options(site.scheduler.kind),
        scheduler_name=site.scheduler.name,
        priority_class=site.priority_class(priority),
        priority_value=site.priorities[priority].value,
        preemptible=queue.preemptible,
        wall_time_hard=wall_time.hard,
        resources=profile.resources(),
        shape=request.shape,
        run_id=run_id,
        namespace=site.namespaces.name,
    )
    scheduler = SCHEDULERS[site.scheduler.kind]
    if (refusal := scheduler.refuses(placement)) is not None:
        raise refusal
    mounts = mounts_for(site.storage, identity)
    request = replace(request, workdir=workdir_for(request, identity, mounts))
    fields = site.pod_fields[profile_name]
    decided = Plan(
        request=request,
        identity=identity,
        namespace=placement.namespace,
        run_id=run_id,
        profile=profile_name,
        queue=queue_name,
        scheduler=site.scheduler.kind,
        priority=priority,
        preemptible=queue.preemptible,
        marks=scheduler.marks(placement),
        resources=placement.resources,
        mounts=mounts,
        wall_time=wall_time,
        image=image_for(site, request, profile_name),
        home_check_image=site.storage.home_check_image,
        passwd=passwd_text(site.storage.system_accounts, identity),
        group=group_text(site.storage.system_accounts, identity),
        env={**fields.env, **environment(identity), "RESEARCH_PROFILE": profile_name, "RESEARCH_QUEUE": queue_name},
        pod_fields=fields,
        allowed=site.pods.allow,
        prerequisites=(
            *scheduler.prerequisites(placement),
            *claim_prerequisites((mount.claim for mount in mounts), placement.namespace),
            *gpu_prerequisites(profile.gpu, placement.namespace),
        ),
        warnings=warnings(identity),
        batch_url=site.batch.url,
        site_digest=site.digest,
    )
    _bounded(decided)
    return replace(decided, adoption_key=_adoption_key(decided, secret)) if secret else decided


def _bounded(decided: Plan) -> None:
    texts = [decided.passwd, decided.group, json.dumps(decided.summary(), ensure_ascii=False)]
    texts += [f"{group.name}:{group.gid}," for group in decided.identity.groups]
    texts += [*decided.marks.object.annotations.values(), *decided.marks.pod.annotations.values()]
    size = sum(len(text.encode()) for text in texts)
    if size > ANNOTATION_LIMIT:
        raise Refusal(
            "too-many-groups",
            f"Your {len(decided.identity.groups)} groups make the pod's annotations {size} bytes long; "
            f"{ANNOTATION_LIMIT} is the limit.",
            field="groups",
            hint="Ask the people who run this hub to shorten what the identity source returns.",
            status=403,
        )


def _adoption_key(decided: Plan, secret: bytes) -> str:
    """What a waiting pod must carry to be taken for this server's own after a restart.

    What was asked for and what was decided, but neither the run id nor the settings' digest, and no image that the
    settings chose: an upgrade must not cost anybody their place in the queue.
    """
    identity = decided.identity
    parts: list[Any] = [
        [identity.name, identity.uid, identity.gid, list(identity.gids), identity.home],
        [decided.namespace, decided.request.hub_user, decided.request.server, decided.shape.kind],
        [decided.request.course, decided.request.image],
        [decided.profile, decided.queue, decided.hard_seconds, int(decided.wall_time.soft.total_seconds())],
    ]
    return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()
