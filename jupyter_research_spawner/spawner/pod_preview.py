"""Builds the pod that a start would create, without a start: it creates nothing, and runs none of the site's hooks."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

from jupyterhub import orm

from ..plan import plan
from ..shape import Json
from . import options as notebook_options
from .saved_state import MAIN

# Variables with the API token of the notebook, which exists only after a start.
TOKENS = frozenset({"JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN"})
HIDDEN = "(not shown)"
# Fields of containers that are not the notebook's.
SHOWN_OF_OTHERS = frozenset(
    {
        "env",
        "image",
        "imagePullPolicy",
        "name",
        "ports",
        "resources",
        "restartPolicy",
        "securityContext",
        "volumeMounts",
    }
)


def remove_functions(spawner: Any) -> None:
    """Remove the administrators' functions that KubeSpawner would call for a pod."""
    spawner.environment = {key: "" if callable(value) else value for key, value in spawner.environment.items()}
    for trait in ("container_security_context", "pod_security_context", "group_overrides"):
        if callable(getattr(spawner, trait)):
            setattr(spawner, trait, {})
    for trait in ("auth_state_hook", "pre_spawn_hook", "modify_pod_hook"):
        setattr(spawner, trait, None)


async def preview_pod(
    user: Any, server: str, options: Mapping[str, str], traits: Mapping[str, Any] = MappingProxyType({})
) -> Json:
    """Return the pod for these options of one of the user's servers.  Raises Refusal.

    traits: values of the spawner's traits for this pod, instead of those of the hub's configuration.

    The pod has no secrets: neither tokens nor values of variables that administrators have set, and of other containers
    than the notebook's neither commands nor values.  It has no adoption key
    and no owner key.  The server can run at the same time, because the pod is built by a spawner of its own.
    """
    # Objects that are never added to the database. The address of the notebook comes from them.
    address = orm.Server(proto="http", ip="", port=0, base_url=user.server_url(server), cookie_name="")
    record = orm.Spawner(name=server, server=address)
    spawner = user._new_spawner(server, orm_spawner=record)
    for trait, value in traits.items():
        setattr(spawner, trait, value)
    configured = {*spawner.environment, *spawner.env_keep}
    remove_functions(spawner)
    spawner.clear_state()
    now = datetime.now(timezone.utc)
    request = notebook_options.request(options, hub_user=user.name, server=server, pod_name=spawner.pod_name)
    decided = await spawner.shared.identities(spawner.api.api_client).decide(
        user.name,
        lambda identity: plan(spawner.shared.site, identity, request, run_id=uuid.uuid4().hex, now=now),
    )
    spawner.apply_plan(decided)
    manifest: Json = spawner.finished_manifest(decided, await spawner.get_pod_manifest())
    hide_secrets(manifest["spec"], configured)
    return manifest


def hide_secrets(spec: Json, configured: Collection[str]) -> None:
    """Hide tokens and the values of these variables in a PodSpec.

    Users cannot read the processes of other containers than their notebook's, where administrators can have written
    secrets.  Of those containers, only SHOWN_OF_OTHERS stays, and the names of variables.
    """
    for containers in (spec.get("initContainers") or [], spec["containers"]):
        for container in containers:
            is_main = container.get("name") == MAIN
            for variable in container.get("env") or ():
                is_secret = not is_main or variable["name"] in TOKENS or variable["name"] in configured
                if "value" in variable and is_secret:
                    variable["value"] = HIDDEN
            if not is_main:
                for key in container.keys() - SHOWN_OF_OTHERS:
                    container[key] = HIDDEN
