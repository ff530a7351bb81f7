"""Writes the wrapper module of a program after its row in programs.yaml was changed: `python -m rig.pin NAME`.

`go install PACKAGE@VERSION` refuses modules with a `replace` block, which only counts in the main module: so each program
gets a main module of its own, with a copy of that block (go.dev/ref/mod, seen with Go 1.26).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parents[1] / "programs"
