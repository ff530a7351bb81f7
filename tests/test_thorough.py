"""Which cluster tests a run leaves out: decided by thorough.yaml and by digests of the tests' inputs."""

from __future__ import annotations

import copy
import shutil
from datetime import date
from pathlib import Path

import pytest
import thorough
from rig.programs import table
from thorough import Decision, decide

CURRENT = {"tests": "a1", "rig": "b2"}
RECORDED = {"date": "2026-01-02", "digests": CURRENT}


def test_the_tests_are_left_out_only_while_all_digests_are_those_of_the_last_thorough_run() -> None:
    assert decide(RECORDED, CURRENT, thorough=False) == Decision(
        False, "Their inputs are those of the thorough run of 2026-01-02, in which they passed."
    )
    assert decide(RECORDED, {**CURRENT, "rig": "c3", "tests": "d4"}, thorough=False) == Decision(
        True, "Changed since the thorough run of 2026-01-02: rig, tests."
    )


@pytest.mark.parametrize(
    ("recorded", "current"),
    [(RECORDED, {**CURRENT, "new part": "e5"}), ({**RECORDED, "digests": {**CURRENT, "old part": "e5"}}, CURRENT)],
)
def test_a_part_that_is_new_or_gone_counts_as_changed(recorded: dict[str, object], current: dict[str, str]) -> None:
    assert decide(recorded, current, thorough=False).runs


@pytest.mark.parametrize("recorded", [None, {}, {"date": "2026-01-02"}, {"digests": None}, {"digests": {}}])
def test_without_a_record_they_run(recorded: dict[str, object] | None) -> None:
    assert decide(recorded, CURRENT, thorough=False).runs


def test_a_thorough_run_has_all_of_them() -> None:
    assert decide(RECORDED, CURRENT, thorough=True) == Decision(True, "THOROUGH is set.")
    assert [value for value in ("", "0", "1", "yes") if thorough.is_thorough({"THOROUGH": value})] == ["1", "yes"]
    assert not thorough.is_thorough({})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    record = tmp_path / "thorough.yaml"
    assert thorough.read(record) is None
    thorough.write(CURRENT, date(2026, 1, 2), record)
    assert thorough.read(record) == RECORDED
    for damaged in ("]", "- a list", ""):
        record.write_text(damaged)
        assert thorough.read(record) is None


def test_the_committed_record_is_valid() -> None:
    assert not thorough.RECORD.exists() or thorough.digests().keys() == (thorough.read() or {})["digests"].keys()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tests/cluster"], [*thorough.TESTS]),
        (["tests"], [*thorough.TESTS]),
        (["tests/cluster/test_kueue.py"], []),
        (["tests/cluster/test_mpi.py", "tests/cluster/test_ray.py::test_its_pods_are_hers"], []),
        (["tests/cluster", "tests/cluster/test_mpi.py"], [name for name in thorough.TESTS if name != "test_mpi.py"]),
    ],
)
def test_a_module_that_is_named_runs_in_any_case(arguments: list[str], expected: list[str]) -> None:
    root = thorough.HERE.parents[1]
    assert thorough.left_out(arguments, root, lambda: Decision(False, "unchanged")) == expected
    assert thorough.left_out(arguments, root, lambda: Decision(True, "changed")) == []


def test_programs_that_only_tests_need_that_are_left_out_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    root = thorough.HERE.parents[1]
    monkeypatch.setattr(thorough, "decision", lambda: Decision(False, "unchanged"))
    assert {*table()} - {*thorough.programs(["tests/cluster"], root)} == {*thorough.PROGRAMS}
    assert thorough.programs(["tests/cluster/test_mpi.py"], root) == [*table()]
    monkeypatch.setattr(thorough, "decision", lambda: Decision(True, "changed"))
    assert thorough.programs(["tests/cluster"], root) == [*table()]


def edited(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n# edited\n")


def test_each_input_is_in_the_digest_of_its_part(tmp_path: Path) -> None:
    copy = tmp_path / "cluster"
    shutil.copytree(thorough.HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = thorough.digests(copy)
    assert before == thorough.digests()
    for name, part in (
        *((name, "tests") for name in thorough.TESTS),
        ("queueing.py", "tests"),
        ("kinds/ray.py", "tests"),
        ("rig/node.py", "rig"),
        ("rig/controllers/jobset.py", "rig"),
        ("programs/programs.yaml", "programs"),
        ("programs/trainer/go.mod", "programs"),
    ):
        edited(copy / name)
        after = thorough.digests(copy)
        assert {key for key in after if after[key] != before[key]} == {part}, name
        before = after
    for name in ("test_kueue.py", "alice.py", "README.md"):  # seen by tests of every run, or by none
        (copy / name).touch()
        edited(copy / name)
    assert thorough.digests(copy) == before


def test_every_kind_is_in_the_manifests_with_the_marks_of_every_scheduler() -> None:
    made = thorough.manifests()
    kinds = {found["kind"] for found in made}
    assert {"MPIJob", "JobSet", "TrainJob", "TrainingRuntime", "RayCluster", "Workflow"} <= kinds
    for marks in ("kueue.x-k8s.io/queue-name", "scheduling.volcano.sh/", "yunikorn.apache.org/", "kai.scheduler/queue"):
        assert len([found for found in made if marks in str(found)]) >= len(thorough.KINDS), marks


def test_a_changed_manifest_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = thorough.digests()
    made = copy.deepcopy(thorough.manifests())
    made[0]["metadata"]["labels"]["new"] = "label"
    monkeypatch.setattr(thorough, "manifests", lambda: made)
    after = thorough.digests()
    assert {key for key in after if after[key] != before[key]} == {"manifests"}


def test_the_tests_of_all_kinds_are_among_them() -> None:
    """A new module of tests that uses kinds/ or queued.py belongs to TESTS."""
    uses = {
        path.name
        for path in thorough.HERE.glob("test_*.py")
        if any(line.startswith(("from kinds", "import kinds", "from queued")) for line in path.read_text().splitlines())
    }
    assert uses == set(thorough.TESTS)
