"""Check values of Zero to JupyterHub: build the hub's configuration, and compose and check a notebook of each profile.

Each problem comes with the changes of the values that solve it.  They are made in memory, and the result is checked
again, until nothing is left: so one run names all problems, also those that another one hides.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import io
import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from traitlets import TraitError
from traitlets.log import get_logger

from ..chart_values import (
    IGNORED_KEYS,
    Change,
    HubConfig,
    KeyFinder,
    build,
    changed,
    chart_defaults,
    complete,
    has_path,
    hub_pod,
    look_up,
    removed_volume,
    written,
    wrong_forms,
)
from ..configuration import batch_service, conflicts, with_extra_files
from ..configuration.kubespawner_traits import TRAITS
from ..configuration.sample_pods import Setting, place_of, try_without_failures
from ..jobs import notebook
from ..plan.examples import EXAMPLE_ID, EXAMPLE_NAME, samples
from ..refusal import Refusal
from ..settings import SettingsError
from ..settings.problems import Problem
from ..site import Site, load
from ..spawner import HookError, TriedPod, try_notebook
from ..spawner.configured_class import configured_class, sections_of
from ..spawner.offline_render import NO_PLACE
from ..spawner.offline_user import offline_user

# More rounds than problems can hide each other.
ROUNDS = 12
# Their problems have no index of the pod's mounts, because the key names the mount.
_KEYS_OF_MOUNTS = ("singleuser.storage.extraVolumeMounts", "singleuser.extraFiles")
_MAIN = notebook.SLOTS.templates[0].main
_CONFIGURE = (
    'import jupyter_research_spawner, z2jh; jupyter_research_spawner.configure(c, z2jh.get_config("custom.research"))'
)


@dataclass(frozen=True)
class Found:
    """A problem with the changes of the values that solve it; without changes if it is advice."""

    key: str
    reason: str
    action: str = ""
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason}. {self.action}" if self.action else self.reason


@dataclass(frozen=True)
class ChartReport:
    """What the check of values has found, with the keys of the chart as paths."""

    problems: list[Problem]
    advice: list[Problem]
    # The changes that solve all problems.
    changes: tuple[Change, ...]


def try_chart(values: Mapping[str, Any], now: datetime, base: Path) -> list[Problem]:
    """Return advice about values.  Raises SettingsError with all problems, and with the advice after them."""
    found = check_chart(values, now, base)
    if found.problems:
        # Who corrects the problems corrects these settings too.
        raise SettingsError([*found.problems, *(replace(one, is_advice=True) for one in found.advice)])
    return found.advice


# Settings with which values can be checked whose own settings are not valid.
_STAND_IN: dict[str, Any] = {
    "identity": {"sources": {"none": {"kind": "nss"}}},
    "namespaces": {"name": "default"},
    "storage": {"homes": {"none": {"claim": "none", "root": "/home"}}},
    "scheduler": {"kind": "plain"},
    "priorities": {"none": {"value": 0, "default": True}},
    "queues": {"none": {}},
    "profiles": {"none": {"title": "none", "cpu": 1, "memory": "1Gi", "wall_time": "1h", "images": {"none": "none:1"}}},
}


def with_valid_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those parts of their settings that are valid, and others instead of the rest."""
    settings = dict(_STAND_IN)
    given = look_up(values, "custom.research")
    # Twice, because some settings name others.
    for key, value in [*given.items()] * 2 if isinstance(given, dict) else ():
        with contextlib.suppress(SettingsError):
            load({**settings, key: value})
            settings[key] = value
    custom = values.get("custom")
    return {**values, "custom": {**(custom if isinstance(custom, dict) else {}), "research": settings}}


def check_chart(values: Mapping[str, Any], now: datetime, base: Path) -> ChartReport:
    """Return all problems of values whose settings are valid, and advice about them.  Runs hub.extraConfig.

    values: as the user wrote them, merged.  Relative paths in the settings are relative to `base`.
    """
    problems: dict[tuple[str, str], list[Found]] = {}
    changes: list[Change] = []
    advice: list[Found] = []
    # The other checks need values that the chart can read.
    for path, why in wrong_forms(values, chart_defaults()):
        is_volume = path[1:3] == ("storage", "extraVolumes") and len(path) > 3
        left_out = removed_volume(values, path[:4]) if is_volume else (Change(path),)
        one = Found(written(path), why, "Helm or Kubernetes refuses it, or the hub does not start", left_out)
        problems[one.key, one.action] = [one]
        changes += one.changes
    for at in range(ROUNDS):
        with _quiet(is_repeated=at > 0):
            found, advice = _Check(values, changes, now, base).found()
        known = [one for group in problems.values() for one in group]
        new = [one for one in _unique(found) if one not in known and not any(_solves(other, one) for other in found)]
        if not new:
            break
        for one in (_valid(one, values, changes) for one in new):
            problems.setdefault((one.key, one.action), []).append(one)
            changes += [change for change in one.changes if change not in changes]
    keys = {key for key, _ in problems}
    return ChartReport(
        [Problem(key, _joined(found, values)) for (key, _), found in problems.items()],
        [Problem(one.key, str(one)) for one in _unique(advice) if one.key not in keys or _is_program(one.key)],
        tuple(changes),
    )


