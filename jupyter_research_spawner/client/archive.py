"""Packs `research_jobs` into the one file mounted as /usr/local/bin/job.  Contract: a zip with a shebang (PEP 441)."""

import io
import zipfile
from pathlib import Path

from jupyter_research_spawner.client import research_jobs

SHEBANG = b"#!/usr/bin/env python3\n"
# Read by whichever python3 the image has, so only what they all understand.
MAIN = """\
import sys

if sys.version_info < (3, 8):
    sys.exit("job: this image's python3 is %d.%d, and job needs 3.8 or newer." % sys.version_info[:2])
try:
    from research_jobs.command import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)  # as a shell says it: 128 + SIGINT
"""
BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier date


def build() -> bytes:
    """The file, for any python3 from 3.8 on.  The same source gives the same bytes: a ConfigMap is named by it."""
    package = Path(research_jobs.__file__).parent
    sources = {f"{package.name}/{path.name}": path.read_bytes() for path in sorted(package.glob("*.py"))}
    content = io.BytesIO()
    content.write(SHEBANG)
    # Stored, not deflated: how well zlib packs differs between its versions, and then so would the hash.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, source in {"__main__.py": MAIN.encode(), **sources}.items():
            entry = zipfile.ZipInfo(name, BEGINNING_OF_TIME)
            entry.create_system = 3  # Unix
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, source)
    return content.getvalue()
