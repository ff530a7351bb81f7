"""What a configuration says that the Site says otherwise (errors), and what is known to go wrong (warnings)."""

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
    """A KubeSpawner setting that may say nothing, or only what the Site says.

    `site_says` is the clause that stands against it, `chart` the chart's values without it.
    """

    trait: str
    site_says: Callable[[Site], str]
    wanted: Callable[[Site], Any] = lambda _: None
    chart: str = ""


CONFLICTS = (
    Conflict("uid", lambda _: "identity of the Site gives each pod its person's uid", chart="singleuser.uid: null"),
    Conflict("gid", lambda _: "identity of the Site gives each pod its person's gid"),
    Conflict(
        "fs_gid", lambda _: "the Site's storage is not to be given to another group", chart="singleuser.fsGid: null"
    ),
    Conflict("supplemental_gids", lambda _: "identity of the Site gives each pod its person's groups"),
    Conflict(
        "namespace",
        lambda site: f"namespaces.name of the Site is {site.namespaces.name!r}",
        lambda site: site.namespaces.name,
    ),
    Conflict(
        "scheduler_name",
        lambda site: f"scheduler of the Site is {site.scheduler.kind!r}, named {site.scheduler.name!r}",
        lambda site: site.scheduler.name,
        "scheduling.userScheduler.enabled: false",
    ),
    Conflict(
        "profile_list", lambda _: "profiles of the Site are what people choose from", chart="singleuser.profileList: []"
    ),
    Conflict("enable_user_namespaces", lambda _: "namespaces.mode of the Site is 'shared'"),
    Conflict("apply_user_options", lambda _: "profiles of the Site decide what options mean"),
)


def problems(c: Config, site: Site) -> list[Problem]:
    """Each names both: the configuration's own place, and the Site's."""
    found = [problem for conflict in CONFLICTS for problem in _conflict(c, site, conflict)]
    if "JupyterHub" in c and c.JupyterHub.get("internal_ssl"):
        found.append(
            Problem(
                "c.JupyterHub.internal_ssl",
                "is True, but it mounts a Secret into each notebook, which pods.allow of the Site does not know. "
                "Leave it out; encrypt between nodes with the cluster's network instead",
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
    yield Problem(f"c.{section}.{conflict.trait}", f"is {shown}, but {conflict.site_says(site)}. Leave it out{chart}")


def warnings(c: Config, site: Site) -> list[str]:
    """Sentences on what is known to go wrong later, with the place."""
    return [*_shadowed(c), *_copied(c), *_templates(c), *_claims(c, site)]


def _shadowed(c: Config) -> Iterator[str]:
    """A map in a more specific section replaces the other whole."""
    for specific, general in (("ResearchSpawner", "KubeSpawner"), ("ResearchSpawner", "Spawner")):
        for trait in sorted(set(c.get(specific, {})) & set(c.get(general, {}))):
            if isinstance(plain(c[specific][trait]), dict) and isinstance(plain(c[general][trait]), dict):
                yield (
                    f"c.{specific}.{trait} replaces c.{general}.{trait} as a whole: traitlets does not merge maps of "
                    f"two sections. Write both into c.{general}.{trait}."
                )


def _copied(c: Config) -> Iterator[str]:
    for section in SECTIONS:
        for trait, value in sorted(c.get(section, {}).items()):
            if is_bound(value):
                yield (
                    f"c.{section}.{trait} is a method of an object, and traitlets copies that object for each server: "
                    "caches are lost, and locks or sockets in it fail. Use a plain function."
                )


def _templates(c: Config) -> Iterator[str]:
    """KubeSpawner formats these, each `{name}` by its own names; another brace ends every start."""
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
                yield f"{where} has a brace that is no {{name}} in {text!r}: write {{{{ and }}}}, or no server starts."
            elif trait in ("volumes", "volume_mounts") and fields & {"unescaped_username", "username"}:
                yield (
                    f"{where} makes a path or claim of the hub's user name in {text!r}, which is not the POSIX name. "
                    "Homes and mounts belong into the Site's storage."
                )


def _claims(c: Config, site: Site) -> Iterator[str]:
    if value_of(c, "storage_pvc_ensure"):
        homes = ", ".join(sorted(home.claim for home in site.storage.homes.values()))
        yield (
            f"c.{section_of(c, 'storage_pvc_ensure')}.storage_pvc_ensure makes a claim for each person, which nobody "
            f"uses: homes are on {homes} (storage.homes). In the chart: singleuser.storage.type: none."
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
    """The names in a template of str.format, or None when it is none."""
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError:
        return None
    return names if all(name.isidentifier() for name in names) else None
