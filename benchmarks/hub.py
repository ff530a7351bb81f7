"""Run and use a measured hub, which is a real JupyterHub in a separate process with its own API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from . import sides, stack_sampler
from .processes import StartFailed, cpu_seconds, memory_bytes, running, tail

START_SECONDS = 180.0
STOP_SECONDS = 120.0
SAMPLES = "samples.json"
Calls = Counter[tuple[str, str]]


class MeasurementFailed(RuntimeError):
    """Servers did not start.  The message says how many and why."""


@dataclass(frozen=True)
class Setup:
    """The settings of one run.

    queued: the number of users, besides `people`, whose pods stay pending.
    is_sampled: whether the hub's stack can be sampled.
    has_form: whether KubeSpawner has an options form, as ResearchSpawner always has.
    If `concurrent_starts` is None, ResearchSpawner uses its default.  KubeSpawner ignores this setting.
    """

    side: str
    people: int
    ready_after: float
    foreign_events: int = 0
    jobs: int = 0
    queued: int = 0
    concurrent_starts: int | None = None
    is_sampled: bool = False
    has_form: bool = False


@dataclass(frozen=True)
class Started:
    """The result of one start: its duration in seconds according to the progress page, and the reason of a failure."""

    seconds: float
    failure: str = ""


class Hub:
    """A running hub, which the context manager `hub` creates."""

    def __init__(
        self, url: str, process_id: int, api: aiohttp.ClientSession, cluster: aiohttp.ClientSession, samples: Path
    ) -> None:
        self.url = url
        self._pid = process_id
        self._api = api
        self._cluster = cluster
        self._samples = samples

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self._pid)

    @property
    def memory_bytes(self) -> tuple[int, int]:
        """The resident memory of the hub, and its maximum so far."""
        return memory_bytes(self._pid)

    async def add_users(self, names: Sequence[str]) -> None:
        async with self._api.post(f"{self.url}/hub/api/users", json={"usernames": list(names)}) as answer:
            answer.raise_for_status()

    async def start(self, name: str) -> Started:
        """Start the user's server and read its progress page until the server is ready or has failed."""
        begun = time.monotonic()
        try:
            failure = await self._start(name)
        except aiohttp.ClientError as error:
            failure = f"the hub did not answer: {error!r}"
        return Started(time.monotonic() - begun, failure)

    async def _start(self, name: str) -> str:
        """Return why the server did not start; "" if it did."""
        server = f"{self.url}/hub/api/users/{name}/server"
        async with self._api.post(server) as answer:
            if answer.status not in (201, 202):
                return f"HTTP {answer.status}: {await answer.text()}"
        return await self.follow_start(name)

    async def follow_start(self, name: str) -> str:
        """Read the progress of a start until its end, and return why the server did not start; "" if it did."""
        async with self._api.get(f"{self.url}/hub/api/users/{name}/server/progress") as answer:
            async for line in answer.content:
                told = json.loads(line.removeprefix(b"data:")) if line.startswith(b"data:") else {}
                if told.get("ready") or told.get("failed"):
                    return str(told.get("message")) if told.get("failed") else ""
        return "the progress page ended without a result"

    async def start_all(self, names: Sequence[str]) -> list[Started]:
        return await asyncio.gather(*map(self.start, names))

    async def answer_seconds(self, name: str) -> float:
        """Return the seconds until the hub answered a request for this user's servers."""
        begun = time.monotonic()
        async with self._api.get(f"{self.url}/hub/api/users/{name}") as answer:
            await answer.read()
        return time.monotonic() - begun

    async def stop(self, name: str) -> None:
        """Stop the user's server and wait until the hub no longer lists it."""
        user = f"{self.url}/hub/api/users/{name}"
        async with self._api.delete(f"{user}/server") as answer:
            answer.raise_for_status()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            async with self._api.get(user) as answer:
                if not (await answer.json())["servers"]:
                    return
            await asyncio.sleep(0.2)
        raise TimeoutError(f"the server of {name} still exists after {STOP_SECONDS:.0f} s")

    def start_sampling(self) -> None:
        """Begin to sample the stack of the hub, which needs `Setup.is_sampled`."""
        os.kill(self._pid, stack_sampler.TOGGLE)

    async def stop_sampling(self) -> Counter[stack_sampler.Stack]:
        """Return the number of samples of each stack since `start_sampling`."""
        os.kill(self._pid, stack_sampler.TOGGLE)
        deadline = time.monotonic() + START_SECONDS
        while not self._samples.exists():
            if time.monotonic() > deadline:
                raise MeasurementFailed("The hub wrote no samples of its stack.")
            await asyncio.sleep(0.1)
        return stack_sampler.read(self._samples)

    async def calls(self) -> Calls:
        """Return the number of API requests since the previous call of this method, by verb and resource."""
        return (await self.calls_and_listed_bytes())[0]

    async def calls_and_listed_bytes(self) -> tuple[Calls, int]:
        """Return what `calls` does, and the length of all lists in the responses since then."""
        async with self._cluster.delete("/embedded/calls") as answer:
            told = await answer.json()
        calls = Counter({(it["verb"], it["resource"]): it["count"] for it in told["calls"]})
        return calls, sum(told["listed_bytes"].values())

    async def count_pods(self) -> int:
        async with self._cluster.get(f"/api/v1/namespaces/{sides.NAMESPACE}/pods", params={"limit": "1"}) as answer:
            listed = await answer.json()
        return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))


