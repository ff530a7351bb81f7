"""The path of the command `job` in a notebook, and the volume with the ConfigMap that contains the command."""

from __future__ import annotations

import functools
import hashlib

from ..client.archive import build
from ..shape import Json

CLIENT_DIRECTORY = "/usr/local/bin"
# The command is `job`, because every shell has a builtin `jobs`.  A program that needs no shell can also run `jobs`.
COMMANDS = ("job", "jobs")


@functools.cache
def client_config_map_name() -> str:
    """Return the ConfigMap's name.  It has a hash of the content, so an upgrade does not change running notebooks."""
    return f"research-client-{hashlib.sha256(build()).hexdigest()[:10]}"


def client_volume(name: str) -> Json:
    """Return the volume with the command.  Without the ConfigMap it is empty."""
    return optional_config_map_volume(name, {"name": client_config_map_name()}, 0o555)


def optional_config_map_volume(name: str, config_map: Json, mode: int) -> Json:
    """Return a volume with the files of a ConfigMap, which is empty if the ConfigMap does not exist.

    It is a projected volume, because not every scheduler looks at `optional` of a volume of the kind `configMap`: the
    pod would wait until the ConfigMap exists (docs/reference/schedulers.md).
    """
    return {
        "name": name,
        "projected": {"sources": [{"configMap": {**config_map, "optional": True}}], "defaultMode": mode},
    }
