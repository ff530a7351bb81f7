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
    service_options = options(sys.argv[1:], os.environ)
    try:
        asyncio.run(serve(service_options, load(*service_options.site)))
    except SettingsError as error:
        print(f"The settings cannot be used:\n{error}", file=sys.stderr)
        return 2
    except CannotConnect as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"The batch service cannot listen at {service_options.host}:{service_options.port}: "
            f"{error.strerror or error}",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
