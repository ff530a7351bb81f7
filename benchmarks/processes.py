"""Child processes that end with what started them, and what the kernel says they cost."""

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


class DidNotStart(RuntimeError):
    """A sentence, with the end of the log."""


@contextlib.asynccontextmanager
async def running(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python ARGUMENTS` with its standard error in `log`; it is ended on the way out."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=log.parent,
            env={**_surroundings(), **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()  # nothing of a run is kept, so nothing needs to be put in order
        await asyncio.wait_for(process.wait(), END_SECONDS)


def _surroundings() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KUBE"))}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    # Where the machine is reached through a proxy, this machine itself is not.
    return {**kept, "PYTHONPATH": path, "no_proxy": "127.0.0.1,localhost"}


def cpu_seconds(pid: int) -> float:
    """What the process has used of the processors so far, in user and kernel mode.  proc(5), /proc/pid/stat."""
    # The command's name may hold spaces and parentheses; the third field is the first after it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    utime, stime = fields[14 - 3], fields[15 - 3]
    return (int(utime) + int(stime)) / _TICKS


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
