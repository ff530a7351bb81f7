"""Builds the options form as data, and reads a posted form. No code here uses HTTP or templates."""

from .options_form import ChoiceField, Form, OfferFields, build_form, refused_form
from .posted import chosen_by_form, chosen_by_link

__all__ = ["ChoiceField", "Form", "OfferFields", "build_form", "chosen_by_form", "chosen_by_link", "refused_form"]
