"""The groups of cluster tests: which run one after the other in one process, in which order, with which cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import groups
import pytest

MODULES = {path.stem for path in (Path(__file__).parent / "cluster").glob("test_*.py")}


def a_test(module: str, parameters: str = "") -> str:
    return f"tests/cluster/{module}.py::test_something{parameters and f'[{parameters}]'}"


def test_a_schedulers_modules_are_one_group_and_every_other_module_is_its_own() -> None:
    assert {groups.of(a_test(module)) for module in ("test_volcano", "test_vgpu")} == {"volcano"}
    assert groups.of(a_test("test_plain")) == "plain"
    assert groups.of(a_test("test_plain", "small-1")) == "plain"


@pytest.mark.parametrize("kind", ["kueue", "kai"])
def test_objects_of_other_kinds_are_a_group_for_each_scheduler(kind: str) -> None:
    assert groups.of(a_test("test_queued_kinds", f"{kind}-MPIJob")) == f"queued_kinds-{kind}"


def test_a_cluster_with_a_scheduler_is_not_shared_with_other_groups() -> None:
    for module in MODULES:
        own = groups.cluster_of(module)
        assert own == groups.SHARED_CLUSTER or own == groups.of(a_test(module))


def test_the_longest_come_first() -> None:
    ordered = sorted(map(a_test, sorted(MODULES)), key=groups.order)
    assert [groups.of(found) for found in ordered if groups.of(found) != "volcano"][:2] == ["kai", "yunikorn"]
    assert groups.of(ordered[0]) == "volcano"


def test_the_names_are_those_of_modules() -> None:
    assert set(groups.OWN_CLUSTER) <= MODULES
    assert set(groups.LONGEST_FIRST) <= {groups.of(a_test(module)) for module in MODULES}


def test_pytest_xdist_runs_a_group_in_one_process(tmp_path: Path) -> None:
    """The marks `xdist_group` stopped working with a new pytest, and nothing said so but the minutes."""
    for module in ("test_kai", "test_kueue", "test_plain"):
        body = "import os, pathlib, pytest, time\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n):\n"
        body += "    time.sleep(0.05)\n    worker = os.environ['PYTEST_XDIST_WORKER']\n"
        body += "    (pathlib.Path(__file__).parent / f'{pathlib.Path(__file__).stem}-{worker}').touch()\n"
        (tmp_path / f"{module}.py").write_text(body)
    (tmp_path / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(groups.__file__).parent)!r})\n"
        "from groups import make_scheduler as pytest_xdist_make_scheduler\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", "."]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout
    assert len([*tmp_path.glob("test_*-gw*")]) == 3, "some group ran in both processes"
