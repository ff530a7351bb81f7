"""The names of the form's fields, and the values that they have before anybody changes them."""

from __future__ import annotations

from ..plan import Offer

# The name of a field of an offer contains the offer, for example `queue--profile:small`.
SEPARATOR = "--"
# The fields of an offer. What is in `other_image` replaces `image`.
OTHER_IMAGE = "other_image"
OF_AN_OFFER = ("queue", "wall_time", "image", OTHER_IMAGE)


def offer_value(kind: str, name: str) -> str:
    """Return the form's value for an offer, for example `profile:small` or `class:stats-101`.

    The value contains the kind, because a class and a profile may have the same name.
    """
    return f"{kind}:{name}"


def offer_key(offer: Offer) -> tuple[str, str]:
    """Return the option that chooses the offer, `class` or `profile`, and its value."""
    return ("class", offer.course) if offer.course is not None else ("profile", offer.name)


def field_name(option: str, offer: str) -> str:
    """Return the name of the field for an option of an offer, for example `queue--profile:small`."""
    return f"{option}{SEPARATOR}{offer}"


def default_values(offer: Offer) -> dict[str, str]:
    """Return the value of each field of the offer before anybody changes it, by option."""
    image = offer.images[0].name if offer.images else ""
    return {"queue": offer.queues[0], "wall_time": "", "image": image, OTHER_IMAGE: ""}


def queue_title(offer: Offer, name: str) -> str:
    """Return the title of a queue of the offer; the name if the offer does not have the queue."""
    return next((queue.title for queue in offer.offered_queues if queue.name == name), name)


def image_title(offer: Offer, name: str) -> str:
    """Return the title of an image of the offer; the name if the offer does not have the image."""
    return next((image.title for image in offer.images if name in (image.name, image.image)), name)
