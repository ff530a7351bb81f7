"""The command `job` in a notebook: its directory and the ConfigMap that is mounted there."""

from __future__ import annotations

import functools
import hashlib

from ..client.archive import build

CLIENT_DIRECTORY = "/usr/local/bin"
# Every shell has a builtin `jobs`, so the command is `job`.  `jobs` works for programs that are run without a shell.
COMMANDS = ("job", "jobs")


@functools.cache
def client_config_map_name() -> str:
    """Return a name with a hash of the content: a running notebook keeps the commands that it started with."""
    return f"research-client-{hashlib.sha256(build()).hexdigest()[:10]}"
