"""POSIX identities of hub users: one module per identity source, and the checks and the cache of all sources."""

from .accepted_uid import AcceptedUid
from .checks import warnings
from .identity_settings import IdentitySettings
from .lookup import answers
from .posix import Group, PosixIdentity
from .resolver import Resolver
from .username import posix_name

__all__ = ["AcceptedUid", "Group", "IdentitySettings", "PosixIdentity", "Resolver", "answers", "posix_name", "warnings"]