def _is_program(key: str) -> bool:
    """Return whether the key is that of a program, which can have problems and other parts that are only advice."""
    return key.startswith(("hub.extraConfig.", "hub.extraFiles."))


def _unique(found: Iterable[Found]) -> list[Found]:
    result: list[Found] = []
    for one in found:
        if one not in result:
            result.append(one)
    return result


def _valid(one: Found, values: Mapping[str, Any], changes: list[Change]) -> Found:
    """Return the problem, without changes of the settings with which the settings would not be valid."""
    try:
        load(changed(values, [*changes, *one.changes])["custom"]["research"])
    except SettingsError as error:
        left = tuple(change for change in one.changes if change.path[0] != "custom")
        why = "; ".join(problem.message for problem in error.problems)
        return replace(one, action=f"{one.action}. This needs another name or path: {why}", changes=left)
    return one


def _solves(other: Found, one: Found) -> bool:
    """Return whether the changes for another problem remove what this problem is about, and more."""
    removed = {change.path for change in other.changes if change.value is None and change.path[0] != "c"}
    paths = [change.path for change in one.changes]
    covered = [path for path in paths if any(path[:length] in removed for length in range(1, len(path) + 1))]
    return bool(covered) and len(covered) == len(paths) and not removed <= set(paths)


def _joined(found: list[Found], values: Mapping[str, Any]) -> str:
    """Return what one key does and what to do about it, as one message."""
    first = found[0]
    why = "; ".join(dict.fromkeys(one.reason for one in found))
    path = first.changes[0].path if first.changes else ("hub",)
    if has_path(chart_defaults(), path) and not has_path(values, path):
        why += " (the chart's default)"
    return f"{why}. {first.action}" if first.action else why


