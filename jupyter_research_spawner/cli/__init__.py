"""The command research-spawner, which checks and explains a site's settings without a hub or a cluster."""

from .main import main

__all__ = ["main"]
