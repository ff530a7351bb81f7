"""The cluster that KUBECONFIG names, for the commands that read it or change it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..refusal import Refusal
from ..watch.api_server import ApiServer
from ..watch.connection import CannotConnect, connect


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """Connect to the API server, and close the connection at the end.  Raises Refusal if no cluster is configured."""
    try:
        client = await connect()
    except CannotConnect as error:
        raise Refusal("no-cluster", str(error), status=503) from None
    try:
        yield ApiServer(client)
    finally:
        await client.close()
