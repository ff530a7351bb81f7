"""Start and stop a container as a process of this machine, and check what this machine allows.

CPU and memory limits are not enforced.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from ..apimachinery.object_fields import Json

SANDBOX = Path(__file__).with_name("sandbox.py")
MARK = "EMBEDDED_CLUSTER"  # all processes of a cluster have this variable with the path of the cluster's directory
POD_MARK = "EMBEDDED_POD_UID"
KILL_SECONDS = 5.0

Stream = int | IO[bytes]


@dataclass(frozen=True)
class Abilities:
    """Which kinds of isolation this machine supports for containers.  If none, `reason` says why."""

    root: bool
    namespaces: bool
    reason: str


@dataclass(frozen=True)
class Mount:
    """A directory or file of the host (`source`) that a container sees at `target`."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True)
class ContainerSpec:
    """The command, environment and identity of a container.  Without `isolate`, identity and mounts have no effect."""

    argv: list[str]
    env: dict[str, str]
    cwd: str  # if empty, HOME is used, or / if HOME does not exist
    isolate: bool
    uid: int
    gid: int
    groups: list[int]
    hostname: str
    home: str  # if no volume is mounted there, the directory is created for the user
    mounts: list[Mount]
    exposed: list[Path]
    hidden: list[Path]
    root: Path
    # For a further command in a running container: the init process whose namespaces it enters.
    enter: int = 0
    is_terminal: bool = False

    def as_json(self) -> Json:
        return {
            "argv": self.argv,
            "env": self.env,
            "cwd": self.cwd,
            "isolate": self.isolate,
            "uid": self.uid,
            "gid": self.gid,
            "groups": self.groups,
            "hostname": self.hostname[:63],
            "directories": [{"path": self.home, "uid": self.uid, "gid": self.gid}] if self.home else [],
            "mounts": [{"source": str(m.source), "target": m.target, "read_only": m.read_only} for m in self.mounts],
            "exposed": [str(path) for path in self.exposed],
            "hidden": [str(path) for path in self.hidden],
            "root": str(self.root),
            "node_pid": os.getpid(),
            "enter": self.enter,
            "is_terminal": self.is_terminal,
        }


