"""Build a notebook's pod without a hub and without a cluster, with the same code and hooks as a real start."""

from __future__ import annotations

import asyncio
import copy
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import kubespawner.spawner
from aiohttp import ClientError
from jupyterhub.utils import maybe_future
from kubernetes_asyncio.client import ApiException, V1Pod
from traitlets import TraitError
from traitlets.config import Config

from ..identity import PosixIdentity, Resolver
from ..jobs.notebook import SLOTS
from ..plan import Plan, plan
from ..pod import all_problems
from ..refusal import Refusal
from ..shape import Json
from ..site import Site
from . import options as notebook_options
from . import templates
from .configured_class import configured_class, sections_of
from .hub_errors import came_from, hook_frame
from .offline_user import OfflineUser, offline_spawner, offline_user
from .pod_preview import remove_functions
from .process_state import register_site
from .research import ResearchSpawner

# The place of an error that no single hook has caused.
NO_PLACE = "c.KubeSpawner"


# Exceptions that mean that a hook needs something that only the hub's pod has.
_NOT_HERE = (OSError, ClientError, ApiException, ImportError)


class HookError(Exception):
    """A hook, or KubeSpawner itself, has failed for the user of a rendered pod.  `str()` is a clause with the reason.

    needs_hub: the hook may work in the hub.  It has asked for the auth state, which only a user's login gives, or for
    another server or a package, which the hub's pod can have.
    """

    def __init__(self, place: str, error: Exception, needs_login: bool) -> None:
        self.place, self.needs_hub = place, needs_login or isinstance(error, _NOT_HERE)
        frame = hook_frame(error)
        text = getattr(error, "jupyterhub_message", None) or _text_of(error)
        raised = f"raised {type(error).__name__}{f' in {frame}' if frame else ''}{f': {text}' if text else ''}"
        login = ". It asks for the auth state, which only a user's login gives, so it cannot be tried without the hub"
        elsewhere = ". It needs what only the hub's pod has, so what it does after this line was not checked"
        why = login if needs_login else elsewhere if self.needs_hub else ""
        super().__init__(f"{raised}{why}")


def _text_of(error: Exception) -> str:
    """Return the text of an exception, of a TraitError without the value, which may be a secret: the hub logs it."""
    text = str(error)
    return (
        re.sub(r", (?:not (?:the |an? )?\w+|but a value of) .*", "", text, flags=re.DOTALL)
        if isinstance(error, TraitError)
        else text
    )


