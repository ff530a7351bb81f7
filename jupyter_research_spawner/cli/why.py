"""Name the setting or the request that determined each part of a plan."""

from __future__ import annotations

from collections.abc import Iterator

from ..plan import Plan
from ..settings import format_duration
from ..shape import NOTEBOOK_KIND, Json
from ..site import Site
from ..storage import Mount
from ..wording import format_list
from .output import WIDTH, table


def explained(site: Site, decided: Plan, manifest: Json) -> list[str]:
    """Return the explanation in lines of at most 78 columns, so that they fit behind "# "."""
    rows = [
        ("who", _who(site, decided)),
        ("profile", [_profile(site, decided)]),
        ("size", [str(decided.resources)]),
        ("queue", _queue(site, decided)),
        ("priority", _priority(site, decided)),
        ("image", [_image(site, decided, manifest)]),
        ("wall time", _wall_time(decided)),
        ("mounts", list(_mounts(site, decided))),
        ("marks", _marks(site, decided)),
        ("requires", ["these objects in the cluster (not checked):", *map(str, decided.prerequisites)]),
        ("warnings", decided.warnings or ["none"]),
    ]
    kind, who, where = decided.shape.kind, decided.request.hub_user, decided.namespace
    title = f"The {kind} that would be created for {who} in namespace {where}."
    return [title, "", *table(rows, width=WIDTH - 2), ""]


def _who(site: Site, decided: Plan) -> list[str]:
    who = decided.identity
    source = site.identity.sources[who.source]
    groups = [f"{group.name} ({group.gid})" for group in who.groups]
    return [
        f"{who.name}, uid {who.uid}, gid {who.gid}, home {who.home}",
        f"in {format_list(groups, limit=None)}",
        f"according to identity.sources.{who.source} (kind {source.kind})",
    ]


def _profile(site: Site, decided: Plan) -> str:
    name, course = decided.profile, decided.request.course
    if course is not None:
        is_own = site.profile_path(name).startswith("classes.")
        reason = f"classes.{course} has its fields" if is_own else f"classes.{course}.profile sets it"
    elif decided.request.profile is not None:
        reason = "it was requested"
    else:
        reason = f"it is the first by order of the profiles without a GPU that {decided.identity.name} may use"
    return f"{name} ({site.profiles[name].title}), because {reason}"


def _queue(site: Site, decided: Plan) -> list[str]:
    name, course = decided.queue, decided.request.course
    if course is not None:
        reason = f"classes.{course}.queue sets it"
    elif decided.request.queue is not None:
        reason = "it was requested"
    elif site.profiles[decided.profile].queue is not None:
        reason = f"{site.profile_path(decided.profile)}.queue sets it"
    else:
        reason = f"it is the first by order of the non-preemptible queues that {decided.identity.name} may use"
    found = [f"{name}, because {reason}"]
    if decided.preemptible:
        found.append(f"can be preempted, because queues.{name}.preemptible is true")
    return found


def _priority(site: Site, decided: Plan) -> list[str]:
    name = decided.priority
    own = site.queues[decided.queue].priority is not None
    reason = f"queues.{decided.queue}.priority sets it" if own else "it is the default"
    value = site.priorities[name].value
    return [f"{name} ({value}), because {reason}; class {site.priority_class(name)} in the cluster"]


def _image(site: Site, decided: Plan, manifest: Json) -> str:
    if decided.request.image is not None:
        return f"{decided.image}, because it was requested and is allowed"
    for place, images in (
        (f"{site.profile_path(decided.profile)}.images", site.profiles[decided.profile].image_names),
        ("batch.images", site.batch.images),
    ):
        for name, image in images.items():
            if image == decided.image:
                return f"{image}, because {place}.{name} sets it"
    return f"{manifest['spec']['containers'][0].get('image')}, KubeSpawner's image, because the profile has none"


def _wall_time(decided: Plan) -> list[str]:
    soft, hard = format_duration(decided.wall_time.soft), format_duration(decided.wall_time.hard)
    return [f"{soft}, and {hard} at most, because {decided.wall_time.reason}"]


def _mounts(site: Site, decided: Plan) -> Iterator[str]:
    who = decided.identity
    homes = {(home.claim, home.root): f"storage.homes.{name}" for name, home in site.storage.homes.items()}
    mounts = {(mount.claim, mount.path): (name, mount) for name, mount in site.storage.mounts.items()}
    for point in decided.mounts:
        key = (point.claim, point.path)
        if key in mounts:
            name, mount = mounts[key]
            yield f"{point}, because storage.mounts.{name} is for {_for_whom(mount, who.group_names)}"
        else:
            yield f"{point}, because {who.home} is below {homes[key]}.root"
    for name, mount in sorted(site.storage.mounts.items()):
        if (mount.claim, mount.path) not in {(point.claim, point.path) for point in decided.mounts}:
            yield f"not {mount.path}: storage.mounts.{name} is for {_for_whom(mount)}"


def _for_whom(mount: Mount, mine: tuple[str, ...] | None = None) -> str:
    """Return the groups and classes that get a mount as text.  If `mine` is given, include only groups in `mine`."""
    if not mount.groups and not mount.classes:
        return "all users"
    groups = [group for group, may in mount.groups.items() if may and (mine is None or group in mine)]
    classes = [f"class {name}" for name, may in mount.classes.items() if may]
    return format_list(groups if groups and mine is not None else [*groups, *classes], "or")


def _marks(site: Site, decided: Plan) -> list[str]:
    marks = decided.marks
    found = [f"for {decided.scheduler} (scheduler.kind) and queue {decided.queue}:"]
    place = "pod" if decided.shape.kind == NOTEBOOK_KIND else decided.shape.kind
    for where, metadata in ((place, marks.object), ("pod", marks.pod)):
        for sort, texts in (("label", metadata.labels), ("annotation", metadata.annotations)):
            found += [f"{sort} {key}: {value} (on the {where})" for key, value in texts.items()]
    if marks.names_main is not None:
        found.append(f"annotation {marks.names_main}: the main container's name (on the pod)")
    if marks.scheduler_name is None:
        found.append("no schedulerName, so the cluster's default scheduler places the pod")
    else:
        own = (
            "scheduler.name sets it"
            if site.scheduler.name
            else f"{decided.scheduler} schedules only pods with this schedulerName"
        )
        found.append(f"schedulerName {marks.scheduler_name}, because {own}")
    found.append(f"priorityClassName {marks.priority_class or 'none'}")
    return found
