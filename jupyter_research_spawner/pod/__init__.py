"""From a plan to the pods that are sent: compose fills them in, check trusts nothing that anybody added."""

from .check import check, problems
from .client_commands import client_config_map_name
from .compose import compose
from .numa import guarantee, why_not_pinned

__all__ = ["check", "client_config_map_name", "compose", "guarantee", "problems", "why_not_pinned"]
