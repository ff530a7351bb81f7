"""Where the clusters of a run keep their state: a directory of this checkout, so that the next run finds what one left.

A run may be killed at any time, and then its clusters run on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

from .cluster import sweep


class InUse(RuntimeError):
    """Another run uses the directory. The message says which, and what to do."""


def directory(purpose: str) -> Path:
    """Return the state directory of this checkout for that purpose, below the directory for temporary files."""
    checkout = hashlib.sha256(str(Path(__file__).parent).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"rig-{purpose}-{checkout}"


def claim(purpose: str) -> TextIO:
    """Lock that directory while the returned file is open, and remove what a killed run left in it, with its logs.

    Raises InUse.
    """
    state = directory(purpose)
    state.mkdir(mode=0o700, exist_ok=True)
    if state.is_symlink() or state.stat().st_uid != os.geteuid():
        raise InUse(f"{state} is somebody else's, and clusters of yours would be in it: remove it.")
    lock = (state / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InUse(f"Another run has its clusters in {state}: wait for it, or end it.") from None
    for left in state.glob("[!.]*"):
        sweep(left)
        shutil.rmtree(left)
    return lock
