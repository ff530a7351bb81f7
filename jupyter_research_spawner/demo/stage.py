"""What the tour plays on: the embedded cluster, people's files, and a real hub with its proxy and batch service."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp
import yaml

from ..embedded import Abilities, Cluster, NodeSpec, abilities
from ..embedded.container import marked_processes
from ..identity import PosixIdentity, Resolver
from ..manifests import Release, everything
from ..settings import merge, read
from ..shape import Json
from ..site import Site, load

HERE = Path(__file__).parent
NAMESPACE = "jhub"
CLAIMS = ("home", "project-climate", "era5")
PEOPLE = ("alice", "bob")


class CannotStart(RuntimeError):
    """A sentence: what is in the way, and what would work."""


@dataclass(frozen=True)
class Stage:
    """Everything that runs.  `abilities` says whether people are really different uids here."""

    url: str
    password: str
    cluster: Cluster
    site: Site
    people: dict[str, PosixIdentity]
    abilities: Abilities
    hub_log: Path

    async def pods(self) -> list[Json]:
        """All pods of the demo, as the API server has them."""
        headers = {"Authorization": f"Bearer {self.cluster.token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            answer = await session.get(
                f"{self.cluster.url}/api/v1/namespaces/{NAMESPACE}/pods", ssl=_trust(self.cluster)
            )
            items: list[Json] = (await answer.json())["items"]
            return items


def _trust(cluster: Cluster) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cluster.ca))


@contextlib.asynccontextmanager
async def set_up(state: Path) -> AsyncIterator[Stage]:
    """Start everything below `state`; on the way out nothing of it goes on running.  Raises CannotStart."""
    proxy = shutil.which("configurable-http-proxy")
    if proxy is None:
        raise CannotStart("The hub's proxy is not installed. Install it: npm install -g configurable-http-proxy")
    with _alone(state):
        able = abilities()
        shared = state / "shared"
        settings = merge(read(HERE / "site.yaml"), _files())
        site = load(settings)
        people = {name: await Resolver(site.identity).resolve(name) for name in PEOPLE}
        claims = _make_storage(shared, people, able)
        cluster = await Cluster.start(
            state / "cluster",
            nodes=[
                NodeSpec("interactive", cpu=4, memory="16Gi", labels={"pool": "interactive"}),
                NodeSpec("batch", cpu=4, memory="16Gi", labels={"pool": "batch"}),
            ],
            namespace=NAMESPACE,
            claims=claims,
            expose=[HERE.parent.parent],
        )
        try:
            for manifest in everything(site, Release(), only=("priorities", "client")):
                await cluster.apply(manifest)
            async with _hub(state, cluster, settings, able) as (url, password, log):
                yield Stage(url, password, cluster, site, people, able, log)
        finally:
            await cluster.stop()
            shutil.rmtree(shared, ignore_errors=True)


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two demos in one place would stop each other's pods."""
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(f"A demo is already running in {state}. Stop it with Ctrl-C, or give --state.") from None
        yield


def _files() -> Json:
    files = {"passwd": str(HERE / "people.passwd"), "group": str(HERE / "people.group")}
    return {"identity": {"sources": {"people": files}}}


def _make_storage(shared: Path, people: dict[str, PosixIdentity], able: Abilities) -> dict[str, Path]:
    """Directories for the claims: homes of mode 0700, a group's directory that others cannot enter."""
    shutil.rmtree(shared, ignore_errors=True)
    claims = {name: shared / name for name in CLAIMS}
    for directory in claims.values():
        directory.mkdir(parents=True)
    (claims["era5"] / "README").write_text("Reanalysis data, read-only for everybody.\n")
    for identity in people.values():
        home = claims["home"] / identity.name
        home.mkdir(mode=0o700)
        if able.namespaces:
            os.chown(home, identity.uid, identity.gid)
    if able.namespaces:
        gid = next(group.gid for group in people["alice"].groups if group.name == "climate")
        os.chown(claims["project-climate"], 0, gid)
        claims["project-climate"].chmod(0o2770)
    return claims


@contextlib.asynccontextmanager
async def _hub(state: Path, cluster: Cluster, settings: Json, able: Abilities) -> AsyncIterator[tuple[str, str, Path]]:
    """A JupyterHub in a process group of its own: Ctrl-C reaches us alone, and we stop it in order."""
    port, hub_port, proxy_port, batch_port = _free_port(8000), _free_port(), _free_port(), _free_port()
    password = secrets.token_urlsafe(6)
    secret = state / "cookie_secret"
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(32))
    site = state / "site.yaml"
    url = f"http://127.0.0.1:{port}"
    site.write_text(yaml.safe_dump(merge(settings, {"batch": {"url": f"{url}/services/batch"}})))
    log = state / "hub.log"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KUBE"))},
        "KUBECONFIG": str(cluster.kubeconfig),
        "DEMO_PORT": str(port),
        "DEMO_HUB_PORT": str(hub_port),
        "DEMO_PROXY_API_PORT": str(proxy_port),
        "DEMO_BATCH_PORT": str(batch_port),
        "DEMO_PROXY_PID": str(state / "proxy.pid"),
        "DEMO_PASSWORD": password,
        "DEMO_COOKIE_SECRET": str(secret),
        "DEMO_SITE": str(site),
        "DEMO_PODS_ARE_ROOT": "yes" if able.root and not able.namespaces else "no",
        # Where the machine is reached through a proxy, this machine itself is not.
        "no_proxy": "127.0.0.1,localhost",
    }
    with log.open("wb") as output:
        process = await _start(environment, state, output)
    try:
        await _answers(f"{url}/hub/login", process, log)
        await _answers(f"{url}/services/batch/health", process, log)
        yield url, password, log
    finally:
        await _end(process, site)


async def _start(environment: dict[str, str], state: Path, output: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jupyterhub",
        "--config",
        str(HERE / "jupyterhub_config.py"),
        cwd=state,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


async def _end(process: asyncio.subprocess.Process, site: Path) -> None:
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 20)
    # What a hub leaves that did not end in order: its proxy in its process group, its service in a session of its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in marked_processes("DEMO_SITE", str(site)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await process.wait()


async def _answers(url: str, process: asyncio.subprocess.Process, log: Path, limit: float = 60) -> None:
    deadline = asyncio.get_running_loop().time() + limit
    async with aiohttp.ClientSession() as session:
        while asyncio.get_running_loop().time() < deadline:
            if process.returncode is not None:
                break
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
                async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)
    raise CannotStart(f"The hub did not come up ({url}). The end of its log, {log}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])


def _free_port(wanted: int = 0) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CannotStart("No port of 127.0.0.1 is free.")
