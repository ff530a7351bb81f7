"""Builds the options form as data, and reads a posted form. No code here uses HTTP or templates."""

from .form_model import ChoiceField, Closed, Form, OfferFields
from .options_form import FormBuilder, Selected, build_form, closed_page
from .posted import changed_elsewhere, check_elsewhere, chosen_by_form, chosen_by_link

__all__ = [
    "ChoiceField",
    "Closed",
    "Form",
    "FormBuilder",
    "OfferFields",
    "Selected",
    "build_form",
    "changed_elsewhere",
    "check_elsewhere",
    "chosen_by_form",
    "chosen_by_link",
    "closed_page",
]
