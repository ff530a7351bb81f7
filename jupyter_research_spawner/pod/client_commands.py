"""Where the client's commands lie in a notebook, and the ConfigMap that brings them there."""

from __future__ import annotations

import functools
import hashlib

from ..client.archive import build

CLIENT_DIRECTORY = "/usr/local/bin"
# `jobs` is a builtin of every shell, so there the command is `job`; who runs programs without a shell may say either.
COMMANDS = ("job", "jobs")


@functools.cache
def client_config_map_name() -> str:
    """Has a hash of its content, so that a running notebook keeps the commands it started with."""
    return f"research-client-{hashlib.sha256(build()).hexdigest()[:10]}"