class StartError(Exception):
    """The container's process could not be started.  The message is that of containerd and runc."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
            f"runc create failed: unable to start container process: error during container init: {why}: unknown"
        )


class Container:
    """A running container."""

    def __init__(self, process: asyncio.subprocess.Process, spec: ContainerSpec) -> None:
        self.spec = spec
        self._process = process
        self._exit: asyncio.Task[int] = asyncio.ensure_future(process.wait())

    @classmethod
    async def start(cls, spec: ContainerSpec, log: Path, marks: dict[str, str]) -> Container:
        """Start the container.  Raises StartError if its program, directory or mounts are missing."""
        with log.open("ab") as output:
            return cls(await start_in_sandbox(spec, marks, asyncio.subprocess.DEVNULL, output, output), spec)

    @property
    def init_pid(self) -> int:
        """Return the process whose namespaces are the container's, or 0 if the container has none.  Raises OSError."""
        if not self.spec.isolate:
            return 0
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    async def wait(self) -> int:
        """Return the exit code, or 128 plus the signal that killed the process."""
        code = await asyncio.shield(self._exit)
        return code if code >= 0 else 128 - code

    @property
    def ended(self) -> bool:
        return self._exit.done()

    async def stop(self, grace_over: asyncio.Event) -> int:
        """Send SIGTERM to the container and, after the grace period, SIGKILL to all its processes.

        Return the exit code.
        """
        self._signal(signal.SIGTERM)
        over = asyncio.ensure_future(grace_over.wait())
        await asyncio.wait({self._exit, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        return await self.kill()

    async def kill(self) -> int:
        """Kill all processes of the container and return its exit code."""
        self._signal(signal.SIGUSR1)
        try:
            return await asyncio.wait_for(self.wait(), KILL_SECONDS)
        except asyncio.TimeoutError:
            self._signal(signal.SIGKILL)
            return await self.wait()

    def _signal(self, number: int) -> None:
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def start_in_sandbox(
    spec: ContainerSpec, marks: dict[str, str], stdin: Stream, stdout: Stream, stderr: Stream
) -> asyncio.subprocess.Process:
    """Start the sandbox with the program of `spec`.  Raises StartError if the program could not be started."""
    read_status, write_status = os.pipe()
    spec_fd = _memory_file(json.dumps(spec.as_json() | {"env": {**spec.env, **marks}}).encode())
    try:
        process = await asyncio.create_subprocess_exec(
            *_sandbox_command(spec_fd, write_status),
            env={**marks, "LC_ALL": "C.UTF-8"},
            cwd="/",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(spec_fd, write_status),
            start_new_session=True,  # Ctrl-C interrupts only the cluster, which then stops its pods
        )
    finally:
        os.close(write_status)
        os.close(spec_fd)
    try:
        failure = await _read_all(read_status)
    except asyncio.CancelledError:
        await _kill_sandbox(process)
        raise
    if failure:
        await _kill_sandbox(process)
        raise StartError(failure)
    return process


async def _kill_sandbox(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGUSR1, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), KILL_SECONDS)


def _sandbox_command(*fds: int) -> list[str]:
    # -I -S: the sandbox, which runs as root, must not import packages of this environment or read PYTHON* variables.
    return [sys.executable, "-I", "-S", str(SANDBOX), *map(str, fds)]


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("container", 0)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def _read_all(fd: int) -> str:
    """Read until the pipe is closed, and return sandbox.py's error message; "" if the container's program runs."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb"))
    try:
        return (await reader.read()).decode(errors="replace")
    finally:
        transport.close()


@lru_cache(maxsize=1)
def abilities() -> Abilities:
    """Return whether containers can have Linux namespaces and other uids here.  The first call tests this."""
    if os.geteuid() != 0:
        reason = (
            f"the cluster runs as uid {os.geteuid()}, not as root, so every pod runs as that user and without mounts"
        )
        return Abilities(root=False, namespaces=False, reason=reason)
    with tempfile.TemporaryDirectory() as root:
        nobody = 65534
        spec = ContainerSpec(
            argv=["true"],
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            isolate=True,
            uid=nobody,
            gid=nobody,
            groups=[],
            hostname="trial",
            home="",
            mounts=[],
            exposed=[],
            hidden=[],
            root=Path(root),
        )
        failure = _try(spec)
    if failure:
        reason = f"mount and PID namespaces do not work here ({failure}), so every pod runs as root, without mounts"
        return Abilities(root=True, namespaces=False, reason=reason)
    return Abilities(root=True, namespaces=True, reason="")


def _try(spec: ContainerSpec) -> str:
    read_status, write_status = os.pipe()
    spec_fd = _memory_file(json.dumps(spec.as_json()).encode())
    try:
        done = subprocess.run(  # noqa: S603  (runs only sandbox.py)
            _sandbox_command(spec_fd, write_status),
            pass_fds=(spec_fd, write_status),
            capture_output=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(write_status)
        os.close(spec_fd)
    with os.fdopen(read_status) as status:
        said = status.read()
    return said or (
        f"exit code {done.returncode}: {done.stderr.decode(errors='replace')[-200:]}" if done.returncode else ""
    )


def marked_processes(name: str, value: str) -> Iterable[int]:
    """Yield the pids of all processes whose environment contains NAME=VALUE."""
    wanted = f"{name}={value}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                yield int(directory.name)


def kill_leftovers(state: Path) -> int:
    """Kill the processes that remain of a killed cluster with this state directory, and return their number."""
    found = 0
    for _ in range(10):
        pids = [pid for pid in marked_processes(MARK, str(state)) if pid != os.getpid()]
        if not pids:
            break
        found += len(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    return found
