"""The cluster fixture for the tests of its parts."""

from embedded_cluster import cluster

__all__ = ["cluster"]
