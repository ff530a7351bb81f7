"""Reads the options of a notebook from a form, a REST call or the hub's database.  All three are untrusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..jobs.notebook import NotebookOptions
from ..jobs.parsing import json_type, parse
from ..plan import Request
from ..refusal import Refusal
from ..shape import NOTEBOOK_KIND, Shape
from ..wording import quote


def request(options: Any, *, hub_user: str, server: str, pod_name: str) -> Request:
    """Return what `plan` is asked for a notebook.  Raises Refusal (400) with the field at fault.

    Accepts the options themselves and JupyterHub 6's `{"user_options": ..., "display_name": ...}`, which JupyterHub 5
    passes on whole.  Whether the user may have what they ask for is decided by `plan`.
    """
    if not server.isprintable():
        # JupyterHub 6 refuses such names itself, JupyterHub 5 accepts any name.
        raise Refusal(
            "invalid",
            f"{quote(server)} is not a valid name for a server.",
            field="server_name",
            hint="Use letters, digits and dashes.",
        )
    asked = parse(NotebookOptions, _unwrapped(options), "A notebook", {})
    return Request(shape=Shape(NOTEBOOK_KIND, pod_name), hub_user=hub_user, server=server, **dict(asked))


def _unwrapped(options: Any) -> Mapping[Any, Any]:
    if options is None:
        return {}
    if isinstance(options, dict) and "user_options" in options and set(options) <= {"user_options", "display_name"}:
        options = options["user_options"] or {}
    if not isinstance(options, dict):
        raise Refusal(
            "invalid",
            f"The options of a server must be a JSON object, not {json_type(options)}.",
            field="user_options",
            hint='Write them as in {"profile": "small"}.',
        )
    return options
