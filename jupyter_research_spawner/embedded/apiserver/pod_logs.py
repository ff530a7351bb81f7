"""Answer `GET pods/NAME/log` with the log of a container, and follow the log if the request asks for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import IO

from aiohttp import web

from ..apimachinery.api_errors import bad_request
from ..apimachinery.container_log import LogSource
from ..apimachinery.object_fields import Json
from .watch_stream import wants

POLL_SECONDS = 0.1
_CHUNK = 64 * 1024


def container_of(pod: Json, asked: str | None) -> str:
    """Return the name of the requested container, by default the only one.  Raises ApiError 400 if it is not clear."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    names = [container["name"] for container in spec["containers"]]
    if asked is None:
        if len(names) > 1:
            raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]")
        return str(names[0])
    if asked not in names + [container["name"] for container in spec.get("initContainers") or []]:
        raise bad_request(f"container {asked} is not valid for pod {name}")
    return asked


async def send_log(request: web.Request, pod: Json, source: LogSource | None) -> web.StreamResponse:
    query = request.query
    container = container_of(pod, query.get("container"))
    previous = wants(query, "previous")
    try:
        tail = int(query["tailLines"]) if "tailLines" in query else None
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{query["tailLines"]}": invalid syntax') from None
    if not pod["spec"].get("nodeName") or source is None:
        return web.Response(status=204)
    found = source(pod, container, previous)
    if found is None:
        raise bad_request(_why_no_log(pod, container, previous=previous))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with found.path.open("rb") as file, contextlib.suppress(ConnectionResetError):
        if tail is not None:
            seek_to_tail(file, tail)
        await _copy(file, response)
        while wants(query, "follow") and found.is_open():
            await asyncio.sleep(POLL_SECONDS)
            await _copy(file, response)
        await _copy(file, response)
    return response


def _why_no_log(pod: Json, container: str, *, previous: bool) -> str:
    name = pod["metadata"]["name"]
    if previous:
        return f'previous terminated container "{container}" in pod "{name}" not found'
    reason = "ContainerCreating"
    for status in pod["status"].get("containerStatuses") or []:
        if status["name"] == container and "waiting" in status["state"]:
            reason = status["state"]["waiting"]["reason"]
    phrases = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    phrase = phrases.get(reason, reason)
    return f'container "{container}" in pod "{name}" is waiting to start: {phrase}'


async def _copy(file: IO[bytes], response: web.StreamResponse) -> None:
    while chunk := file.read(_CHUNK):
        await response.write(chunk)


def seek_to_tail(file: IO[bytes], lines: int) -> None:
    """Seek to the start of the file's last `lines` lines."""
    end = position = file.seek(0, 2)
    found = b""
    while position > 0 and found.rstrip(b"\n").count(b"\n") < lines:
        position = max(0, position - _CHUNK)
        file.seek(position)
        found = file.read(end - position)
    kept = b"".join(found.splitlines(keepends=True)[-lines:]) if lines > 0 else b""
    file.seek(end - len(kept))
