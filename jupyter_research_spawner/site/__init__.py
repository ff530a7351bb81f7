"""The settings of one installation: their model, and a loader for settings files."""

from .loading import load, load_documents, validate
from .offer_settings import CourseClass, Profile
from .pod_fields import Allowed, PodFields, nfs_export
from .schema import json_schema, values_schema
from .site_settings import Batch, Hub, Priority, Queue, Site

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
    "load_documents",
    "nfs_export",
    "validate",
    "values_schema",
]
