"""The cluster fixture for the tests of its parts."""

from stand_in import cluster

__all__ = ["cluster"]
