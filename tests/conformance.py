"""What the conformance tests of the registries share: schedulers, identity sources and kinds of job."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from pydantic import BaseModel

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def members(protocol: type) -> list[str]:
    """Return the names of the members that a module with this protocol must have."""
    return sorted(name for name in vars(protocol) if not name.startswith("_"))


def check_module(module: Any, kind: str, protocol: type) -> None:
    """Fail if the module lacks a member, or if its file is not named after its kind."""
    missing = [name for name in members(protocol) if not hasattr(module, name)]
    assert missing == [], f"{module.__name__} lacks members of {protocol.__name__}"
    assert module.__name__.rpartition(".")[2] == kind.replace("-", "_"), f"name the file {kind.replace('-', '_')}.py"
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,30}", kind), "KIND: lower-case letters, digits and '-'"


def check_all_registered(package: ModuleType, registered: Iterable[Any]) -> None:
    """Fail if a module of the package defines a KIND and is not in the package's list _MODULES, or is there twice."""
    found = [import_module(f"{package.__name__}.{module.name}") for module in iter_modules(package.__path__)]
    names = [module.__name__ for module in registered]
    missing = {module.__name__ for module in found if hasattr(module, "KIND")} - set(names)
    assert missing == set(), f"add these modules to the list _MODULES of {package.__name__}"
    kinds = [module.KIND for module in registered]
    assert sorted(kinds) == sorted(set(kinds)), "two modules have the same KIND"


def check_guide_names(member: str, heading: str) -> None:
    """Fail if the guide with this heading in CONTRIBUTING.md does not name the member."""
    _, _, section = CONTRIBUTING.read_text().partition(f"\n## {heading}\n")
    assert re.search(rf"`{member}[`(]", section.partition("\n## ")[0]), f"describe {member} in the guide {heading!r}"


def check_described(model: type[BaseModel]) -> None:
    """Fail if a field has no text for the settings reference."""
    for name, field in model.model_fields.items():
        where = f"{model.__module__}.{model.__name__}.{name}"
        assert field.title, f"{where} needs a title"
        assert field.description or field.examples or name == "kind", f"{where} needs a description or examples"
