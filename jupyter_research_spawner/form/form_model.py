"""The options form as data: what the page shows, without HTML."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from ..identity import PosixIdentity
from ..plan import Help
from ..storage import MountPoint
from ..texts import gettext


@dataclass(frozen=True)
class Free:
    """Whether a server would start now in a queue: `label` in a few words, `detail` in sentences or "".

    can_never_start: whether it can never start there, so that it cannot be selected.
    """

    state: str
    label: str
    detail: str = ""
    can_never_start: bool = False


@dataclass(frozen=True)
class Choice:
    """A queue or an image of an offer, as the site describes it.

    description: what it means, in sentences.
    priority: the name of its priority, "" for the site's default.
    warnings: sentences about a server that starts in this queue now.
    free: whether it would start in this queue now; None if that is not known.
    """

    name: str
    title: str
    description: str = ""
    priority: str = ""
    is_preemptible: bool = False
    warnings: tuple[str, ...] = ()
    free: Free | None = None

    @property
    def can_never_start(self) -> bool:
        """Return whether a server can never start in this queue."""
        return self.free is not None and self.free.can_never_start


@dataclass(frozen=True)
class ChoiceField:
    """A list of choices, by name.  The page does not ask if there is only one choice.

    default: the choice of an offer whose fields are unchanged.
    """

    name: str
    choices: tuple[Choice, ...]
    chosen: str
    default: str
    error: str = ""

    @property
    def is_open(self) -> bool:
        """Return whether there is something to choose."""
        return len(self.choices) > 1


@dataclass(frozen=True)
class TextField:
    """A line of text.  An empty line is the default."""

    name: str
    help: str
    value: str
    placeholder: str
    error: str = ""


@dataclass(frozen=True)
class Amount:
    """A number with its unit, for example 4 GiB."""

    number: str
    unit: str


@dataclass(frozen=True)
class OfferFields:
    """One profile or class: what it is, and the fields that a user can change.

    longest: the hard wall time, after which the cluster ends the server, and in seconds.
    for_whom: sentences about who may use it and until when.
    """

    value: str
    title: str
    description: str
    cpu: Amount
    memory: Amount
    gpu: str
    for_whom: tuple[str, ...]
    longest: str
    longest_seconds: int
    is_class: bool
    chosen: bool
    queue: ChoiceField
    wall_time: TextField
    image: ChoiceField | None
    other_image: TextField | None
    error: str = ""

    @property
    def free(self) -> Free | None:
        """Return whether it would start now in the selected queue, whose name is in the label if the queues differ."""
        (shown,) = (choice for choice in self.queue.choices if choice.name == self.queue.chosen)
        if shown.free is None or len({choice.free for choice in self.queue.choices}) == 1:
            return shown.free
        return replace(shown.free, label=gettext("%(free)s in %(queue)s", free=shown.free.label, queue=shown.title))

    @property
    def can_never_start(self) -> bool:
        """Return whether it can never start in any of its queues."""
        return all(choice.can_never_start for choice in self.queue.choices)

    @cached_property
    def _hash(self) -> int:
        return hash((self.value, self.chosen, self.queue, self.wall_time, self.image, self.other_image, self.error))

    def __hash__(self) -> int:
        # Pages use the same offers again and again, and keep the HTML of each.
        return self._hash

    @property
    def has_text(self) -> bool:
        """Return whether it has text that a user has written, or an error about what a user has sent.

        Such text can be as long as a request, and other pages do not have it.
        """
        fields = (self.queue, self.wall_time, self.image, self.other_image)
        lines = (self.wall_time, self.other_image)
        has_value = any(line.value for line in lines if line is not None)
        return has_value or bool(self.error) or any(field.error for field in fields if field is not None)

    @property
    def shown_values(self) -> dict[str, str]:
        """Return the values of the fields that the page shows and that are not the default, by the field's name."""
        choices = [choice for choice in (self.queue, self.image) if choice is not None and choice.is_open]
        changed = {choice.name: choice.chosen for choice in choices if choice.chosen != choice.default}
        lines = [line for line in (self.wall_time, self.other_image) if line is not None]
        return changed | {line.name: line.value for line in lines if line.value}


@dataclass(frozen=True)
class OfferGroup:
    """Offers under a heading.  The heading is "" if all offers are in one group."""

    heading: str
    offers: tuple[OfferFields, ...]


@dataclass(frozen=True)
class Person:
    """Who the user is: the name in the hub, and the account and mounts if they are known."""

    hub_user: str
    identity: PosixIdentity | None = None
    mounts: tuple[MountPoint, ...] = ()


@dataclass(frozen=True)
class LastStart:
    """The options of the last start, which one button starts again.

    value: the options as the button posts them.
    text: the options in words.
    """

    value: str
    text: str


@dataclass(frozen=True)
class FormError:
    """Why nothing was started.  `field` is the name of a field of the page, "" if the error is at no field."""

    message: str
    hint: str = ""
    field: str = ""


@dataclass(frozen=True)
class Form:
    """The options form.

    notes: sentences about earlier choices that are not available now.
    free_as_of: when it was read what is free now; None if nothing is known.
    """

    person: Person
    groups: tuple[OfferGroup, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: FormError | None = None
    last: LastStart | None = None
    scheduler: str = ""
    contact: Help | None = None
    free_as_of: datetime | None = None

    @property
    def has_gpu(self) -> bool:
        """Return whether an offer has a GPU."""
        return any(offer.gpu for offer in self.offers)

    @property
    def offers(self) -> tuple[OfferFields, ...]:
        """Return the offers of all groups, in the order of the page."""
        return tuple(offer for group in self.groups for offer in group.offers)


@dataclass(frozen=True)
class Closed:
    """A page instead of the form, for a user who cannot start anything.

    retries: whether trying again can help without anything that the user does.
    """

    title: str
    message: str
    hint: str
    person: Person
    contact: Help
    retries: bool = False
