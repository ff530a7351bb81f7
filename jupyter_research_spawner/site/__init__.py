"""The settings of one installation: the model, and loading it from files."""

from .loading import load, validate
from .pod_fields import Allowed, PodFields
from .schema import json_schema
from .site_settings import Batch, CourseClass, Hub, Priority, Profile, Queue, Site

__all__ = [
    "Allowed",
    "Batch",
    "CourseClass",
    "Hub",
    "PodFields",
    "Priority",
    "Profile",
    "Queue",
    "Site",
    "json_schema",
    "load",
    "validate",
]
