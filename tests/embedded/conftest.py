"""The cluster fixture for the tests of its parts."""

from cluster import cluster

__all__ = ["cluster"]
