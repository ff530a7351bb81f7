"""Read the termination message of a container that has ended, as the kubelet does.

Source: Kubernetes 1.36, pkg/kubelet/kuberuntime/kuberuntime_container.go (getTerminationMessage,
readLastStringFromContainerLogs).
"""

from __future__ import annotations

import os
from pathlib import Path

from ..apimachinery.object_fields import Json

FILE_BYTES = 4096
LOG_BYTES = 2048
LOG_LINES = 80


def create_message_file(path: Path) -> Path:
    """Create the empty file that the container sees at its terminationMessagePath. Every user may write to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    path.chmod(0o666)
    return path


def termination_message(container: Json, exit_code: int, message_file: Path, log: Path) -> str:
    """Return the last bytes of the message file.

    If the file is empty, the container failed and its terminationMessagePolicy is FallbackToLogsOnError, return the
    last lines of its log.
    """
    written = _last_bytes(message_file, FILE_BYTES)
    if not written and exit_code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        written = _last_lines(_last_bytes(log, LOG_BYTES), LOG_LINES)
    return written.decode(errors="replace")


def _last_bytes(path: Path, limit: int) -> bytes:
    """Return the end of a file; b"" if there is none, because a container can delete its files."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            return file.read(limit)
    except OSError:
        return b""


def _last_lines(text: bytes, limit: int) -> bytes:
    """Return the last lines of a text. A line without a newline at the end counts."""
    lines = text.removesuffix(b"\n").split(b"\n")
    return text if len(lines) <= limit else b"\n".join(lines[-limit:]) + (b"\n" if text.endswith(b"\n") else b"")
