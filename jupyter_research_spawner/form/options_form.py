"""Builds the options form as data, with the choices of a user, the selected choices, and errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from ..identity import PosixIdentity, warnings
from ..jobs.notebook import OPTIONS
from ..plan import (
    Names,
    Offer,
    OffersKey,
    OffersKeys,
    QueuePreview,
    Rights,
    offers,
    preview,
    rights_of,
    whom_to_ask,
    why_not_offered,
)
from ..refusal import Refusal
from ..schedulers import SCHEDULERS
from ..settings import format_duration
from ..settings.units import format_bytes, parse_wall_time
from ..site import Site
from ..storage import mounts_for
from ..texts import gettext, gettext_list, gettext_noop
from ..wording import quote
from .entered import Entered, other_image
from .fields import OF_AN_OFFER, default_values, field_name, image_title, offer_key, offer_value, queue_title
from .form_model import (
    Amount,
    Choice,
    Closed,
    Form,
    FormError,
    Free,
    LastStart,
    OfferFields,
    OfferGroup,
    Person,
)

WITH_GPU = gettext_noop("With a GPU")
SELECTED_BY_LINK = gettext_noop("The link that you followed selected these options. Nothing has started yet.")
_LINK_UNAVAILABLE = {
    "class": gettext_noop("The link that you followed asks for class %(name)s, which is not available to you."),
    "profile": gettext_noop("The link that you followed asks for profile %(name)s, which is not available to you."),
    "queue": gettext_noop(
        "The link that you followed asks for queue %(name)s, which is not available to you with %(offer)s."
    ),
    "image": gettext_noop(
        "The link that you followed asks for image %(name)s, which is not available to you with %(offer)s."
    ),
}
_NO_LONGER = {
    "class": gettext_noop("You chose class %(name)s before, but you can no longer use it."),
    "profile": gettext_noop("You chose profile %(name)s before, but you can no longer use it."),
    "queue": gettext_noop("You chose queue %(name)s before, but you can no longer use it."),
    "image": gettext_noop("You chose image %(name)s before, but you can no longer use it."),
}
_TO_DO = {
    "class": gettext_noop("Choose another."),
    "profile": gettext_noop("Choose another."),
    "queue": gettext_noop("Check the queue."),
    "image": gettext_noop("Check the image."),
}
# A site has few combinations of groups and classes.  With 200 profiles, the offers of one take about a megabyte.
MAX_KEPT = 50
# These fields show their own errors. The error of any other field is shown only above the form.
FIELDS_WITH_ERRORS = ("profile", "class", "queue", "wall_time", "image")


@dataclass(frozen=True)
class Selected:
    """What the form shows as selected, and why.

    options: the options of the last start, of a link, or of a refused form.
    is_link: whether a link selected them.
    refusal: why they were refused; the form shows the message at the refused field.
    kept: the values of a refused form in fields of offers that were not chosen, by the names of the fields.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    is_link: bool = False
    refusal: Refusal | None = None
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """Return the options that are texts.  The hub's database can have any JSON value."""
        return {key: value for key, value in self.options.items() if isinstance(value, str)}


def closed_page(site: Site, refusal: Refusal, hub_user: str, identity: PosixIdentity | None = None) -> Closed:
    """Return the page for a user who cannot start anything because of `refusal`."""
    is_down = refusal.status >= 500
    title = gettext("Servers cannot be started at the moment") if is_down else gettext("You cannot start a server")
    return Closed(title, refusal.message, refusal.hint, Person(hub_user, identity), whom_to_ask(site), retries=is_down)


