"""The groups of cluster tests: which run one after the other in one process, in which order, with which cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import groups
import pytest

MODULES = {path.stem for path in (Path(__file__).parent / "cluster").glob("test_*.py")}


def item(module: str, **params: Any) -> Any:
    found = SimpleNamespace(path=Path(f"tests/cluster/{module}.py"))
    if params:
        found.callspec = SimpleNamespace(params=params)
    return found


def test_a_schedulers_modules_are_one_group_and_every_other_module_is_its_own() -> None:
    assert {groups.of(item(module)) for module in ("test_volcano", "test_vgpu")} == {"volcano"}
    assert groups.of(item("test_plain")) == "plain"
    assert groups.of(item("test_plain", profile="small")) == "plain"


@pytest.mark.parametrize("kind", ["kueue", "kai"])
def test_objects_of_other_kinds_are_a_group_for_each_scheduler(kind: str) -> None:
    assert groups.of(item("test_queued_kinds", queued=SimpleNamespace(kind=kind))) == f"queued_kinds-{kind}"


def test_a_cluster_with_a_scheduler_is_not_shared_with_other_groups() -> None:
    for module in MODULES:
        own = groups.cluster_of(module)
        assert own == groups.SHARED_CLUSTER or own == groups.of(item(module))


def test_the_longest_come_first() -> None:
    ordered = sorted(map(item, sorted(MODULES)), key=groups.order)
    assert [groups.of(found) for found in ordered if groups.of(found) != "volcano"][:2] == ["kai", "yunikorn"]
    assert groups.of(ordered[0]) == "volcano"


def test_the_names_are_those_of_modules() -> None:
    assert set(groups.OWN_CLUSTER) <= MODULES
    assert set(groups.LONGEST_FIRST) <= {groups.of(item(module)) for module in MODULES}
