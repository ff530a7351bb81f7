"""Start and stop child processes, and read their CPU time from the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
END_SECONDS = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


class StartFailed(RuntimeError):
    """A process did not start.  The message contains the end of the process's log."""


@contextlib.asynccontextmanager
async def running(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python ARGUMENTS` with standard error in `log`, and kill the process when the context ends."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=log.parent,
            env={**_base_environment(), **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()  # a run leaves no state, so no orderly shutdown is needed
        await asyncio.wait_for(process.wait(), END_SECONDS)


def _base_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KUBE"))}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    # Connections to this machine must not use an HTTP proxy.
    return {**kept, "PYTHONPATH": path, "no_proxy": "127.0.0.1,localhost"}


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that the process has used in user and kernel mode.  Source: proc(5), /proc/pid/stat."""
    # The command name can contain spaces and parentheses; the third field follows its last closing parenthesis.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    utime, stime = fields[14 - 3], fields[15 - 3]
    return (int(utime) + int(stime)) / _TICKS


def memory_bytes(pid: int) -> tuple[int, int]:
    """Return the resident memory of the process, and its maximum so far.  Source: proc(5), /proc/pid/status."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, most = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
