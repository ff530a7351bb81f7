"""Translates a hub user name to a POSIX user name."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, StringConstraints, model_validator

from ..refusal import Refusal
from ..settings import Settings
from ..wording import format_list, quote

# useradd(8) accepts 32 characters.  A name must fit into a label of Kubernetes, which has at most 63.
USUAL_LENGTH, LONGEST_NAME = 32, 63
# The names that useradd(8) accepts, also with dots and with a digit first, which directory services allow.
_NAME = re.compile(rf"(?=[a-z0-9_.-]{{1,{LONGEST_NAME}}}\Z)(?![0-9]+\Z)[a-z0-9_][a-z0-9_.-]*")
Domain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$")]


class Username(Settings):
    """How hub user names are translated to POSIX user names."""

    lower: StrictBool = Field(
        default=False,
        title="Convert user names to lower case",
        description="If true, `Alice` is looked up as `alice`.",
    )
    strip_domain: Domain | dict[Domain, StrictBool] | None = Field(
        None,
        title="Domain or domains to remove from user names",
        description=(
            "`alice@example.edu` is looked up as `alice`. A user name with another domain is refused. Several domains "
            "are a map. Remove several domains only if `alice` is the same person in all of them. Otherwise the first "
            "`alice` who logs in gets the account, and the others are refused."
        ),
        examples=["example.edu", {"example.edu": True, "students.example.edu": True}],
    )
    require_domain: StrictBool = Field(
        default=False,
        title="Refuse user names without the domain",
        description="Set this if the hub has a second login method. Otherwise `alice` and `alice@example.edu` "
        "are the same user.",
    )
    first_digit: StrictBool = Field(
        default=False,
        title="Allow user names that begin with a digit",
        description="For example `2345678s`. A name of digits only is always refused, since programs read it as a uid.",
    )
    longest: StrictInt = Field(
        USUAL_LENGTH, ge=1, le=LONGEST_NAME, title="Maximum number of characters of a user name", examples=[40]
    )

    @property
    def domains(self) -> tuple[str, ...]:
        """Return the domains that are removed, in lower case."""
        if isinstance(self.strip_domain, dict):
            return tuple(domain.lower() for domain, removed in self.strip_domain.items() if removed)
        return () if self.strip_domain is None else (self.strip_domain.lower(),)

    @model_validator(mode="after")
    def _of_a_domain(self) -> Username:
        if self.require_domain and not self.domains:
            raise ValueError("require_domain requires strip_domain")
        return self


def is_posix_name(name: str) -> bool:
    """Return whether `name` is a POSIX user name that the most permissive settings allow."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def check_name(settings: Username, name: str, hub_name: str | None = None) -> None:
    """Raise Refusal (403, field `name`) if `name`, which was translated from `hub_name`, is not allowed here."""
    first_digit = name[:1].isdigit() and not settings.first_digit
    if not is_posix_name(name) or len(name) > settings.longest or first_digit:
        raise _refused(settings, name if hub_name is None else hub_name)


def posix_name(settings: Username, hub_name: str) -> str:
    """Return the POSIX user name for a hub user name.  Raises Refusal (403, field `name`)."""
    # lower() turns some other characters into ASCII letters: U+212A (the Kelvin sign) becomes k.
    if not hub_name.isascii():
        raise _refused(settings, hub_name)
    name = hub_name
    if settings.domains and "@" in name:
        name, _, domain = name.rpartition("@")
        if domain.lower() not in settings.domains:
            raise _refused_domain(settings, hub_name, f"has the domain {quote(domain)}")
    elif settings.require_domain:
        raise _refused_domain(settings, hub_name, "has no domain")
    if settings.lower:
        name = name.lower()
    check_name(settings, name, hub_name)
    return name


def _refused(settings: Username, hub_name: str) -> Refusal:
    first = "a letter, a digit" if settings.first_digit else "a letter"
    return Refusal(
        "invalid-identity",
        f"Your user name {quote(hub_name)} cannot be translated to a POSIX user name.",
        field="name",
        hint=(
            f"A POSIX user name has at most {settings.longest} lower-case letters, digits, '_', '.' and '-', and "
            f"begins with {first} or '_'. Log in with another user name, or ask your administrators."
        ),
        status=403,
    )


def _refused_domain(settings: Username, hub_name: str, why: str) -> Refusal:
    allowed = format_list([f"@{domain}" for domain in settings.domains], "or")
    return Refusal(
        "invalid-identity",
        f"Your user name {quote(hub_name)} {why}, but only names that end in {allowed} are accepted here.",
        field="name",
        hint="Log in with your account of that domain, or ask your administrators.",
        status=403,
    )
