"""Helpers of tests that describe the behaviour of any Kubernetes API server, over HTTP.

By default they test the embedded cluster.  BEHAVIOUR_URL, BEHAVIOUR_TOKEN and BEHAVIOUR_CA (a file) select another
API server, which needs kube-controller-manager and kube-scheduler.  Tests marked `node` also need a node, and
BEHAVIOUR_IMAGE, an image on that node that contains `sh`.  Other tests act as the node of their pods.  Each test has
its own namespace.  DIFFERENCES.md lists known differences and their reasons.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from kubernetes_asyncio import client, watch
from patience import PATIENCE_SECONDS

from jupyter_research_spawner.embedded import Cluster, NodeSpec

Json = dict[str, Any]
IMAGE = os.environ.get("BEHAVIOUR_IMAGE") or "example/image:1"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Server:
    url: str
    token: str = field(repr=False)
    ca: Path


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def said(self) -> tuple[int, str]:
        return self.status, self.body.get("reason", "")


class Kube:
    """A client that sends and receives plain JSON, and the kubernetes_asyncio client."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, api_client: client.ApiClient, namespace: str):
        self.server = server
        self.session = session
        self.namespace = namespace
        # Of its own: pod garbage collection takes all pods of a missing node at once, 40 s after it saw the first.
        self.nowhere = f"no-node-of-{namespace}"
        self.core = client.CoreV1Api(api_client)
        self.batch = client.BatchV1Api(api_client)
        self.custom = client.CustomObjectsApi(api_client)
        self.extensions = client.ApiextensionsV1Api(api_client)
        self.here = f"/api/v1/namespaces/{namespace}"
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ):
        if method in ("POST", "PUT", "PATCH"):
            query.setdefault("fieldValidation", "Strict")
        headers = {"Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, path, data=data, headers=headers, params=query) as response:
            text = await response.text()
            is_json = "json" in response.content_type
            return Answer(response.status, json.loads(text) if is_json else text, response.headers)

    async def create(self, plural: str, body: Json, **query: str) -> Answer:
        return await self.call("POST", f"{self.here}/{plural}", body, **query)

    async def made(self, plural: str, body: Json) -> Json:
        answer = await self.create(plural, body)
        assert answer.status == 201, answer.body
        return answer.body

    async def get(self, what: str, **query: str) -> Answer:
        return await self.call("GET", f"{self.here}/{what}", **query)

    async def patch(self, what: str, body: Any, content_type: str) -> Answer:
        return await self.call("PATCH", f"{self.here}/{what}", body, content_type)

    async def delete(self, what: str, body: Json | None = None, **query: str) -> Answer:
        return await self.call("DELETE", f"{self.here}/{what}", body, **query)

    async def revision(self) -> str:
        return (await self.get("pods")).body["metadata"]["resourceVersion"]

    async def watched(
        self, last: tuple[str, str] | None = None, seconds: int = 60, **options: Any
    ) -> list[tuple[str, str]]:
        """Return (type, name) of the watch events of this namespace's pods, up to the event `last`."""
        stream = watch.Watch().stream(self.core.list_namespaced_pod, self.namespace, timeout_seconds=seconds, **options)
        async with stream:
            seen = []
            async for event in stream:
                seen.append((event["type"], event["raw_object"]["metadata"].get("name", "")))
                if seen[-1] == last:
                    break
            return seen


@pytest_asyncio.fixture
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    if url := os.environ.get("BEHAVIOUR_URL"):
        yield Server(url, os.environ["BEHAVIOUR_TOKEN"], Path(os.environ["BEHAVIOUR_CA"]))
        return
    nodes = [NodeSpec("node-1")] if request.node.get_closest_marker("node") else []
    # Ten seconds as a kubelet waits: they are in its sentences.
    cluster = await Cluster.start(tmp_path / "cluster", nodes, back_off_seconds=10 if nodes else 1)
    try:
        yield Server(cluster.url, cluster.token, cluster.ca)
    finally:
        await cluster.stop()


@pytest_asyncio.fixture
async def kube(server: Server) -> AsyncIterator[Kube]:
    configuration = client.Configuration(host=server.url)
    configuration.api_key = {"BearerToken": server.token}
    configuration.api_key_prefix = {"BearerToken": "Bearer"}
    configuration.ssl_ca_cert = str(server.ca)
    context = ssl.create_default_context(cafile=str(server.ca))
    session = aiohttp.ClientSession(
        server.url,
        headers={"Authorization": f"Bearer {server.token}"},
        connector=aiohttp.TCPConnector(ssl=context),
    )
    namespace = f"behaviour-{uuid.uuid4().hex[:8]}"
    async with client.ApiClient(configuration) as api_client, session:
        kube = Kube(server, session, api_client, namespace)
        await kube.core.create_namespace({"metadata": {"name": namespace}}, field_validation="Strict")
        # Its controller makes it a little later, and no pod is taken before.
        await eventually(lambda: exists(kube, "serviceaccounts/default"), True)
        yield kube
        await kube.call("DELETE", f"/api/v1/namespaces/{namespace}")


@asynccontextmanager
async def defined(kube: Kube, plural: str) -> AsyncIterator[str]:
    """Define a custom resource while in the context, and return its path in the namespace."""
    group, kind = f"{kube.namespace}.example.com", plural.removesuffix("s").capitalize()
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"plural": plural, "kind": kind, "singular": kind.lower()}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    await kube.extensions.create_custom_resource_definition({"metadata": {"name": f"{plural}.{group}"}, "spec": spec})
    path = f"/apis/{group}/v1/namespaces/{kube.namespace}/{plural}"

    async def is_served() -> int:
        return (await kube.call("GET", path)).status

    try:
        await eventually(is_served, 200)
        yield path
    finally:
        await kube.extensions.delete_custom_resource_definition(f"{plural}.{group}")


async def exists(kube: Kube, what: str) -> bool:
    return (await kube.get(what)).status == 200


async def eventually(look: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Wait until `look` returns `wanted`."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := await look()) != wanted:
        assert time.monotonic() < end, f"still {found!r}, not {wanted!r}"
        await asyncio.sleep(0.05)


# Other tests have nodes of their own meanwhile, which no kubelet has put a label on.
ON_A_KUBELET = {"nodeSelector": {"kubernetes.io/os": "linux"}}
# No scheduler is called so: on a cluster that has a node these pods stay as they are made.
NOBODY = "nobody"


def pod(name: str = "p", labels: dict[str, str] | None = None, **spec: Any) -> Json:
    container = {"name": "notebook", "image": "example/image:1", "env": [{"name": "A", "value": "1"}]}
    common = {"automountServiceAccountToken": False, "schedulerName": NOBODY, "containers": [container]}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {**common, **spec}}


def config_map(name: str, **metadata: Any) -> Json:
    return {"metadata": {"name": name, **metadata}}


def job(name: str = "j", **spec: Any) -> Json:
    container = {"name": "main", "image": "example/image:1"}
    template = {"spec": {"restartPolicy": "Never", "schedulerName": NOBODY, "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}
