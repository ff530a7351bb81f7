"""Decide whether a user may run a notebook or job, and with which settings.  The result is a Plan."""

from .choices import offers
from .decide import ANNOTATION_LIMIT, plan
from .model import Offer, Plan, Request, WallTime
from .rights import Rights, rights_of

__all__ = ["ANNOTATION_LIMIT", "Offer", "Plan", "Request", "Rights", "WallTime", "offers", "plan", "rights_of"]
