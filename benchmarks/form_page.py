"""Measure the options form: the CPU time of one page, and its size, with many profiles.

ResearchSpawner's page shows each profile with its queues, images and limits.  KubeSpawner's is that of `profile_list`
with the same titles, which has no choices.  Static files, which a browser keeps, count for ResearchSpawner's size.

The measurement runs in a process of its own, `python -m benchmarks.form_page SIDE PROFILES`, which needs KUBECONFIG.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from kubespawner import KubeSpawner

from jupyter_research_spawner import web
from jupyter_research_spawner.form import FormBuilder
from jupyter_research_spawner.identity import PosixIdentity, Resolver
from jupyter_research_spawner.site import Site, load

from . import sides
from .processes import StartFailed, running, tail
from .sides import Json

PAGES = 300
USERS = 50
FILES = ("research.css", "form.js")
LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class FormPages:
    """The CPU time in ms of half and of 99 % of the pages, and what the last page sent in kB, without compression."""

    side: str
    profiles: int
    half_ms: float
    most_ms: float
    page_kb: float

    def as_json(self) -> Json:
        return asdict(self)


async def measure(side: str, profiles: int) -> FormPages:
    """Return what one process measures.  Raises StartFailed if it fails."""
    with TemporaryDirectory(prefix="benchmark-") as directory:
        kubeconfig, log = Path(directory) / "kubeconfig", Path(directory) / "form.log"
        kubeconfig.write_text(json.dumps(sides.kubeconfig("http://127.0.0.1:1", "none")))
        arguments = ["-m", "benchmarks.form_page", side, str(profiles)]
        async with running(arguments, log, {"KUBECONFIG": str(kubeconfig)}) as process:
            assert process.stdout is not None
            told = await asyncio.wait_for(process.stdout.read(), LIMIT_SECONDS)
            if await process.wait():
                raise StartFailed(f"The cost of the options form could not be measured:\n{tail(log)}")
        return FormPages(**json.loads(told))


async def _measure(side: str, profiles: int) -> FormPages:
    """Build PAGES forms with this number of profiles, for USERS users in turn."""
    page = (await _forms_of_research(profiles)).page if side == sides.RESEARCH else _page_of_kube(profiles)
    page(0)
    seconds, html = [], ""
    for place in range(PAGES):
        begun = time.process_time()
        html = page(place)
        seconds.append(time.process_time() - begun)
    size = len(html.encode())
    if side == sides.RESEARCH:
        size += sum(len(web.static_files()[name].content) for name in FILES)
    return FormPages(side, profiles, 1000 * median(seconds), most_ms(seconds), size / 1000)


def most_ms(seconds: Sequence[float]) -> float:
    """Return in milliseconds what 99 % do not exceed."""
    return 1000 * quantiles(seconds, n=100)[98]


@dataclass(frozen=True)
class ResearchForms:
    """The options forms of a site."""

    site: Site
    people: Sequence[PosixIdentity]
    builder: FormBuilder

    def page(self, place: int, **more: Any) -> str:
        """Return the HTML of the form of one of the users, who take turns."""
        person = self.people[place % len(self.people)]
        found = self.builder.build(person, datetime.now(timezone.utc), hub_user=person.name, **more)
        return web.render_template("options.html", base_url="/hub/", form=found, pod_path="/hub/pod", owner="")


async def research_forms(scheduler: str, change: Callable[[Json], object]) -> ResearchForms:
    """Return the forms of USERS users.  `change` changes the site's settings."""
    names = sides.usernames(USERS)
    with TemporaryDirectory(prefix="benchmark-") as directory:
        sides.write_accounts(Path(directory), names)
        settings = sides.site(Path(directory), scheduler)
        change(settings)
        site = load(settings)
        resolver = Resolver(site.identity, Path(directory))
        people = [await resolver.resolve(name) for name in names]
    return ResearchForms(site, people, FormBuilder(site))


async def _forms_of_research(profiles: int) -> ResearchForms:
    def change(settings: Json) -> None:
        small = settings["profiles"]["small"]
        settings["profiles"] = {
            f"size-{number}": {**small, "title": _title(number), "order": number} for number in range(1, profiles + 1)
        }

    return await research_forms("kueue", change)


def _page_of_kube(profiles: int) -> Callable[[int], str]:
    user = SimpleNamespace(name="alice", id=1, url="/user/alice/", escaped_name="alice")
    offered = sides.profile_list([_title(number) for number in range(1, profiles + 1)])
    spawner: Any = KubeSpawner(user=user, profile_list=offered, _mock=True)
    return lambda _: str(spawner._render_options_form(offered))


def _title(number: int) -> str:
    return f"Size {number}"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(sys.argv[1], int(sys.argv[2]))).as_json()))
