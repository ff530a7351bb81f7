"""research-spawner: what a site's settings mean, without a hub and without a cluster."""

from .main import main

__all__ = ["main"]
