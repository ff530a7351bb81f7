"""A real JupyterHub of either version as a process, with an embedded or a real cluster: `from hub import ...`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
import pytest_asyncio
import yaml
from bs4 import BeautifulSoup
from embedded_cluster import NAMESPACE
from patience import eventually

from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

Json = dict[str, Any]

# As the Makefile makes it: one for each version of Python.
HUB5 = Path(__file__).parent.parent / ".venv" / f"{sys.version_info[0]}.{sys.version_info[1]}-hub5" / "bin" / "python"

# The part of jupyterhub-singleuser that the hub needs. It starts in a tenth of the time.
NOTEBOOK = """
import http.server, json, os, sys, urllib.parse
where = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"version": "0", "uid": os.getuid(), "groups": os.getgroups(), "env": dict(os.environ)})
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *args):
        pass
http.server.HTTPServer((where.hostname, where.port), Answer).serve_forever()
"""

SITE: Json = {
    "identity": {
        "sources": {
            "people": {
                "kind": "static",
                "people": {
                    "alice": {
                        "uid": 20001,
                        "gid": 20001,
                        "groups": {"alice": 20001, "climate": 20500},
                        "home": "/home/alice",
                    },
                    "bob": {"uid": 20002, "gid": 20600, "groups": {"students": 20600}, "home": "/home/bob"},
                },
            }
        }
    },
    "namespaces": {"name": NAMESPACE},
    "storage": {
        "homes": {"main": {"claim": "home", "root": "/home"}},
        "mounts": {"climate": {"claim": "project-climate", "path": "/project/climate", "groups": {"climate": True}}},
    },
    "scheduler": {"kind": "plain"},
    "priorities": {"low": {"value": -100}, "normal": {"value": 0, "default": True}},
    "queues": {
        "climate": {"groups": {"climate": True}, "order": 1},
        "teaching": {"order": 2},
        "backfill": {"priority": "low", "preemptible": True},
    },
    "profiles": {
        "small": {
            "title": "Small",
            "cpu": "500m",
            "memory": "256Mi",
            "wall_time": "8h",
            "order": 1,
            "images": {"default": "example/notebook:1"},
        },
        "large": {
            "title": "Large",
            "cpu": 3,
            "memory": "1Gi",
            "wall_time": "2h",
            "order": 2,
            "groups": {"climate": True},
            "images": {"default": "example/notebook:1"},
        },
        "huge": {
            "title": "Huge",
            "cpu": 64,
            "memory": "1Gi",
            "wall_time": "2h",
            "order": 3,
            "images": {"default": "example/notebook:1"},
        },
    },
    "hub": {"queue_limit": "10m", "boot_limit": "1m", "stop_limit": "30s", "prerequisites_cache": "60s"},
}

CONFIG = """
import json
from pathlib import Path
from jupyterhub.proxy import Proxy
import jupyter_research_spawner

class NullProxy(Proxy):
    should_start = False
    routes = {{}}
    async def start(self): pass
    def stop(self): pass
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {{"routespec": routespec, "target": target, "data": data}}
    async def delete_route(self, routespec): self.routes.pop(routespec, None)
    async def get_all_routes(self): return dict(self.routes)

c.JupyterHub.proxy_class = NullProxy
c.JupyterHub.hub_bind_url = "http://{address}:{port}"
c.JupyterHub.bind_url = "http://{address}:{port}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"root"}}
c.JupyterHub.allow_named_servers = True
c.JupyterHub.db_url = "sqlite:///{state}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{state}/cookie_secret"
c.JupyterHub.services = [{{"name": "tests", "api_token": "{token}", "admin": True}}]
c.JupyterHub.cleanup_servers = False
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 3}}
c.Spawner.consecutive_failure_limit = 5
c.KubeSpawner.cmd = ["{python}", "-c", Path("{state}/notebook.py").read_text()]
c.KubeSpawner.http_timeout = 20
{extra}
jupyter_research_spawner.configure(c, "{state}/site.yaml"{arguments})
{after}
"""

# The values of the chart, as its own hub reads them.  CONFIG follows, with the addresses and the login of a test.
_VALUES = """
import yaml
from jupyter_research_spawner.chart_values import build, hub_pod

