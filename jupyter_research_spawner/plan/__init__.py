"""Decide whether a user may run a notebook or job, and with which settings.  The result is a Plan."""

from .choices import offers
from .decide import ANNOTATION_LIMIT, plan
from .model import Inherited, Offer, Plan, Request, WallTime
from .recheck import (
    RECHECK_SECONDS,
    Granted,
    Verdict,
    changes,
    decide_again,
    granted_by,
    granted_in,
    groups_text,
)
from .rights import Rights, rights_of

__all__ = [
    "ANNOTATION_LIMIT",
    "RECHECK_SECONDS",
    "Granted",
    "Inherited",
    "Offer",
    "Plan",
    "Request",
    "Rights",
    "Verdict",
    "WallTime",
    "changes",
    "decide_again",
    "granted_by",
    "granted_in",
    "groups_text",
    "offers",
    "plan",
    "rights_of",
]
