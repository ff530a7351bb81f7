"""Run a further command in a running container, as `kubectl exec` does."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import pty
import signal
import struct
import termios

from ..apimachinery.command_request import CommandRequest
from .container_process import Container, start_in_sandbox

_CHUNK = 64 * 1024


async def run_command(container: Container, request: CommandRequest, marks: dict[str, str]) -> Command:
    """Start the command with the identity, the environment and the namespaces of the container.

    Raises StartError if its program is missing.
    """
    spec = dataclasses.replace(
        container.spec, argv=request.argv, enter=container.init_pid, is_terminal=request.is_terminal
    )
    if request.is_terminal:
        spec = dataclasses.replace(spec, env={"TERM": "xterm", **spec.env})
        ours, theirs = pty.openpty()
        try:
            process = await start_in_sandbox(spec, marks, theirs, theirs, theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return Command(process, await _reader(os.dup(ours)), ours)
    stdin = asyncio.subprocess.PIPE if request.has_input else asyncio.subprocess.DEVNULL
    process = await start_in_sandbox(spec, marks, stdin, asyncio.subprocess.PIPE, asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return Command(process, process.stdout, None)


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0))
    return reader


class Command:
    """A command that runs in a container.  `terminal` is our end of its terminal, or None."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.StreamReader, terminal: int | None) -> None:
        self._process = process
        self._output = output
        self._terminal = terminal

    async def read_output(self) -> bytes:
        try:
            return await self._output.read(_CHUNK)
        except OSError:  # EIO: the last process of the terminal has ended
            return b""

    async def read_errors(self) -> bytes:
        return b"" if self._process.stderr is None else await self._process.stderr.read(_CHUNK)

    async def write_input(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the command has ended, or has closed its input
            if self._terminal is not None:
                os.write(self._terminal, data)
            elif self._process.stdin is not None:
                self._process.stdin.write(data)
                await self._process.stdin.drain()

    def end_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal is not None:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def wait(self) -> int:
        return await self._process.wait()

    async def kill(self) -> None:
        """Kill the command and everything that it has started, and close its terminal."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)  # see sandbox.py
            await self._process.wait()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
