"""Fixtures of the tests that run real hubs: `hub` is of one version after the other."""

from hub import hub, research_cluster

__all__ = ["hub", "research_cluster"]
