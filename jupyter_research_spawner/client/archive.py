"""Packs `research_jobs` into the file mounted as /usr/local/bin/job, which is a zip with a shebang (PEP 441)."""

import io
import zipfile
from pathlib import Path

from jupyter_research_spawner.client import research_jobs

SHEBANG = b"#!/usr/bin/env python3\n"
# Every Python 3 must be able to parse this code, because it checks the version.
MAIN = """\
import sys

if sys.version_info < (3, 8):
    sys.exit("job: this image's python3 is %d.%d, and job needs 3.8 or newer." % sys.version_info[:2])
try:
    from research_jobs.command import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(130)  # the exit code that shells use: 128 + SIGINT
"""
BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip file


def build() -> bytes:
    """Return the content of the file, which runs with Python 3.8 or newer.

    The content is the same for each build of a version, because its hash is part of a ConfigMap's name.
    """
    package = Path(research_jobs.__file__).parent
    sources = {f"{package.name}/{path.name}": path.read_bytes() for path in sorted(package.glob("*.py"))}
    content = io.BytesIO()
    content.write(SHEBANG)
    # Not compressed, because versions of zlib compress differently, which would change the hash.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, source in {"__main__.py": MAIN.encode(), **sources}.items():
            entry = zipfile.ZipInfo(name, BEGINNING_OF_TIME)
            entry.create_system = 3  # Unix
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, source)
    return content.getvalue()
