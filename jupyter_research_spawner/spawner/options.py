"""Parses the options of a notebook, which come from a form, a REST call or the hub's database and are untrusted."""

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
    """Return the options as a Request for `plan`.  Raises Refusal (400) that names the invalid field.

    The options can be wrapped as in JupyterHub 6's REST API, `{"user_options": ..., "display_name": ...}`, because
    JupyterHub 5 does not unwrap them.  This function checks only the format; `plan` checks the user's permissions.
    """
    if not server.isprintable():
        # JupyterHub 6 refuses names with control characters itself. JupyterHub 5 accepts any name.
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