with Path("{state}/values.yaml").open() as file:
    values = yaml.safe_load(file)
pod = hub_pod(values)
pod.__enter__()
built = build(values, c)
assert (built.problems, built.refused, built.not_run) == ([], [], [])
del c.JupyterHub.hub_connect_url
"""
_CONFIGURE = 'jupyter_research_spawner.configure(c, "{state}/site.yaml"{arguments})'


def python_of(version: int) -> str:
    """Return the interpreter with that JupyterHub. Without one the test is skipped; with CI=true it fails."""
    if version == 6:
        return sys.executable
    python = os.environ.get("HUB5_PYTHON", str(HUB5))
    if not Path(python).exists():
        reason = (
            f"JupyterHub 5 needs an environment of its own, but {python} does not exist. `make test` makes one; "
            "HUB5_PYTHON names another interpreter."
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@dataclass
class Answer:
    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        return str(json.loads(self.text).get("message"))

    @property
    def page(self) -> BeautifulSoup:
        return BeautifulSoup(self.text, "html.parser")


class HasKubeconfig(Protocol):
    @property
    def kubeconfig(self) -> Path: ...


class Hub:
    """A hub process. `api` calls its REST API as an administrators' service; a `Browser` uses its pages as a user."""

    def __init__(self, version: int, state: Path, cluster: HasKubeconfig, address: str = "127.0.0.1") -> None:
        self.python = python_of(version)
        self.version = version
        self.state = state
        self.cluster: Any = cluster  # of its own kind to the tests that know which
        self.address = address
        self.token = secrets.token_hex(16)
        self.port = free_port(address)
        self.process: subprocess.Popen[bytes] | None = None
        self._log_begin = 0
        self.session = aiohttp.ClientSession()
        # Further variables of the hub's process.
        self.environment: dict[str, str] = {}

    def write(self, site: Json, extra: str = "", after: str = "", arguments: str = "") -> None:
        self._write("site.yaml", site, CONFIG, extra=extra, after=after, arguments=arguments)

    def write_values(self, values: Json, extra: str = "") -> None:
        """Write the configuration of a hub with these complete values of the chart."""
        config = f"from pathlib import Path\n{_VALUES}{CONFIG.replace(_CONFIGURE, '')}"
        self._write("values.yaml", values, config, extra=extra)

    def _write(
        self, name: str, content: Json, config: str, extra: str = "", after: str = "", arguments: str = ""
    ) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / name).write_text(yaml.safe_dump(content))
        (self.state / "notebook.py").write_text(NOTEBOOK)
        (self.state / "config.py").write_text(
            config.format(
                address=self.address,
                port=self.port,
                state=self.state,
                token=self.token,
                python=sys.executable,
                extra=extra,
                after=after,
                arguments=arguments,
            )
        )

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    async def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "KUBERNETES_SERVICE_HOST"}
        environment |= {"KUBECONFIG": str(self.cluster.kubeconfig), "PYTHONUNBUFFERED": "1", **self.environment}
        with (self.state / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - forks, waits for nothing
                [self.python, "-m", "jupyterhub", "-f", str(self.state / "config.py")],
                cwd=self.state,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        async def is_up() -> bool:
            assert self.is_alive, f"the hub ended:\n{self.log}"
            with contextlib.suppress(aiohttp.ClientError, OSError):
                return (await self.api("GET", "")).status == 200
            return False

        await eventually(is_up, every=0.1, otherwise=lambda: self.log)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            for _ in range(200):
                if self.process.poll() is not None:
                    return
                await asyncio.sleep(0.05)
            self.process.kill()
            self.process.wait()

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What the hub has logged since the last `forget_log`."""
        return (self.state / "hub.log").read_bytes()[self._log_begin :].decode()

    @property
    def recent_log(self) -> str:
        """The end of the log, for the message of a failure, without the requests that tests send while they wait."""
        lines = self.log.splitlines()
        return "\n".join(line for line in lines if " 200 GET /hub/api/" not in line)[-9000:]

    def forget_log(self) -> None:
        self._log_begin = (self.state / "hub.log").stat().st_size

    async def api(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        headers = {"Authorization": f"token {token or self.token}"}
        data = None if body is None else json.dumps(body)
        url = f"{self.url}/hub/api/{path}"
        async with self.session.request(method, url, headers=headers, data=data) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def person(self, name: str) -> None:
        await self.api("POST", f"users/{name}")

    async def remove_users(self) -> None:
        """Remove all users but administrators, with their servers and the options that the hub has saved."""
        users = json.loads((await self.api("GET", "users")).text)
        for user in (user for user in users if not user["admin"]):
            await eventually(
                lambda name=user["name"]: self._is_removed(name), every=0.1, otherwise=lambda: self.recent_log
            )

    async def _is_removed(self, name: str) -> bool:
        """Ask the hub to stop the user's servers and to remove the user. False while a server still stops."""
        servers = json.loads((await self.api("GET", f"users/{name}")).text).get("servers", {})
        for server in servers:
            await self.api("DELETE", f"users/{name}/servers/{server}" if server else f"users/{name}/server")
        return not servers and (await self.api("DELETE", f"users/{name}")).status == 204

    async def start_server(self, name: str, options: Any = None, server: str = "") -> Answer:
        """The options in the shape that this version's API takes."""
        body = options
        if self.version >= 6 and isinstance(options, dict):
            body = {"user_options": options}
        path = f"servers/{server}" if server else "server"
        return await self.api("POST", f"users/{name}/{path}", body)

    async def server(self, name: str, server: str = "") -> Json | None:
        answer = await self.api("GET", f"users/{name}?include_stopped_servers")
        found: Json | None = json.loads(answer.text).get("servers", {}).get(server)
        return found

    async def ready(self, name: str, server: str = "") -> Json:
        async def found() -> Json | None:
            now = await self.server(name, server)
            return now if now and now["ready"] else None

        told = f"{name}'s server {server!r} is not ready"
        ready: Json = await eventually(found, every=0.1, otherwise=lambda: f"{told}:\n{self.recent_log}")
        return ready

    async def ends(self, name: str, token: str | None = None) -> list[Json]:
        """Return how the user's servers ended, oldest first."""
        answer = await self.api("GET", f"research-spawner/users/{name}/ends", token=token)
        assert answer.status == 200, answer.text
        found: list[Json] = json.loads(answer.text)["ends"]
        return found

    async def one_end(self, name: str, code: str) -> Json:
        """Return the only end of the user's servers when there is one. It must have this code."""

        async def found() -> Json | None:
            ends = await self.ends(name)
            assert [end["code"] for end in ends] in ([], [code]), (ends, self.recent_log)
            return ends[0] if ends else None

        end: Json = await eventually(found, every=0.2, otherwise=lambda: self.recent_log)
        return end

    async def stopped(self, name: str, server: str = "") -> None:
        async def is_over() -> bool:
            now = await self.server(name, server)
            return not now or (not now["ready"] and not now["pending"])

        told = f"{name}'s server {server!r} still starts or runs"
        await eventually(is_over, every=0.1, otherwise=lambda: f"{told}:\n{self.recent_log}")

    async def progress(self, name: str, server: str = "") -> AsyncIterator[Json]:
        path = f"users/{name}/servers/{server}/progress" if server else f"users/{name}/server/progress"
        headers = {"Authorization": f"token {self.token}"}
        url = f"{self.url}/hub/api/{path}"
        async with self.session.get(url, headers=headers) as answer:
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def pods(self) -> list[Json]:
        found: list[Json] = self.cluster.store.list(POD, NAMESPACE)
        return found

    async def close(self) -> None:
        await self.stop()
        await self.session.close()


# For `Hub.write(extra=)`: the hub decides again about notebooks after so many seconds.
OFTEN = """
from jupyter_research_spawner.spawner import rights_check
rights_check.RECHECK_SECONDS = {seconds}
"""
_ALICE = "alice:x:20001:20001::/home/alice:{shell}\n"
_BOB = "bob:x:20002:20600::/home/bob:/bin/sh\n"
_GROUPS = "alice:x:20001:\nstudents:x:20600:\nclimate:x:20500:{climate}\n"


class Directory:
    """The files of a hub's identity source, which a test can change while the hub runs."""

    @staticmethod
    def settings() -> Json:
        people = {"kind": "static", "passwd": "passwd", "group": "group"}
        return {"sources": {"people": people}, "cache": {"found": "1s", "failed": "1s", "unknown": "1s"}}

    def __init__(self, hub: Hub) -> None:
        hub.state.mkdir(parents=True, exist_ok=True)
        self._passwd, self._group = hub.state / "passwd", hub.state / "group"
        self.write()

    def write(self, shell: str = "/bin/sh", climate: str = "alice") -> None:
        for path, text in (
            (self._passwd, _ALICE.format(shell=shell) + _BOB),
            (self._group, _GROUPS.format(climate=climate)),
        ):
            new = path.with_suffix(".new")
            new.write_text(text)
            new.replace(path)

    def remove(self) -> None:
        self._passwd.unlink()


class Browser:
    """A user with a session of the hub's pages."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def login(self, name: str) -> Browser:
        await self.get("login")
        await self.post("login", {"username": name, "password": ""})
        return self

    async def get(self, path: str) -> Answer:
        async with self.session.get(self._url(path)) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        """Follows no redirect: a start that began is a 302."""
        async with self.session.post(
            self._url(path), data={"_xsrf": self._xsrf(), **fields}, allow_redirects=False
        ) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    def _url(self, path: str) -> str:
        return f"{self.hub.url}/hub/{path}"

    def _xsrf(self) -> str:
        found = [cookie.value for cookie in self.session.cookie_jar if cookie.key == "_xsrf"]
        return found[-1] if found else ""

    async def close(self) -> None:
        await self.session.close()


@contextlib.asynccontextmanager
async def research_cluster_in(directory: Path) -> AsyncIterator[Cluster]:
    """Run a cluster of 4 CPUs below that directory, with the claims and the priority classes of SITE."""
    claims = {"home": directory / "home", "project-climate": directory / "climate"}
    for path in claims.values():
        path.mkdir()
        path.chmod(0o777)
    for name, uid in (("alice", 20001), ("bob", 20002)):
        home = claims["home"] / name
        home.mkdir()
        if os.geteuid() == 0:
            os.chown(home, uid, -1)
    started = await Cluster.start(
        directory / "cluster",
        [NodeSpec("node-1", cpu=4, memory="16Gi")],
        namespace=NAMESPACE,
        claims=claims,
        back_off_seconds=0.2,
    )
    try:
        for name, value in (("research-normal", 0), ("research-low", -100)):
            await started.apply(
                {
                    "apiVersion": "scheduling.k8s.io/v1",
                    "kind": "PriorityClass",
                    "metadata": {"name": name},
                    "value": value,
                }
            )
        yield started
    finally:
        await started.stop()


@pytest_asyncio.fixture
async def research_cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster of the test's own, as research_cluster_in makes it."""
    async with research_cluster_in(tmp_path) as started:
        yield started


@pytest_asyncio.fixture(params=[6, 5], ids=["hub6", "hub5"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path, research_cluster: Cluster) -> AsyncIterator[Hub]:
    """A hub of the test's own. It is not started: call `hub.write(SITE)`, then `await hub.start()`."""
    found = Hub(request.param, tmp_path / "hub", research_cluster)
    try:
        yield found
    finally:
        await found.close()


def visible(page: BeautifulSoup) -> str:
    return re.sub(r"\s+", " ", page.get_text(" "))


def metric_samples(text: str) -> dict[str, float]:
    """Return the samples in Prometheus' text format by name and labels."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {key: float(value) for key, value in lines}


def start_lines(log: str) -> list[dict[str, str]]:
    """Return the fields of the lines in a hub's log about starts, where no value has a space."""
    found = (line.partition("event=start ")[2] for line in log.splitlines() if " event=start " in line)
    return [dict(part.split("=", 1) for part in line.split(" ")) for line in found]
