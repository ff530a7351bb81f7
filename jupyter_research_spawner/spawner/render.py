"""The pod of a notebook without a hub and without a cluster, by the very calls that a start makes."""

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
from . import options as wishes
from .installation import register
from .research import ResearchSpawner


@dataclass
class _Person:
    """As much of the hub's User as KubeSpawner reads for a manifest."""

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
class _Record:
    """As much of the hub's record of a named server."""

    name: str
    display_name: str = ""
    server: None = None
    state: Any = None


@dataclass(frozen=True)
class _Hub:
    """The hub as the chart names it."""

    public_host: str = ""
    url: str = "http://hub:8081/hub/"
    base_url: str = "/hub/"
    api_url: str = "http://hub:8081/hub/api"


async def render(
    site: Site,
    hub_user: str,
    options: Any,
    config: Config | None = None,
    server: str = "",
    *,
    base: Path | None = None,
    identity: PosixIdentity | None = None,
) -> tuple[Plan, Json]:
    """What `hub_user` would be given for `options` (as posted by REST), and the pod as it would be sent.

    `config` is the hub's (`c` of jupyterhub_config.py), for KubeSpawner's own settings and hooks.  `base` is where
    relative paths of the Site start; `identity` spares asking the sources.  Whether claims and priority classes exist
    is not asked, tokens are empty, and there is no adoption key: that is the hub's secret.  Raises Refusal.
    """
    with _no_cluster():
        spawner = _spawner(site, hub_user, config, server, base)
        asked = wishes.request(options, hub_user=hub_user, server=server, pod_name=spawner.pod_name)
        who = identity or await Resolver(site.identity, base).resolve(hub_user)
        decided = plan(site, who, asked, run_id=uuid.uuid4().hex, now=datetime.now(timezone.utc))
        spawner._use(decided)
        manifest = spawner.finished(await _pod(spawner))
    return decided, manifest


async def base_manifest(site: Site, decided: Plan, config: Config | None = None, *, base: Path | None = None) -> Json:
    """KubeSpawner's own pod for `decided`, after the admin's hook and before ours is composed over it."""
    with _no_cluster():
        spawner = _spawner(site, decided.request.hub_user, config, decided.request.server, base)
        spawner._use(decided)
        found: Json = spawner.api.api_client.sanitize_for_serialization(await _pod(spawner))
    return found


def _spawner(site: Site, hub_user: str, config: Config | None, server: str, base: Path | None) -> ResearchSpawner:
    spawner = ResearchSpawner(
        _mock=True,
        config=config or Config(),
        user=_Person(hub_user),
        hub=_Hub(),
        installation=register(site, base),
        namespace=site.namespaces.name,
    )
    if server:
        spawner.orm_spawner = _Record(server)
        spawner.clear_state()
    return spawner


async def _pod(spawner: ResearchSpawner) -> V1Pod:
    pod = await spawner.get_pod_manifest()
    if spawner.modify_pod_hook is not None:
        pod = await maybe_future(spawner.modify_pod_hook(spawner, pod))
    return pod


@contextmanager
def _no_cluster() -> Iterator[None]:
    """KubeSpawner reads a kubeconfig when it is made, though it talks to nobody before a start."""
    load_config = kubespawner.spawner.load_config
    kubespawner.spawner.load_config = lambda **_: None
    try:
        yield
    finally:
        kubespawner.spawner.load_config = load_config
