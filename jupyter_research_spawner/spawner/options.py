"""What came by form, by REST or from the database becomes a Request.  All three are as untrusted as each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ..plan import Request
from ..refusal import Refusal
from ..settings import parse_duration
from ..shape import NOTEBOOK_KIND, Shape

LONGEST = 512


def request(options: Any, *, hub_user: str, server: str, pod_name: str) -> Request:
    """The wishes for a notebook.  Raises Refusal (400) with the field at fault.

    Accepts the options themselves and JupyterHub 6's `{"user_options": ..., "display_name": ...}`, which JupyterHub 5
    hands on whole.  Whether the person may have what they ask for is plan's affair.
    """
    if not server.isprintable():
        # JupyterHub 6 refuses such names itself, JupyterHub 5 takes any.
        raise _invalid("server_name", f"A server cannot be named {_shown(server)}.", "Take letters, digits and dashes.")
    asked = Request(shape=Shape(NOTEBOOK_KIND, pod_name), hub_user=hub_user, server=server)
    wishes = {key: value for key, value in _unwrapped(options).items() if value is not None}
    for key in wishes:
        if key not in FIELDS:
            raise Refusal(
                "unknown-option",
                f"There is no option {_shown(key)}.",
                field=key if isinstance(key, str) and key.isidentifier() else None,
                hint=f"A notebook can be asked for with {', '.join(FIELDS)}.",
            )
    for key, (attribute, read) in FIELDS.items():
        if key in wishes:
            asked = replace(asked, **{attribute: read(key, wishes[key])})
    return asked


def _unwrapped(options: Any) -> Mapping[Any, Any]:
    if options is None:
        return {}
    if isinstance(options, dict) and "user_options" in options and set(options) <= {"user_options", "display_name"}:
        options = options["user_options"] or {}
    if not isinstance(options, dict):
        raise Refusal(
            "invalid-options",
            f"The options of a server are a JSON object, not {_json_name(options)}.",
            field="user_options",
            hint='Write them as in {"profile": "small"}.',
        )
    return options


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _invalid(key, f"{key} is text, not {_json_name(value)}.")
    if not value or len(value) > LONGEST or not value.isprintable():
        raise _invalid(key, f"{key} cannot be {_shown(value)}.")
    return value


def _duration(key: str, value: Any) -> timedelta:
    text = _text(key, value)
    try:
        return parse_duration(text)
    except ValueError:
        raise _invalid(
            key, f"{key} cannot be {_shown(text)}.", "Write a whole number and a unit: 90m, 8h or 2d."
        ) from None


FIELDS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "profile": ("profile", _text),
    "class": ("course", _text),
    "queue": ("queue", _text),
    "wall_time": ("wall_time", _duration),
    "image": ("image", _text),
}


def _invalid(field: str, message: str, hint: str = "") -> Refusal:
    return Refusal("invalid-option", message, field=field, hint=hint)


def _json_name(value: Any) -> str:
    names = {list: "a list", dict: "an object", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return names.get(type(value), "binary")


def _shown(value: Any) -> str:
    """Somebody else's text within our sentence: quoted, printable and short."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
