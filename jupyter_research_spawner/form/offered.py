"""The form as data: what is offered to this person, what is chosen, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..identity import PosixIdentity, warnings
from ..plan import Offer, offers
from ..refusal import Refusal
from ..settings import format_duration
from ..site import Site
from ..storage import mounts_for
from .posted import field_name, offer_value

# Errors of any other field are told above the form.
OF_AN_OFFER = ("profile", "class", "queue", "wall_time", "image")


@dataclass(frozen=True)
class ChoiceField:
    """A list to choose one from.  Left out where there is nothing to choose."""

    name: str
    label: str
    choices: tuple[str, ...]
    chosen: str
    error: str = ""


@dataclass(frozen=True)
class TextField:
    name: str
    label: str
    help: str
    value: str
    placeholder: str
    error: str = ""


@dataclass(frozen=True)
class OfferFields:
    """One profile or class, with what can be chosen within it."""

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
    """A page to choose a server.  Without offers it is a page with a sentence.

    `notes` tell what the page did by itself (a choice that is gone, a link's choice); `error` is what no field has.
    """

    offers: tuple[OfferFields, ...]
    identity: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""


def refused_form(refusal: Refusal) -> Form:
    """Nothing can be chosen, and why."""
    return Form((), error=refusal.message, hint=refusal.hint)


def form(
    site: Site,
    identity: PosixIdentity,
    now: datetime,
    *,
    asked: Mapping[str, Any] | None = None,
    refusal: Refusal | None = None,
    notes: Iterable[str] = (),
) -> Form:
    """What `identity` may choose now, with `asked` chosen where it is still offered.

    `refusal` is why `asked` was refused; it stands at its field.  Raises Refusal when the person can have no pod at
    all (their home is on no file system here).
    """
    mounts = mounts_for(site.storage, identity)
    offered = offers(site, identity, now)
    if not offered:
        return Form(
            (),
            error="None of the profiles and classes here is for you.",
            hint=f"You are in the groups {', '.join(identity.group_names)}. Ask the people who run this hub.",
        )
    wishes = {key: value for key, value in (asked or {}).items() if isinstance(value, str)}
    chosen = _chosen(offered, wishes)
    at_field = refusal is not None and refusal.field in OF_AN_OFFER and refusal.status < 500
    gone = [] if refusal is not None else list(_gone(site, offered, wishes))
    return Form(
        offers=tuple(
            _fields(site, offer, offer is chosen, wishes if offer is chosen else {}, refusal if at_field else None)
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
        notes=(*notes, *gone),
        error=refusal.message if refusal is not None and not (at_field and chosen is not None) else "",
        hint=refusal.hint if refusal is not None and not (at_field and chosen is not None) else "",
    )


def _key(offer: Offer) -> tuple[str, str]:
    return ("class", offer.course) if offer.course is not None else ("profile", offer.name)


def _chosen(offered: tuple[Offer, ...], wishes: Mapping[str, str]) -> Offer | None:
    """What was asked for; with no wish the default.  Never another one in place of one that is gone."""
    for kind in ("class", "profile"):
        if kind in wishes:
            return next((offer for offer in offered if _key(offer) == (kind, wishes[kind])), None)
    return next((offer for offer in offered if offer.is_default), None)


def _gone(site: Site, offered: tuple[Offer, ...], wishes: Mapping[str, str]) -> Iterable[str]:
    """Sentences on saved or linked choices that cannot be had now."""
    chosen = _chosen(offered, wishes)
    if chosen is None and ("class" in wishes or "profile" in wishes):
        kind = "class" if "class" in wishes else "profile"
        yield f"You chose {kind} {wishes[kind]!r} before. It is not offered to you any more: please choose another."
    if chosen is not None:
        if "queue" in wishes and wishes["queue"] not in chosen.queues:
            yield f"You chose queue {wishes['queue']!r} before. It is not offered any more, so look at the queue."
        if "image" in wishes and wishes["image"] not in _images(site, chosen):
            yield f"You chose image {wishes['image']!r} before. It is not offered any more, so look at the image."


def _fields(
    site: Site, offer: Offer, is_chosen: bool, wishes: Mapping[str, str], refusal: Refusal | None
) -> OfferFields:
    value = offer_value(*_key(offer))
    errors = {refusal.field: str(refusal)} if refusal is not None and is_chosen else {}
    images = _images(site, offer)
    limit = site.profiles[offer.profile].hard
    return OfferFields(
        value=value,
        title=offer.title,
        description=offer.description,
        resources=str(offer.resources),
        is_class=offer.course is not None,
        chosen=is_chosen,
        queue=_choice("queue", "Queue", value, offer.queues, wishes, errors) if len(offer.queues) > 1 else None,
        only_queue=offer.queues[0],
        wall_time=TextField(
            field_name("wall_time", value),
            "Wall time",
            f"Empty: {format_duration(offer.wall_time)}. At most {format_duration(limit)}. Written as 90m, 8h or 2d.",
            wishes.get("wall_time", ""),
            format_duration(offer.wall_time),
            errors.get("wall_time", ""),
        ),
        image=_choice("image", "Image", value, images, wishes, errors) if len(images) > 1 else None,
        error=errors.get("profile") or errors.get("class") or _orphan(errors, offer, images),
    )


def _images(site: Site, offer: Offer) -> tuple[str, ...]:
    """By name, the default first."""
    return tuple(sorted(site.profiles[offer.profile].images, key=lambda name: (name != "default", name)))


def _choice(
    field: str, label: str, offer: str, choices: tuple[str, ...], wishes: Mapping[str, str], errors: Mapping[Any, str]
) -> ChoiceField:
    wished = wishes.get(field)
    chosen = wished if wished in choices else choices[0]
    return ChoiceField(field_name(field, offer), label, choices, chosen, errors.get(field, ""))


def _orphan(errors: Mapping[Any, str], offer: Offer, images: tuple[str, ...]) -> str:
    """An error of a field that is not shown because there is nothing to choose in it."""
    if "queue" in errors and len(offer.queues) == 1:
        return errors["queue"]
    if "image" in errors and len(images) <= 1:
        return errors["image"]
    return ""
