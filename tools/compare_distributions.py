"""Compare the files in a wheel and in an sdist with the package's files in git: FOLDER has both distributions."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = "jupyter_research_spawner"


def main(folder: Path) -> int:
    """Print each file that a distribution lacks or should not have.  Returns the exit code."""
    tracked = set(subprocess.check_output(["git", "ls-files", PACKAGE], text=True).splitlines())
    [wheel] = folder.glob("*.whl")
    [sdist] = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    in_sdist = {name for name in names if name.startswith(f"{PACKAGE}/")}
    found = [
        f"{distribution.name} {what} {name}"
        for distribution, files in ((wheel, in_wheel), (sdist, in_sdist))
        for what, differing in (("lacks", tracked - files), ("should not have", files - tracked))
        for name in sorted(differing)
    ]
    print("\n".join(found) or f"{wheel.name} and {sdist.name} have the {len(tracked)} files of {PACKAGE}.")
    if found:
        print("See [options.package_data] in setup.cfg.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
