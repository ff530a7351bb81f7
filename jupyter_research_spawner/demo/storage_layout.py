"""Create the homes and the group directories on the shared storage.

The demo imports this module for the embedded cluster.  On an external cluster a pod runs its source as root, so it
must need only Python 3.8.  An entry that exists already is an error, because it could belong to someone else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def lay_out(root: str | Path, entries: list[dict[str, Any]]) -> None:
    """Create the entries below `root`.  A directory must come before the entries in it.

    Each entry has a path and a mode, and can have uid and gid.  An entry with a text is a file, else a directory.
    """
    for entry in entries:
        path = Path(root) / entry["path"]
        if "text" in entry:
            path.write_text(entry["text"])
        else:
            path.mkdir()
        if "uid" in entry:
            os.chown(path, entry["uid"], entry["gid"])
        # chmod comes after chown, which clears the set-group-ID bit.
        path.chmod(entry["mode"])


if __name__ == "__main__":
    lay_out(os.environ["ROOT"], json.loads(os.environ["ENTRIES"]))
