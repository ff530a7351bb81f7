"""Decide whether a run includes the tests of kinds that the product does not offer yet, and record that they passed.

These tests show how other projects' operators treat our pods. Their result can change only when their inputs change, so
a run leaves them out while the digests of the inputs are those of the last thorough run, in thorough.yaml.

`python -m thorough PATH...` prints the programs that `pytest PATH...` needs.
`python -m thorough --minutes` prints how long the tests in this directory can take on a slow machine.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import ground
import kinds
import yaml
from hub import Json
from kinds import argo, jobset, mpi, ray, trainer
from queueing import SCHEDULERS
from rig.programs import table

HERE = Path(__file__).parent
RECORD = HERE / "thorough.yaml"
VARIABLE = "THOROUGH"
TESTS = ("test_argo.py", "test_jobset.py", "test_mpi.py", "test_queued_kinds.py", "test_ray.py", "test_trainer.py")
# Programs of programs.yaml that only they need.
PROGRAMS = ("mpi-operator", "jobset", "trainer", "argo", "kuberay")
KINDS = (mpi.KIND, jobset.KIND, trainer.KIND, ray.KIND, argo.KIND)
# Each scheduler, and how many pods its marks say start together.
MARKED = {("plain", 1), *((name, 1) for name in kinds.MARKING), *((found.kind, found.gang) for found in SCHEDULERS)}

# Of all tests in this directory, and without TESTS. They take 42 and 14 minutes on two cores.
MINUTES_OF_ALL, MINUTES_WITHOUT_TESTS = 50, 25

# An annotation that changes with each new setting of a site, and that no operator reads.
_SITE = re.compile(r'"research-spawner/site": "[0-9a-f]+"')

HEAD = """\
# The last thorough run of the cluster tests that passed, which wrote this file (`make test-cluster THOROUGH=1`).
# A run leaves out the tests of kinds that the product does not offer yet while these digests of their inputs are right.
"""


@dataclass(frozen=True)
class Decision:
    """Whether the tests run, and a sentence that says why."""

    runs: bool
    reason: str


def is_thorough(environment: Mapping[str, str] = os.environ) -> bool:
    return environment.get(VARIABLE, "") not in ("", "0")


def decide(recorded: Json | None, current: Mapping[str, str], *, thorough: bool) -> Decision:
    """Decide by what thorough.yaml has (None: nothing) and the current digests. Any doubt means that the tests run."""
    if thorough:
        return Decision(True, f"{VARIABLE} is set.")
    if not recorded or not isinstance(recorded.get("digests"), dict):
        return Decision(True, f"{RECORD.name} has no record of a thorough run.")
    before = recorded["digests"]
    changed = sorted(part for part in {*before, *current} if before.get(part) != current.get(part))
    if changed:
        return Decision(True, f"Changed since the thorough run of {recorded.get('date')}: {', '.join(changed)}.")
    return Decision(
        False, f"Their inputs are those of the thorough run of {recorded.get('date')}, in which they passed."
    )


def left_out(arguments: Iterable[str], directory: Path, decided: Callable[[], Decision]) -> list[str]:
    """Return the modules of TESTS that a run of pytest with these arguments, in this directory, leaves out.

    A module that is named in the arguments runs in any case. decided: is called only where it makes a difference.
    """
    asked = [(directory / argument.split("::")[0]).resolve() for argument in arguments]
    paths = [HERE / name for name in TESTS if HERE / name not in asked]
    among = [path.name for path in paths if any(found in path.parents for found in asked)]
    return [] if not among or decided().runs else among


def decision() -> Decision:
    """Decide for this run. Raises nothing: where the record cannot be used, the tests run."""
    if is_thorough():  # the digests take a second
        return decide(None, {}, thorough=True)
    return decide(read(), digests(), thorough=False)


def programs(arguments: Sequence[str], directory: Path) -> list[str]:
    """Return the programs that such a run needs."""
    spared = PROGRAMS if left_out(arguments, directory, decision) == list(TESTS) else ()
    return [name for name in table() if name not in spared]


def read(path: Path = RECORD) -> Json | None:
    """Return what the file has, or None where there is no file or it is not a mapping."""
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None


def write(digests: Mapping[str, str], today: date, path: Path = RECORD) -> None:
    path.write_text(HEAD + yaml.safe_dump({"date": today.isoformat(), "digests": dict(digests)}, sort_keys=False))


def digests(here: Path = HERE) -> dict[str, str]:
    """Return a digest of each part of the inputs.

    tests: the test files and the modules that only they use.  rig: the cluster that they run on.  programs: versions of
    all programs.  manifests: the objects that the tests send, as the product's own code makes them.
    Modules that tests of every run use too (alice.py, ground.py) are not among them: those tests would fail.
    """
    tests = [*(here / name for name in TESTS), here / "queued.py", here / "queueing.py"]
    programs = here / "programs"
    return {
        "tests": of_files([*tests, *here.glob("kinds/*.py")], here),
        "rig": of_files(here.glob("rig/**/*.py"), here),
        "programs": of_files([programs / "programs.yaml", *programs.glob("*/go.*")], here),
        "manifests": hashlib.sha256(_SITE.sub("", json.dumps(manifests(), sort_keys=True)).encode()).hexdigest(),
    }


def of_files(paths: Iterable[Path], root: Path) -> str:
    """Return the SHA-256 digest of the names and the bytes of these files."""
    made_of = hashlib.sha256()
    for path in sorted(paths):
        content = path.read_bytes()
        made_of.update(f"{path.relative_to(root)} {len(content)}\n".encode())
        made_of.update(content)
    return made_of.hexdigest()


@functools.cache
def manifests() -> list[Json]:
    """Return an object of each kind with the marks of each scheduler, and what the tests create before it."""
    return [manifest for marked in sorted(MARKED) for kind in KINDS for manifest in _manifests(*marked, kind)]


def _manifests(scheduler: str, gang: int, kind: kinds.Kind) -> list[Json]:
    sent: list[Json] = []
    # No cluster: what would be sent is kept.
    api = SimpleNamespace(create=lambda obj, **query: sent.append(obj), apply=lambda *objects: sent.extend(objects))
    here = ground.Ground(cast(Any, SimpleNamespace(api=api)), "thorough", Path("/home"), Path("/climate"))
    composed = kind.weighed(kinds.Kinds(here, gang=gang).under(scheduler), "object", "20m", "165m")
    return [*sent, composed.manifest]


if __name__ == "__main__":
    if sys.argv[1:] == ["--minutes"]:
        print(MINUTES_OF_ALL if decision().runs else MINUTES_WITHOUT_TESTS)
    else:
        print(*programs(sys.argv[1:], Path.cwd()))
