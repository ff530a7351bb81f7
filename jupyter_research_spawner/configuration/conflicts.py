"""Find values in JupyterHub's configuration that contradict the settings (errors), or fail later (warnings)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from traitlets.config import Config

from ..settings.problems import Problem
from ..site import Site
from ..spawner import ResearchSpawner, templates
from ..spawner.configured_class import sections_of
from ..storage import root_above
from ..wording import format_list, quote
from .kubespawner_traits import TRAITS, Trait, chart_key
from .traits import is_bound, plain, section_of, value_of

# Kubernetes writes the namespace of a pod into this file (Kubernetes, "Accessing the API from a Pod").
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def problems(c: Config, site: Site, spawner_class: type[ResearchSpawner] = ResearchSpawner) -> list[Problem]:
    """Return a problem for each refused trait that is set, and for each template that KubeSpawner cannot expand."""
    found = [
        Problem(place, f"is {_shown(value)}, but {trait.why}. Remove it{_in_chart(trait)}")
        for place, name, value in _set(c, site, spawner_class)
        if (trait := TRAITS[name]).verdict == "refused" and not trait.is_harmless(value)
    ]
    found += _broken_templates(c, spawner_class)
    if "JupyterHub" in c and c.JupyterHub.get("internal_ssl"):
        found.append(
            Problem(
                "c.JupyterHub.internal_ssl",
                "is true, but it mounts a Secret into each notebook, which pods.allow in the settings does not cover. "
                "Remove it, and let the cluster's network encrypt traffic between nodes instead",
            )
        )
    return found


def warnings(c: Config, site: Site, spawner_class: type[ResearchSpawner] = ResearchSpawner) -> list[Problem]:
    """Return a problem for each option that is valid, but makes starts fail or has no effect."""
    sections = sections_of(spawner_class)
    return [
        *_without_effect(c, site, spawner_class),
        *_lost_directories(c, site, sections),
        *_shadowed(c, sections),
        *_copied(c, sections),
        *_hub_names(c, sections),
        *_claims(c, site, sections),
    ]


def defaults(c: Config, site: Site, spawner_class: type[ResearchSpawner] = ResearchSpawner) -> str:
    """Return a sentence that names the chart's defaults without an effect; "" if there are none."""
    found = [
        f"{place}{f' ({chart})' if (chart := chart_key(name)) else ''}"
        for place, name, value in _set(c, site, spawner_class)
        if TRAITS[name].verdict != "kept" and TRAITS[name].is_harmless(value)
    ]
    why = "These defaults of the chart have no effect, because the settings of the site decide instead"
    return f"{why}: {format_list(found)}." if found else ""


def _set(c: Config, site: Site, spawner_class: type[ResearchSpawner]) -> Iterator[tuple[str, str, Any]]:
    """Yield (place, trait, value) for each trait in TRAITS whose value differs from its default.

    KubeSpawner moves values of its old names, such as `singleuser_uid`, to the new names when a server starts.
    """
    known, sections = spawner_class.class_traits(), sections_of(spawner_class)
    old = getattr(spawner_class, "_deprecated_traits", {})
    for name in TRAITS:
        names = [name, *(before for before, (after, *_) in old.items() if after == name)]
        for written in names:
            section = section_of(c, written, sections)
            value = value_of(c, written, sections)
            is_unset = value is None or value is False or value in ("", [], {}, ())
            if section is None or is_unset or (name in known and value == known[name].default()):
                continue
            if name not in _WANTED or value not in _WANTED[name](site):
                yield f"c.{section}.{written}", name, value


def _namespaces(site: Site) -> tuple[str | None, ...]:
    """Return the namespaces that c.KubeSpawner.namespace can have: that of the site, and the hub's own.

    The chart always sets the namespace of the release, also if notebooks are in another one.
    """
    try:
        own = OWN_NAMESPACE.read_text().strip()
    except OSError:
        own = None
    return site.namespaces.name, own, os.environ.get("POD_NAMESPACE")


# Values that agree with the settings, and so are accepted.
_WANTED: Mapping[str, Callable[[Site], tuple[Any, ...]]] = {
    "namespace": _namespaces,
    "scheduler_name": lambda site: (site.scheduler.name,),
}


def _shown(value: Any) -> str:
    return quote(value) if isinstance(value, (str, int, float)) else "set"


