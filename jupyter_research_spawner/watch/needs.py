"""Whether the objects exist without which a pod waits and nobody says why.  Asked of the API server, and remembered."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from datetime import timedelta

import aiohttp
from kubernetes_asyncio.client import ApiClient, ApiException

from ..identity.patience import within
from ..refusal import Refusal
from ..schedulers import Need

log = logging.getLogger(__name__)


class Needs:
    """A cache in front of GETs of single objects.

    What exists is believed for `believed`; what is missing is asked again at once, since somebody is mending it.
    Without the right to look (403) an object is taken to exist, and the log says once which right is missing:
    a hub that is not allowed to read PriorityClasses must still start notebooks.
    """

    def __init__(self, api: ApiClient, believed: timedelta, limit: timedelta = timedelta(seconds=10)) -> None:
        self._api = api
        self._believed = believed.total_seconds()
        self._limit = limit
        self._seen: dict[Need, float] = {}
        self._flights: dict[Need, asyncio.Task[bool]] = {}
        self._unreadable: set[tuple[str, str]] = set()

    async def require(self, needs: Iterable[Need]) -> None:
        """Raises Refusal (503) that names what is missing, or that the API server does not answer."""
        missing = await self.missing(needs)
        if not missing:
            return
        named = ", ".join(map(str, missing))
        raise Refusal(
            "missing-in-cluster",
            f"The cluster has no {named}, so this would wait for ever.",
            field=_FIELDS.get(missing[0].kind, "queue"),
            hint="Ask the people who run this hub: `research-spawner manifests` prints what a site needs.",
            status=503,
        )

    async def missing(self, needs: Iterable[Need]) -> tuple[Need, ...]:
        asked = [need for need in needs if time.monotonic() - self._seen.get(need, -1e9) > self._believed]
        exist = await asyncio.gather(*(asyncio.shield(self._flight(need)) for need in asked))
        for need, does in zip(asked, exist, strict=True):
            if does:
                self._seen[need] = time.monotonic()
            else:
                self._seen.pop(need, None)
        return tuple(need for need, does in zip(asked, exist, strict=True) if not does)

    def _flight(self, need: Need) -> asyncio.Task[bool]:
        """One question for all who ask it at the same time: a class that starts together."""
        flight = self._flights.get(need)
        if flight is None:
            flight = self._flights[need] = asyncio.ensure_future(self._exists(need))
            flight.add_done_callback(lambda _: self._flights.pop(need))
        return flight

    async def _exists(self, need: Need) -> bool:
        try:
            status = await within(self._get(need), self._limit)
        except ApiException as error:
            status = int(error.status or 0)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            log.error("The API server was asked for %s and did not answer: %r", need, error)
            raise cluster_down() from None
        if status >= 500:
            log.error("The API server was asked for %s and answered HTTP %s", need, status)
            raise cluster_down()
        if status in (401, 403):
            self._warn_unreadable(need, status)
        return status != 404

    async def _get(self, need: Need) -> int:
        """The HTTP status alone: the object may be of a kind that no client library knows."""
        answer = await self._api.call_api(
            _path(need),
            "GET",
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
        )
        try:
            return int(answer.status)
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
