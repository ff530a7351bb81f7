"""Builds the options form as data, with the choices of a user, the selected choices, and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..identity import PosixIdentity, warnings
from ..plan import Offer, offers, rights_of
from ..refusal import Refusal
from ..settings import format_duration
from ..site import Site
from ..storage import mounts_for
from ..wording import quote
from .posted import field_name, offer_value

# These fields show their own errors. The error of any other field is shown above the form.
FIELDS_WITH_ERRORS = ("profile", "class", "queue", "wall_time", "image")


@dataclass(frozen=True)
class ChoiceField:
    """A list of choices. The form does not show the list if there is only one choice."""

    name: str
    label: str
    choices: tuple[str, ...]
    chosen: str
    error: str = ""


@dataclass(frozen=True)
class TextField:
    """A line of text."""

    name: str
    label: str
    help: str
    value: str
    placeholder: str
    error: str = ""


@dataclass(frozen=True)
class OfferFields:
    """The form's fields for one profile or class."""

    value: str
    title: str
    description: str
    resources: str
    is_class: bool
    chosen: bool
    queue: ChoiceField | None
    only_queue: str
    wall_time: TextField
    image: ChoiceField | None
    error: str = ""


@dataclass(frozen=True)
class Form:
    """The options form. A form without offers shows only `error` and `hint`.

    notes: sentences about earlier choices that are not available now.
    error, hint: the message and hint of a refusal that is not shown at a field.
    """

    offers: tuple[OfferFields, ...]
    identity: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""


def refused_form(refusal: Refusal) -> Form:
    """Return a form without offers that shows `refusal`."""
    return Form((), error=refusal.message, hint=refusal.hint)


def build_form(
    site: Site,
    identity: PosixIdentity,
    now: datetime,
    *,
    options: Mapping[str, Any] | None = None,
    refusal: Refusal | None = None,
    notes: Iterable[str] = (),
) -> Form:
    """Return the form for `identity`. The choices in `options` are selected, except those that are not available now.

    refusal: why `options` were refused; the form shows the message at the refused field.
    Raises Refusal if no file system of the site contains the user's home directory.
    """
    mounts = mounts_for(site.storage, identity, rights_of(site, identity, now).classes)
    offered = offers(site, identity, now)
    if not offered:
        return Form(
            (),
            error="No profile and no class is available to you.",
            hint=f"You are in the groups {', '.join(identity.group_names)}. Ask your administrators.",
        )
    texts = {key: value for key, value in (options or {}).items() if isinstance(value, str)}
    chosen = _chosen_offer(offered, texts)
    has_field = refusal is not None and refusal.field in FIELDS_WITH_ERRORS and refusal.status < 500
    unavailable = [] if refusal is not None else list(_unavailable_notes(site, offered, texts))
    is_shown_above = refusal is not None and not (has_field and chosen is not None)
    return Form(
        offers=tuple(
            _offer_fields(
                site, offer, offer is chosen, texts if offer is chosen else {}, refusal if has_field else None
            )
            for offer in offered
        ),
        identity=(
            ("User", f"{identity.name}, uid {identity.uid}"),
            (
                "Groups",
                ", ".join(f"{g.name} ({g.gid}{', primary' if g.gid == identity.gid else ''})" for g in identity.groups),
            ),
            ("Home", identity.home),
            ("Mounts", ", ".join(f"{m.path}{' (read-only)' if m.read_only else ''}" for m in mounts)),
        ),
        warnings=warnings(identity),
        notes=(*notes, *unavailable),
        error=refusal.message if refusal is not None and is_shown_above else "",
        hint=refusal.hint if refusal is not None and is_shown_above else "",
    )


def _offer_key(offer: Offer) -> tuple[str, str]:
    return ("class", offer.course) if offer.course is not None else ("profile", offer.name)


def _chosen_offer(offered: tuple[Offer, ...], options: Mapping[str, str]) -> Offer | None:
    """Return the profile or class in `options`, or None if the user may not use it.

    If `options` has neither a profile nor a class, return the default offer.
    """
    for kind in ("class", "profile"):
        if kind in options:
            return next((offer for offer in offered if _offer_key(offer) == (kind, options[kind])), None)
    return next((offer for offer in offered if offer.is_default), None)


def _unavailable_notes(site: Site, offered: tuple[Offer, ...], options: Mapping[str, str]) -> Iterable[str]:
    """Yield a sentence for each choice in `options` (saved, or from a link) that is not available now."""
    chosen = _chosen_offer(offered, options)
    if chosen is None and ("class" in options or "profile" in options):
        kind = "class" if "class" in options else "profile"
        before = quote(options[kind])
        yield f"You chose {kind} {before} before, but you can no longer use it. Choose another."
    if chosen is not None:
        for field, available in (("queue", chosen.queues), ("image", _image_names(site, chosen))):
            if field in options and options[field] not in available:
                before = quote(options[field])
                yield f"You chose {field} {before} before, but you can no longer use it. Check the {field}."


def _offer_fields(
    site: Site, offer: Offer, is_chosen: bool, options: Mapping[str, str], refusal: Refusal | None
) -> OfferFields:
    value = offer_value(*_offer_key(offer))
    errors = {refusal.field: str(refusal)} if refusal is not None and is_chosen else {}
    images = _image_names(site, offer)
    limit = site.profiles[offer.profile].hard
    return OfferFields(
        value=value,
        title=offer.title,
        description=offer.description,
        resources=offer.resources.described(),
        is_class=offer.course is not None,
        chosen=is_chosen,
        queue=_choice_field("queue", "Queue", value, offer.queues, options, errors) if len(offer.queues) > 1 else None,
        only_queue=offer.queues[0],
        wall_time=TextField(
            field_name("wall_time", value),
            "Wall time",
            f"Default: {format_duration(offer.wall_time)}. At most {format_duration(limit)}. "
            "Examples: 90m, 8h, 4:00:00, 2d.",
            options.get("wall_time", ""),
            format_duration(offer.wall_time),
            errors.get("wall_time", ""),
        ),
        image=_choice_field("image", "Image", value, images, options, errors) if len(images) > 1 else None,
        error=errors.get("profile") or errors.get("class") or _error_without_field(errors, offer, images),
    )


def _image_names(site: Site, offer: Offer) -> tuple[str, ...]:
    """Return the names of the offer's images: the default image first, then by name."""
    return tuple(sorted(site.profiles[offer.profile].images, key=lambda name: (name != "default", name)))


def _choice_field(
    field: str, label: str, offer: str, choices: tuple[str, ...], options: Mapping[str, str], errors: Mapping[Any, str]
) -> ChoiceField:
    option = options.get(field)
    chosen = option if option in choices else choices[0]
    return ChoiceField(field_name(field, offer), label, choices, chosen, errors.get(field, ""))


def _error_without_field(errors: Mapping[Any, str], offer: Offer, images: tuple[str, ...]) -> str:
    """Return the error of a field that the form does not show, because it has only one choice; "" without one."""
    if "queue" in errors and len(offer.queues) == 1:
        return errors["queue"]
    if "image" in errors and len(images) <= 1:
        return errors["image"]
    return ""
