"""Writes the main module of a program from its row in programs.yaml: `python -m rig.pin NAME ...` after editing it.

`go install PACKAGE@VERSION` refuses a module with `replace` lines, and those count only in the main module
(go.dev/ref/mod, seen with Go 1.26): so each program gets a main module of its own with a copy of them.  Its go.sum
begins with the module's own: the checksum database has not every module that a program was released with.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .programs import Program, go_environment, table

# The version that a module's go.mod gives to what it replaces by a directory.
NEVER_PUBLISHED = "v0.0.0"


def pin(program: Program) -> None:
    """Write go.mod and go.sum of `program`.  Raises CalledProcessError where the Go command fails."""
    downloaded = json.loads(_go("mod", "download", "-json", f"{program.module}@{program.version}"))
    theirs = json.loads(_go("mod", "edit", "-json", downloaded["GoMod"]))
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "go.mod").write_text("\n".join(_lines(program, theirs)) + "\n")
        shutil.copyfile(Path(downloaded["Dir"]) / "go.sum", Path(directory) / "go.sum")
        # With the version, or go takes the newest.
        tools = [f"{package}@{program.version}" for package in program.packages.values()]
        _go("get", "-tool", *tools, cwd=Path(directory))
        program.directory.mkdir(exist_ok=True)
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(Path(directory) / name, program.directory / name)


def _lines(program: Program, theirs: dict[str, Any]) -> list[str]:
    return [
        f"module cluster/{program.name}",
        f"go {theirs['Go']}",
        f"require {program.module} {program.version}",
        *_block("exclude", [f"{excluded['Path']} {excluded['Version']}" for excluded in theirs["Exclude"] or ()]),
        *_block("replace", _replaced(program, theirs)),
    ]


def _replaced(program: Program, theirs: dict[str, Any]) -> Iterator[str]:
    required = {required["Path"]: required["Version"] for required in theirs["Require"]}
    for replaced in theirs["Replace"] or ():
        old, new = replaced["Old"]["Path"], replaced["New"]
        if "Version" in new:
            yield f"{old} => {new['Path']} {new['Version']}"
        elif program.staging and required.get(old, NEVER_PUBLISHED) == NEVER_PUBLISHED:
            yield f"{old} => {old} {program.staging}"


def _block(word: str, lines: Iterable[str]) -> list[str]:
    inside = [f"\t{line}" for line in lines]
    return [f"{word} (", *inside, ")"] if inside else []


def _go(*arguments: str, cwd: Path = Path("/")) -> str:
    return subprocess.run(
        ["go", *arguments], cwd=cwd, env=go_environment(), stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    programs = table()
    for name in sys.argv[1:] or programs:
        print(f"{name} {programs[name].version}")
        pin(programs[name])
