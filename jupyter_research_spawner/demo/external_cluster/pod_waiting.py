"""Wait until the demo's pods run, have ended or are deleted, and explain why a pod cannot run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ...shape import Json
from ..cluster_api import Api
from ..demo_cluster import CannotStart, Say
from .demo_manifests import NAMESPACE

Found = TypeVar("Found")

# Long enough to pull an image of 2 GB.
START_SECONDS = 600.0
SLOW_SECONDS = 15.0
PAUSE_SECONDS = 0.3
# Other reasons, such as ErrImagePull, can be temporary.
_HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)


async def until(ask: Callable[[], Awaitable[Found | None]], seconds: float) -> Found | None:
    """Call `ask` until it returns a value, and return the value.  Return None after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = await ask()
        if found is not None or time.monotonic() > deadline:
            return found
        await asyncio.sleep(PAUSE_SECONDS)


async def address_of(api: Api, name: str, say: Say) -> str:
    """Wait until the pod's main container runs, and return the pod's IP address.  Raises CannotStart."""
    began = time.monotonic()
    told = False

    async def ask() -> str | None:
        nonlocal told
        pod = await _pod(api, name)
        if not told and time.monotonic() - began > SLOW_SECONDS:
            told = True
            say("The first pod is not running yet. The first pull of its image can take minutes ...")
        statuses = pod.get("status", {}).get("containerStatuses", [])
        is_running = any("running" in status.get("state", {}) for status in statuses)
        return str(pod["status"]["podIP"]) if is_running and pod["status"].get("podIP") else None

    found = await until(ask, START_SECONDS)
    if found is None:
        raise CannotStart(f"The pod {name} did not start within {START_SECONDS:.0f} s: {await _last_word(api, name)}")
    return found


async def ended(api: Api, name: str, seconds: float) -> None:
    """Wait until the pod has succeeded.  Raises CannotStart."""

    async def ask() -> bool | None:
        return True if (await _pod(api, name)).get("status", {}).get("phase") == "Succeeded" else None

    if await until(ask, seconds) is None:
        raise CannotStart(f"The pod {name} did not end within {seconds:.0f} s: {await _last_word(api, name)}")


async def gone(api: Api, obj: Json, seconds: float) -> bool:
    async def ask() -> bool | None:
        metadata = obj["metadata"]
        found = await api.find(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))
        return True if found is None or found["metadata"]["uid"] != metadata["uid"] else None

    return bool(await until(ask, seconds))


async def _pod(api: Api, name: str) -> Json:
    pod = await api.find("v1", "Pod", name, NAMESPACE)
    if pod is None:
        raise CannotStart(f"The pod {name} was deleted.")
    if trouble := in_the_way(pod):
        raise CannotStart(f"The pod {name} cannot run on {pod['spec'].get('nodeName', 'any node')}: {trouble}")
    return pod


def in_the_way(pod: Json) -> str:
    """Return why the pod will never succeed, or an empty string if it can still succeed."""
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        state = container.get("state", {})
        waiting, terminated = state.get("waiting", {}), state.get("terminated", {})
        if waiting.get("reason") in _HOPELESS:
            way_out = ""
            if "Image" in waiting["reason"]:
                way_out = f" Use an image that the node has or can pull instead of {container['image']}: IMAGE=..."
            return f"{waiting.get('message') or waiting['reason']}.{way_out}"
        if terminated.get("exitCode"):
            return f"{terminated.get('reason')}, exit code {terminated['exitCode']}: {terminated.get('message', '')}"
    if status.get("phase") == "Failed":
        return str(status.get("message") or status.get("reason") or "it failed")
    return ""


async def _last_word(api: Api, name: str) -> str:
    """Return the message of the last warning event about the pod."""
    said = await api.list("v1", "Event", NAMESPACE, fieldSelector=f"involvedObject.name={name}")
    warnings = [event["message"] for event in said if event.get("type") == "Warning"]
    return warnings[-1] if warnings else "the cluster does not say why."
