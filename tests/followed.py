"""A client that follows objects, and what it knows of them: `from followed import Followed`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from patience import eventually

from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.watch import follow as module
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.follow import follow


class Followed:
    """What a client knows that follows the objects at one path."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.kinds: list[str] = []
        self.is_lost = False
        self.task: asyncio.Task[None] | None = None

    async def run(self, server: ApiServer, path: str) -> None:
        async for change in follow(server, path, {}):
            self.kinds.append(change.kind)
            self.is_lost = change.kind == "lost"
            if change.kind == "listed":
                self.names.clear()
            for obj in change.objects:
                act = self.names.discard if change.kind == "deleted" else self.names.add
                act(obj["metadata"]["name"])

    async def knows(self, *names: str) -> None:
        await eventually(lambda: self.names >= {*names}, otherwise=lambda: f"{self.names} {self.kinds}")


@asynccontextmanager
async def following(server: ApiServer, path: str) -> AsyncIterator[Followed]:
    """Follow the objects at that path until the context ends."""
    found = Followed()
    found.task = asyncio.ensure_future(found.run(server, path))
    try:
        yield found
    finally:
        found.task.cancel()
        await asyncio.gather(found.task, return_exceptions=True)


def shorten_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `follow` try again soon after a failure."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.2)


def said(caplog: pytest.LogCaptureFixture, part: str) -> str:
    """Return the warnings and errors of follow() in which that part is."""
    found = [record for record in caplog.records if record.name == module.log.name and record.levelno > logging.INFO]
    return "\n".join(record.getMessage() for record in found if part in record.getMessage())


def config_map(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


# A small CustomResourceDefinition, and an object of it.
FOOS: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "foos.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Foo", "plural": "foos", "singular": "foo", "listKind": "FooList"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
FOO: Json = {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}}
