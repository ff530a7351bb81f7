"""From the name that the hub knows to the POSIX name, and never from two names to one by accident."""

from __future__ import annotations

import re

from pydantic import Field, StrictBool, model_validator

from ..refusal import Refusal
from ..settings import Settings
from ..wording import quote

# useradd(8)'s names, and the dot that directories add.
NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")


class Username(Settings):
    """How the hub's user names become POSIX names."""

    lower: StrictBool = Field(
        default=False,
        title="Capital letters become small ones",
        description="`Alice` is looked up as `alice`. False: the hub's name is used as it is.",
    )
    strip_domain: str | None = Field(
        None,
        title="Domain to cut off",
        description="`alice@example.edu` is looked up as `alice`; a name with another domain is refused.",
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$",
        examples=["example.edu"],
    )
    require_domain: StrictBool = Field(
        default=False,
        title="A name without the domain is refused",
        description="For hubs with a second way to log in: else `alice` and `alice@example.edu` are one person here.",
    )

    @model_validator(mode="after")
    def _of_a_domain(self) -> Username:
        if self.require_domain and self.strip_domain is None:
            raise ValueError("require_domain says nothing without strip_domain")
        return self


def is_posix_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None and ".." not in name


def posix_name(settings: Username, hub_name: str) -> str:
    """The name to ask the sources for.  Raises Refusal (403, field `name`)."""
    # Some other letters become ASCII ones when they are lowered: U+212A (the Kelvin sign) becomes a plain k.
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
        f"Your user name {quote(hub_name)} is not a name that the file systems know.",
        field="name",
        hint=(
            "Such a name begins with a small letter, has only small letters, digits, '_', '.' and '-', "
            "and at most 32 of them. Log in with another name, or ask the people who run this hub."
        ),
        status=403,
    )
