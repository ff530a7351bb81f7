"""The command research-spawner, which checks and explains a site's settings.  It needs no hub and no cluster."""

from .main import main

__all__ = ["main"]
