"""Programs that a cluster consists of: each with a log, found again by their environment after a killed run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .api import PATIENCE_SECONDS

# In the environment of every process of a cluster (proc_pid_environ(5)): whose it is and which.  Their children
# inherit both, so that nothing of a killed run can hide.
STATE = "RIG_STATE"
PROGRAM = "RIG_PROGRAM"


class DidNotStart(RuntimeError):
    """A program ended, or was not ready in time; the sentence ends with what its log says."""


@dataclass(frozen=True)
class Running:
    """A process of the cluster in that state directory."""

    name: str
    pid: int


def start(
    state: Path, name: str, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that outlives this one.  Its output goes to logs/NAME.log below `state`."""
    log = log_of(state, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    # Nothing of the caller's own environment: what works here must not depend on whose shell it is.
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=state,
            env={**inherited, **(environment or {}), STATE: str(state), PROGRAM: name},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def ready(
    state: Path,
    name: str,
    process: subprocess.Popen[bytes],
    is_ready: Callable[[], bool],
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until `is_ready` says so.  Raises DidNotStart when the program has ended before, or time is over."""
    end = time.monotonic() + seconds
    while not is_ready():
        if process.poll() is not None:
            raise DidNotStart(f"{name} ended with exit status {process.returncode}. {_last_words(state, name)}")
        if time.monotonic() > end:
            raise DidNotStart(f"{name} was not ready within {seconds:.0f} s. {_last_words(state, name)}")
        time.sleep(0.1)


def _last_words(state: Path, name: str, lines: int = 12) -> str:
    log = log_of(state, name)
    tail = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join([f"The last lines of {log}:", *(f"    {line[:300]}" for line in tail)])


def log_of(state: Path, name: str) -> Path:
    return state / "logs" / f"{name}.log"


def running(state: Path) -> list[Running]:
    """Every process of the cluster in `state`, whoever started it and whatever became of that."""
    return list(_running(str(state)))


def _running(state: str) -> Iterator[Running]:
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            variables = (directory / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or somebody else's
            continue
        found = dict(variable.decode(errors="replace").partition("=")[::2] for variable in variables)
        if found.get(STATE) == state and PROGRAM in found:
            yield Running(found[PROGRAM], int(directory.name))


def end(state: Path, names: Sequence[str] = (), *, seconds: float = 20) -> None:
    """End programs (all of `state` when none are named) by SIGTERM, then what is left of them by SIGKILL."""

    def wanted() -> list[Running]:
        return [process for process in running(state) if not names or process.name in names]

    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in wanted():
            _send(process.pid, number)
        until = time.monotonic() + seconds
        while wanted() and time.monotonic() < until:
            time.sleep(0.05)
    if left := wanted():
        raise RuntimeError(f"These processes do not end, not even by SIGKILL: {left}")


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def free_port(address: str) -> int:
    """A TCP port that nobody listens on there at this moment."""
    with socket.socket() as found:
        found.bind((address, 0))
        port: int = found.getsockname()[1]
        return port
