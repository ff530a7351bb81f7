"""Translates values of the chart `jupyterhub` (Zero to JupyterHub) to the configuration of its hub."""

from .chart_names import object_name
from .hub_config import DEFAULT_RELEASE, HubConfig, build, complete, home_volume, look_up
from .hub_programs import hub_pod

__all__ = ["DEFAULT_RELEASE", "HubConfig", "build", "complete", "home_volume", "hub_pod", "look_up", "object_name"]
