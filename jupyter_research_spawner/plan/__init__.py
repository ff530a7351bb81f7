"""The decision: what a person may run and as whom.  Made once here; every pod is composed from it."""

from .choices import offers
from .decide import ANNOTATION_LIMIT, plan
from .model import Offer, Plan, Request, WallTime

__all__ = ["ANNOTATION_LIMIT", "Offer", "Plan", "Request", "WallTime", "offers", "plan"]
