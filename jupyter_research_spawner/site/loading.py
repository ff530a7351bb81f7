"""Loads settings files into a Site and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..schedulers import why_no_gpu
from ..settings import SettingsError, merge, read
from ..settings.merge import Raw, resolve_like
from ..settings.problems import Problem
from ..settings.strict import open_to
from ..wording import quote
from .offer_settings import OWN_FIELDS, CourseClass
from .pod_fields import PodFields
from .site_settings import Site


def load(*parts: Mapping[str, Any] | Path | str) -> Site:
    """Merge the settings (maps or YAML files) from left to right, and return the Site.

    Raises SettingsError with all problems.
    """
    maps = [dict(part) if isinstance(part, Mapping) else read(Path(part)) for part in parts]
    resolved = _resolved(merge(*maps))
    if problems := _back_by_like(maps, resolved):
        raise SettingsError(problems)
    return validate(resolved)


def _resolved(raw: Raw) -> Raw:
    profiles, classes = raw.get("profiles"), raw.get("classes")
    if not isinstance(profiles, dict):
        return raw
    profiles = resolve_like(profiles, "profiles", keep=frozenset({"title", "order"}))
    if isinstance(classes, dict):
        classes = {name: _class_like(name, course, profiles) for name, course in classes.items()}
        return {**raw, "profiles": profiles, "classes": classes}
    return {**raw, "profiles": profiles}


def _class_like(name: str, course: Any, profiles: Raw) -> Any:
    """Return the class with the fields of the profile that `like` names.  Raises SettingsError."""
    if not isinstance(course, Mapping) or "like" not in course:
        return course
    like, path = course["like"], f"classes.{name}.like"
    if "profile" in course:
        raise SettingsError.single(path, f"the class has profile {quote(course['profile'])} too. Remove one of them")
    if not isinstance(like, str) or like not in profiles:
        raise SettingsError.single(path, f"{quote(like)} does not exist. Existing names: {', '.join(sorted(profiles))}")
    copied = profiles[like] if isinstance(profiles[like], Mapping) else {}
    left_out = {"images"} if "image" in course else set()
    own = {key: value for key, value in course.items() if key != "like"}
    return {**{key: value for key, value in copied.items() if key in OWN_FIELDS and key not in left_out}, **own}


def _back_by_like(maps: list[Raw], resolved: Raw) -> list[Problem]:
    """Return a problem for each null in a profile or class that has no effect, because `like` copies the key again."""
    found = []
    why = "null deletes a key that an earlier file sets, but like copies this key. Set a value instead"
    for place in ("profiles", "classes"):
        now = _below(resolved, place)
        for index, part in enumerate(maps):
            earlier = _below(merge(*maps[:index]), place)
            for name, fields in _below(part, place).items():
                deleted = [key for key, value in fields.items() if value is None and key not in earlier.get(name, {})]
                found += [Problem(f"{place}.{name}.{key}", why) for key in deleted if key in now.get(name, {})]
    return found


def _below(raw: Raw, place: str) -> dict[str, Mapping[str, Any]]:
    named = raw.get(place)
    if not isinstance(named, Mapping):
        return {}
    return {name: fields for name, fields in named.items() if isinstance(fields, Mapping)}


def validate(raw: Raw) -> Site:
    """Return the Site for merged settings.  Raises SettingsError with all problems."""
    try:
        site = Site.model_validate(raw)
    except ValidationError as error:
        raise SettingsError.of(error, Site) from None
    if problems := _references(site):
        raise SettingsError(problems)
    return site


def _why_not_merged(fields: PodFields, base: PodFields) -> str | None:
    try:
        fields.over(base)
    except ValueError as error:
        return str(error)
    return None


def _references(site: Site) -> list[Problem]:
    """Return the problems that concern several settings, for example a name that does not exist."""
    found = _priorities(site)

    def known(path: str, name: str | None, place: str, names: Mapping[str, Any]) -> None:
        if name is not None and name not in names:
            found.append(Problem(path, f"{name!r} is not in {place}. Allowed values: {', '.join(sorted(names))}"))

    for place, offers in (
        ("profiles", site.profiles),
        ("queues", site.queues),
        ("storage.mounts", site.storage.mounts),
    ):
        for name, offer in offers.items():
            for class_name in offer.classes:
                known(f"{place}.{name}.classes.{class_name}", class_name, "classes", site.classes)
    for name, queue in site.queues.items():
        known(f"queues.{name}.priority", queue.priority, "priorities", site.priorities)
    for name, profile in site.profiles.items():
        place = site.profile_path(name)
        if place.startswith("profiles"):
            known(f"{place}.queue", profile.queue, "queues", site.queues)
            for queue_name in profile.queues:
                known(f"{place}.queues.{queue_name}", queue_name, "queues", site.queues)
        if profile.queue and profile.queues and not profile.queues.get(profile.queue):
            found.append(Problem(f"{place}.queue", f"{profile.queue!r} is not in the queues of this profile"))
        scheduler = site.scheduler
        if profile.gpu is not None and (why := why_no_gpu(profile.gpu, scheduler.kind, scheduler.name)):
            found.append(Problem(f"{place}.gpu.kind", why))
        if (why := _why_not_merged(profile.pod, site.pods.base)) is not None:
            found.append(Problem(f"{place}.pod", f"{why}. The other value is in pods.base"))
    for name, course in site.classes.items():
        if not course.profile:
            why = "has its own fields of a profile, but profiles has the same name. Rename one, or set profile instead"
            found.append(Problem(f"classes.{name}", why))
            continue
        known(f"classes.{name}.profile", course.profile, "profiles", site.profiles)
        known(f"classes.{name}.queue", course.queue, "queues", site.queues)
        found += _course(site, name, course)
    return found


def _priorities(site: Site) -> list[Problem]:
    found = []
    defaults = [name for name, priority in site.priorities.items() if priority.default]
    if len(defaults) != 1:
        marked = f"{' and '.join(defaults)} have" if defaults else "none has"
        found.append(Problem("priorities", f"exactly one priority must have default: true, but {marked} it"))
    holders: dict[str, str] = {}
    for name in site.priorities:
        in_cluster = site.priority_class(name)
        holder = holders.setdefault(in_cluster, name)
        if holder != name:
            found.append(
                Problem(
                    f"priorities.{name}.class", f"PriorityClass {in_cluster!r} already belongs to priority {holder!r}"
                )
            )
    return found


def _course(site: Site, name: str, course: CourseClass) -> list[Problem]:
    """Return the problems of a class: a profile or queue that its students may not use, and dates in a wrong order."""
    found = []
    group = course.roster.group
    for kind, offers, chosen in (("profile", site.profiles, course.profile), ("queue", site.queues, course.queue)):
        offer = offers.get(chosen)
        if offer is None or open_to(offer.groups, [group], offer.classes, [name]):
            continue
        found.append(
            Problem(
                f"classes.{name}.{kind}",
                f"the class may not use {kind} {chosen!r}. Set {kind}s.{chosen}.classes: {{{name}: true}}",
            )
        )
    profile = site.profiles.get(course.profile)
    if profile is not None and profile.queues and not profile.queues.get(course.queue):
        found.append(
            Problem(f"classes.{name}.queue", f"profile {course.profile!r} does not allow queue {course.queue!r}")
        )
    if course.since is not None and course.since > course.until:
        found.append(Problem(f"classes.{name}.until", "must not be earlier than `since`"))
    return found
