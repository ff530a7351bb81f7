"""Who a user is to the file systems: one module per identity source, and checks and a cache for all sources."""

from .checks import warnings
from .identity_settings import IdentitySettings
from .posix import Group, PosixIdentity
from .resolver import Resolver
from .username import posix_name

__all__ = ["Group", "IdentitySettings", "PosixIdentity", "Resolver", "posix_name", "warnings"]
