"""Fixtures of the tests that run real hubs."""

from hub import hub, research_cluster

__all__ = ["hub", "research_cluster"]
