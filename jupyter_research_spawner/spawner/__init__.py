"""ResearchSpawner, and the same pod without a hub."""

from .render import base_manifest, render
from .research import ResearchSpawner

__all__ = ["ResearchSpawner", "base_manifest", "render"]
