"""What a person may choose, as data for a page; and a posted page as options again.  Knows no HTTP and no templates."""

from .offered import ChoiceField, Form, OfferFields, form, refused_form
from .posted import chosen_by_form, chosen_by_link

__all__ = ["ChoiceField", "Form", "OfferFields", "chosen_by_form", "chosen_by_link", "form", "refused_form"]
