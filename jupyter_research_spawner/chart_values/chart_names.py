"""The names of the objects that the chart creates, as its module `z2jh` tells them to hub.extraConfig.

Written for the chart `jupyterhub` 4.4 (fullnameOverride in its configuration reference).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHART = "jupyterhub"
# Objects of the whole cluster have the name of the release in their names, if the chart's prefix is empty.
_OF_CLUSTER = {
    "priority": "{release}-default-priority",
    "user-placeholder-priority": "{release}-user-placeholder-priority",
    "image-puller-priority": "{release}-image-puller-priority",
    "user-scheduler": "{release}-user-scheduler",
}
# Names that are not the prefix, a dash, and the name itself.
_WITH_PREFIX = {
    "fullname": "{prefix}",
    "fullname-dash": "{prefix}-",
    "ingress": "{prefix}",
    "hub-serviceaccount": "{prefix}-hub",
    "hub-existing-secret-or-default": "{prefix}-hub",
    "hub-pvc": "{prefix}-hub-db-dir",
    "priority": "{prefix}",
    "user-placeholder-priority": "{prefix}-user-placeholder",
    "image-puller-priority": "{prefix}-image-puller",
    "user-scheduler-deploy": "{prefix}-user-scheduler",
}
_WITHOUT_PREFIX = {
    **_OF_CLUSTER,
    "fullname": "",
    "fullname-dash": "",
    "ingress": CHART,
    "hub-serviceaccount": "hub",
    "hub-existing-secret-or-default": "hub",
    "hub-pvc": "hub-db-dir",
    "user-scheduler-deploy": "user-scheduler",
}
# The key in the values that replaces a name.
_REPLACED = {
    "hub-serviceaccount": ("hub", "serviceAccount", "name"),
    "hub-existing-secret-or-default": ("hub", "existingSecret"),
    "hub-existing-secret": ("hub", "existingSecret"),
}


def object_name(values: Mapping[str, Any], name: str) -> str:
    """Return the full name of one of the chart's objects, for example of `singleuser`, with these complete values."""
    release = values["Release"]["Name"]
    replaced: Any = values
    for key in _REPLACED.get(name, ("",)):
        replaced = replaced.get(key) if isinstance(replaced, Mapping) else None
    if replaced:
        return str(replaced)
    prefix = _prefix(values, release)
    if prefix:
        return _WITH_PREFIX.get(name, "{prefix}-" + name).format(prefix=prefix)
    return _WITHOUT_PREFIX.get(name, name.replace("{", "{{").replace("}", "}}")).format(release=release)


def _prefix(values: Mapping[str, Any], release: str) -> str:
    override = values.get("fullnameOverride")
    if isinstance(override, str):
        return override
    chart = str(values.get("nameOverride") or CHART)
    return release if chart in release else f"{release}-{chart}"
