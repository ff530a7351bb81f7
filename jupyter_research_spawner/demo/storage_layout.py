"""Fills the shared storage with people's homes and the group's directories.

Imported where this process sees the storage; elsewhere its text runs as root in a pod on the node that has it, so it
needs nothing but Python 3.8.  What is there already is an error: it would be somebody else's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def lay_out(root: str | Path, entries: list[dict[str, Any]]) -> None:
    """`entries`: path below `root`, mode, perhaps uid and gid, and for a file its text; parents come first."""
    for entry in entries:
        path = Path(root) / entry["path"]
        if "text" in entry:
            path.write_text(entry["text"])
        else:
            path.mkdir()
        if "uid" in entry:
            os.chown(path, entry["uid"], entry["gid"])
        # After chown(2), which clears the set-group-ID bit.
        path.chmod(entry["mode"])


if __name__ == "__main__":
    lay_out(os.environ["ROOT"], json.loads(os.environ["ENTRIES"]))
