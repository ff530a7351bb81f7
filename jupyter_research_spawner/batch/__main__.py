"""`python -m jupyter_research_spawner.batch --site FILE`: the batch service, started by the hub or by a Deployment."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from ..settings import SettingsError
from ..site import load
from ..watch.connection import CannotConnect
from .app import options, serve


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    told = options(sys.argv[1:], os.environ)
    try:
        asyncio.run(serve(told, load(*told.site)))
    except SettingsError as error:
        print(f"The settings cannot be used:\n{error}", file=sys.stderr)
        return 2
    except CannotConnect as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"It cannot listen at {told.host}:{told.port}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
