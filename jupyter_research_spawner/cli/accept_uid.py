"""The command `accept-uid`: it accepts a planned change of a uid, and is the only one that changes the cluster."""

from __future__ import annotations

import argparse
import asyncio

from ..identity import posix_name
from ..refusal import Refusal
from ..settings import format_duration
from ..site import Site
from ..watch import AcceptedUids
from ..watch.api_server import ApiError
from .cluster_connection import api_server
from .files import read_files

HIGHEST_UID = 2**31 - 1


def accept_uid(options: argparse.Namespace) -> str:
    """Accept the uid of a hub user, and return what happens now.  Raises SettingsError, Refusal."""
    site = read_files(options.files).site
    name = posix_name(site.identity.username, options.user)
    try:
        asyncio.run(_add(site, name, options.user, options.uid))
    except ApiError as error:
        raise Refusal(
            "not-allowed",
            f"The cluster does not accept the change of the ConfigMap: {error.message}",
            hint=f"You need the right to create, get and patch ConfigMaps in namespace {site.namespaces.name}.",
            status=403,
        ) from None
    lasts = format_duration(site.identity.cache.uids)
    return (
        f"Uid {options.uid} is accepted for {options.user} (account {name}) for {lasts}. The hub and the batch service "
        "use it when this user tries again."
    )


async def _add(site: Site, name: str, hub_user: str, uid: int) -> None:
    async with api_server() as server:
        accepted = AcceptedUids(server, site.namespaces.name, site.identity.cache.uids)
        await accepted.add(name, hub_user, uid)


def parse_uid(text: str) -> int:
    """Return a uid from the command line.  Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and 0 < int(text) <= HIGHEST_UID):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a uid: a number from 1 to {HIGHEST_UID}")
    return int(text)
