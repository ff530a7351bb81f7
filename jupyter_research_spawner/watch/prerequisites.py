"""Whether the objects exist without which a pod waits and nobody says why.  Asked of the API server, and remembered."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
from kubernetes_asyncio.client import ApiClient, ApiException

from ..identity.aio import within
from ..prerequisite import Prerequisite
from ..refusal import Refusal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """The API server's answer about a prerequisite: the HTTP status, and `status.state` if it has `shut` states."""

    status: int
    state: str = ""


class Prerequisites:
    """A cache in front of GETs of single objects.

    What exists is believed for `believed`; what is missing or shut is asked for again at once, since somebody is
    mending it.
    Without the right to look (403) an object is taken to exist, and the log says once which right is missing:
    a hub that is not allowed to read PriorityClasses must still start notebooks.
    """

    def __init__(self, api: ApiClient, believed: timedelta, limit: timedelta = timedelta(seconds=10)) -> None:
        self._api = api
        self._believed = believed.total_seconds()
        self._limit = limit
        self._seen: dict[Prerequisite, float] = {}
        self._flights: dict[Prerequisite, asyncio.Task[_Found]] = {}
        self._unreadable: set[tuple[str, str]] = set()

    async def require(self, prerequisites: Iterable[Prerequisite]) -> None:
        """Raises Refusal (503) that names what is missing or shut, or that the API server does not answer."""
        found = await self._look(prerequisites)
        if missing := [one for one, is_there in found.items() if is_there.status == 404]:
            raise _missing(missing)
        for prerequisite, is_there in found.items():
            if is_there.state in prerequisite.shut:
                raise _shut(prerequisite, is_there.state)

    async def _look(self, prerequisites: Iterable[Prerequisite]) -> dict[Prerequisite, _Found]:
        """What is found of those that nobody believes in at the moment."""
        asked = [one for one in prerequisites if time.monotonic() - self._seen.get(one, -1e9) > self._believed]
        answers = await asyncio.gather(*(asyncio.shield(self._flight(one)) for one in asked))
        found = dict(zip(asked, answers, strict=True))
        for prerequisite, is_there in found.items():
            if is_there.status == 404 or is_there.state in prerequisite.shut:
                self._seen.pop(prerequisite, None)
            else:
                self._seen[prerequisite] = time.monotonic()
        return found

    def _flight(self, prerequisite: Prerequisite) -> asyncio.Task[_Found]:
        """One question for all who ask it at the same time: a class that starts together."""
        flight = self._flights.get(prerequisite)
        if flight is None:
            flight = self._flights[prerequisite] = asyncio.ensure_future(self._ask(prerequisite))
            flight.add_done_callback(lambda _: self._flights.pop(prerequisite))
        return flight

    async def _ask(self, prerequisite: Prerequisite) -> _Found:
        try:
            found = await within(self._get(prerequisite), self._limit)
        except ApiException as error:
            found = _Found(int(error.status or 0))
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            log.error("The API server was asked for %s and did not answer: %r", prerequisite, error)
            raise cluster_down() from None
        if found.status >= 500:
            log.error("The API server was asked for %s and answered HTTP %s", prerequisite, found.status)
            raise cluster_down()
        if found.status in (401, 403):
            self._warn_unreadable(prerequisite, found.status)
        return found

    async def _get(self, prerequisite: Prerequisite) -> _Found:
        """Read as plain JSON, if at all: the object may be of a kind that no client library knows."""
        answer = await self._api.call_api(
            _path(prerequisite),
            "GET",
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
        )
        try:
            is_asked = bool(prerequisite.shut) and answer.status == 200
            state = (json.loads(await answer.read()).get("status") or {}).get("state") if is_asked else None
            return _Found(int(answer.status), state or "")
        finally:
            answer.release()

    def _warn_unreadable(self, prerequisite: Prerequisite, status: int) -> None:
        kind = (prerequisite.api_version, prerequisite.kind)
        if kind in self._unreadable:
            return
        self._unreadable.add(kind)
        log.warning(
            "Whether %s exists cannot be seen (HTTP %s); it is taken to exist. The right to get %s is missing: "
            "`research-spawner manifests` prints the roles.",
            prerequisite,
            status,
            prerequisite.resource,
        )


def _missing(prerequisites: Sequence[Prerequisite]) -> Refusal:
    return Refusal(
        "missing-in-cluster",
        f"The cluster has no {', '.join(map(str, prerequisites))}, so this would wait for ever.",
        field=_FIELDS.get(prerequisites[0].kind, "queue"),
        hint="Ask the people who run this hub: `research-spawner manifests` prints what a site needs.",
        status=503,
    )


def _shut(prerequisite: Prerequisite, state: str) -> Refusal:
    return Refusal(
        "shut-in-cluster",
        f"The cluster's {prerequisite} is {state.lower()}: it takes nothing new.",
        field=_FIELDS.get(prerequisite.kind, "queue"),
        hint="Try another queue, or again when the people who run this hub have opened it.",
        status=503,
    )


def cluster_down() -> Refusal:
    """A new one each time: an exception that is raised once more keeps the frames of every time before."""
    return Refusal(
        "cluster-down",
        "The cluster does not answer at the moment.",
        status=503,
        hint="Try again in a minute.",
        retry_after=30,
    )


def webhook_down(message: str) -> Refusal | None:
    """What the API server's `message` means if it took nothing because an admission webhook did not answer."""
    found = re.search(r'failed calling webhook "([^"]{1,200})"', message)
    if found is None:
        return None
    return Refusal(
        "webhook-down",
        f"The cluster takes nothing new at the moment: it has to ask {found[1]} first, which does not answer.",
        status=503,
        hint="Try again in a few minutes; the people who run this hub know which program that is.",
        retry_after=60,
    )


_FIELDS = {
    "DeviceClass": "profile",
    "PersistentVolumeClaim": "mounts",
    "PriorityClass": "priority",
    "ResourceClaimTemplate": "profile",
    "WorkloadPriorityClass": "priority",
}


def _path(prerequisite: Prerequisite) -> str:
    root = "/api" if "/" not in prerequisite.api_version else "/apis"
    where = f"/namespaces/{prerequisite.namespace}" if prerequisite.namespace else ""
    return f"{root}/{prerequisite.api_version}{where}/{prerequisite.resource}/{prerequisite.name}"
