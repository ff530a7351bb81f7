"""Translates values of the chart `jupyterhub` (Zero to JupyterHub) to the configuration of its hub."""

from .chart_names import object_name
from .hub_config import DEFAULT_RELEASE, HubConfig, build, complete, home_volume, look_up
from .hub_programs import extra_files_secret, hub_pod

__all__ = [
    "DEFAULT_RELEASE",
    "HubConfig",
    "build",
    "complete",
    "extra_files_secret",
    "home_volume",
    "hub_pod",
    "look_up",
    "object_name",
]
