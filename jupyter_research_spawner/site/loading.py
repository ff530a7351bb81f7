"""Loads settings files into a Site and checks them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..schedulers import why_no_gpu
from ..settings import Document, Places, SettingsError, merge_values, read_document, without_nulls
from ..settings.merge import resolve_like, unknown_name
from ..settings.places import Place, without_places
from ..settings.problems import Problem, collect, problems_of
from ..settings.strict import open_to
from ..settings.valid_parts import valid_parts
from ..settings.yaml_file import Raw
from ..wording import format_list, quote
from .offer_settings import OWN_FIELDS
from .pod_fields import PodFields
from .site_settings import Site


def load(*parts: Mapping[str, Any] | Path | str) -> Site:
    """Merge the settings (maps or YAML files) from left to right, and return the Site.

    Raises SettingsError with all problems.
    """
    return load_documents(collect(parts, _document))[0]


def _document(part: Mapping[str, Any] | Path | str) -> Document:
    return Document(dict(part), without_places(part)) if isinstance(part, Mapping) else read_document(Path(part))


def load_documents(documents: Sequence[Document]) -> tuple[Site, Places]:
    """Merge settings from left to right, and return the Site and the places of its settings.

    `like` copies keys after the merge, and then each null deletes its key.  So several files, and the one map that
    helm makes of them, are the same settings.  Raises SettingsError with all problems.
    """
    merged = merge_values(*(document.data for document in documents))
    files = [document.file for document in documents if document.file is not None]
    if not merged and files and len(files) == len(documents):
        raise SettingsError([Problem("", f"is empty. It must contain {_REQUIRED}", Place(file)) for file in files])
    resolved = _resolve(merged)
    places = Places(tuple(document.spots for document in documents), resolved.copied)
    problems = [one for document in documents for one in document.ambiguous]
    problems += [problem.located(places) for problem in resolved.problems]
    known = {problem.path for problem in problems}
    try:
        site = _validated(without_nulls(resolved.settings), places, resolved.incomplete)
    except SettingsError as error:
        told = {(one.path, one.message) for one in error.problems}
        new = [
            one
            for one in error.problems
            if one.path not in known
            and not _follows(one, resolved.incomplete, known)
            # A problem that `like` has copied from another profile is reported there.
            and (places.origin(one.path), one.message) not in told
        ]
        raise SettingsError([*problems, *new]) from None
    if problems:
        raise SettingsError(problems)
    return site, places


_REQUIRED = format_list(name for name, field in Site.model_fields.items() if field.is_required())


def _follows(problem: Problem, incomplete: Collection[str], known: Collection[str]) -> bool:
    """Return whether a problem is only a consequence of known ones: of the `like` of an incomplete profile or class, or
    of a class whose profile is contradictory or incomplete."""
    entry = problem.path.rpartition(".")[0]
    if f"{problem.path}.like" in known:
        return True
    if "missing" in problem.message and (problem.path in incomplete or entry in incomplete):
        return True
    return "may not use" in problem.message and (entry in known or f"{entry}.like" in known)


@dataclass
class _WithoutLike:
    """Merged settings without `like`, the origin of each path that was copied, and the problems of `like`.

    incomplete: the paths of the profiles and classes that should have more keys, because of these problems.
    """

    settings: Raw
    copied: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)


def _resolve(raw: Raw) -> _WithoutLike:
    profiles, classes = raw.get("profiles"), raw.get("classes")
    if not isinstance(profiles, Mapping):  # validation reports this, and each `like` is only a consequence
        named = classes.items() if isinstance(classes, Mapping) else ()
        copies = {name: course for name, course in named if isinstance(course, Mapping) and "like" in course}
        without = {name: {key: course[key] for key in course if key != "like"} for name, course in copies.items()}
        settings = {**raw, "classes": {**dict(named), **without}} if copies else raw
        return _WithoutLike(settings, incomplete={f"classes.{name}" for name in copies})
    found = resolve_like(profiles, "profiles", keep=frozenset({"title", "order"}))
    resolved = _WithoutLike(
        {**raw, "profiles": found.profiles},
        found.copied,
        found.problems,
        {f"profiles.{name}" for name in found.incomplete},
    )
    if isinstance(classes, Mapping):
        resolved.settings["classes"] = {
            name: _class_like(resolved, name, course) for name, course in classes.items() if course is not None
        }
    return resolved


def _class_like(resolved: _WithoutLike, name: str, course: Any) -> Any:
    """Return the class with the fields of the profile that `like` names, and add its origins and problems."""
    if not isinstance(course, Mapping) or "like" not in course:
        return course
    like, path, profiles = course["like"], f"classes.{name}", resolved.settings["profiles"]
    own = {key: value for key, value in course.items() if key != "like"}
    why = None
    if like is None:
        return own
    if course.get("profile") is not None:
        why = f"the class has profile {quote(course['profile'])} too. Remove one of them"
    elif not isinstance(like, str) or like not in profiles:
        why = unknown_name(like, profiles)
        resolved.incomplete.add(path)
    if why is not None:
        resolved.problems.append(Problem(f"{path}.like", why))
        return own
    if f"profiles.{like}" in resolved.incomplete:
        resolved.incomplete.add(path)
    copied = profiles[like] if isinstance(profiles[like], Mapping) else {}
    left_out = {"images"} if course.get("image") is not None else set()
    given = {key: copied[key] for key in OWN_FIELDS if key in copied and key not in own and key not in left_out}
    resolved.copied.update({f"{path}.{key}": f"profiles.{like}.{key}" for key in given})
    return {**given, **own}


def validate(raw: Mapping[str, Any]) -> Site:
    """Return the Site for merged settings without `like`.  Raises SettingsError with all problems."""
    return _validated(without_nulls(raw), Places())


def _validated(raw: Raw, places: Places, incomplete: Collection[str] = ()) -> Site:
    """Return the Site.  Defaults in the `incomplete` profiles and classes are not checked."""
    found: list[Problem] = []
    try:
        site = Site.model_validate(raw)
    except ValidationError as error:
        found = problems_of(error, Site, places)
    if not found and not incomplete:
        if problems := _references(site):
            raise SettingsError([problem.located(places) for problem in problems])
        return site
    of_values = {problem.path for problem in found}
    more = _references(_partial(raw, incomplete), AttributeError, LookupError)
    found += [
        one.located(places) for one in more if one.path not in of_values and not _follows(one, incomplete, of_values)
    ]
    if not found and incomplete:
        return site
    raise SettingsError(found)


def _partial(raw: Raw, incomplete: Collection[str]) -> Site:
    """Return a Site of the valid parts, to find more mistakes.  Invalid and incomplete parts are absent."""
    site = valid_parts(Site, raw)
    for path in incomplete:
        place, _, name = path.partition(".")
        offers = getattr(site, place, {})
        if name in offers:
            for key in set(offers[name].__dict__) - set(raw[place][name]):
                del offers[name].__dict__[key]
    with suppress(AttributeError):
        site.add_class_profiles(ValidationError, AttributeError)
    return site


def _references(site: Site, *ignored: type[Exception]) -> list[Problem]:
    """Return the problems that concern several settings, for example a name that does not exist.

    A check stops at one of the `ignored` exceptions, because a site of valid parts does not have all settings.
    """
    found: list[Problem] = []
    for check in _OF_SITE:
        with suppress(*ignored):
            found.extend(check(site))
    for offers, checks in _OF_OFFERS:
        names: list[str] = []
        with suppress(*ignored):
            names = list(offers(site))
        for name in names:
            for of_offer in checks:
                with suppress(*ignored):
                    found.extend(of_offer(site, name))
    return found


def _known(path: str, name: str | None, place: str, names: Mapping[str, Any]) -> Iterator[Problem]:
    if name and name not in names:
        yield Problem(path, f"{name!r} is not in {place}. Allowed values: {', '.join(sorted(names))}")


def _known_classes(path: str, named: Mapping[str, bool], site: Site) -> Iterator[Problem]:
    for name in named:
        yield from _known(f"{path}.classes.{name}", name, "classes", site.classes)


def _classes_of_profile(site: Site, name: str) -> Iterator[Problem]:
    yield from _known_classes(f"profiles.{name}", site.profiles[name].classes, site)


def _classes_of_queue(site: Site, name: str) -> Iterator[Problem]:
    yield from _known_classes(f"queues.{name}", site.queues[name].classes, site)


def _classes_of_mount(site: Site, name: str) -> Iterator[Problem]:
    yield from _known_classes(f"storage.mounts.{name}", site.storage.mounts[name].classes, site)


def _priority_of_queue(site: Site, name: str) -> Iterator[Problem]:
    yield from _known(f"queues.{name}.priority", site.queues[name].priority, "priorities", site.priorities)


def _queue_of_profile(site: Site, name: str) -> Iterator[Problem]:
    if site.profile_path(name).startswith("profiles"):
        yield from _known(f"profiles.{name}.queue", site.profiles[name].queue, "queues", site.queues)


def _queues_of_profile(site: Site, name: str) -> Iterator[Problem]:
    if site.profile_path(name).startswith("profiles"):
        for queue in site.profiles[name].queues:
            yield from _known(f"profiles.{name}.queues.{queue}", queue, "queues", site.queues)


def _queue_in_queues(site: Site, name: str) -> Iterator[Problem]:
    profile = site.profiles[name]
    if profile.queue and profile.queues and not profile.queues.get(profile.queue):
        yield Problem(f"{site.profile_path(name)}.queue", f"{profile.queue!r} is not in the queues of this profile")


def _gpu_of_profile(site: Site, name: str) -> Iterator[Problem]:
    gpu, scheduler = site.profiles[name].gpu, site.scheduler
    if gpu is not None and (why := why_no_gpu(gpu, scheduler.kind, scheduler.name)):
        yield Problem(f"{site.profile_path(name)}.gpu.kind", why)


def _pod_of_profile(site: Site, name: str) -> Iterator[Problem]:
    fields, base = site.profiles[name].pod, site.pods.base
    try:
        fields.over(base)
    except ValidationError as error:
        for problem in SettingsError.of(error, PodFields).problems:
            yield Problem(
                f"{site.profile_path(name)}.pod.{problem.path}", f"{problem.message}. The value can come from pods.base"
            )
    except ValueError as error:
        yield Problem(f"{site.profile_path(name)}.pod", f"{error}. The other value is in pods.base")


def _own_profile_of_class(site: Site, name: str) -> Iterator[Problem]:
    if not site.classes[name].profile and name in site.profiles:
        why = "has fields of a profile, but a profile of this name exists. Rename one, or set profile instead"
        yield Problem(f"classes.{name}", why)


def _profile_of_class(site: Site, name: str) -> Iterator[Problem]:
    yield from _known(f"classes.{name}.profile", site.classes[name].profile, "profiles", site.profiles)


def _queue_of_class(site: Site, name: str) -> Iterator[Problem]:
    yield from _known(f"classes.{name}.queue", site.classes[name].queue, "queues", site.queues)


def _class_may_use_profile(site: Site, name: str) -> Iterator[Problem]:
    yield from _class_may_use(site, name, "profile", site.profiles, site.classes[name].profile)


def _class_may_use_queue(site: Site, name: str) -> Iterator[Problem]:
    if site.classes[name].profile:
        yield from _class_may_use(site, name, "queue", site.queues, site.classes[name].queue)


def _class_may_use(site: Site, name: str, kind: str, offers: Mapping[str, Any], chosen: str) -> Iterator[Problem]:
    offer = offers.get(chosen)
    if offer is not None and not open_to(offer.groups, [site.classes[name].roster.group], offer.classes, [name]):
        yield Problem(
            f"classes.{name}.{kind}",
            f"the class may not use {kind} {chosen!r}. Set {kind}s.{chosen}.classes: {{{name}: true}}",
        )


def _queue_of_class_in_profile(site: Site, name: str) -> Iterator[Problem]:
    course = site.classes[name]
    profile = site.profiles.get(course.profile)
    if profile is not None and profile.queues and not profile.queues.get(course.queue):
        yield Problem(f"classes.{name}.queue", f"profile {course.profile!r} does not allow queue {course.queue!r}")


def _days_of_class(site: Site, name: str) -> Iterator[Problem]:
    course = site.classes[name]
    if course.since is not None and course.since > course.until:
        yield Problem(f"classes.{name}.until", "must not be earlier than `since`")


def _default_priority(site: Site) -> Iterator[Problem]:
    defaults = [name for name, priority in site.priorities.items() if priority.default]
    if len(defaults) != 1:
        marked = f"{' and '.join(defaults)} have" if defaults else "none has"
        yield Problem("priorities", f"exactly one priority must have default: true, but {marked} it")


def _priority_classes(site: Site) -> Iterator[Problem]:
    holders: dict[str, str] = {}
    for name in site.priorities:
        in_cluster = site.priority_class(name)
        holder = holders.setdefault(in_cluster, name)
        if holder != name:
            yield Problem(
                f"priorities.{name}.class", f"PriorityClass {in_cluster!r} already belongs to priority {holder!r}"
            )


_OF_SITE: tuple[Callable[[Site], Iterator[Problem]], ...] = (_default_priority, _priority_classes)
_OF_OFFERS: tuple[
    tuple[Callable[[Site], Mapping[str, Any]], tuple[Callable[[Site, str], Iterator[Problem]], ...]], ...
] = (
    (
        lambda site: site.profiles,
        (
            _classes_of_profile,
            _queue_of_profile,
            _queues_of_profile,
            _queue_in_queues,
            _gpu_of_profile,
            _pod_of_profile,
        ),
    ),
    (lambda site: site.queues, (_classes_of_queue, _priority_of_queue)),
    (lambda site: site.storage.mounts, (_classes_of_mount,)),
    (
        lambda site: site.classes,
        (
            _own_profile_of_class,
            _profile_of_class,
            _queue_of_class,
            _class_may_use_profile,
            _class_may_use_queue,
            _queue_of_class_in_profile,
            _days_of_class,
        ),
    ),
)
