"""Reads the options of a notebook from a posted form or from the query of a link.  `spawner.options` checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..jobs.notebook import OPTIONS

OFFER = "offer"
# The name of a field of an offer contains the offer, for example `queue--profile:small`.
SEPARATOR = "--"
OF_AN_OFFER = ("queue", "wall_time", "image")


def field_name(field: str, offer: str) -> str:
    """Return the name of a field in the form of an offer, for example `queue--profile:small`."""
    return f"{field}{SEPARATOR}{offer}"


def offer_value(kind: str, name: str) -> str:
    """Return the form's value for an offer, for example `profile:small` or `class:stats-101`.

    The value contains the kind, because a class and a profile may have the same name.
    """
    return f"{kind}:{name}"


def chosen_by_form(posted: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """Return the options in a posted form.  Empty fields and the fields of offers that were not chosen are ignored."""
    options = {field: text for field in OPTIONS if (text := _first(posted, field))}
    offer = _first(posted, OFFER)
    if not offer:
        return options
    kind, _, name = offer.partition(":")
    options = {"class" if kind == "class" else "profile": name}
    for field in OF_AN_OFFER:
        if text := _first(posted, field_name(field, offer)):
            options[field] = text.strip()
    return options


def chosen_by_link(query: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """Return the options in the query of a link.  Other fields of the query are ignored.

    A field can have the prefix `opt-`, which JupyterHub 6 removes and JupyterHub 5 does not.
    """
    return {field: text for field in OPTIONS if (text := _first(query, field) or _first(query, f"opt-{field}"))}


def _first(fields: Mapping[str, Sequence[object]], name: str) -> str:
    values = fields.get(name) or [""]
    return values[0] if isinstance(values[0], str) else ""
