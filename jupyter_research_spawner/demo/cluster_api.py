"""A client for the requests that the demo sends to the API server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..shape import Json
from ..watch.api_server import ApiError, ApiServer
from ..watch.connection import CannotConnect, connect
from .demo_cluster import CannotStart


class Api:
    """A Kubernetes client for objects as dicts.  Raises CannotStart if a request is refused or gets no response."""

    def __init__(self, server: ApiServer, url: str) -> None:
        self._server = server
        self.url = url

    async def create(self, obj: Json) -> Json:
        """Create the object.  The cluster refuses fields that it does not know (strict validation)."""
        path = _path(obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace"))
        return await self._ask("POST", path, obj, fieldValidation="Strict")

    async def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Json | None:
        try:
            return await self._ask("GET", f"{_path(api_version, kind, namespace)}/{name}")
        except Missing:
            return None

    async def list(self, api_version: str, kind: str, namespace: str | None = None, **query: str) -> list[Json]:
        answer = await self._ask("GET", _path(api_version, kind, namespace), None, **query)
        # The API server leaves out apiVersion and kind in the items of a list.
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]

    async def delete(self, obj: Json, grace_seconds: int | None = None) -> None:
        """Delete the object and its dependents.  It is not an error if the object no longer exists."""
        metadata = obj["metadata"]
        options: Json = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        path = f"{_path(obj['apiVersion'], obj['kind'], metadata.get('namespace'))}/{metadata['name']}"
        # A conflict means that another object now has this name.
        with contextlib.suppress(Missing, Conflict):
            await self._ask("DELETE", path, options)

    async def version(self) -> str:
        return str((await self._ask("GET", "/version"))["gitVersion"])

    async def _ask(self, method: str, path: str, body: Json | None = None, **query: str) -> Json:
        try:
            return await self._server.ask(method, path, query=query, body=body)
        except ApiError as error:
            if error.status == 404:
                raise Missing(error.message) from None
            if error.status == 409:
                raise Conflict(error.message) from None
            if error.status in (401, 403):
                raise CannotStart(
                    f"The cluster at {self.url} refuses {method} {path}: {error.message}. The demo creates a "
                    "namespace, volumes and PriorityClasses. Use a kubeconfig of a user who has these rights."
                ) from None
            raise CannotStart(f"The cluster at {self.url} refuses {method} {path}: {error.message}") from None
        except Refusal as refusal:
            raise CannotStart(f"The cluster at {self.url} does not answer: {refusal.__cause__}") from None


class Missing(CannotStart):
    """The object does not exist."""


class Conflict(CannotStart):
    """An object of this name exists already, or a precondition of the request failed."""


@contextlib.asynccontextmanager
async def connected(kubeconfig: str) -> AsyncIterator[Api]:
    """Connect to the current context of `kubeconfig`, one path or several as in $KUBECONFIG.  Raises CannotStart."""
    try:
        client = await connect(kubeconfig)
    except CannotConnect as error:
        raise CannotStart(str(error)) from None
    try:
        yield Api(ApiServer(client), client.configuration.host)
    finally:
        await client.close()


def _path(api_version: str, kind: str, namespace: str | None) -> str:
    root = "/api" if "/" not in api_version else "/apis"
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}/{api_version}{within}/{Prerequisite(api_version, kind, '').resource}"
