"""The few calls that the demo makes to a cluster's API server, whichever kubeconfig leads to it."""

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
    """Plain objects in and out.  Raises CannotStart when the cluster refuses or does not answer."""

    def __init__(self, server: ApiServer, url: str) -> None:
        self._server = server
        self.url = url

    async def create(self, obj: Json) -> Json:
        """Validated strictly: a field that this cluster does not know is an error, not dropped."""
        path = _path(obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace"))
        return await self._ask("POST", path, obj, fieldValidation="Strict")

    async def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Json | None:
        try:
            return await self._ask("GET", f"{_path(api_version, kind, namespace)}/{name}")
        except Missing:
            return None

    async def list(self, api_version: str, kind: str, namespace: str | None = None, **query: str) -> list[Json]:
        answer = await self._ask("GET", _path(api_version, kind, namespace), None, **query)
        # A list's items have neither.
        return [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]

    async def delete(self, obj: Json, grace_seconds: int | None = None) -> None:
        """Its dependents go too; what is gone already is fine."""
        metadata = obj["metadata"]
        options: Json = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        path = f"{_path(obj['apiVersion'], obj['kind'], metadata.get('namespace'))}/{metadata['name']}"
        # With a conflict it is another one of the same name by now.
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
                    f"The cluster at {self.url} refuses {method} {path}: {error.message}. The demo makes a namespace, "
                    "volumes and PriorityClasses: give a kubeconfig of somebody who may."
                ) from None
            raise CannotStart(f"The cluster at {self.url} refuses {method} {path}: {error.message}") from None
        except Refusal as refusal:
            raise CannotStart(f"The cluster at {self.url} does not answer: {refusal.__cause__}") from None


class Missing(CannotStart):
    """There is no such object."""


class Conflict(CannotStart):
    """There is one of that name already, or it is not as the precondition says."""


@contextlib.asynccontextmanager
async def connected(kubeconfig: str) -> AsyncIterator[Api]:
    """By the current context of `kubeconfig`, a path or several as in $KUBECONFIG.  Raises CannotStart."""
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
