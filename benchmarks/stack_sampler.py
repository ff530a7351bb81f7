"""Sample the stack of the hub's main thread: `install` runs in the hub's process, `read` in the benchmark's."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

TOGGLE = signal.SIGUSR2
INTERVAL_SECONDS = 0.002
# The file and the function of each frame, outermost first.
Stack = tuple[tuple[str, str], ...]


def install(file: Path) -> None:
    """Begin to sample at the first signal TOGGLE, and write all samples to `file` at the second.

    The kernel sends SIGPROF after each interval of the process's CPU time (setitimer(2), ITIMER_PROF), so samples count
    CPU time and not waiting.
    """
    samples: Counter[Stack] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        samples[tuple(reversed(stack))] += 1

    def toggle(_: int, __: FrameType | None) -> None:
        if signal.setitimer(signal.ITIMER_PROF, 0)[1] == 0:
            signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
            return
        part = file.with_suffix(".part")
        part.write_text(json.dumps([[stack, count] for stack, count in samples.items()]))
        part.replace(file)

    signal.signal(signal.SIGPROF, sample)
    signal.signal(TOGGLE, toggle)


def read(file: Path) -> Counter[Stack]:
    """Return the number of samples of each stack."""
    return Counter({tuple(map(tuple, stack)): count for stack, count in json.loads(file.read_text())})