@contextlib.asynccontextmanager
async def hub(setup: Setup) -> AsyncIterator[Hub]:
    """Yield a running hub with its own API server.  Raises StartFailed."""
    with TemporaryDirectory(prefix="benchmark-") as directory:
        state = Path(directory)
        token = secrets.token_urlsafe(32)
        options = ["--ready-after", str(setup.ready_after)]
        options += ["--foreign-events", str(setup.foreign_events), "--jobs", str(setup.jobs)]
        async with (
            api_server(state, token, options) as (cluster_url, notebook_port),
            contextlib.AsyncExitStack() as stack,
        ):
            url = f"http://127.0.0.1:{_free_port()}"
            environment = _write_settings(state, token, setup, url, cluster_url, notebook_port)
            arguments = ["-m", "jupyterhub", "--config", str(Path(__file__).with_name("hub_config.py"))]
            log = state / "hub.log"
            process = await stack.enter_async_context(running(arguments, log, environment))
            api = await stack.enter_async_context(_session(f"token {token}"))
            cluster = await stack.enter_async_context(_session(f"Bearer {token}", cluster_url))
            await _wait_until_ready(f"{url}/hub/api", process, log, api)
            yield Hub(url, process.pid, api, cluster, state / SAMPLES)


@contextlib.asynccontextmanager
async def api_server(state: Path, token: str, options: Sequence[str]) -> AsyncIterator[tuple[str, int]]:
    """Run `python -m benchmarks.cluster`.  Yield its URL and the port of the stub notebook server."""
    token_file = state / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    log = state / "cluster.log"
    arguments = ["-m", "benchmarks.cluster", "--token-file", str(token_file), *options]
    async with running(arguments, log, {}) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        if not line:
            raise StartFailed(f"The API server did not start:\n{tail(log)}")
        told = json.loads(line)
        yield told["url"], told["notebook_port"]


def _write_settings(
    state: Path, token: str, setup: Setup, url: str, cluster_url: str, notebook_port: int
) -> dict[str, str]:
    """Write the files that the hub reads, and return the environment variables that contain their paths."""
    sides.write_accounts(state, [*sides.usernames(setup.people), *sides.usernames(setup.queued, sides.QUEUED)])
    given = {
        "side": setup.side,
        "site": sides.site(state, "plain", setup.concurrent_starts),
        "url": url,
        "token": token,
        "notebook_port": notebook_port,
        "samples": str(state / SAMPLES) if setup.is_sampled else "",
        "has_form": setup.has_form,
    }
    for name, content in (("hub.json", given), ("kubeconfig", sides.kubeconfig(cluster_url, token))):
        (state / name).touch(mode=0o600)
        (state / name).write_text(json.dumps(content))
    return {"BENCHMARK_HUB": str(state / "hub.json"), "KUBECONFIG": str(state / "kubeconfig")}


def _session(authorization: str, base_url: str | None = None) -> aiohttp.ClientSession:
    """Return an HTTP session without a limit of connections, because each start needs one until its end."""
    return aiohttp.ClientSession(
        base_url,
        headers={"Authorization": authorization},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def _wait_until_ready(
    url: str, process: asyncio.subprocess.Process, log: Path, api: aiohttp.ClientSession
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.returncode is None:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with api.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise StartFailed(f"The hub did not start:\n{tail(log)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