class _Check:
    """One check of values with some changes.  Keys have the indexes that they have without the changes."""

    def __init__(self, values: Mapping[str, Any], changes: list[Change], now: datetime, base: Path) -> None:
        self._site = load(changed(values, changes)["custom"]["research"])
        self._values = complete(changed(values, changes), namespace=self._site.namespaces.name)
        self._with_gaps = complete(changed(values, changes, gaps=True), namespace=self._site.namespaces.name)
        self._unset = [change.path[1:] for change in changes if change.path[0] == "c"]
        self._now, self._base = now, base
        self._problems: list[Found] = []
        self._advice: list[Found] = []

    def found(self) -> tuple[list[Found], list[Found]]:
        """Return problems and advice."""
        with hub_pod(self._values):
            result = build(self._values)
            result.values = self._with_gaps
            self._problems += [Found(problem.path, problem.message) for problem in result.problems]
            self._check_other_settings(result)
            self._advice += [Found(problem.path, problem.message) for problem in result.not_run]
            for section, trait in self._unset:
                result.unset(str(section), str(trait))
            keys = KeyFinder(result, {}, _MAIN)
            site = self._configured(result, keys)
            if site is not None:
                self._advice += self._without_effect(result, keys, site)
                asyncio.run(self._try_profiles(result, site))
        return self._problems, self._advice

    def _check_other_settings(self, result: HubConfig) -> None:
        """Name what `configure` refuses in settings that a program does not take from custom.research.

        What it refuses in the hub's configuration, the other checks find too, with the keys of the chart.
        """
        for key, problem in result.refused:
            if problem.path.startswith(("c.", "the pod's ")):
                continue
            if problem.place is not None and not Path(problem.place.file).exists():
                self._advice.append(
                    Found(key, f"reads settings that are not here, so they were not checked: {problem}")
                )
            else:
                why = f"its call of configure is refused: {problem}. The hub would not start"
                self._problems.append(Found(key, why))

    def _configured(self, result: HubConfig, keys: KeyFinder) -> Site | None:
        """Check the hub's own configuration.  Return the site as the hub has it; None if it runs another spawner."""
        c = result.config
        has_called = result.refused or any("installation" in c[section] for section in c)
        if not has_called and not result.not_run:
            add = Change(("hub", "extraConfig", "z-research"), _CONFIGURE)
            why = (
                "no program calls jupyter_research_spawner.configure, so the hub would start KubeSpawner's own servers"
            )
            self._problems.append(Found("hub.extraConfig", why, f"Add this program: z-research: {_CONFIGURE}", (add,)))
        site = with_extra_files(self._site)
        found: list[Problem] = []
        try:
            spawner_class = configured_class(c)
            found = conflicts.problems(c, site, spawner_class)
            batch_service.configure(c, site, None, sections_of(spawner_class))
        except SettingsError as error:
            found += error.problems
        self._problems += [self._of_place(keys, problem) for problem in found]
        return None if any(problem.path == "c.JupyterHub.spawner_class" for problem in found) else site

    def _of_place(self, keys: KeyFinder, problem: Problem) -> Found:
        """Return a problem of the hub's configuration with the key of the chart."""
        if problem.path == "c.JupyterHub.services":
            service = Change(("hub", "services", "batch"), {"url": "http://research-batch:8080"})
            action = "Set hub.services: {batch: {url: http://research-batch:8080}}, or remove custom.research.batch.url"
            return Found("hub.services.batch", "is missing, but custom.research.batch.url is set", action, (service,))
        origin = keys.of_place(problem.path)
        if origin is None:
            return Found(problem.path, problem.message)
        name = problem.path.split(".")[2].partition("[")[0]
        reason, action = _split(problem.message)
        program = "" if origin.changes[0].path[0] != "c" else f"sets {problem.path}, which "
        trait = TRAITS.get(name)
        if trait is not None and trait.remedy.startswith(f"{origin.key}: "):
            value = yaml.safe_load(trait.remedy.partition(": ")[2])
            change = Change(origin.changes[0].path, value)
            return Found(origin.key, program + reason, f"Set {trait.remedy}", (change,))
        return Found(origin.key, program + reason, action or origin.action, origin.changes)

    def _without_effect(self, result: HubConfig, keys: KeyFinder, site: Site) -> Iterator[Found]:
        """Yield advice about settings that are valid, but have no effect."""
        spawner_class = configured_class(result.config)
        for warning in conflicts.warnings(result.config, site, spawner_class):
            origin = keys.of_place(warning.path)
            message = re.sub(r" \(in the chart: .*?\)$", "", warning.message)
            # The trait is named if its value is not that of the key.
            is_other = origin is not None and look_up(self._values, origin.key) != keys.value_of(warning.path)
            yield Found(origin.key if origin else warning.path, f"{warning.path} {message}" if is_other else message)
        known = {*spawner_class.class_traits(), *getattr(spawner_class, "_deprecated_traits", ())}
        for section in sections_of(spawner_class):
            for trait in sorted(result.config.get(section, {})):
                if trait not in known:
                    origin = keys.of_place(f"c.{section}.{trait}")
                    near = difflib.get_close_matches(trait, known, n=1)
                    why = f"c.{section}.{trait} has no effect: {section} has no trait of this name"
                    yield Found(origin.key if origin else section, f"{why}{f'. Perhaps {near[0]}' if near else ''}")
        for key, instead in IGNORED_KEYS.items():
            if look_up(self._values, key) is not None:
                yield Found(key, f"has no effect: the chart ignores it. Use {instead}")
        for (section, trait), settings in result.origins.items():
            for setting in settings[:-1]:
                last = settings[-1]
                if setting.key.startswith("singleuser.") and not _is_kept(setting.value, last.value):
                    why = f"has no effect: {last.key} replaces it, by c.{section}.{trait}"
                    if look_up(self._values, setting.key) not in (None, {}, []):
                        yield Found(setting.key, why)

    async def _try_profiles(self, result: HubConfig, site: Site) -> None:
        user = offline_user(EXAMPLE_NAME, result.config)
        for one in samples(site, self._now):
            trial = partial(try_notebook, site, one.user, one.options, base=self._base, now=one.now, user=user)
            try:
                tried, failures = await try_without_failures(trial, result.config)
            except Refusal:
                continue  # it is a problem of the settings, which lint has reported
            except Exception as error:  # KubeSpawner's code and administrators' classes can raise anything
                self._of_every_pod(f"{type(error).__name__}: {error}")
                continue
            for setting, failure in failures.items():
                if not setting:
                    self._of_every_pod(f"KubeSpawner {failure}")
                elif failure.place == NO_PLACE:
                    self._of_value(result, setting, failure)
                else:
                    self._of_hook(result, failure)
            if tried is not None:
                self._of_pod(result, site, tried)

    def _of_every_pod(self, why: str) -> None:
        reason = f"the pod of an example user cannot be composed ({why}), so no server can start"
        self._problems.append(Found("singleuser", reason))

    def _of_hook(self, result: HubConfig, error: HookError) -> None:
        origin = KeyFinder(result, {}, _MAIN).of_place(error.place)
        key, changes = (origin.key, origin.changes) if origin else (error.place, ())
        is_advice = error.needs_hub or isinstance(error.__cause__, LookupError)
        reason = f"{error.place.rpartition('.')[2]} {error}"
        if is_advice:
            self._advice.append(Found(key, reason))
        else:
            self._problems.append(Found(key, reason, "With it, no server can start. Correct it", changes))

    def _of_value(self, result: HubConfig, setting: Setting, error: HookError) -> None:
        """Add the problem of a value that makes the creation of every pod fail."""
        place, trait = place_of(setting), setting[1]
        reason = f"as {trait}, it makes every start fail: KubeSpawner {error}"
        if isinstance(error.__cause__, TraitError):
            # The value is not shown, because it may be a secret.
            expected = re.search(r"expected (?:an? )?(.*?), not", str(error.__cause__))
            form = f", which must be {_KINDS_OF_TRAITS.get(expected[1], expected[1])}" if expected else ""
            reason = f"KubeSpawner does not accept it as {trait}{form}"
        origin = KeyFinder(result, {}, _MAIN).of_place(place)
        key, changes = (origin.key, origin.changes) if origin else (place, ())
        if all((key, changes) != (one.key, one.changes) for one in self._problems):
            self._problems.append(Found(key, reason, "Correct it, or remove it", changes))

    def _of_pod(self, result: HubConfig, site: Site, tried: TriedPod) -> None:
        storage = site.storage
        homes = {home.claim for home in storage.homes.values()}
        taken = [*(home.root for home in storage.homes.values()), *(mount.path for mount in storage.mounts.values())]
        keys = KeyFinder(result, tried.manifest, _MAIN, homes, taken)
        hook = keys.of_trait("modify_pod_hook")
        of_hub = tuple(self._problems)
        for path, message in (*tried.problems, *tried.of_hook):
            origin = hook if (path, message) in tried.of_hook else keys.of_field(path, message)
            if origin is not None and any((origin.key, origin.changes) == (one.key, one.changes) for one in of_hub):
                continue
            reason = _reason(path, message)
            if origin is not None and origin.changes[0].path[0] == "c":
                trait = ".".join(map(str, origin.changes[0].path))
                reason = f"sets {trait}, with which the pod's {path} {_clause(message)}"
            if origin is not None and origin.key.startswith(_KEYS_OF_MOUNTS):
                reason = re.sub(r"^volumeMounts\[\d+\]\.?", "", reason)
            if origin is None:
                self._problems.append(Found(f"the pod's {path}", reason, "Remove what sets it"))
                continue
            self._problems.append(Found(origin.key, origin.reason or reason, origin.action, origin.changes))


