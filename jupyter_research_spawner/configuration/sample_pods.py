"""Compose and check a notebook's pod of every profile for an example user, and say which setting causes each problem.

A hub can be configured inside a running event loop, so the pods are composed in a thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from traitlets.config import Config

from ..chart_values import METADATA_CONTAINER
from ..plan.examples import EXAMPLE_ID, EXAMPLE_NAME, Sample, samples
from ..refusal import Refusal
from ..settings.problems import Problem
from ..site import Site
from ..spawner import HookError, TriedPod, try_notebook
from ..spawner.configured_class import configured_class, sections_of
from ..spawner.offline_render import NO_PLACE
from ..spawner.offline_user import offline_user
from ..wording import format_list
from .pod_sources import Source, source_of
from .traits import section_of

# What the configuration sets: a section and a trait, or one entry of a trait that is a map, with its key.
Setting = tuple[str, ...]


@dataclass
class SamplePods:
    """What the pods of the example users show: problems that make starts fail, and what could not be checked."""

    problems: list[Problem] = field(default_factory=list)
    advice: list[Problem] = field(default_factory=list)


def check_sample_pods(c: Config, site: Site, base: Path | None, *, runs_hooks: bool) -> SamplePods:
    """Return all problems of the pods, each once: with the profiles that have it, unless all have it.

    runs_hooks: False runs no function of the configuration.
    """
    found: SamplePods = _in_thread(lambda: asyncio.run(_check(c, site, base, runs_hooks)))
    return found


def _in_thread(work: Callable[[], Any]) -> Any:
    outcome: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="sample-pods")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return outcome[0]


async def _check(c: Config, site: Site, base: Path | None, runs_hooks: bool) -> SamplePods:
    said: dict[Problem, list[str]] = {}
    noted: dict[Problem, list[str]] = {}
    tried = samples(site, datetime.now(timezone.utc))
    user = offline_user(EXAMPLE_NAME, c)
    without: list[Setting] = []  # what makes the creation of every pod fail
    for sample in tried:
        profile = sample.profile

        async def trial(config: Config, one: Sample = sample) -> TriedPod:
            return await try_notebook(
                site, one.user, one.options, config, base=base, now=one.now, runs_hooks=runs_hooks, user=user
            )

        try:
            pod, failures = await try_without_failures(trial, without_settings(c, without))
        except Refusal:
            continue  # `lint` names the profiles that no user can start
        for setting, failure in failures.items():
            if setting and failure.place == NO_PLACE:
                without.append(setting)
                problem = Problem(place_of(setting), f"makes every start fail: KubeSpawner {failure}")
                (said if runs_hooks else noted)[problem] = [one.profile for one in tried]
            else:
                is_certain = runs_hooks and not failure.needs_hub
                (said if is_certain else noted).setdefault(Problem(failure.place, str(failure)), []).append(profile)
        if pod is None:
            continue
        for problem in _problems(pod, c, site):
            said.setdefault(problem, []).append(profile)
    return SamplePods(
        [_of_profiles(problem, profiles, len(tried)) for problem, profiles in said.items()],
        [_of_profiles(problem, profiles, len(tried)) for problem, profiles in noted.items()],
    )


async def try_without_failures(
    trial: Callable[[Config], Awaitable[TriedPod]], c: Config
) -> tuple[TriedPod | None, dict[Setting, HookError]]:
    """Return the pod without the hooks and settings that fail, which would hide its problems, and their errors.

    The pod is None if it cannot be composed without them either.  KubeSpawner's error without any setting has the key
    `()`.  Raises Refusal if the plan is refused and nothing has failed before.
    """
    failures: dict[Setting, HookError] = {}
    while () not in failures:
        left = without_settings(c, failures)
        try:
            return await trial(left), failures
        except Refusal:
            if not failures:
                raise
            break
        except HookError as error:
            found: dict[Setting, HookError] = {tuple(error.place.split(".")[1:3]): error}
            if error.place == NO_PLACE:
                found = await _broken_settings(trial, left, error)
            if failures.keys() >= found.keys():
                break
            failures |= found
    return None, failures


async def _broken_settings(
    trial: Callable[[Config], Awaitable[TriedPod]], c: Config, error: HookError
) -> dict[Setting, HookError]:
    """Return each setting that makes the creation of every pod fail, and KubeSpawner's error with it.

    For a trait that is a map, these are the entries that fail alone.  If the error occurs without any trait, its key is
    `()`.
    """
    left = [*_set_traits(c)]
    if await _fails(trial, without_settings(c, left)):
        return {(): error}
    found: dict[Setting, HookError] = {}
    for place in tuple(left):
        left.remove(place)
        if failure := await _fails(trial, without_settings(c, left)):
            section, trait = place
            value = c[section][trait]
            entries: list[Setting] = [(section, trait, key) for key in value] if isinstance(value, dict) else []
            alone = {one: await _fails(trial, without_settings(c, [*left, *entries], keep=one)) for one in entries}
            broken = {one: failure for one, failure in alone.items() if failure}
            found |= broken or {place: failure}
            left.extend(broken or [place])
    return found


async def _fails(trial: Callable[[Config], Awaitable[TriedPod]], c: Config) -> HookError | None:
    """Return the error that KubeSpawner raises with this configuration; None for no error or a different one."""
    try:
        await trial(c)
    except HookError as error:
        return error if error.place == NO_PLACE else None
    except Refusal:
        return None
    return None


def _set_traits(c: Config) -> Iterator[Setting]:
    """Yield (section, trait) of each trait that is set."""
    for section in sections_of(configured_class(c)):
        yield from ((section, trait) for trait in sorted(c.get(section, {})))


def without_settings(c: Config, settings: Iterable[Setting], keep: Setting | None = None) -> Config:
    """Return the configuration without these settings.

    keep: one of them, which stays.
    """
    left_out = {one for one in settings if one != keep}
    if not left_out:
        return c
    found = Config()
    for section, values in c.items():
        kept = {trait: value for trait, value in values.items() if (section, trait) not in left_out}
        for trait, value in kept.items():
            if any(one[:2] == (section, trait) for one in left_out):
                kept[trait] = {key: below for key, below in value.items() if (section, trait, key) not in left_out}
        found[section] = Config(kept)
    return found


def place_of(setting: Setting) -> str:
    """Return a setting as text, such as `c.KubeSpawner.extra_pod_config['hostPID']`."""
    section, trait, *key = setting
    return f"c.{section}.{trait}{f'[{key[0]!r}]' if key else ''}"


def _of_profiles(problem: Problem, profiles: list[str], of_all: int) -> Problem:
    if len(profiles) == of_all:
        return problem
    only = f"profile{'s' if len(profiles) > 1 else ''} {format_list(profiles)}"
    return Problem(problem.path, f"in {only}: {problem.message}")


def _problems(pod: TriedPod, c: Config, site: Site) -> Iterator[Problem]:
    """Yield one problem for each container, volume, mount or field.  It has all that is wrong there."""
    sections = sections_of(configured_class(c))
    grouped: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for path, message in pod.problems:
        source = source_of(path, pod.manifest, c, sections)
        section = section_of(c, source.trait, sections) if source.trait else None
        place = f"c.{section}.{source.trait}" if section else f"the pod's {path}"
        text = message.replace(str(EXAMPLE_ID), "the user's own")
        text = text.removeprefix(f"({source.subject}) ")  # the subject comes first already
        if source.chart == "singleuser.storage.type":
            # A volume with the homes of all users must never be allowed.
            text = text.partition(". To allow")[0]
        named = " ".join(part for part in (source.field if section else "", text) if part)
        grouped.setdefault((place, source.subject, _remedy(source, site)), []).append((path, named))
    for (place, subject, remedy), found in grouped.items():
        clauses = "; ".join(dict.fromkeys(text for _, text in found))
        if f"{METADATA_CONTAINER!r}" in subject:
            clauses = "is a privileged root container, which no user's pod may have"
            yield Problem(place, f"{subject} {clauses}. {remedy}")
            continue
        named = f"{subject}{' ' if subject.startswith('volume ') else ': '}{clauses}" if subject else clauses
        rest = remedy.replace("Remove or change it", "Or remove it") if "To allow" in clauses else remedy
        yield Problem(place, f"{named}. {rest}")
    for path, message in pod.of_hook:
        text = message.replace(str(EXAMPLE_ID), "the user's own")
        place = f"c.{section_of(c, 'modify_pod_hook', sections) or 'KubeSpawner'}.modify_pod_hook"
        yield Problem(place, f"makes the pod invalid: {path} {text}")


def _remedy(source: Source, site: Site) -> str:
    """Return a sentence that says what to do, with the chart's key."""
    homes = format_list(sorted({home.claim for home in site.storage.homes.values()}))
    if METADATA_CONTAINER in source.subject:
        return (
            "Set singleuser.cloudMetadata.blockWithIptables: false in the chart, and use the chart's NetworkPolicy "
            "instead"
        )
    if source.chart == "singleuser.storage.type":
        return (
            f"Remove it: the user's home is mounted from {homes} (storage.homes in the settings). In the chart, set "
            "singleuser.storage.type: none"
        )
    if source.trait == "working_dir":
        return "Set c.KubeSpawner.cmd (in the chart: singleuser.cmd), or remove it"
    if source.trait == "init_containers" and source.field.startswith("securityContext"):
        return (
            "All containers run as the user, so none can change owners. Remove it, and create homes with their owners "
            f"on the file server (in the chart: {source.chart})"
        )
    return f"Remove or change it (in the chart: {source.chart})" if source.chart else "Remove or change it"
