"""ResearchSpawner, and functions that build a notebook's pod without a hub."""

from .offline_render import render_base_pod, render_notebook
from .research import ResearchSpawner

__all__ = ["ResearchSpawner", "render_base_pod", "render_notebook"]