@dataclass(frozen=True)
class TriedPod:
    """A pod, and all reasons why it would not be created, as (path of the field, problem).

    of_hook: those that modify_pod_hook has caused.
    """

    plan: Plan
    manifest: Json
    problems: tuple[tuple[str, str], ...]
    of_hook: tuple[tuple[str, str], ...] = ()


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
    config: the hub's configuration (`c` of jupyterhub_config.py), with its spawner class, its settings and hooks.
    base: relative paths in the settings are relative to this directory.
    identity: the identity to use; None asks the site's identity sources.

    The hooks run in the hub's order, except those of the authenticator. The pod differs from a real pod in two ways.
    Its API tokens are empty. It has no adoption key, the annotation by which a restarted hub recognizes a pod that
    waits, because only the hub has the secret for this key. Prerequisites in the cluster are not checked. Raises
    Refusal and HookError.
    """
    with _without_kubeconfig():
        offline = _Offline(site, hub_user, config, server, base)
        decided = await offline.decide(options, identity or await Resolver(site.identity, base).resolve(hub_user))
        pod = await offline.modified(await offline.base_pod())
        manifest = offline.spawner.finished_manifest(decided, pod)
    return decided, manifest


async def try_notebook(
    site: Site,
    identity: PosixIdentity,
    options: Any,
    config: Config,
    *,
    base: Path | None = None,
    now: datetime | None = None,
    runs_hooks: bool = True,
    user: OfflineUser | None = None,
) -> TriedPod:
    """Return the pod of an example user with all its problems.  Raises Refusal and HookError.

    user: the user in the hub, whose name is the identity's; None makes one, which takes a tenth of a second.
    runs_hooks: False runs no function of the configuration, as when the hub reads its configuration.
    """
    with _without_kubeconfig():
        try:
            offline = _Offline(site, identity.name, config, "", base, user)
        except Exception as error:  # KubeSpawner's traits and the site's own class can raise anything
            raise HookError(NO_PLACE, error, False) from error
        offline.tolerate_wrong_templates()
        if not runs_hooks:
            remove_functions(offline.spawner)
        try:
            decided = await offline.decide(options, identity, now)
            first = await offline.base_pod()
            manifest, problems = offline.problems(decided, first)
            if not runs_hooks or offline.spawner.modify_pod_hook is None:
                return TriedPod(decided, manifest, tuple(problems))
            manifest, found = offline.problems(decided, await offline.modified(first), "modify_pod_hook")
        finally:
            await offline.spawner.api.api_client.close()
        before = dict(problems)
        of_hook = tuple(item for item in found if item[0] not in before)
        return TriedPod(decided, manifest, tuple(item for item in found if item[0] in before), of_hook)


async def render_base_pod(site: Site, decided: Plan, config: Config | None = None, *, base: Path | None = None) -> Json:
    """Return the pod that KubeSpawner and `modify_pod_hook` create for a plan, before `compose` changes the pod."""
    with _without_kubeconfig():
        offline = _Offline(site, decided.request.hub_user, config, decided.request.server, base)
        offline.spawner.apply_plan(decided)
        pod = await offline.modified(await offline.base_pod())
        found: Json = offline.spawner.api.api_client.sanitize_for_serialization(pod)
    return found


class _Offline:
    """One start of a server without a hub: the steps of the hub and of KubeSpawner before the pod is created."""

    def __init__(
        self,
        site: Site,
        hub_user: str,
        config: Config | None,
        server: str,
        base: Path | None,
        user: OfflineUser | None = None,
    ) -> None:
        self.site, self.server = site, server
        # traitlets computes `c.KubeSpawner.volumes.append(...)` for the first spawner and keeps the result in the
        # configuration, so what the hub's file appends later would have no effect.
        self.config = Config() if config is None else copy.deepcopy(config)
        self.user = user or offline_user(hub_user, self.config)
        spawner_class = configured_class(self.config)
        self.sections = sections_of(spawner_class)
        self.spawner = _spawner_of(self.user, site, spawner_class, self.config, server, base)
        # `_run` explains the errors of hooks.
        self.spawner.explained_errors = lambda _: nullcontext()  # type: ignore[assignment, method-assign]

    def tolerate_wrong_templates(self) -> None:
        """Keep strings that KubeSpawner cannot expand, so that they do not hide the other problems of a pod."""
        spawner = self.spawner

        def kept(format_text: Callable[[str], str]) -> Callable[[str], str]:
            def tried(text: str) -> str:
                try:
                    return format_text(text)
                except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                    return text

            return tried

        expanded = kept(spawner._expand_user_properties)
        spawner._expand_all = lambda src: templates.expand(src, expanded)  # type: ignore[method-assign]
        spawner.format_string = kept(spawner.format_string)

    async def decide(self, options: Any, identity: PosixIdentity, now: datetime | None = None) -> Plan:
        """Run the hub's steps up to the call of the spawner's `start`."""
        spawner = self.spawner
        spawner.user_options = options
        # An auth_state_hook gets what get_auth_state returns, so it asks for the auth state too.
        await self._run("auth_state_hook", lambda: _run_auth_state_hook(spawner), needs_login=True)
        await self._run("group_overrides", spawner.apply_group_overrides)
        request = notebook_options.request(
            options, hub_user=self.user.name, server=self.server, pod_name=spawner.pod_name
        )
        time = now or datetime.now(timezone.utc)
        decided = plan(self.site, identity, request, run_id=uuid.uuid4().hex, now=time)
        spawner.apply_plan(decided)
        await self._run("pre_spawn_hook", spawner.run_pre_spawn_hook)
        return decided

    async def base_pod(self) -> V1Pod:
        """Return KubeSpawner's pod, before modify_pod_hook."""
        return await self._run("environment", self.spawner.get_pod_manifest)

    async def modified(self, pod: V1Pod) -> V1Pod:
        hook = self.spawner.modify_pod_hook
        if hook is None:
            return pod
        changed = await self._run("modify_pod_hook", lambda: maybe_future(hook(self.spawner, pod)))
        if changed is None:
            raise HookError(self._place("modify_pod_hook"), TypeError("it returned nothing instead of the pod"), False)
        return changed

    def problems(self, decided: Plan, pod: V1Pod, changed_by: str = "") -> tuple[Json, list[tuple[str, str]]]:
        """Return the composed pod with all its problems.  changed_by: the hook that has returned the pod."""
        try:
            found = self.spawner.api.api_client.sanitize_for_serialization(pod)
        except Exception as error:  # a field can be any object, also one that JSON does not have
            raise HookError(self._place(changed_by), error, False) from error
        return all_problems(decided, found, SLOTS)

    async def _run(self, trait: str, step: Callable[[], Awaitable[Any]], needs_login: bool = False) -> Any:
        self.user.asked_for_auth_state = False
        try:
            return await step()
        except (Refusal, asyncio.CancelledError):
            raise
        except Exception as error:  # administrators' hooks can raise anything
            is_known = trait != "environment" or came_from(error, self.spawner.environment.values())
            place = self._place(trait) if is_known else NO_PLACE
            raise HookError(place, error, needs_login or self.user.asked_for_auth_state) from error

    def _place(self, trait: str) -> str:
        section = next((name for name in self.sections if trait in self.config.get(name, {})), None)
        return f"c.{section}.{trait}" if section else NO_PLACE


async def _run_auth_state_hook(spawner: ResearchSpawner) -> None:
    await spawner.run_auth_state_hook(await spawner.user.get_auth_state())


def _spawner(site: Site, hub_user: str, config: Config, server: str, base: Path | None) -> ResearchSpawner:
    return _spawner_of(offline_user(hub_user, config), site, configured_class(config), config, server, base)


def _spawner_of(
    user: OfflineUser,
    site: Site,
    spawner_class: type[ResearchSpawner],
    config: Config,
    server: str,
    base: Path | None,
) -> ResearchSpawner:
    traits = {"config": config, "installation": register_site(site, base), "namespace": site.namespaces.name}
    return offline_spawner(user, server, spawner_class, **traits)


@contextmanager
def _without_kubeconfig() -> Iterator[None]:
    """Prevent KubeSpawner's constructor from loading a kubeconfig, which rendering does not need."""
    load_config = kubespawner.spawner.load_config
    kubespawner.spawner.load_config = lambda **_: None
    try:
        yield
    finally:
        kubespawner.spawner.load_config = load_config
