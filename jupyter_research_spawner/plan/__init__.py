"""Decide what a user may run, and as whom.  The result is a Plan, from which every pod is composed."""

from .choices import offers
from .decide import ANNOTATION_LIMIT, plan
from .model import Offer, Plan, Request, WallTime

__all__ = ["ANNOTATION_LIMIT", "Offer", "Plan", "Request", "WallTime", "offers", "plan"]
