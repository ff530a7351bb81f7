"""The options form as data, and the options of a posted form. Neither HTTP nor templates are used here."""

from .options_form import ChoiceField, Form, OfferFields, build_form, refused_form
from .posted import chosen_by_form, chosen_by_link

__all__ = ["ChoiceField", "Form", "OfferFields", "build_form", "chosen_by_form", "chosen_by_link", "refused_form"]
