"""Where identities come from: one module per source, one set of checks and one cache after all of them."""

from .checks import warnings
from .model import Group, PosixIdentity
from .resolver import Resolver
from .settings import IdentitySettings
from .username import posix_name

__all__ = ["Group", "IdentitySettings", "PosixIdentity", "Resolver", "posix_name", "warnings"]
