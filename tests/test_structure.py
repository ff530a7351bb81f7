"""The package's modules have distinct names and import each other without cycles."""

from __future__ import annotations

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

import jupyter_research_spawner

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