def _in_chart(trait: Trait) -> str:
    written = trait.remedy or " or ".join(key.rstrip(".") for key in trait.chart)
    return f" (in the chart: {written})" if written else ""


def _without_effect(c: Config, site: Site, spawner_class: type[ResearchSpawner]) -> Iterator[Problem]:
    for place, name, value in _set(c, site, spawner_class):
        trait = TRAITS[name]
        if trait.verdict != "decided" or trait.is_harmless(value):
            continue
        setting = trait.setting
        instead = f"Set {setting} in the settings instead, and remove this value" if setting else "Remove it"
        yield Problem(place, f"is {_shown(value)}, which has no effect: {trait.why}. {instead}{_in_chart(trait)}")


def _lost_directories(c: Config, site: Site, sections: Sequence[str]) -> Iterator[Problem]:
    """Yield a warning for a directory below the homes that is not the user's home, such as /home/jovyan."""
    for trait in ("working_dir", "notebook_dir"):
        value = value_of(c, trait, sections)
        if isinstance(value, str) and "{" not in value and (root := root_above(site.storage, value)):
            yield Problem(
                f"c.{section_of(c, trait, sections)}.{trait}",
                f"is {value!r}, which has no effect: it is below {root} (storage.homes) but is not the user's home "
                "directory. Notebooks start in the user's home. Remove it",
            )


def _shadowed(c: Config, sections: Sequence[str]) -> Iterator[Problem]:
    """Yield a warning for each map that is set in the sections of a class and of its parent class."""
    for specific, general in combinations(sections, 2):
        for trait in sorted(set(c.get(specific, {})) & set(c.get(general, {}))):
            if isinstance(plain(c[specific][trait]), dict) and isinstance(plain(c[general][trait]), dict):
                yield Problem(
                    f"c.{specific}.{trait}",
                    f"replaces all of c.{general}.{trait}: traitlets does not merge maps of two sections. Put both "
                    f"into c.{general}.{trait}",
                )


def _copied(c: Config, sections: Sequence[str]) -> Iterator[Problem]:
    for section in sections:
        for trait, value in sorted(c.get(section, {}).items()):
            if is_bound(value):
                yield Problem(
                    f"c.{section}.{trait}",
                    "is a method of an object, and traitlets copies that object for each server. The copies do not "
                    "share caches, and locks or sockets in them fail. Use a plain function",
                )


def _broken_templates(c: Config, spawner_class: type[ResearchSpawner]) -> Iterator[Problem]:
    """Yield a problem for each template with a field that KubeSpawner does not know: every start would fail."""
    sections = sections_of(spawner_class)
    for trait in templates.EXPANDED:
        place = f"c.{_section(c, trait, sections)}.{trait}"
        yield from (Problem(*found) for found in templates.invalid_texts(value_of(c, trait, sections), place))
    for trait, fields in templates.TEMPLATES.items():
        value = value_of(c, trait, sections)
        if isinstance(value, str) and (why := templates.why_invalid(value, fields)):
            yield Problem(f"c.{_section(c, trait, sections)}.{trait}", why)


def _section(c: Config, trait: str, sections: Sequence[str]) -> str:
    return section_of(c, trait, sections) or ""


def _hub_names(c: Config, sections: Sequence[str]) -> Iterator[Problem]:
    """Yield a warning for each volume or mount that uses the hub's user name."""
    for trait in ("volumes", "volume_mounts"):
        for text in _texts(value_of(c, trait, sections)):
            if "{username}" in text or "{unescaped_username}" in text:
                yield Problem(
                    f"c.{_section(c, trait, sections)}.{trait}",
                    f"uses the hub's user name ({text!r}), which can differ from the POSIX user name. "
                    "Use storage in the settings for homes and mounts",
                )


def _claims(c: Config, site: Site, sections: Sequence[str]) -> Iterator[Problem]:
    if value_of(c, "storage_pvc_ensure", sections):
        homes = ", ".join(sorted(home.claim for home in site.storage.homes.values()))
        yield Problem(
            f"c.{section_of(c, 'storage_pvc_ensure', sections)}.storage_pvc_ensure",
            f"creates an unused claim for each user, because homes are on {homes} (storage.homes). In the chart, set "
            "singleuser.storage.type: none",
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
