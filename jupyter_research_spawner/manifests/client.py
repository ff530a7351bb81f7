"""The ConfigMap that brings the client's commands into notebooks."""

from __future__ import annotations

import base64

from ..client.archive import build
from ..pod.client import COMMANDS, client_config_map_name
from ..shape import Json
from ..site import Site
from .release import Release, metadata


def objects(site: Site, release: Release) -> list[Json]:
    """One per version: earlier ones stay as long as a notebook that began with them runs."""
    content = base64.b64encode(build()).decode()
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(client_config_map_name(), "client", site.namespaces.name),
            # Its name has its hash, so it never changes, and no kubelet needs to watch it for every notebook.
            "immutable": True,
            "binaryData": dict.fromkeys(COMMANDS, content),
        }
    ]
