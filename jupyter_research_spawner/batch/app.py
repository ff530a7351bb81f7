"""The process of the batch service: parse the command line, create the components, start and stop the server."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubernetes_asyncio.client import ApiClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from ..identity import Resolver
from ..plan import RECHECK_SECONDS
from ..schedulers import SCHEDULERS
from ..site import Site
from ..watch import AcceptedUids, NodeCache, OwnedObjectCache, Prerequisites, QueuePlaces, QueueQuotas
from ..watch.api_server import ApiServer
from ..watch.connection import connect
from ..watch.follow import Change
from .attempt_recorder import AttemptRecorder
from .auth import cookie_secret, open_hub_auth
from .handlers import CLOSING_BODY_LIMIT, routes
from .job_service import JobService
from .job_store import JobStore
from .page_handlers import Pages
from .pages import UnknownPage, page_routes
from .rights_action import RightsActions
from .rights_checker import RightsChecker
from .work_reader import ClusterReaders, WorkReader

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
# Also the time in which a connection must send its first headers.
IDLE_SECONDS = 120.0
HEADER_LIMIT = 32 * 1024


@dataclass(frozen=True)
class Options:
    """The options of the service.  All except `site` have defaults from the variables JUPYTERHUB_* of the hub."""

    site: tuple[Path, ...]
    name: str
    host: str
    port: int
    prefix: str
    hub_api_url: str
    hub_api_token: str = field(repr=False)

    @property
    def base(self) -> Path | None:
        """Return the directory of the first settings file.  Relative paths in the settings are relative to it."""
        return self.site[0].absolute().parent if self.site else None


def options(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Parse the command line.  Prints the error and raises SystemExit if it is not valid.

    The token is read only from the environment, because every user of the machine can read a command line.
    """
    parser = argparse.ArgumentParser(prog="python -m jupyter_research_spawner.batch", description=__doc__)
    add = parser.add_argument
    add(
        "--site", action="append", type=Path, required=True, metavar="FILE", help="settings; may be given several times"
    )
    add("--name", default=environ.get("JUPYTERHUB_SERVICE_NAME", "batch"), help="the service's name in the hub")
    add(
        "--url",
        default=environ.get("JUPYTERHUB_SERVICE_URL") or "http://127.0.0.1:8000",
        help="address to listen at; http://[::]:8000 means all addresses of IPv6 and IPv4",
    )
    add(
        "--prefix",
        default=environ.get("JUPYTERHUB_SERVICE_PREFIX"),
        help="path with which all URLs of the service begin",
    )
    add(
        "--hub-api-url",
        default=environ.get("JUPYTERHUB_API_URL"),
        help="the hub's API, for example http://hub:8081/hub/api",
    )
    found = parser.parse_args(arguments)
    token = environ.get("JUPYTERHUB_API_TOKEN")
    if not token:
        parser.error("the hub's token for this service is missing: set JUPYTERHUB_API_TOKEN in the environment")
    if not found.hub_api_url:
        parser.error("the address of the hub's API is missing: --hub-api-url or JUPYTERHUB_API_URL")
    if not found.name:
        parser.error("the service's name in the hub is empty: --name or JUPYTERHUB_SERVICE_NAME")
    try:
        at = urlsplit(found.url)
        port = 8000 if at.port is None else at.port
    except ValueError as error:
        parser.error(f"--url: {found.url!r} is not valid ({error}): write http://HOST:PORT, and an IPv6 address in []")
    prefix = found.prefix or f"/services/{found.name}/"
    return Options(
        site=tuple(found.site),
        name=found.name,
        host=at.hostname or "127.0.0.1",
        port=port,
        prefix=f"/{prefix.strip('/')}/" if prefix.strip("/") else "/",
        hub_api_url=found.hub_api_url.rstrip("/"),
        hub_api_token=token,
    )


@dataclass(frozen=True)
class _Components:
    """The parts of the service that serve requests or watch the cluster."""

    service: JobService
    pages: Pages
    recorder: AttemptRecorder
    owned_objects: OwnedObjectCache
    nodes: NodeCache
    quotas: QueueQuotas
    checker: RightsChecker


