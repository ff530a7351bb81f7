"""A node's own mount and PID namespace (namespaces(7)): all processes and mounts there end with its first process.

Programs of a node write to places that cannot be chosen (/run/containerd, /var/lib/kubelet): each node has its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import processes

# The first process of a PID namespace inherits every orphan (the shims of containerd), and must reap them: a shell
# that waits does.  Later mounts of the machine come in (slave), none goes out; within, containers may share them.
_FIRST = """
mount --make-rslave / && mount --make-rshared /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
while [ "$#" -gt 0 ]; do
    mount --bind "$1" "$2"
    shift 2
done
: > "$READY"
while :; do
    sleep 2147483647 &
    wait $!
done
"""


@dataclass(frozen=True)
class Namespaces:
    """Of a node.  `first` is the PID, as this machine counts, of the process whose end is the end of all others."""

    state: Path
    name: str
    first: int

    @classmethod
    def make(cls, state: Path, name: str, own: Mapping[Path, Path]) -> Namespaces:
        """`own`: which directory or file the node sees in a place of this machine instead of what is there."""
        for place, path in own.items():
            if not path.is_file():
                place.mkdir(parents=True, exist_ok=True)
                path.mkdir(parents=True, exist_ok=True)
        pairs = [str(path) for place, source in own.items() for path in (source, place)]
        ready = state / f"{name}.ready"
        ready.unlink(missing_ok=True)
        program = f"{name}-namespaces"
        process = processes.start(
            state,
            program,
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-ec", _FIRST, "sh", *pairs],
            environment={"READY": str(ready)},
        )
        processes.ready(state, program, process, ready.exists)
        ready.unlink()
        return cls(state, name, _child(process.pid))

    def command(self, *words: str | Path) -> list[str | Path]:
        """Return a command that runs `words` in these namespaces, without a shell."""
        return ["nsenter", f"--target={self.first}", "--mount", "--pid", "--", *words]

    def start(
        self, program: str, words: Sequence[str | Path], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        return processes.start(self.state, program, self.command(*words), environment=environment)


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])
