"""Reads the options of a notebook from a posted form or from the query of a link.  `spawner.options` checks them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from ..identity import PosixIdentity
from ..jobs.notebook import OPTIONS
from ..plan import Offer, offers
from ..refusal import Refusal
from ..site import Site
from ..wording import format_list, quote
from .fields import (
    OF_AN_OFFER,
    OTHER_IMAGE,
    default_values,
    field_name,
    image_title,
    offer_key,
    offer_value,
    queue_title,
)

OFFER = "offer"
# The button that starts the same as last time. Its value has the options that the button shows.
LAST_START = "last_start"
# A hidden field with this prefix and the name of a field: the value that the form showed first, if not the default.
SHOWN = "shown--"
WORDS = {"queue": "queue", "wall_time": "wall time", "image": "image", OTHER_IMAGE: "image"}

Posted = Mapping[str, Sequence[object]]


def chosen_by_form(posted: Posted) -> dict[str, str]:
    """Return the options in a posted form, without its empty fields.  Raises Refusal.

    Fields of offers that were not chosen are for `changed_elsewhere`.
    """
    if last := _first(posted, LAST_START):
        return _options_of_button(last)
    options = {option: text for option in OPTIONS if (text := _first(posted, option))}
    offer = _first(posted, OFFER)
    if not offer:
        return options
    kind, _, name = offer.partition(":")
    options = {"class" if kind == "class" else "profile": name}
    for option in OF_AN_OFFER:
        if text := _first(posted, field_name(option, offer)).strip():
            options["image" if option == OTHER_IMAGE else option] = text
    return options


def changed_elsewhere(site: Site, identity: PosixIdentity, now: datetime, posted: Posted) -> dict[str, str]:
    """Return the fields, by name, of offers that were not chosen and whose values are not the defaults."""
    found = {}
    for offer in _not_chosen(site, identity, now, posted):
        for option, default in default_values(offer).items():
            name = field_name(option, offer_value(*offer_key(offer)))
            text = _first(posted, name).strip()
            if text not in ("", default):
                found[name] = text
    return found


def check_elsewhere(site: Site, identity: PosixIdentity, now: datetime, posted: Posted) -> None:
    """Raise Refusal if the user has changed fields of an offer, but has chosen another offer.

    Values that the form has shown at first, of the last start or of a refused form, are not changes.
    """
    changed = changed_elsewhere(site, identity, now, posted)
    for offer in _not_chosen(site, identity, now, posted):
        value = offer_value(*offer_key(offer))
        names = {option: field_name(option, value) for option in OF_AN_OFFER}
        mine = {
            option: changed[name]
            for option, name in names.items()
            if name in changed and changed[name] != _first(posted, SHOWN + name)
        }
        if not mine:
            continue
        chosen = _first(posted, OFFER)
        title = next((o.title for o in offers(site, identity, now) if offer_value(*offer_key(o)) == chosen), chosen)
        words = format_list(f"{WORDS[option]} {quote(_title(offer, option, text))}" for option, text in mine.items())
        raise Refusal(
            "other-offer-changed",
            f"You set {words} for {quote(offer.title)}, but {quote(title)} is selected.",
            field=value,
            hint=f"To start {quote(offer.title)} with what you set, select it. To start {quote(title)}, press Start "
            "again.",
        )


def _title(offer: Offer, option: str, text: str) -> str:
    titles = {"queue": queue_title, "image": image_title}
    return titles[option](offer, text) if option in titles else text


def chosen_by_link(query: Posted) -> dict[str, str]:
    """Return the options in the query of a link.  Other fields of the query are ignored.

    A field can have the prefix `opt-`, which JupyterHub 6 removes and JupyterHub 5 does not.
    """
    return {option: text for option in OPTIONS if (text := _first(query, option) or _first(query, f"opt-{option}"))}


def _not_chosen(site: Site, identity: PosixIdentity, now: datetime, posted: Posted) -> list[Offer]:
    chosen = _first(posted, OFFER)
    if not chosen or _first(posted, LAST_START):
        return []
    return [offer for offer in offers(site, identity, now) if offer_value(*offer_key(offer)) != chosen]


def _options_of_button(written: str) -> dict[str, str]:
    try:
        found = json.loads(written)
        json.dumps(found, ensure_ascii=False).encode()  # no page can show an unpaired surrogate
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found or not all(isinstance(text, str) for text in found.values()):
        raise Refusal(
            "invalid",
            "The options of the last start could not be read.",
            field=LAST_START,
            hint="Open the page again, or select what to start.",
        )
    return found


def _first(fields: Posted, name: str) -> str:
    values = fields.get(name) or [""]
    return values[0] if isinstance(values[0], str) else ""
