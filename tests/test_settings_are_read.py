"""The package must read every setting: a setting that nothing reads makes a promise that nothing keeps."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, create_model

import jupyter_research_spawner
from jupyter_research_spawner.identity.sources import SOURCES
from jupyter_research_spawner.schedulers import SCHEDULERS
from jupyter_research_spawner.site import CourseClass, PodFields, Site
from jupyter_research_spawner.site.offer_settings import OWN_FIELDS

PACKAGE = Path(jupyter_research_spawner.__file__).parent

# Settings that nothing reads yet, and the planned feature that will read them.
NOT_YET_READ = {
    "namespaces.mode": "other modes than one shared namespace; one value for now",
}

# Names of variables that hold a model, besides the key of the setting and its singular.
VARIABLES = {
    "Allowed": {"allowed"},
    "Batch": {"batch_settings"},
    "Checks": {"settings"},
    "CourseClass": {"course"},
    "Hub": {"limits"},
    "IdRange": {"taken"},
    "IdentitySettings": {"settings"},
    "Person": {"person"},
    "PodFields": {"pod_fields", "fields"},
    "Priority": {"priority"},
    "SystemAccounts": {"system"},
    "_Queue": {"offer"},
    "Username": {"settings"},
}
# The modules of schedulers and sources, whose options only they read.
KIND_MODULES = {module.__name__ for registry in (SCHEDULERS, SOURCES) for module in registry.values()}
# `ordered` reads this attribute of all items of a map, in a function for any model that has it.
READ_OF_ANY_ITEM = {"order"}
# PodFields.spec() copies all other fields into the pod.
READ_BY_NAME = {"env", "labels", "annotations"}


def models(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield each settings model in an annotation, with `.*` for the key of a map or the index of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
    elif get_origin(annotation) is Annotated:
        yield from models(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from models(option)
    elif get_origin(annotation) in (dict, list, tuple):
        for rest, model in models(get_args(annotation)[-1]):
            yield ".*" + rest, model


def leaves(model: type[BaseModel], path: str = "", key: str = "site") -> Iterator[tuple[str, str, set[str]]]:
    """Yield path, attribute and possible receivers of each setting that is not a model itself.

    A receiver is the name before the dot in an expression that reads the attribute: `profile` in `profile.wall_time`.
    """
    classes = [base.__name__ for base in model.__mro__]
    receivers = {key, key.removesuffix("s"), *(f"self in {name}" for name in classes)}
    receivers = receivers.union(*(VARIABLES.get(name, ()) for name in classes))
    if model.__module__ in KIND_MODULES:
        receivers |= {f"{name} in {model.__module__}" for name in holders(model)}
    for name, field in model.model_fields.items():
        if issubclass(model, PodFields) and name not in READ_BY_NAME:
            continue
        if issubclass(model, CourseClass) and name in OWN_FIELDS:  # own_profile() copies them into a Profile
            continue
        where = f"{path}{field.alias or name}"
        below = list(models(field.annotation))
        for rest, inner in below:
            yield from leaves(inner, f"{where}{rest}.", name)
        if not below:
            yield where, name, receivers


class Reads(ast.NodeVisitor):
    """Collects the attributes that a module reads, each with its receivers.

    Validators are left out: a setting that is only validated still does nothing.
    """

    def __init__(self) -> None:
        self.found: dict[str, set[str]] = defaultdict(set)
        self._module = self._class = ""

    def read(self, path: Path) -> None:
        """Collect the attributes that this file reads."""
        self._module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        self.visit(ast.parse(path.read_text()))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._class = self._class, node.name
        self.generic_visit(node)
        self._class = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if not any("validator" in ast.dump(decorator) for decorator in node.decorator_list):
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            receiver = receiver_of(node.value)
            self.found[node.attr].add(f"self in {self._class}" if receiver == "self" else receiver)
            self.found[node.attr].add(f"{receiver} in {self._module}")
        self.generic_visit(node)


def receiver_of(node: ast.expr) -> str:
    """Return the name of the variable, attribute or function whose value this is, without leading underscores."""
    while isinstance(node, (ast.Subscript, ast.Call)):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    if isinstance(node, ast.Attribute):
        return node.attr.lstrip("_")
    return node.id.lstrip("_") if isinstance(node, ast.Name) else ""


def holders(model: type[BaseModel]) -> set[str]:
    """Return the names in the module of the model that hold one: annotated, checked by isinstance, or assigned."""
    tree = ast.parse(Path(inspect.getfile(model)).read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=ast.Name(id=model.__name__)):
                found.add(name.lstrip("_"))
            case ast.AnnAssign(target=target, annotation=ast.Name(id=model.__name__)):
                found.add(receiver_of(target))
            case ast.FunctionDef(name=name, returns=ast.Name(id=model.__name__)):
                found.add(name.lstrip("_"))
            case ast.Call(func=ast.Name(id="isinstance"), args=[checked, ast.Name(id=model.__name__)]):
                found.add(receiver_of(checked))
    for _ in range(2):  # self._options = options; mine = self._options
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and receiver_of(node.value) in found:
                found |= {receiver_of(target) for target in node.targets}
    return found


def expression(receiver: str, attribute: str) -> str:
    """Return the expression that reads an attribute, for messages."""
    name, _, module = receiver.partition(" in ")
    return f"{name}.{attribute} in {module}" if module else f"{name}.{attribute}"


def unread(model: type[BaseModel]) -> dict[str, list[str]]:
    """Return the paths of the settings that nothing in the package reads, each with the expressions that would."""
    reads = Reads()
    for path in PACKAGE.rglob("*.py"):
        reads.read(path)
    return {
        path: sorted(expression(receiver, attribute) for receiver in receivers if not receiver.startswith("self in "))
        for path, attribute, receivers in leaves(model)
        if attribute not in READ_OF_ANY_ITEM and not reads.found[attribute] & receivers
    }


def test_every_setting_is_read_or_waits_for_a_named_feature() -> None:
    found = unread(Site)
    missing = {path: expressions for path, expressions in found.items() if path not in NOT_YET_READ}
    assert missing == {}, (
        "No module has one of the expressions listed for these settings. Read the setting with a variable or an "
        "attribute of that name (`_options.url` counts as `options.url`), or annotate the variable with the model, or "
        "remove the setting."
    )
    assert set(NOT_YET_READ) - set(found) == set(), "these are read or gone: remove them from NOT_YET_READ"


@pytest.mark.parametrize("name", ["no_such_setting", "title", "name"])
def test_an_added_setting_that_nothing_reads_is_found(name: str) -> None:
    """`title` and `name` are attributes of other models, whose reads must not count for this one."""
    added: Any = {name: (str, Field(""))}
    found = unread(create_model("SiteWithMore", __base__=Site, **added))
    assert set(found) == {*NOT_YET_READ, name}
    assert found[name] == [f"site.{name}"]