class Availability(Protocol):
    """Whether a notebook would start now: see watch.availability."""

    @property
    def state(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def detail(self) -> str: ...

    @property
    def as_of(self) -> datetime: ...

    @property
    def can_never_start(self) -> bool: ...


# The availability of profiles in queues, by their names.  What is not known is absent.
Answers = Mapping[tuple[str, str], Availability]
_NOTHING_KNOWN: Answers = {}


@dataclass(frozen=True)
class _Unchanged:
    """Offers that many users get, and what the form shows of them as long as the user has not changed them.

    fields: those of each offer, with the availability in its queues; None if they depend on the time.
    """

    offered: tuple[Offer, ...]
    answers: Answers
    free: tuple[tuple[Free | None, ...], ...]
    fields: tuple[OfferFields | None, ...]
    as_of: datetime | None


class FormBuilder:
    """Builds the forms of a site.  Offers that a user has not changed are kept: many users get the same ones."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._keys = OffersKeys(site)
        self._kept: dict[OffersKey, _Unchanged] = {}

    def build(
        self,
        identity: PosixIdentity,
        now: datetime,
        *,
        hub_user: str = "",
        selected: Selected | None = None,
        last: Mapping[str, str] | None = None,
        notes: Iterable[str] = (),
        answers: Answers = _NOTHING_KNOWN,
    ) -> Form | Closed:
        """Return the form for `identity`, or a page without a form if nothing is available to the user.

        last: the options of the last start, if they can be started again.
        answers: whether a server of each profile would start now in each queue.  It must not change.
        Raises Refusal if no file system of the site contains the user's home directory.
        """
        site, selected = self.site, selected or Selected()
        rights = rights_of(site, identity, now)
        person = Person(hub_user or identity.name, identity, mounts_for(site.storage, identity, rights.classes))
        unchanged = self._unchanged(identity, rights, now, answers)
        offered = unchanged.offered
        if not offered:
            return Closed(
                gettext("Nothing is available to you"),
                gettext("No profile and no class is available to you."),
                gettext(
                    "Each of them is for the members of a group. If you should be a member, ask its owner or the staff "
                    "of your course."
                ),
                person,
                whom_to_ask(site),
            )
        texts, refusal = selected.texts, selected.refusal
        chosen = _chosen_offer(offered, texts)
        builder = _OfferBuilder(site, identity, rights, now, selected, answers)
        shown = tuple(
            builder.fields(offer, offer is chosen)
            if fields is None or offer is chosen or builder.has_kept(offer)
            else fields
            for offer, fields in zip(offered, unchanged.fields, strict=True)
        )
        return Form(
            person=person,
            groups=_in_groups(shown, offered),
            warnings=warnings(identity),
            notes=(*notes, *(() if refusal is not None else builder.notes(offered, texts))),
            error=None if refusal is None else _error(refusal, next((one for one in shown if one.chosen), None)),
            last=None if last is None else _last_start(offered, last, answers),
            scheduler=site.scheduler.kind if SCHEDULERS[site.scheduler.kind].QueueOptions.model_fields else "",
            contact=whom_to_ask(site),
            free_as_of=unchanged.as_of,
        )

    def _unchanged(self, identity: PosixIdentity, rights: Rights, now: datetime, answers: Answers) -> _Unchanged:
        """Return the offers of the user.  The fields of an offer are kept until its availability changes."""
        key = self._keys.of(identity, now)
        before = self._kept.get(key)
        if before is not None and before.answers is answers:
            return before
        while before is None and len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        offered = offers(self.site, identity, now) if before is None else before.offered
        builder = _OfferBuilder(self.site, identity, rights, now, Selected(), answers)
        free = tuple(tuple(builder.free(offer, queue) for queue in offer.queues) for offer in offered)
        fields: list[OfferFields | None] = []
        for place, offer in enumerate(offered):
            if builder.depends_on_time(offer):
                fields.append(None)
            elif before is not None and before.free[place] == free[place]:
                fields.append(before.fields[place])
            else:
                fields.append(builder.fields(offer, False))
        found = (answers.get((offer.profile, queue)) for offer in offered for queue in offer.queues)
        as_of = min((one.as_of for one in found if one is not None), default=None)
        self._kept[key] = _Unchanged(offered, answers, free, tuple(fields), as_of)
        return self._kept[key]


def build_form(site: Site, identity: PosixIdentity, now: datetime, **more: Any) -> Form | Closed:
    """Return what `FormBuilder.build` returns, without keeping anything."""
    return FormBuilder(site).build(identity, now, **more)


def _chosen_offer(offered: tuple[Offer, ...], options: Mapping[str, str]) -> Offer | None:
    """Return the profile or class in `options`, or None if the user may not use it.

    If `options` has neither a profile nor a class, return the only offer or the default offer.
    """
    for kind in ("class", "profile"):
        if kind in options:
            return next((offer for offer in offered if offer_key(offer) == (kind, options[kind])), None)
    return offered[0] if len(offered) == 1 else next((offer for offer in offered if offer.is_default), None)


def _in_groups(shown: tuple[OfferFields, ...], offered: tuple[Offer, ...]) -> tuple[OfferGroup, ...]:
    """Return the offers in groups: classes, profiles without a heading, and the site's headings.

    If the site has no headings, profiles with a GPU have one.
    """
    has_headings = any(offer.heading for offer in offered)
    classes: list[OfferFields] = []
    plain: list[OfferFields] = []
    headed: dict[str, list[OfferFields]] = {}
    for fields, offer in zip(shown, offered, strict=True):
        heading = offer.heading if has_headings else gettext(WITH_GPU) if offer.resources.gpu is not None else ""
        part = classes if fields.is_class else headed.setdefault(heading, []) if heading else plain
        part.append(fields)
    of_classes = gettext("Your class") if len(classes) == 1 else gettext("Your classes")
    parts = [(of_classes, classes), (gettext("Compute"), plain), *headed.items()]
    filled = [(heading, tuple(part)) for heading, part in parts if part]
    return tuple(OfferGroup(heading if len(filled) > 1 else "", part) for heading, part in filled)


def _error(refusal: Refusal, chosen: OfferFields | None) -> FormError:
    """Return what the page says above the form about a refusal, with the field where the user can change it."""
    at = refusal.field if refusal.code == "other-offer-changed" and refusal.field else ""
    if chosen is not None and refusal.field in FIELDS_WITH_ERRORS and refusal.status < 500:
        image = chosen.other_image if chosen.other_image is not None and chosen.other_image.error else chosen.image
        fields = {"queue": chosen.queue, "image": image, "wall_time": chosen.wall_time}
        found = fields.get(refusal.field or "")
        at = found.name if found is not None and getattr(found, "is_open", True) else chosen.value
    return FormError(refusal.shown_message, refusal.hint, at)


def _last_start(offered: tuple[Offer, ...], last: Mapping[str, str], answers: Answers) -> LastStart | None:
    chosen = _chosen_offer(offered, last)
    if chosen is None or not ("class" in last or "profile" in last):
        return None
    options = {option: last[option] for option in OPTIONS if option in last}
    queue = options.get("queue", chosen.queues[0])
    if (found := answers.get((chosen.profile, queue))) is not None and found.can_never_start:
        return None
    words = [
        chosen.title,
        gettext("queue %(name)s", name=queue_title(chosen, queue)),
        options.get("wall_time") or format_duration(chosen.wall_time),
    ]
    if "image" in options and options["image"] != default_values(chosen)["image"]:
        words.append(gettext("image %(name)s", name=image_title(chosen, options["image"])))
    return LastStart(json.dumps(options), ", ".join(words))


@dataclass(frozen=True)
class _OfferBuilder:
    """Builds the fields of the offers of one user."""

    site: Site
    identity: PosixIdentity
    rights: Rights
    now: datetime
    selected: Selected
    answers: Answers

    def free(self, offer: Offer, queue: str) -> Free | None:
        """Return whether the offer would start now in this queue; None if that is not known."""
        found = self.answers.get((offer.profile, queue))
        return None if found is None else Free(found.state, found.label, found.detail, found.can_never_start)

    def fields(self, offer: Offer, is_chosen: bool) -> OfferFields:
        """Return what the form shows of the offer, with the values that were selected for it."""
        entered = self._entered(offer, is_chosen)
        previewed = preview(self.site, self.identity, self.rights, offer, self.now)
        longest = previewed[0].wall_time.hard
        queue = entered.choice_field("queue", self._queues(offer, previewed))
        wall_time = entered.text_field("wall_time", _wall_time_help(offer, longest), format_duration(offer.wall_time))
        image, other = entered.image_fields(offer)
        return OfferFields(
            value=entered.offer,
            title=offer.title,
            description=offer.description,
            cpu=Amount(f"{offer.resources.cpu.normalize():f}", "CPU"),
            memory=_memory(offer.resources.memory),
            gpu=offer.resources.gpu.described() if offer.resources.gpu is not None else "",
            for_whom=self.for_whom(offer),
            longest=format_duration(longest),
            longest_seconds=int(longest.total_seconds()),
            is_class=offer.course is not None,
            chosen=is_chosen,
            queue=queue,
            wall_time=wall_time,
            image=image,
            other_image=other,
            error=entered.error_of_offer(queue, image, other),
        )

    def _entered(self, offer: Offer, is_chosen: bool) -> Entered:
        value, refusal = offer_value(*offer_key(offer)), self.selected.refusal
        if not is_chosen:
            return Entered(value, self._kept(value))
        if refusal is None or refusal.field not in FIELDS_WITH_ERRORS or refusal.status >= 500:
            return Entered(value, self.selected.texts)
        return Entered(value, self.selected.texts, {refusal.field: f"{refusal.shown_message} {refusal.hint}".strip()})

    def _queues(self, offer: Offer, previewed: Sequence[QueuePreview]) -> tuple[Choice, ...]:
        return tuple(
            Choice(
                queue.name,
                queue.title,
                queue.description,
                "" if parts.priority == self.site.default_priority else parts.priority,
                queue.preemptible,
                parts.warnings,
                self.free(offer, queue.name),
            )
            for queue, parts in zip(offer.offered_queues, previewed, strict=True)
        )

    def notes(self, offered: tuple[Offer, ...], options: Mapping[str, str]) -> tuple[str, ...]:
        """Return sentences about where the selected choices come from, and about those that are not available now."""
        unavailable = tuple(self._all_unavailable(offered, options))
        return (gettext(SELECTED_BY_LINK),) if self.selected.is_link and not unavailable else unavailable

    def _all_unavailable(self, offered: tuple[Offer, ...], options: Mapping[str, str]) -> Iterable[str]:
        """Yield a sentence for each selected choice that is not available now."""
        chosen = _chosen_offer(offered, options)
        kind = next((kind for kind in ("class", "profile") if kind in options), None)
        if chosen is None and kind is not None:
            yield self._unavailable(kind, options[kind])
        if chosen is not None and kind is not None and all(self._is_never(chosen, queue) for queue in chosen.queues):
            yield gettext("%(offer)s can never start in this cluster. Choose another.", offer=quote(chosen.title))
        elif chosen is not None:
            images = [name for image in chosen.images for name in (image.name, image.image)]
            for option, available in (("queue", chosen.queues), ("image", images)):
                if option == "image" and other_image(chosen, options.get("image", "")):
                    continue
                if option in options and options[option] not in available:
                    yield self._unavailable(option, options[option], chosen.title)

    def _is_never(self, offer: Offer, queue: str) -> bool:
        found = self.free(offer, queue)
        return found is not None and found.can_never_start

    def _unavailable(self, kind: str, name: str, offer: str = "") -> str:
        when = why_not_offered(self.site, self.identity, name, self.now) if kind == "class" else ""
        if when:
            title = quote(self.site.classes[name].title or name)
            return gettext("Class %(name)s %(when)s. Choose another.", name=title, when=when)
        # Only its members learn the title of a class.
        shown = Names(self.site).of(kind, name) if kind in ("profile", "queue") else quote(name)
        if self.selected.is_link:
            link = gettext(_LINK_UNAVAILABLE[kind], name=shown, offer=quote(offer))
            return " ".join((link, gettext("Nothing has started."), gettext(_TO_DO[kind])))
        return " ".join((gettext(_NO_LONGER[kind], name=shown), gettext(_TO_DO[kind])))

    def _kept(self, value: str) -> dict[str, str]:
        kept = {option: self.selected.kept.get(field_name(option, value)) for option in OF_AN_OFFER}
        return {option: text for option, text in kept.items() if text is not None}

    def has_kept(self, offer: Offer) -> bool:
        """Return whether a refused form had values for the offer, which was not chosen."""
        return bool(self.selected.kept) and bool(self._kept(offer_value(*offer_key(offer))))

    def depends_on_time(self, offer: Offer) -> bool:
        """Return whether the user can use the offer only while a class is held."""
        granting = self.rights.granting_classes
        return bool(self.rights.classes) and (
            bool(granting(self.site.profiles[offer.profile]))
            or any(granting(self.site.queues[name]) for name in offer.queues)
        )

    def for_whom(self, offer: Offer) -> tuple[str, ...]:
        """Return sentences about who may use the offer, and until when."""
        if offer.course is not None:
            course = self.site.classes[offer.course]
            is_staff = course.staff is not None and course.staff.group in self.rights.groups
            until = gettext("Until %(day)s", day=_day(course.until))
            return (until, gettext("You are on the course staff")) if is_staff else (until,)
        profile = self.site.profiles[offer.profile]
        mine = [group for group in self.rights.groups if profile.groups.get(group)] if profile.groups else []
        if mine:
            return (gettext("For group %(groups)s", groups=gettext_list(mine)),)
        classes = sorted(self.rights.granting_classes(profile))
        titles = gettext_list(self.site.classes[name].title or name for name in classes)
        return (gettext("For class %(classes)s", classes=titles),) if classes else ()


def _wall_time_help(offer: Offer, longest: timedelta) -> str:
    return gettext(
        "Default: %(default)s. At most %(longest)s. Examples: %(examples)s.",
        default=format_duration(offer.wall_time),
        longest=format_duration(longest),
        examples=", ".join(_examples_up_to(longest)),
    )


def _examples_up_to(longest: timedelta) -> list[str]:
    examples = ("90m", "8h", "4:00:00", "2d")
    return [text for text in examples if parse_wall_time(text) <= longest] or [format_duration(longest)]


def _memory(size: int) -> Amount:
    memory = format_bytes(size)
    return Amount(memory.rstrip("KMGTi"), f"{memory.lstrip('0123456789')}B")


def _day(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"
