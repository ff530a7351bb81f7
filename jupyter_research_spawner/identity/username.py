"""Translates a hub user name to a POSIX user name."""

from __future__ import annotations

import re

from pydantic import Field, StrictBool, model_validator

from ..refusal import Refusal
from ..settings import Settings
from ..wording import quote

# Names that useradd(8) accepts, and names with dots, which directory services allow.
NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")


class Username(Settings):
    """How hub user names are translated to POSIX user names."""

    lower: StrictBool = Field(
        default=False,
        title="Convert user names to lower case",
        description="If true, `Alice` is looked up as `alice`.",
    )
    strip_domain: str | None = Field(
        None,
        title="Domain to remove from user names",
        description="`alice@example.edu` is looked up as `alice`. A user name with another domain is refused.",
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$",
        examples=["example.edu"],
    )
    require_domain: StrictBool = Field(
        default=False,
        title="Refuse user names without the domain",
        description="Set this if the hub has a second login method. Otherwise `alice` and `alice@example.edu` "
        "are the same user.",
    )

    @model_validator(mode="after")
    def _of_a_domain(self) -> Username:
        if self.require_domain and self.strip_domain is None:
            raise ValueError("require_domain requires strip_domain")
        return self


def is_posix_name(name: str) -> bool:
    """Return whether `name` is a valid POSIX user name."""
    return NAME.fullmatch(name) is not None and ".." not in name


def posix_name(settings: Username, hub_name: str) -> str:
    """Return the POSIX user name for a hub user name.  Raises Refusal (403, field `name`)."""
    # lower() turns some other characters into ASCII letters: U+212A (the Kelvin sign) becomes k.
    if not hub_name.isascii():
        raise _refused(hub_name)
    name = hub_name
    if settings.strip_domain is not None and "@" in name:
        name, _, domain = name.rpartition("@")
        if domain.lower() != settings.strip_domain.lower():
            raise _refused(hub_name)
    elif settings.require_domain:
        raise _refused(hub_name)
    if settings.lower:
        name = name.lower()
    if not is_posix_name(name):
        raise _refused(hub_name)
    return name


def _refused(hub_name: str) -> Refusal:
    return Refusal(
        "invalid-identity",
        f"Your user name {quote(hub_name)} cannot be translated to a POSIX user name.",
        field="name",
        hint=(
            "A POSIX user name has at most 32 lower-case letters, digits, '_', '.' and '-', and begins with a letter "
            "or '_'. Log in with another user name, or ask your administrators."
        ),
        status=403,
    )
