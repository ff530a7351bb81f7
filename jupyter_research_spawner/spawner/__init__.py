"""ResearchSpawner, and functions that build a notebook's pod without a hub."""

from .offline_render import HookError, TriedPod, render_base_pod, render_notebook, try_notebook
from .research import ResearchSpawner

__all__ = ["HookError", "ResearchSpawner", "TriedPod", "render_base_pod", "render_notebook", "try_notebook"]
