"""Builds a notebook's pod without a hub and without a cluster, with the same code as a real start."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kubespawner.spawner
from jupyterhub.utils import maybe_future
from kubernetes_asyncio.client import V1Pod
from traitlets.config import Config

from ..identity import PosixIdentity, Resolver
from ..plan import Plan, plan
from ..shape import Json
from ..site import Site
from . import options as notebook_options
from .process_state import register_site
from .research import ResearchSpawner


@dataclass
class _User:
    """The attributes of the hub's User that KubeSpawner reads for a manifest."""

    name: str
    id: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def escaped_name(self) -> str:
        return quote(self.name, safe="@~")

    @property
    def url(self) -> str:
        return f"/user/{self.escaped_name}/"


@dataclass
class _OrmSpawner:
    """The attributes of the hub's database record of a named server that KubeSpawner reads."""

    name: str
    display_name: str = ""
    server: None = None
    state: Any = None


@dataclass(frozen=True)
class _Hub:
    """The hub's addresses, as the Zero to JupyterHub chart sets them."""

    public_host: str = ""
    url: str = "http://hub:8081/hub/"
    base_url: str = "/hub/"
    api_url: str = "http://hub:8081/hub/api"


async def render_notebook(
    site: Site,
    hub_user: str,
    options: Any,
    config: Config | None = None,
    server: str = "",
    *,
    base: Path | None = None,
    identity: PosixIdentity | None = None,
) -> tuple[Plan, Json]:
    """Return the plan for a user's options, and the pod that a start would create.

    options: as in JupyterHub's REST API.
    config: the hub's configuration (`c` of jupyterhub_config.py), with KubeSpawner's own settings and hooks.
    base: relative paths in the settings are relative to this directory.
    identity: the identity to use; None asks the site's identity sources.

    The pod differs from a real pod in two ways. Its API tokens are empty. It has no adoption key, the annotation by
    which a restarted hub recognizes a pod that waits, because only the hub has the secret for this key. Prerequisites
    in the cluster are not checked. Raises Refusal.
    """
    with _without_kubeconfig():
        spawner = _spawner(site, hub_user, config, server, base)
        request = notebook_options.request(options, hub_user=hub_user, server=server, pod_name=spawner.pod_name)
        resolved = identity or await Resolver(site.identity, base).resolve(hub_user)
        decided = plan(site, resolved, request, run_id=uuid.uuid4().hex, now=datetime.now(timezone.utc))
        spawner.apply_plan(decided)
        manifest = spawner.finished_manifest(decided, await _base_pod(spawner))
    return decided, manifest


async def render_base_pod(site: Site, decided: Plan, config: Config | None = None, *, base: Path | None = None) -> Json:
    """Return the pod that KubeSpawner and `modify_pod_hook` create for a plan, before `compose` changes the pod."""
    with _without_kubeconfig():
        spawner = _spawner(site, decided.request.hub_user, config, decided.request.server, base)
        spawner.apply_plan(decided)
        found: Json = spawner.api.api_client.sanitize_for_serialization(await _base_pod(spawner))
    return found


def _spawner(site: Site, hub_user: str, config: Config | None, server: str, base: Path | None) -> ResearchSpawner:
    spawner = ResearchSpawner(
        _mock=True,
        config=config or Config(),
        user=_User(hub_user),
        hub=_Hub(),
        installation=register_site(site, base),
        namespace=site.namespaces.name,
    )
    if server:
        spawner.orm_spawner = _OrmSpawner(server)
        spawner.clear_state()
    return spawner


async def _base_pod(spawner: ResearchSpawner) -> V1Pod:
    pod = await spawner.get_pod_manifest()
    if spawner.modify_pod_hook is not None:
        pod = await maybe_future(spawner.modify_pod_hook(spawner, pod))
    return pod


@contextmanager
def _without_kubeconfig() -> Iterator[None]:
    """Prevent KubeSpawner's constructor from loading a kubeconfig, which rendering does not need."""
    load_config = kubespawner.spawner.load_config
    kubespawner.spawner.load_config = lambda **_: None
    try:
        yield
    finally:
        kubespawner.spawner.load_config = load_config
