"""Run the programs in a hub's values as the chart's hub does it: files of jupyterhub_config.d, and hub.extraConfig.

All programs share one namespace, and import the chart's module `z2jh` and the modules in hub.extraFiles.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.abc
import importlib.machinery
import importlib.util
import os
import posixpath
import re
import sys
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from traitlets.config import Config

from ..settings import SettingsError
from ..settings.problems import Problem
from .chart_names import object_name

# The directory of the hub's configuration, from which its programs can import modules.
_DIRECTORY = "/usr/local/etc/jupyterhub"
_CONFIG_FILES = f"{_DIRECTORY}/jupyterhub_config.d"
# Errors that say that a program needs what only the hub's pod has: a package, a file, a variable, a connection.
_NEEDS_POD = (ImportError, OSError, LookupError)


@dataclass(frozen=True)
class Failure:
    """Why a program has ended early.

    kind: `refused` by `configure`, `wrong`, so that it would end in the hub too, or `not here`, where something is
    missing that the hub's pod can have.
    """

    problems: tuple[Problem, ...]
    kind: Literal["refused", "wrong", "not here"]


def programs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key in the values, source) of each program, in the order in which the hub runs them."""
    hub = values.get("hub") or {}
    files = sorted(
        (path, f"hub.extraFiles.{key}", source)
        for key, path, source in _python_files(values)
        if posixpath.dirname(path) == _CONFIG_FILES
    )
    extra = _map(hub.get("extraConfig"))
    return [
        *((key, source) for _, key, source in files),
        *((f"hub.extraConfig.{key}", str(source)) for key, source in sorted(extra.items()) if source is not None),
    ]


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _python_files(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key, details in _map((values.get("hub") or {}).get("extraFiles")).items():
        path, source = str(_map(details).get("mountPath", "")), _map(details).get("stringData")
        if path.endswith(".py") and isinstance(source, str):
            yield key, path, source


def namespace(c: Config, module: types.ModuleType) -> dict[str, Any]:
    """Return the names that a program can use without an import: those of the chart's own configuration file."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {"c": c, "glob": glob, "os": os, "re": re, "sys": sys, "__name__": "jupyterhub_config", **public}


def run(key: str, source: str, names: dict[str, Any]) -> Failure | None:
    """Run one program, and return why it has failed.  What it prints goes to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(source, key, "exec"), names)  # noqa: S102 - the administrator's own program, as in the hub
    except SettingsError as error:
        return Failure(tuple(error.problems), "refused")
    except (Exception, SystemExit) as error:  # a program can raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == key]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else (lines or [None])[-1]
        where = f" in line {line}" if line else ""
        what = f"ends{where} with {type(error).__name__}: {error}"
        if isinstance(error, _NEEDS_POD):
            advice = "This was not in the hub's pod, so what the program does after this line was not checked"
            return Failure((Problem(key, f"{what}. {advice}"),), "not here")
        return Failure((Problem(key, f"{what}. The hub would not start"),), "wrong")
    return None


_NOT_GIVEN = object()


def secret_placeholder(key: str) -> str:
    """Return the text that stands for a value in the chart's Secret, which is only in the cluster."""
    return f"{key} of the chart's Secret"


def z2jh_module(values: Mapping[str, Any]) -> types.ModuleType:
    """Return a module with the functions of the chart's module `z2jh`, for these complete values.

    Written for the chart 4.4.  Secrets are placeholders, because they are in a Secret of the cluster.
    """
    module = types.ModuleType("z2jh", "The values of the chart, for the programs of the hub's configuration.")

    def get_config(key: str, default: Any = None) -> Any:
        found: Any = values
        for level in key.split("."):
            if not isinstance(found, dict) or level not in found:
                return default
            found = found[level]
        return found

    def get_name(name: str) -> str:
        return object_name(values, name)

    def get_name_env(name: str, suffix: str = "") -> str:
        return os.environ[f"{get_name(name)}{suffix}".upper().replace("-", "_")]

    def get_secret_value(key: str, default: Any = _NOT_GIVEN) -> Any:
        return secret_placeholder(key) if default is _NOT_GIVEN else default

    def set_config_if_not_none(section: Any, trait: str, key: str) -> None:
        if (value := get_config(key)) is not None:
            setattr(section, trait, value)

    for function in (get_config, get_name, get_name_env, get_secret_value, set_config_if_not_none):
        setattr(module, function.__name__, function)
    return module


def extra_files_secret() -> str | None:
    """Return the name of the Secret that the chart has made of singleuser.extraFiles; None if there is none.

    Only in a hub of the chart, whose configuration has imported the chart's module `z2jh`, or in `hub_pod`.
    """
    module = sys.modules.get("z2jh")
    try:
        return str(module.get_name("singleuser")) if module and module.get_config("singleuser.extraFiles") else None
    except Exception:  # another module of this name, or a file of the chart is missing: then nothing is known
        return None


@contextlib.contextmanager
def hub_pod(values: Mapping[str, Any]) -> Iterator[types.ModuleType]:
    """Let programs find what the hub's pod has: `z2jh`, modules in hub.extraFiles, and the variables of hub.extraEnv.

    Yields the module `z2jh`.  Variables with `valueFrom` stay unset.
    """
    module = z2jh_module(values)
    finder = _Files({posixpath.basename(path)[:-3]: source for path, source in _modules(values)})
    before, loaded, environment = sys.modules.get("z2jh"), set(sys.modules), dict(os.environ)
    variables = _variables(values)
    sys.modules["z2jh"] = module
    sys.meta_path.append(finder)
    try:
        os.environ.update(variables)
        yield module
    finally:
        sys.meta_path.remove(finder)
        for name in (set(sys.modules) - loaded) & set(finder.sources):
            del sys.modules[name]
        sys.modules.pop("z2jh")
        if before is not None:
            sys.modules["z2jh"] = before
        os.environ.clear()
        os.environ.update(environment)


def _modules(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for _, path, source in _python_files(values):
        if posixpath.dirname(path) == _DIRECTORY:
            yield path, source


def _variables(values: Mapping[str, Any]) -> dict[str, str]:
    release = values["Release"]
    found = {"POD_NAMESPACE": release["Namespace"], "HELM_RELEASE_NAME": release["Name"]}
    for name, port in (("hub", "8081"), ("proxy-api", "8001"), ("proxy-public", "80")):
        service = object_name(values, name).upper().replace("-", "_")
        found |= {f"{service}_SERVICE_HOST": "127.0.0.1", f"{service}_SERVICE_PORT": port}
    given = (values.get("hub") or {}).get("extraEnv") or {}
    if isinstance(given, list):
        given = {entry["name"]: entry for entry in given if isinstance(entry, dict) and "name" in entry}
    for name, value in given.items():
        text = value.get("value") if isinstance(value, dict) else value
        # An environment cannot have other names, and Kubernetes refuses them.
        if isinstance(text, str) and name and "=" not in name and "\0" not in name + text:
            found[name] = text
    return found


class _Source(importlib.abc.InspectLoader):
    """Loads one module."""

    def __init__(self, source: str) -> None:
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source


class _Files(importlib.abc.MetaPathFinder):
    """Imports modules whose sources are in the values."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.sources:
            return None
        return importlib.util.spec_from_loader(fullname, _Source(self.sources[fullname]))
