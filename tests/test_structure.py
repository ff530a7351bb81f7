"""The package's modules have distinct names and import each other without cycles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import grimp
import pytest

import jupyter_research_spawner
from jupyter_research_spawner import identity, jobs, schedulers
from jupyter_research_spawner.identity.sources import SOURCES

PACKAGE = jupyter_research_spawner.__name__
SPECIAL = {"__init__", "__main__"}


def test_no_two_modules_have_the_same_base_name() -> None:
    """An import, a traceback and a search for a module name must lead to one file."""
    paths: dict[str, list[str]] = defaultdict(list)
    root = Path(jupyter_research_spawner.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.stem not in SPECIAL:
            paths[path.stem].append(str(path.relative_to(root)))
    assert {name: found for name, found in paths.items() if len(found) > 1} == {}


def test_no_import_cycle_between_modules() -> None:
    """Imports inside functions and below TYPE_CHECKING count too."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError("import cycle: " + " -> ".join(reversed(error.args[1]))) from None


@pytest.mark.parametrize(
    ("package", "registered"),
    [(identity, SOURCES.values()), (schedulers, schedulers.SCHEDULERS.values()), (jobs, jobs.KINDS.values())],
    ids=["identity", "schedulers", "jobs"],
)
def test_every_module_that_defines_a_kind_is_in_the_registry_of_its_package(
    package: ModuleType, registered: Iterable[object]
) -> None:
    found = [import_module(f"{package.__name__}.{module.name}") for module in iter_modules(package.__path__)]
    kinds = {module.__name__ for module in found if hasattr(module, "KIND")}
    names = {getattr(module, "__name__", "") for module in registered}
    assert kinds - names == set(), "import these modules in the registry and add them to its list _MODULES"
    assert names - kinds == set()
