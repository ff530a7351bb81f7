"""The command `lint`: summarize settings, find profiles that cannot start, and give advice on unusual settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ..identity import IdentitySettings, checks
from ..identity.source_interface import Account
from ..identity.sources import SOURCES
from ..identity.username import check_name
from ..jobs import KINDS
from ..plan import Request, Rights, plan
from ..plan.examples import example_time, example_user, is_closed, queues_of
from ..plan.rights import Restricted, today_in
from ..refusal import Refusal
from ..schedulers import SCHEDULERS
from ..settings import Places, SettingsError, format_duration, ordered
from ..settings.places import Place
from ..settings.problems import Problem, in_order
from ..shape import NOTEBOOK_KIND, Shape
from ..site import Profile, Site
from ..wording import format_list, quote
from .output import table

LISTED_PROBLEMS = 20


def checked(
    site: Site,
    now: datetime,
    base: Path | None = None,
    more_advice: Iterable[Problem] = (),
    places: Places | None = None,
) -> list[Problem]:
    """Return advice about valid settings.

    more_advice: advice about the hub's configuration.
    base: relative paths in the settings are relative to this directory.  places: where the settings are written.
    Raises SettingsError if a profile cannot start in one of its queues, even for a user who may use both.
    """
    if problems := list(_never(site, now)):
        raise SettingsError(problems)
    of_site = (problem.located(places or Places()) for problem in advice(site, now, base))
    return in_order((*more_advice, *of_site))


def as_json(found: Iterable[Problem]) -> str:
    """Return problems and advice as `lint --format json` prints them."""
    parts: dict[str, list[dict[str, Any]]] = {"problems": [], "advice": []}
    for one in found:
        place = one.place or Place("")
        entry = {"path": one.path, "message": one.message, "file": place.file or None, "line": place.line}
        parts["advice" if one.is_advice else "problems"].append(entry)
    return json.dumps({"valid": not parts["problems"], **parts}, indent=2)


def report(site: Site, found: Iterable[Problem]) -> str:
    """Return what `lint` prints about valid settings: a summary, and the advice that `checked` has found."""
    lines = ["No mistakes.", ""]
    for title, rows in (
        ("Profiles", _profiles(site)),
        ("Queues", _queues(site)),
        ("Classes", _classes(site)),
    ):
        if rows:
            lines += [title, *table(rows, prefix="  "), ""]
    told = [("-", [str(problem)]) for problem in found]
    lines += ["Advice", *table(told, prefix="  ")] if told else ["No advice."]
    return "\n".join(lines)


def _whom(offer: Restricted) -> str:
    """Return which users may use a profile or queue, for example `for climate or class stats-101`."""
    if not offer.groups and not offer.classes:
        return "for all users"
    may = [group for group, may in offer.groups.items() if may]
    may += [f"class {name}" for name, may_use in offer.classes.items() if may_use]
    return f"for {format_list(may, 'or')}" if may else "closed to all users"


def _profiles(site: Site) -> list[tuple[str, list[str]]]:
    return [
        (
            name,
            [
                f"{profile.title}: {profile.resources()}; wall time {format_duration(profile.wall_time)}"
                f"{_longest_jobs(profile)}; "
                f"{_whom(profile)}; queue {format_list(queues_of(site, profile), 'or') or 'none'}"
            ],
        )
        for name, profile in ordered(site.profiles)
    ]


def _longest_jobs(profile: Profile) -> str:
    limit = profile.jobs.wall_time_hard
    return "" if limit is None else f", jobs at most {format_duration(limit)}"


def _queues(site: Site) -> list[tuple[str, list[str]]]:
    return [
        (
            name,
            [
                f"{_whom(queue)}; priority {queue.priority or site.default_priority}"
                f"{'; preemptible' if queue.preemptible else ''}"
            ],
        )
        for name, queue in ordered(site.queues)
    ]


def _classes(site: Site) -> list[tuple[str, list[str]]]:
    return [
        (name, [f"{course.profile} in {course.queue}, for {course.roster.group}, until {course.until}"])
        for name, course in sorted(site.classes.items())
    ]


def _never(site: Site, now: datetime) -> Iterator[Problem]:
    """Yield the refusals of each profile in each of its queues, for a user who may use both.

    Each profile is tried with a notebook and, if the site has the batch service, with all kinds of jobs.
    """
    kinds = [NOTEBOOK_KIND, *(KINDS if site.batch.url else [])]
    for name, profile in ordered(site.profiles):
        if is_closed(profile):
            continue
        for queue in queues_of(site, profile):
            said: set[str] = set()
            for kind in kinds:
                refusal = _refused(site, now, kind, name, queue)
                if refusal is not None and str(refusal) not in said:
                    said.add(str(refusal))
                    yield Problem(site.profile_path(name), f"cannot run as a {kind} in queue {queue!r}: {refusal}")


def _refused(site: Site, now: datetime, kind: str, profile: str, queue: str) -> Refusal | None:
    request = Request(Shape(kind, "lint"), hub_user="somebody", profile=profile, queue=queue)
    try:
        plan(
            site,
            example_user(site, profile, queue),
            request,
            run_id="lint",
            now=example_time(site, profile, queue, now),
        )
    except Refusal as refusal:
        return None if refusal.code == "class-no-jobs" else refusal
    return None


def advice(site: Site, now: datetime, base: Path | None = None) -> Iterator[Problem]:
    """Yield settings that are valid but rarely intended, and settings that require something of the cluster."""
    yield from _identity(site.identity, (base or Path()).absolute())
    yield from _unused_queues(site)
    yield from _unused_profiles(site)
    yield from _no_default(site)
    yield from _class_advice(site, now, (base or Path()).absolute())
    yield from _wall_times(site)
    yield from _ends_of_notebooks(site)
    yield from _images(site)
    yield from _numa(site)
    yield from _gpus(site)
    if site.batch.url is None:
        yield Problem(
            "batch.url",
            "is missing, so notebooks have no `job` command. For the service of `research-spawner manifests`, set it "
            "to http://research-batch:8080/services/batch",
        )
    for name, source in ordered(site.identity.sources):
        files = [getattr(source, field, None) for field in ("passwd", "group")]
        relative = [str(path) for path in files if path is not None and not path.is_absolute()]
        if relative:
            yield Problem(
                f"identity.sources.{name}",
                f"has relative paths ({format_list(relative)}), "
                "so the hub and the batch service may read different files. Use absolute paths",
            )


def _class_advice(site: Site, now: datetime, base: Path) -> Iterator[Problem]:
    """Yield advice about classes.

    A class has ended, has the title of another class, or has an unknown group.  Its staff cannot use its profile or
    queue, or its students can use them without the class.
    """
    titles: dict[str, str] = {}
    known = _groups_of(site.identity, base)
    for name, course in sorted(site.classes.items()):
        place = f"classes.{name}"
        if course.until < today_in(site, course, now):
            yield Problem(place, f"ended on {course.until} and is no longer offered")
        other = titles.setdefault(course.title or name, name)
        if other != name:
            yield Problem(f"{place}.title", f"is also the title of class {other!r}, so users cannot tell them apart")
        for field, roster in (("roster", course.roster), ("staff", course.staff)):
            if roster is not None and known and roster.group not in known:
                yield Problem(f"{place}.{field}.group", f"no account of the identity sources is in {roster.group!r}")
        for kind, offer, of in (
            ("profile", site.profiles[course.profile], course.profile),
            ("queue", site.queues[course.queue], course.queue),
        ):
            if course.staff is not None and not Rights((course.staff.group,), frozenset([name])).may_use(offer):
                yield Problem(
                    f"{place}.staff",
                    f"cannot use {kind} {of!r}. Add {kind}s.{of}.classes: {{{name}: true}}",
                )
            if offer.groups.get(course.roster.group):
                yield Problem(
                    f"{place}.{kind}",
                    f"is open to the students also before and after the class, by {kind}s.{of}.groups. To close it "
                    f"when the class ends, replace the group by {kind}s.{of}.classes: {{{name}: true}}",
                )


def _groups_of(settings: IdentitySettings, base: Path) -> set[str]:
    """Return the names of all groups that have members; an empty set if a source cannot list its accounts."""
    found = [SOURCES[options.kind].read_entries(options, base).accounts for options in settings.sources.values()]
    return (
        {group for accounts in found for account in accounts for _, group in account.groups if group}
        if all(found)
        else set()
    )


def _identity(settings: IdentitySettings, base: Path) -> Iterator[Problem]:
    """Yield weakened checks, and for each source its invalid entries and the accounts that would be refused."""
    for name, sentence in checks.advice(settings.checks):
        yield Problem(f"identity.checks.{name}", sentence)
    for name, options in ordered(settings.sources):
        place = f"identity.sources.{name}"
        if len(settings.sources) > 1 and (options.uid_range is None or options.gid_range is None):
            yield Problem(
                place, "can claim the uids and gids of users of the other sources. Set uid_range and gid_range"
            )
        entries = SOURCES[options.kind].read_entries(options, base)
        for problem in entries.problems[:LISTED_PROBLEMS]:
            yield Problem(place, problem)
        if (more := len(entries.problems) - LISTED_PROBLEMS) > 0:
            yield Problem(place, f"{more} more lines of its files have problems")
        for field, refused in _unusable(settings, name, entries.accounts).items():
            names = format_list(refused)
            first, message = next(iter(refused.items()))
            yield Problem(place, f"the {field} of {names} is not allowed. The message for {quote(first)} is: {message}")


def _unusable(settings: IdentitySettings, source: str, accounts: Iterable[Account]) -> dict[str, dict[str, str]]:
    """Return a map from each invalid field to the accounts that are refused for it, with the message for each user."""
    found: dict[str, dict[str, str]] = {}
    for account in accounts:
        refusal = _account_refusal(settings, source, account)
        if refusal is not None:
            found.setdefault(refusal.field or "entry", {})[account.name] = refusal.message.rstrip(".")
    return found


def _account_refusal(settings: IdentitySettings, source: str, account: Account) -> Refusal | None:
    try:
        check_name(settings.username, account.name)
        checks.identity_from(settings.checks, source, account.name, account)
    except Refusal as refusal:
        return refusal
    return None


def _numa(site: Site) -> Iterator[Problem]:
    """Yield what NUMA profiles require of nodes, because lint cannot check it."""
    for name, profile in ordered(site.profiles):
        if profile.numa is None:
            continue
        place = site.profile_path(name)
        kubelets = "cpuManagerPolicy static, memoryManagerPolicy Static and topologyManagerPolicy single-numa-node"
        yield Problem(
            f"{place}.numa",
            f"works only on nodes whose kubelets have {kubelets}; select them with {place}.pod.nodeSelector"
            if not site.pod_fields[name].nodeSelector
            else f"works only if the kubelets of the selected nodes have {kubelets}",
        )
        if profile.cpu % 2:
            yield Problem(
                f"{place}.cpu",
                "is an odd number. On nodes with two threads per core, a kubelet with the CPU manager option "
                "full-pcpus-only rejects the pod (SMTAlignmentError)",
            )
        if profile.gpu is not None and profile.gpu.alignment_advice:
            yield Problem(f"{place}.gpu", profile.gpu.alignment_advice)


def _gpus(site: Site) -> Iterator[Problem]:
    for name, profile in ordered(site.profiles):
        advice = SCHEDULERS[site.scheduler.kind].GPU_ADVICE
        if profile.gpu is not None and (sentence := advice.get(profile.gpu.kind)):
            yield Problem(f"{site.profile_path(name)}.gpu", sentence)


def _unused_queues(site: Site) -> Iterator[Problem]:
    for name, queue in ordered(site.queues):
        if is_closed(queue):
            yield Problem(f"queues.{name}", "is closed to all users, because no group and no class in it is true")
        elif not any(not profile.queues or profile.queues.get(name) for profile in site.profiles.values()):
            yield Problem(f"queues.{name}", "is not used, because no profile allows it")


def _unused_profiles(site: Site) -> Iterator[Problem]:
    for name, profile in ordered(site.profiles):
        queues = queues_of(site, profile)
        if is_closed(profile):
            yield Problem(
                site.profile_path(name), "is closed to all users, because no group and no class in it is true"
            )
        elif not queues:
            yield Problem(site.profile_path(name), "cannot be used, because all queues that it allows are closed")
        elif profile.queue is None and all(site.queues[queue].preemptible for queue in queues):
            yield Problem(
                site.profile_path(name),
                "has no default queue, because all of its queues are preemptible; users must choose a queue",
            )


def _no_default(site: Site) -> Iterator[Problem]:
    """Yield a problem if a user who is in no group of the settings has no default profile."""
    for profile in site.profiles.values():
        if profile.gpu is not None or profile.groups or profile.classes:
            continue
        queues = [profile.queue] if profile.queue else queues_of(site, profile)
        mine = [queue for queue in queues if Rights((), frozenset()).may_use(site.queues[queue])]
        if any(profile.queue or not site.queues[queue].preemptible for queue in mine):
            return
    yield Problem(
        "profiles",
        "a user who is in no group of these settings has no default profile. Add a profile without a GPU that is open "
        "to all users, and a queue for it that is open to all users and not preemptible",
    )


def _wall_times(site: Site) -> Iterator[Problem]:
    """Yield limits of jobs that a lower limit makes ineffective."""
    longest = site.batch.wall_time_hard
    limits = [(f"profiles.{name}", profile.jobs.wall_time_hard) for name, profile in ordered(site.profiles)]
    limits += [(f"classes.{name}", course.jobs.wall_time_hard) for name, course in sorted(site.classes.items())]
    for place, limit in limits:
        if limit is not None and limit > longest:
            why = f"has no effect, because batch.wall_time_hard is {format_duration(longest)}"
            yield Problem(f"{place}.jobs.wall_time_hard", why)
    for name, course in sorted(site.classes.items()):
        own, of_class = site.profiles[course.profile].jobs.wall_time_hard, course.jobs.wall_time_hard
        if own is not None and of_class is not None and own < of_class <= longest:
            why = f"has no effect, because profiles.{course.profile}.jobs.wall_time_hard is {format_duration(own)}"
            yield Problem(f"classes.{name}.jobs.wall_time_hard", why)


def _ends_of_notebooks(site: Site) -> Iterator[Problem]:
    """Yield notices that no notebook lives long enough to get, and grace periods for which a stop does not wait."""
    first = site.hub.first_notice
    for name, profile in ordered(site.profiles):
        if profile.wall_time <= first:
            why = f"is {format_duration(profile.wall_time)}, so its users see the first notice when the notebook starts"
            yield Problem(
                f"{site.profile_path(name)}.wall_time", f"{why}: hub.first_notice is {format_duration(first)}"
            )
        grace = site.pod_fields[name].terminationGracePeriodSeconds
        if grace is not None and grace >= site.hub.stop_limit.total_seconds():
            limit = format_duration(site.hub.stop_limit)
            yield Problem(
                "hub.stop_limit",
                f"is {limit}, but pods of profile {name!r} may take {grace} seconds to end "
                "(terminationGracePeriodSeconds). A stop would fail first. Set a longer limit",
            )


def _images(site: Site) -> Iterator[Problem]:
    places = {f"batch.images.{name}": image for name, image in sorted(site.batch.images.items())}
    for of_profile, profile in ordered(site.profiles):
        for name, image in sorted(profile.images.items()):
            path = f"{site.profile_path(of_profile)}.images.{name}"
            if isinstance(image, str):
                places[path] = image
            else:
                places[f"{path}.image"] = image.image
    for path, image in places.items():
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@" not in image and tag in ("", "latest"):
            yield Problem(path, f"{image} can change over time. Use a fixed tag or a digest")
