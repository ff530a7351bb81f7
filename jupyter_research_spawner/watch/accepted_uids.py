"""Reads and writes the ConfigMap with the uids that administrators have accepted.

The hub and each process of the batch service read it only before they refuse a user: an ordinary start costs no call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from ..identity.accepted_uid import CONFIG_MAP, AcceptedUid, accepted_uids
from ..refusal import Refusal
from .api_server import MERGE_PATCH, ApiError, ApiServer

log = logging.getLogger(__name__)

# For all users of a process together, so that refused users cannot flood the API server.
CACHE_SECONDS = 5.0


class AcceptedUids:
    """The accepted uids of one site.  If they cannot be read, no uid is accepted."""

    def __init__(self, server: ApiServer, namespace: str, lifetime: timedelta) -> None:
        self._server = server
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self._namespace = namespace
        self._lifetime = lifetime
        self._found: Mapping[str, AcceptedUid] = {}
        self._read_at = -CACHE_SECONDS
        self._reading = asyncio.Lock()

    async def of(self, name: str) -> AcceptedUid | None:
        """Return the uid that is accepted for the account with this POSIX name, or None."""
        async with self._reading:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                self._found = await self._read()
                self._read_at = time.monotonic()
        return self._found.get(name)

    async def _read(self) -> Mapping[str, AcceptedUid]:
        try:
            return self._valid(await self._data() or {})
        except (ApiError, Refusal) as error:
            log.error("The ConfigMap %s cannot be read, so no change of a uid is accepted: %s", CONFIG_MAP, error)
            return {}

    async def add(self, name: str, hub_user: str, uid: int) -> None:
        """Accept a uid, and remove the entries that are no longer valid.  Raises ApiError, Refusal."""
        data = await self._data()
        entry = str(AcceptedUid(hub_user, uid, datetime.now(timezone.utc)))
        if data is None:
            metadata = {"name": CONFIG_MAP, "labels": {"app.kubernetes.io/name": "research-spawner"}}
            new = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {name: entry}}
            await self._server.ask("POST", self._path, body=new)
            return
        valid = self._valid(data)
        changes = {old: None for old in data if old not in valid}
        body = {"data": {**changes, name: entry}}
        await self._server.ask("PATCH", f"{self._path}/{CONFIG_MAP}", body=body, content_type=MERGE_PATCH)

    async def _data(self) -> Mapping[str, str] | None:
        """Return the data of the ConfigMap; None if it does not exist."""
        try:
            found = await self._server.ask("GET", f"{self._path}/{CONFIG_MAP}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return dict(found.get("data") or {})

    def _valid(self, data: Mapping[str, str]) -> dict[str, AcceptedUid]:
        return accepted_uids(data, datetime.now(timezone.utc), self._lifetime)
