"""Change an administrator's settings so that the embedded cluster can run them, and say what was changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..plan.rights import today_in
from ..settings import SettingsError
from ..settings.problems import Problem
from ..site import Site, load

# The kind of scheduler that the embedded cluster has.
SCHEDULER = "plain"
_SOURCE = "try"


@dataclass(frozen=True)
class TrialSettings:
    """The settings of a trial.

    running: what runs on the embedded cluster.
    own: the same with the site's own scheduler and URLs, for the pod that the site would send.
    differences: sentences about what differs from the site.
    """

    running: dict[str, Any]
    own: dict[str, Any]
    differences: list[str]


def trial_settings(
    written: Mapping[str, Any], site: Site, passwd: Path, group: Path, batch_url: str, now: datetime
) -> TrialSettings:
    """Return the settings of a trial with these users.

    written: the settings of `site` as the administrator wrote them, merged.  Raises SettingsError if
    a setting needs the site's own scheduler.
    """
    own = copy.deepcopy(dict(written))
    differences = []
    own["identity"]["sources"] = {_SOURCE: {"kind": "static", "passwd": str(passwd), "group": str(group)}}
    for name, course in sorted(site.classes.items()):
        today = today_in(site, course, now)
        if course.since is not None and course.since > today:
            del own["classes"][name]["since"]
            differences.append(f"The class {name} begins on {course.since}. Here it has begun already.")
        elif course.until < today:
            differences.append(f"The class {name} ended on {course.until}, so only its staff are offered it.")
    running = copy.deepcopy(own)
    if site.batch.url is not None:
        running["batch"]["url"] = batch_url
    if site.scheduler.kind != SCHEDULER:
        running["scheduler"] = {"kind": SCHEDULER}
        differences.insert(0, about_scheduler(site.scheduler.kind))
    try:
        load(running)
    except SettingsError as error:
        why = f"cannot be tried, because the embedded cluster has the scheduler {SCHEDULER}"
        raise SettingsError([Problem(one.path, f"{why}: {one.message}") for one in error.problems]) from None
    return TrialSettings(running, own, differences)


def about_scheduler(kind: str) -> str:
    """Return the sentence for the first lines of the terminal and for the pages."""
    return (
        f"Your scheduler is {kind}, but the embedded cluster schedules as {SCHEDULER}: there are no quotas, and a pod "
        "waits only until a node has room."
    )
