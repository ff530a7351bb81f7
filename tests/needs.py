"""What some tests need from the machine.  Missing: skipped with the reason (conftest makes that a failure in CI)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def need(command: str, package: str) -> str:
    """The path of a command."""
    found = shutil.which(command)
    return found if found else _missing(f"this test needs {command}: apt-get install {package}")


def need_library(name: str, package: str) -> Path:
    """The path of a shared library."""
    for directory in ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib"):
        for found in (*Path(directory).glob(name), *Path(directory).glob(f"*/{name}")):
            return found
    return _missing(f"this test needs {name}: apt-get install {package}")


def _missing(reason: str) -> NoReturn:
    pytest.skip(reason)
