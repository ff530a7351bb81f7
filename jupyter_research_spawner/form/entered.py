"""The fields of one offer, with what was selected or entered in them, and the errors about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..plan import Offer
from ..texts import gettext, gettext_choice
from .fields import OTHER_IMAGE, field_name
from .form_model import Choice, ChoiceField, TextField


@dataclass(frozen=True)
class Entered:
    """What was selected or entered for an offer.

    offer: the form's value for the offer.  options: the values, by option.  errors: the errors, by the refused field.
    """

    offer: str
    options: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    def choice_field(self, option: str, choices: tuple[Choice, ...]) -> ChoiceField:
        """Return the field for an option with these choices.  The first one is the default."""
        default = choices[0].name
        possible = [choice.name for choice in choices if not choice.can_never_start] or [default]
        asked = self.options.get(option)
        chosen = asked if asked is not None and asked in possible else possible[0]
        return ChoiceField(field_name(option, self.offer), choices, chosen, default, self.errors.get(option, ""))

    def text_field(self, option: str, text: str, placeholder: str = "") -> TextField:
        """Return the field for an option that is a line of text, with `text` as its help."""
        name = field_name(option, self.offer)
        return TextField(name, text, self.options.get(option, ""), placeholder, self.errors.get(option, ""))

    def image_fields(self, offer: Offer) -> tuple[ChoiceField | None, TextField | None]:
        """Return the field for the offer's images and the field for another image; None if it does not have the field.

        An option can name an image by its full name.
        """
        names = {image.image: image.name for image in offer.images}
        asked, error = self.options.get("image", ""), self.errors.get("image", "")
        other = self.options.get(OTHER_IMAGE) or other_image(offer, asked)
        named = Entered(self.offer, {"image": names.get(asked, asked)}, {} if other else {"image": error})
        typed = Entered(self.offer, {OTHER_IMAGE: other}, {OTHER_IMAGE: error} if other else {})
        choices = tuple(Choice(one.name, one.title, one.description) for one in offer.images)
        patterns = gettext_choice(offer.other_images)
        text = gettext("Instead of the image above, for example from %(images)s", images=patterns)
        return (
            named.choice_field("image", choices) if offer.images else None,
            typed.text_field(OTHER_IMAGE, text) if offer.other_images else None,
        )

    def error_of_offer(self, queue: ChoiceField, image: ChoiceField | None, other: TextField | None) -> str:
        """Return the error about the offer itself, or about a field that the page does not show."""
        shows_image = other is not None or (image is not None and image.is_open)
        hidden = ("profile", "class", "" if queue.is_open else "queue", "" if shows_image else "image")
        return next((self.errors[option] for option in hidden if self.errors.get(option)), "")


def other_image(offer: Offer, asked: str) -> str:
    """Return the image that was asked for, if it is not one of the offer's images and the user may enter others."""
    named = {name for image in offer.images for name in (image.name, image.image)}
    return asked if offer.other_images and asked not in named else ""
