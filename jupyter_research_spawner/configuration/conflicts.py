"""Find values in JupyterHub's configuration that contradict the settings (errors) or will fail later (warnings)."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from traitlets.config import Config

from ..settings.problems import Problem
from ..site import Site
from .traits import SECTIONS, is_bound, plain, section_of, value_of


@dataclass(frozen=True)
class Conflict:
    """A KubeSpawner option that must be unset or have the value that the settings of the site require.

    `wanted` returns the required value.  `site_says` returns the clause of the error that names the setting.  `chart`
    is the line for the helm chart's values that unsets the option.
    """

    trait: str
    site_says: Callable[[Site], str]
    wanted: Callable[[Site], Any] = lambda _: None
    chart: str = ""


CONFLICTS = (
    Conflict("uid", lambda _: "identity in the settings determines the uid of each pod", chart="singleuser.uid: null"),
    Conflict("gid", lambda _: "identity in the settings determines the gid of each pod"),
    Conflict(
        "fs_gid", lambda _: "it would change the group of files on shared storage", chart="singleuser.fsGid: null"
    ),
    Conflict("supplemental_gids", lambda _: "identity in the settings determines the groups of each pod"),
    Conflict(
        "namespace",
        lambda site: f"namespaces.name in the settings is {site.namespaces.name!r}",
        lambda site: site.namespaces.name,
    ),
    Conflict(
        "scheduler_name",
        lambda site: f"scheduler in the settings has kind {site.scheduler.kind!r} and name {site.scheduler.name!r}",
        lambda site: site.scheduler.name,
        "scheduling.userScheduler.enabled: false",
    ),
    Conflict(
        "profile_list",
        lambda _: "users choose from the profiles in the settings",
        chart="singleuser.profileList: []",
    ),
    Conflict("enable_user_namespaces", lambda _: "user namespaces would change the uids on shared storage"),
    Conflict("apply_user_options", lambda _: "profiles in the settings determine how user options are applied"),
)


def problems(c: Config, site: Site) -> list[Problem]:
    """Return a problem for each option in `c` that contradicts a setting."""
    found = [problem for conflict in CONFLICTS for problem in _conflict(c, site, conflict)]
    if "JupyterHub" in c and c.JupyterHub.get("internal_ssl"):
        found.append(
            Problem(
                "c.JupyterHub.internal_ssl",
                "is True, but it mounts a Secret into each notebook, which pods.allow in the settings does not cover. "
                "Remove it, and let the cluster's network encrypt traffic between nodes instead",
            )
        )
    return found


def _conflict(c: Config, site: Site, conflict: Conflict) -> Iterator[Problem]:
    section, value = section_of(c, conflict.trait), value_of(c, conflict.trait)
    says_nothing = value is None or value is False or value in ("", [], {})
    if section is None or says_nothing or value == conflict.wanted(site):
        return
    shown = repr(value) if isinstance(value, (str, int)) else "set"
    chart = f" (in the chart: {conflict.chart})" if conflict.chart else ""
    yield Problem(f"c.{section}.{conflict.trait}", f"is {shown}, but {conflict.site_says(site)}. Remove it{chart}")


def warnings(c: Config, site: Site) -> list[str]:
    """Return warnings about options that are valid, but make starts fail or have no effect."""
    return [*_shadowed(c), *_copied(c), *_templates(c), *_claims(c, site)]


def _shadowed(c: Config) -> Iterator[str]:
    """Yield a warning for each map that is set in the sections of a class and of its parent class."""
    for specific, general in (("ResearchSpawner", "KubeSpawner"), ("ResearchSpawner", "Spawner")):
        for trait in sorted(set(c.get(specific, {})) & set(c.get(general, {}))):
            if isinstance(plain(c[specific][trait]), dict) and isinstance(plain(c[general][trait]), dict):
                yield (
                    f"c.{specific}.{trait} replaces all of c.{general}.{trait}: traitlets does not merge maps of two "
                    f"sections. Put both into c.{general}.{trait}."
                )


def _copied(c: Config) -> Iterator[str]:
    for section in SECTIONS:
        for trait, value in sorted(c.get(section, {}).items()):
            if is_bound(value):
                yield (
                    f"c.{section}.{trait} is a method of an object, and traitlets copies that object for each server. "
                    "The copies do not share caches, and locks or sockets in them fail. Use a plain function."
                )


def _templates(c: Config) -> Iterator[str]:
    """Yield warnings about options in which KubeSpawner expands `{name}`, and fails at other uses of braces."""
    for trait in (
        "volumes",
        "volume_mounts",
        "extra_labels",
        "extra_annotations",
        "init_containers",
        "extra_containers",
    ):
        for text in _texts(value_of(c, trait)):
            where = f"c.{section_of(c, trait)}.{trait}"
            fields = _fields(text)
            if fields is None:
                yield f"{where} has an invalid brace in {text!r}. Use {{{{ and }}}}, or no server can start."
            elif trait in ("volumes", "volume_mounts") and fields & {"unescaped_username", "username"}:
                yield (
                    f"{where} uses the hub's user name ({text!r}), which can differ from the POSIX user name. "
                    "Use storage in the settings for homes and mounts."
                )


def _claims(c: Config, site: Site) -> Iterator[str]:
    if value_of(c, "storage_pvc_ensure"):
        homes = ", ".join(sorted(home.claim for home in site.storage.homes.values()))
        yield (
            f"c.{section_of(c, 'storage_pvc_ensure')}.storage_pvc_ensure creates an unused claim for each user, "
            f"because homes are on {homes} (storage.homes). In the chart, set singleuser.storage.type: none."
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for below in value.values():
            yield from _texts(below)
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from _texts(below)


def _fields(text: str) -> set[str] | None:
    """Return the `{name}` fields in a template of str.format, or None if the template is not valid."""
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:
        return None
    return names if all(name.isidentifier() for name in names) else None
