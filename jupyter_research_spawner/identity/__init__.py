"""Where identities come from: one module per source, one set of checks and one cache after all of them."""

from .model import Group, PosixIdentity

__all__ = ["Group", "PosixIdentity"]
