"""A command that `kubectl exec` runs in a container.  The API server gets the running command from the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from .object_fields import Json


@dataclass(frozen=True)
class CommandRequest:
    """The words of the command, and whether it has an input and a terminal."""

    argv: list[str]
    has_input: bool
    is_terminal: bool


class RunningCommand(Protocol):
    """A running command.  `read_output` and `read_errors` return b"" at the end."""

    async def read_output(self) -> bytes: ...

    async def read_errors(self) -> bytes: ...

    async def write_input(self, data: bytes) -> None: ...

    def end_input(self) -> None: ...

    def resize(self, rows: int, columns: int) -> None: ...

    async def wait(self) -> int: ...

    async def kill(self) -> None: ...


# Called with (pod, container, request).  Returns None if the container does not run.
CommandSource = Callable[[Json, str, CommandRequest], Awaitable["RunningCommand | None"]]
