"""Where identities come from: one module per source, one set of checks and one cache after all of them."""

from .checks import warnings
from .identity_settings import IdentitySettings
from .posix import Group, PosixIdentity
from .resolver import Resolver
from .username import posix_name

__all__ = ["Group", "IdentitySettings", "PosixIdentity", "Resolver", "posix_name", "warnings"]
