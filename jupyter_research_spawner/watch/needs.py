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

from ..identity.patience import within
from ..refusal import Refusal
from ..schedulers import Need

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """What the API server says of a need: the HTTP status, and the object's `status.state` where that matters."""

    status: int
    state: str = ""


class Needs:
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
        self._seen: dict[Need, float] = {}
        self._flights: dict[Need, asyncio.Task[_Found]] = {}
        self._unreadable: set[tuple[str, str]] = set()

    async def require(self, needs: Iterable[Need]) -> None:
        """Raises Refusal (503) that names what is missing or shut, or that the API server does not answer."""
        found = await self._look(needs)
        if missing := [need for need, is_there in found.items() if is_there.status == 404]:
            raise _missing(missing)
        for need, is_there in found.items():
            if is_there.state in need.shut:
                raise _shut(need, is_there.state)

    async def _look(self, needs: Iterable[Need]) -> dict[Need, _Found]:
        """What is found of those that nobody believes in at the moment."""
        asked = [need for need in needs if time.monotonic() - self._seen.get(need, -1e9) > self._believed]
        answers = await asyncio.gather(*(asyncio.shield(self._flight(need)) for need in asked))
        found = dict(zip(asked, answers, strict=True))
        for need, is_there in found.items():
            if is_there.status == 404 or is_there.state in need.shut:
                self._seen.pop(need, None)
            else:
                self._seen[need] = time.monotonic()
        return found

    def _flight(self, need: Need) -> asyncio.Task[_Found]:
        """One question for all who ask it at the same time: a class that starts together."""
        flight = self._flights.get(need)
        if flight is None:
            flight = self._flights[need] = asyncio.ensure_future(self._ask(need))
            flight.add_done_callback(lambda _: self._flights.pop(need))
        return flight

    async def _ask(self, need: Need) -> _Found:
        try:
            found = await within(self._get(need), self._limit)
        except ApiException as error:
            found = _Found(int(error.status or 0))
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            log.error("The API server was asked for %s and did not answer: %r", need, error)
            raise cluster_down() from None
        if found.status >= 500:
            log.error("The API server was asked for %s and answered HTTP %s", need, found.status)
            raise cluster_down()
        if found.status in (401, 403):
            self._warn_unreadable(need, found.status)
        return found

    async def _get(self, need: Need) -> _Found:
        """Read as plain JSON, if at all: the object may be of a kind that no client library knows."""
        answer = await self._api.call_api(
            _path(need),
            "GET",
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
        )
        try:
            is_asked = bool(need.shut) and answer.status == 200
            state = (json.loads(await answer.read()).get("status") or {}).get("state") if is_asked else None
            return _Found(int(answer.status), state or "")
        finally:
            answer.release()

    def _warn_unreadable(self, need: Need, status: int) -> None:
        kind = (need.api_version, need.kind)
        if kind in self._unreadable:
            return
        self._unreadable.add(kind)
        log.warning(
            "Whether %s exists cannot be seen (HTTP %s); it is taken to exist. The right to get %s is missing: "
            "`research-spawner manifests` prints the roles.",
            need,
            status,
            need.resource,
        )


def _missing(needs: Sequence[Need]) -> Refusal:
    return Refusal(
        "missing-in-cluster",
        f"The cluster has no {', '.join(map(str, needs))}, so this would wait for ever.",
        field=_FIELDS.get(needs[0].kind, "queue"),
        hint="Ask the people who run this hub: `research-spawner manifests` prints what a site needs.",
        status=503,
    )


def _shut(need: Need, state: str) -> Refusal:
    return Refusal(
        "shut-in-cluster",
        f"The cluster's {need} is {state.lower()}: it takes nothing new.",
        field=_FIELDS.get(need.kind, "queue"),
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


def _path(need: Need) -> str:
    root = "/api" if "/" not in need.api_version else "/apis"
    where = f"/namespaces/{need.namespace}" if need.namespace else ""
    return f"{root}/{need.api_version}{where}/{need.resource}/{need.name}"
