"""Lock the directory of a running hub and cluster, and remove such directories whose owner was killed.

The owner holds a lock of flock(2) on a file in the directory.  The kernel releases it when the owner ends, also after
SIGKILL, so that no process ID is compared, which another process could have by then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = "lock"


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Lock the directory.  Raises BlockingIOError if another process has locked it."""
    with (state / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def temporary_state(prefix: str) -> Iterator[Path]:
    """Create a locked directory that only this user can read (mode 0700), and remove it at the end."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with (directory / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # From now on the directory counts as abandoned when the lock is free.
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def remove_abandoned(prefix: str, end_processes: Callable[[Path], None]) -> list[Path]:
    """Remove the directories of `temporary_state` whose owners were killed, and return their paths.

    end_processes: ends the processes that the owner of a directory has left.
    Files and directories of other users, and those that other users can write, stay as they are.
    """
    removed = []
    for directory in sorted(Path(tempfile.gettempdir()).glob(f"{prefix}*")):
        with contextlib.suppress(OSError):  # another user's, or in use, or just removed by its owner
            if _remove_if_abandoned(directory, end_processes):
                removed.append(directory)
    return removed


def _remove_if_abandoned(directory: Path, end_processes: Callable[[Path], None]) -> bool:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        return False
    with (directory / LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not lock.read():  # its owner is about to lock it
            return False
        end_processes(directory)
        shutil.rmtree(directory)
    return True
