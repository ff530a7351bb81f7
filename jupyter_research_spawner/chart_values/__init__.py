"""Translates values of the chart `jupyterhub` (Zero to JupyterHub) to the configuration of its hub."""

from .chart_names import object_name
from .hub_config import (
    FILES_VOLUME,
    HOME_VOLUME,
    IGNORED_KEYS,
    METADATA_CONTAINER,
    HubConfig,
    build,
    chart_defaults,
    complete,
    has_hub,
    look_up,
    pull_secrets,
)
from .hub_image import missing_package, own_image
from .hub_programs import extra_files_secret, hub_pod
from .key_finder import Change, KeyFinder, Origin, changed, has_path, removed_volume, written
from .value_forms import wrong_forms

__all__ = [
    "FILES_VOLUME",
    "HOME_VOLUME",
    "IGNORED_KEYS",
    "METADATA_CONTAINER",
    "Change",
    "HubConfig",
    "KeyFinder",
    "Origin",
    "build",
    "changed",
    "chart_defaults",
    "complete",
    "extra_files_secret",
    "has_hub",
    "has_path",
    "hub_pod",
    "look_up",
    "missing_package",
    "object_name",
    "own_image",
    "pull_secrets",
    "removed_volume",
    "written",
    "wrong_forms",
]
