"""The jupyterhub_config.py of a measured hub.  Only its last lines depend on the spawner."""

import json
import os
from pathlib import Path
from typing import Any

from jupyterhub.proxy import Proxy

import jupyter_research_spawner
from benchmarks import sides, stack_sampler


class NullProxy(Proxy):  # type: ignore[misc]
    """A proxy that only stores routes.  A real proxy is a separate process whose cost is equal for both spawners."""

    should_start = False
    routes: dict[str, Any] = {}  # noqa: RUF012

    async def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, Any]:
        return dict(self.routes)


c = get_config()  # type: ignore[name-defined]  # noqa: F821
given = json.loads(Path(os.environ["BENCHMARK_HUB"]).read_text())

c.JupyterHub.bind_url = "http://127.0.0.1:1"  # the address of the proxy; no process listens there
c.JupyterHub.hub_bind_url = given["url"]
c.JupyterHub.proxy_class = NullProxy
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.log_level = "WARN"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services = [{"name": "benchmark", "api_token": given["token"], "admin": True}]
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}  # as in z2jh: show the progress page immediately
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.cleanup_servers = False
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.KubeSpawner.port = given["notebook_port"]

if given["side"] == sides.RESEARCH:
    jupyter_research_spawner.configure(c, given["site"])
else:
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.KubeSpawner.start_timeout = 600
    for name, value in sides.kube_spawner().items():
        c.KubeSpawner[name] = value
    if given["has_form"]:
        c.KubeSpawner.profile_list = sides.profile_list(["Small", "Large"])

if given["samples"]:
    stack_sampler.install(Path(given["samples"]))
