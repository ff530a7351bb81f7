"""Make the plan and the manifest of a job: for a submission, and for a job that is recreated."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone

from ..identity import PosixIdentity
from ..jobs import Submission
from ..plan import Plan, Request, plan
from ..pod import check, compose
from ..shape import Json
from ..site import Site


def plan_now(site: Site, identity: PosixIdentity, request: Request) -> Plan:
    """Return the plan for a request at this time, with a new run id.  Raises Refusal."""
    return plan(site, identity, request, run_id=f"r-{secrets.token_hex(5)}", now=datetime.now(timezone.utc))


def composed(site: Site, decided: Plan, submission: Submission) -> Json:
    """Return the checked manifest for a submission.  Raises Refusal."""
    slots = submission.kind.SLOTS
    made = compose(decided, submission.manifest(decided, site.batch), slots)
    check(decided, made, slots)
    return made
