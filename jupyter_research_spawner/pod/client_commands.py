"""The path of the command `job` in a notebook, and the name of the ConfigMap that contains the command."""

from __future__ import annotations

import functools
import hashlib

from ..client.archive import build

CLIENT_DIRECTORY = "/usr/local/bin"
# The command is `job`, because every shell has a builtin `jobs`.  A program that needs no shell can also run `jobs`.
COMMANDS = ("job", "jobs")


@functools.cache
def client_config_map_name() -> str:
    """Return the ConfigMap's name.  It has a hash of the content, so an upgrade does not change running notebooks."""
    return f"research-client-{hashlib.sha256(build()).hexdigest()[:10]}"
