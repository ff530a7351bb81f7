"""Measure the click on Start: from the post of the options form until the page of the start has come.

The measured hub waits for no start before it leads to that page (`slow_spawn_timeout` is 0, as in z2jh).  With
JupyterHub's default, its SpawnHandler waits one second more, whatever the spawner is.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import aiohttp

from jupyter_research_spawner.demo.user_session import Form

from . import sides
from .hub import Hub, MeasurementFailed, Setup, hub
from .sides import Json

READY_AFTER = 0.5
CHOICE = "Small"


@dataclass(frozen=True)
class Clicks:
    """The times of single clicks on an idle hub, in seconds, and the hub's CPU seconds of all of them.

    seconds: until the page has come.  redirect_seconds: until the hub led to the page, which is a part of that.
    """

    side: str
    seconds: tuple[float, ...]
    redirect_seconds: tuple[float, ...]
    cpu: float

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / len(self.seconds)

    def as_json(self) -> Json:
        return {**asdict(self), "cpu_ms_per_click": self.cpu_ms}


async def measure(side: str, clicks: int) -> Clicks:
    """Let users log in, open the form and click, one after the other.  Raises MeasurementFailed.

    The form has been shown before the click, so the user's identity is cached.  The first click is not counted.
    """
    names = sides.usernames(clicks + 1)
    found = []
    async with hub(Setup(side, len(names), READY_AFTER, has_form=True)) as measured:
        for name in names:
            found.append(await _click(measured, name))
            if failure := await measured.follow_start(name):
                raise MeasurementFailed(f"The server of {name} on {side} did not start: {failure}")
    seconds, redirects, cpu = zip(*found[1:], strict=True)
    return Clicks(side, seconds, redirects, sum(cpu))


async def _click(measured: Hub, name: str) -> tuple[float, float, float]:
    """Return the seconds until the page of the start has come, until the redirect to it, and the hub's CPU seconds."""
    jar = aiohttp.CookieJar(unsafe=True)  # accept cookies of the address 127.0.0.1
    async with aiohttp.ClientSession(cookie_jar=jar) as session:

        async def post(path: str, fields: dict[str, str]) -> str:
            """Return the address to which the hub leads."""
            fields["_xsrf"] = [cookie.value for cookie in jar if cookie.key == "_xsrf"][-1]
            async with session.post(f"{measured.url}{path}", data=fields, allow_redirects=False) as answer:
                if answer.status != 302:
                    raise MeasurementFailed(f"POST {path} was answered by HTTP {answer.status} instead of a redirect.")
                return answer.headers["Location"]

        async def get(path: str) -> str:
            async with session.get(f"{measured.url}{path}", allow_redirects=False) as answer:
                if answer.status != 200:
                    raise MeasurementFailed(f"GET {path} was answered by HTTP {answer.status} instead of a page.")
                return await answer.text()

        await get("/hub/login")
        await post("/hub/login", {"username": name, "password": ""})
        form = Form(await get(f"/hub/spawn/{name}"))
        form.choose(CHOICE)
        cpu, begun = measured.cpu_seconds, time.monotonic()
        page = await post(f"/hub/spawn/{name}", form.fields)
        redirected = time.monotonic()
        await get(page)
        ended = time.monotonic()
        return ended - begun, redirected - begun, measured.cpu_seconds - cpu