def _create_components(options: Options, site: Site, client: ApiClient, recheck_seconds: float) -> _Components:
    api_server, namespace, scheduler = ApiServer(client), site.namespaces.name, SCHEDULERS[site.scheduler.kind]
    store = JobStore(api_server, namespace)
    prerequisites = Prerequisites(api_server, cache_time=site.hub.prerequisites_cache)
    owned_objects = OwnedObjectCache(api_server, namespace, scheduler.watched)
    places = QueuePlaces(api_server, scheduler.ORDER, namespace)
    nodes = NodeCache(api_server, can_grow=site.autoscaling)
    quotas = QueueQuotas(api_server, site)
    resolver = Resolver(site.identity, options.base)
    resolver.accepted = AcceptedUids(api_server, namespace, site.identity.cache.uids).of
    actions = RightsActions(site, resolver, prerequisites, store, owned_objects, max_age=recheck_seconds)
    service = JobService(site, resolver, prerequisites, store, owned_objects, places, nodes)
    reader = WorkReader(site, service, ClusterReaders(store, owned_objects, places, nodes, quotas), options.prefix)
    checker = RightsChecker(actions, recheck_seconds, also=reader.jobs_changed)

    def pods_changed(change: Change) -> None:
        checker.pods_changed(change)
        reader.pods_changed(change)

    return _Components(
        service=service,
        pages=Pages(reader, options.prefix, site.time_zone),
        recorder=AttemptRecorder(store, owned_objects, pods_changed),
        owned_objects=owned_objects,
        nodes=nodes,
        quotas=quotas,
        checker=checker,
    )


def _create_server(options: Options, components: _Components, under_way: set[RequestHandler]) -> HTTPServer:
    """Return a server that does not listen yet.  Its handlers are in `under_way` until their requests have ended."""
    parts: dict[str, Any] = {
        "hub_login": open_hub_auth(options.name, options.hub_api_url, options.hub_api_token, options.prefix),
        "service": components.service,
        "recorder": components.recorder,
        "under_way": under_way,
        "requests": Counter(),
    }
    app = Application(
        [*page_routes(options.prefix, components.pages, **parts), *routes(options.prefix, **parts)],
        default_handler_class=UnknownPage,
        default_handler_args={"pages": components.pages, **parts},
        cookie_secret=cookie_secret(options.hub_api_token),
        # HubOAuth checks the XSRF token of cookies, and API tokens need none.
        xsrf_cookies=False,
        # A script of another user's notebook may have the same origin, and could read the cookie.
        xsrf_cookie_kwargs={"httponly": True},
    )
    # More than BODY_LIMIT, so that the handlers refuse a body that is too long with a message for the user.
    return HTTPServer(
        app,
        max_body_size=CLOSING_BODY_LIMIT,
        max_header_size=HEADER_LIMIT,
        idle_connection_timeout=IDLE_SECONDS,
        xheaders=True,
    )


@asynccontextmanager
async def running(
    options: Options, site: Site, client: ApiClient, recheck_seconds: float = RECHECK_SECONDS
) -> AsyncIterator[int]:
    """Serve requests and watch the cluster until the context ends.  Yield the port.

    At the end, the service accepts no new requests, and closes connections whose requests do not end within
    STOP_SECONDS.
    """
    components = _create_components(options, site, client, recheck_seconds)
    under_way: set[RequestHandler] = set()
    server = _create_server(options, components, under_way)
    # Tornado limits "::" to IPv6; without an address, it listens at those of IPv4 too.
    sockets = bind_sockets(options.port, None if options.host == "::" else options.host)
    server.add_sockets(sockets)
    watching = [
        _watch(components.recorder.run(), "attempts of jobs are no longer recorded"),
        _watch(components.owned_objects.run(), "jobs no longer show what their scheduler reports"),
        _watch(components.checker.run(), "changes of users' rights no longer affect jobs"),
    ]
    try:
        yield sockets[0].getsockname()[1]
    finally:
        server.stop()
        components.nodes.close()
        components.quotas.close()
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
        await _under_way_end(under_way)
        await server.close_all_connections()


async def _under_way_end(under_way: set[RequestHandler]) -> None:
    until = asyncio.get_running_loop().time() + STOP_SECONDS
    while under_way and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - no event says that a request has ended
        await asyncio.sleep(0.05)
    if under_way:
        log.warning("%d requests did not end within %g s. Their connections are closed", len(under_way), STOP_SECONDS)


def _watch(work: Coroutine[Any, Any, None], consequence: str) -> asyncio.Task[None]:
    """Start a watch, and log the consequence if it fails."""

    def report(watch: asyncio.Task[None]) -> None:
        if not watch.cancelled() and watch.exception() is not None:
            log.critical("A watch failed: %s", consequence, exc_info=watch.exception())

    task = asyncio.create_task(work)
    task.add_done_callback(report)
    return task


async def serve(options: Options, site: Site) -> None:
    """Run the service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    site.pages.use_language(options.base)
    client = await connect()
    try:
        async with running(options, site, client) as port:
            host = f"[{options.host}]" if ":" in options.host else options.host
            log.info("Listening at http://%s:%d%s", host, port, options.prefix)
            await stop.wait()
            log.info("Stopping")
    finally:
        await client.close()
