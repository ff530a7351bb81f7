"""Decide whether a user may run a notebook or job, and with which settings.  The result is a Plan."""

from .choices import OffersKey, OffersKeys, describe_queue, offers, whom_to_ask, why_not_offered
from .decide import ANNOTATION_LIMIT, plan
from .model import Help, Inherited, Offer, OfferedImage, OfferedQueue, Plan, Request, WallTime
from .names import Names
from .preview import QueuePreview, preview
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
from .rights import Rights, is_staff, rights_of

__all__ = [
    "ANNOTATION_LIMIT",
    "RECHECK_SECONDS",
    "Granted",
    "Help",
    "Inherited",
    "Names",
    "Offer",
    "OfferedImage",
    "OfferedQueue",
    "OffersKey",
    "OffersKeys",
    "Plan",
    "QueuePreview",
    "Request",
    "Rights",
    "Verdict",
    "WallTime",
    "changes",
    "decide_again",
    "describe_queue",
    "granted_by",
    "granted_in",
    "groups_text",
    "is_staff",
    "offers",
    "plan",
    "preview",
    "rights_of",
    "whom_to_ask",
    "why_not_offered",
]
