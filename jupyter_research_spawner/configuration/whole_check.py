"""All checks of a hub's configuration at once: for `configure`, and for `lint` of a file or of the chart's values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from traitlets.config import Config

from ..settings import SettingsError
from ..settings.problems import Problem
from ..site import Site
from ..spawner import ResearchSpawner
from ..spawner.configured_class import configured_class, sections_of
from ..wording import format_list
from . import conflicts
from .kubespawner_traits import TRAITS
from .sample_pods import check_sample_pods, without_settings
from .traits import section_of, value_of

# The functions of a start that can change every field of the pod.
_HOOKS_OF_PODS = ("auth_state_hook", "group_overrides", "pre_spawn_hook", "modify_pod_hook")


@dataclass(frozen=True)
class Checked:
    """The result of the check of a hub's configuration.

    problems: values that make starts fail or change rights.  The path begins with `c.SECTION.TRAIT`.
    advice: values that have no effect, and values that could not be checked.
    """

    problems: list[Problem]
    advice: list[Problem]


def check_configuration(c: Config, site: Site, base: Path | None = None, *, runs_hooks: bool) -> Checked:
    """Return all problems of a hub's configuration, of its values and of the pods that it makes.

    runs_hooks: whether the pods are composed with administrators' functions, as in a start.  `configure` does not, so
    problems of the pods that a hook can solve are advice: the hub starts, and each start checks its pod.
    """
    of_class: list[Problem] = []
    try:
        spawner_class = configured_class(c)
    except SettingsError as error:
        of_class = error.problems
        c = without_settings(c, [("JupyterHub", "spawner_class")])
        spawner_class = configured_class(c)
    of_values = [*of_class, *conflicts.problems(c, site, spawner_class)]
    pods = check_sample_pods(c, site, base, runs_hooks=runs_hooks)
    known = {trait_in(problem.path) for problem in of_values} - {""}
    # A refused trait also shows in the pods, but its own sentence says more.
    refused = {trait for trait in known if TRAITS[trait].verdict == "refused"}
    wrong = [problem for problem in pods.problems if trait_in(problem.path) not in refused]
    of_pods = [problem for problem in pods.advice if trait_in(problem.path) not in known]
    if not runs_hooks and (hooks := _hooks_of_pods(c, spawner_class)):
        unless = f"Every start with it fails, unless {format_list(hooks, 'or')} changes it"
        of_pods += [Problem(problem.path, f"{problem.message}. {unless}") for problem in wrong]
        wrong = []
    problems = [*of_values, *wrong]
    advice = [*conflicts.warnings(c, site, spawner_class), *of_pods]
    if defaults := conflicts.defaults(c, site, spawner_class):
        advice.append(Problem("", defaults))
    return Checked(problems, advice)


def _hooks_of_pods(c: Config, spawner_class: type[ResearchSpawner]) -> list[str]:
    """Return the set hooks that can change every field of the pod, as `c.SECTION.TRAIT`."""
    sections = sections_of(spawner_class)
    return [
        f"c.{section_of(c, trait, sections)}.{trait}"
        for trait in _HOOKS_OF_PODS
        if callable(value_of(c, trait, sections))
    ]


_PLACE = re.compile(r"c\.\w+\.(\w+)")


def trait_in(path: str) -> str:
    """Return the trait in the path of a problem, `c.KubeSpawner.init_containers[0]`; "" if it has none."""
    found = _PLACE.match(path)
    return found[1] if found and found[1] in TRAITS else ""
