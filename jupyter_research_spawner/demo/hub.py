"""Run a real JupyterHub with its proxy and the batch service as processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aiohttp
import yaml

from ..embedded.node.container_process import marked_processes
from ..settings import merge
from .demo_cluster import HERE, CannotStart, PreparedCluster

SITE = "site.yaml"
CONFIG = HERE / "jupyterhub_config.py"
FIRST_PORT = 10240
_OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Hub:
    """A running hub: its URL, the password of all users, and its log file."""

    url: str
    password: str
    log: Path


def needs_proxy() -> None:
    """Check that the hub's proxy is installed.  Raises CannotStart."""
    if shutil.which("configurable-http-proxy") is None:
        raise CannotStart("The hub's proxy is not installed. Install it: npm install -g configurable-http-proxy")
    if shutil.which("node") is None:
        raise CannotStart("Node.js, which the hub's proxy needs, is not installed. Install it, or add it to PATH.")


@contextlib.asynccontextmanager
async def running(state: Path, cluster: PreparedCluster) -> AsyncIterator[Hub]:
    """Run a JupyterHub in its own process group.  Ctrl-C then interrupts only the demo, which stops the hub."""
    port = free_port(cluster.address, 8000)
    hub = Hub(f"http://{cluster.address}:{port}", secrets.token_urlsafe(6), state / "hub.log")
    site = state / SITE
    site.write_text(yaml.safe_dump(merge(cluster.settings, {"batch": {"url": f"{hub.url}/services/batch"}})))
    environment = {
        "DEMO_ADDRESS": cluster.address,
        "DEMO_PORT": str(port),
        "DEMO_HUB_PORT": str(free_port(cluster.address)),
        "DEMO_PROXY_API_PORT": str(free_port("127.0.0.1")),
        "DEMO_BATCH_PORT": str(free_port("127.0.0.1")),
        "DEMO_PROXY_PID": str(state / "proxy.pid"),
        "DEMO_PASSWORD": hub.password,
        "DEMO_COOKIE_SECRET": str(cookie_secret(state)),
        "DEMO_SITE": str(site),
        "DEMO_NOTEBOOK_ARGUMENTS": json.dumps(
            notebook_arguments(as_root=cluster.pods_are_root, mounts=cluster.pods_have_mounts)
        ),
    }
    urls = (f"{hub.url}/hub/login", f"{hub.url}/services/batch/health")
    async with hub_process(CONFIG, environment, state, cluster.address, cluster.kubeconfig, urls, "DEMO_SITE"):
        yield hub


def notebook_arguments(*, as_root: bool, mounts: bool) -> list[str]:
    """Return the arguments of jupyterhub-singleuser for pods that run as root, or without mounts."""
    found = ["--allow-root"] if as_root else []
    if not mounts:
        # The directory of `job` is then in PATH, which /etc/profile replaces in the login shells of JupyterLab's
        # terminals.
        found.append('--ServerApp.terminado_settings={"shell_command": ["bash"]}')
    return found


def cookie_secret(state: Path) -> Path:
    """Write a new random cookie secret, which only this user can read, and return its file."""
    secret = state / "cookie_secret"
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(32))
    return secret


@contextlib.asynccontextmanager
async def hub_process(
    config: Path,
    environment: Mapping[str, str],
    state: Path,
    address: str,
    kubeconfig: str,
    urls: Iterable[str],
    mark: str,
) -> AsyncIterator[None]:
    """Run a JupyterHub in its own process group until the context ends.  Its log is `hub.log` in `state`.

    urls: the context begins when all of them answer.
    mark: the variable in `environment` that the hub and all its services have, so that none of them survives.
    """
    log = state / "hub.log"
    with _temporary(state) as temporary, log.open("wb") as output:
        own = {
            **_inherited(address),
            "KUBECONFIG": kubeconfig,
            # The Kubernetes client writes the certificates of the kubeconfig into files in TMPDIR.
            "TMPDIR": str(temporary),
            **environment,
        }
        process = await _start(config, own, state, output)
        try:
            for url in urls:
                await _answers(url, process, log)
            yield
        finally:
            await _end(process)
            kill_marked(mark, environment[mark])


def _inherited(address: str) -> dict[str, str]:
    """Return this process's environment without JUPYTER* and KUBE*, and with `address` and localhost in no_proxy."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KUBE"))}
    direct = mine.get("no_proxy") or mine.get("NO_PROXY")
    return {**mine, "no_proxy": ",".join(filter(None, ("127.0.0.1,localhost", address, direct)))}


@contextlib.contextmanager
def _temporary(state: Path) -> Iterator[Path]:
    directory = state / "tmp"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _start(
    config: Path, environment: Mapping[str, str], state: Path, output: IO[bytes]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jupyterhub",
        "--config",
        str(config),
        cwd=state,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 20)
    # If the hub is killed, its proxy still runs in its process group, and the batch service in another session.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def end_leftovers(state: Path) -> None:
    """Stop hub, proxy and batch service of an earlier demo in `state` that was killed."""
    kill_marked("DEMO_SITE", str(state / SITE))


def kill_marked(variable: str, value: str) -> None:
    """Kill all processes that have this variable in their environment, and wait until they have ended."""
    for _ in range(100):
        pids = list(marked_processes(variable, value))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return
        time.sleep(0.05)


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
    raise CannotStart(f"The hub did not start ({url} does not answer). The end of its log {log}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])


def free_port(address: str, wanted: int = 0) -> int:
    """Return an unused port of `address`, preferably `wanted`.  Raises CannotStart.

    The kernel would choose a port from the range of outgoing connections, of which one could take the port before the
    server listens.  So this function chooses a port below that range (Linux, ip_local_port_range).
    """
    end = int(_OUTGOING_PORTS.read_text().split()[0]) if _OUTGOING_PORTS.exists() else 32768
    others = random.sample(range(FIRST_PORT, max(end, FIRST_PORT + 100)), 100)
    for port in (wanted, *others) if wanted else others:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise CannotStart(f"No port of {address} is free.")
