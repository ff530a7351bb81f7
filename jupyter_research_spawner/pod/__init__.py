"""From a plan to the pods that are sent: compose writes the plan into them, check verifies every field again."""

from .check import check, problems
from .client_commands import client_config_map_name
from .compose import compose
from .cpu_pinning import equalize_requests_and_limits, why_not_pinned

__all__ = ["check", "client_config_map_name", "compose", "equalize_requests_and_limits", "problems", "why_not_pinned"]