# Types in the errors of traitlets, in the words of YAML.
_KINDS_OF_TRAITS = {"int": "a whole number", "float": "a number", "unicode string": "text", "dict": "a map"}


def _split(message: str) -> tuple[str, str]:
    """Return the reason and the remedy of a problem of the hub's configuration."""
    message = re.sub(r" \(in the chart: .*?\)$", "", message)
    reason, _, action = message.partition(". ")
    return reason, "" if action == "Remove it" else action


_CUTS = re.compile(
    r"(\. |: )To allow (it|all of it).*|\. Remove the volume: .*|\. Set singleuser\..*|\. Name each one in env",
    re.DOTALL,
)


def _reason(path: str, message: str) -> str:
    """Return a problem of the pod as a clause about the key that has set the field."""
    field = re.sub(r"^spec\.(initContainers|containers|volumes)\[.+?\]\.?", "", path)
    return f"{field} {_clause(message)}".strip()


def _clause(message: str) -> str:
    """Return a problem of the pod without the remedy, and without the uid of the example user."""
    return re.sub(rf"\b{EXAMPLE_ID}\b", "the user's own", _CUTS.sub("", message))


def _is_kept(value: Any, final: Any) -> bool:
    """Return whether a later value still contains an earlier one."""
    if isinstance(value, dict) and isinstance(final, dict):
        return all(key in final for key in value)
    if isinstance(value, list) and isinstance(final, list):
        return all(item in final for item in value)
    return bool(value == final)


@contextlib.contextmanager
def _quiet(is_repeated: bool) -> Iterator[None]:
    """Print no warnings of the hub's configuration, which are advice here, and what programs print to stderr.

    is_repeated: whether the programs have run before, so that they have printed it.
    """
    log = get_logger()
    before = log.getEffectiveLevel()
    log.setLevel(logging.CRITICAL)
    try:
        with contextlib.ExitStack() as redirected:
            if is_repeated:
                redirected.enter_context(contextlib.redirect_stderr(io.StringIO()))
            redirected.enter_context(contextlib.redirect_stdout(sys.stderr))
            yield
    finally:
        log.setLevel(before)
