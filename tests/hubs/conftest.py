"""Fixtures of the tests that run real hubs."""

from browser import chromium, screenshots
from hub import hub, research_cluster

__all__ = ["chromium", "hub", "research_cluster", "screenshots"]
