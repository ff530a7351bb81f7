"""The package's modules have distinct names and import each other without cycles."""

from __future__ import annotations

import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import get_args

import grimp
from samples import placement

import jupyter_research_spawner
from jupyter_research_spawner import schedulers
from jupyter_research_spawner.resources.gpu import KINDS as GPU_MODELS

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


# Files outside schedulers/ that contain names of schedulers, and why.
KNOW_SCHEDULERS = {
    "resources/gpu.py": "some kinds of GPU exist only with one scheduler, and are described as it reads them",
    "locale/jupyter_research_spawner.pot": "the catalogue has the texts of the scheduler modules too",
    "site/site_settings.py": "the example of scheduler.kind",
}


def scheduler_names() -> set[str]:
    """Return the names of the schedulers, except `plain`, and the API groups and prefixes of keys that they own."""
    found: set[str] = set()
    for kind, module in schedulers.SCHEDULERS.items():
        # "plain" is also an English word, and it has no objects and no keys of its own.
        found |= {kind, kind.replace("-", "_")} - {"plain"}
        found |= {key.rstrip("/") for key in module.RESERVED if "/" in key}
        found |= {watched.group for watched in (*module.watched, *module.queue_kinds)}
        found |= {one.group for one in module.prerequisites(placement(kind)) if "." in one.group}
    return found - {"scheduling.k8s.io"}


def test_only_scheduler_modules_contain_names_of_schedulers() -> None:
    """Other code asks the registry: one that tests for a scheduler would have to change for each new one."""
    names = "|".join(map(re.escape, sorted(scheduler_names())))
    word = re.compile(rf"(?<![a-z0-9])({names})(?![a-z0-9])", re.IGNORECASE)
    gpu_kinds = re.compile("|".join(get_args(model.model_fields["kind"].annotation)[0] for model in GPU_MODELS))
    root = Path(jupyter_research_spawner.__file__).parent
    files = [path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    found = {
        place: sorted({name.lower() for name in names})
        for path in files
        if not (place := str(path.relative_to(root))).startswith("schedulers/")
        and (names := word.findall(gpu_kinds.sub("", path.read_bytes().decode(errors="replace"))))
    }
    unknown = {place: names for place, names in found.items() if place not in KNOW_SCHEDULERS}
    assert unknown == {}, "ask the registry of schedulers instead, or add the file with a reason to KNOW_SCHEDULERS"
    assert set(KNOW_SCHEDULERS) - set(found) == set(), "these name no scheduler any more: remove them from the list"
