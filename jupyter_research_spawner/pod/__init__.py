"""Turn a plan into a manifest: `compose` writes the plan into a manifest, and `check` then verifies every field."""

from .adoption import differences
from .check import all_problems, check, problems
from .client_commands import client_config_map_name
from .compose import compose, replaced_fields
from .cpu_pinning import equalize_requests_and_limits, why_not_pinned
from .secret_references import secret_prerequisites

__all__ = [
    "all_problems",
    "check",
    "client_config_map_name",
    "compose",
    "differences",
    "equalize_requests_and_limits",
    "problems",
    "replaced_fields",
    "secret_prerequisites",
    "why_not_pinned",
]
