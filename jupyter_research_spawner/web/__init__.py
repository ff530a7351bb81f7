"""Templates and style of every page of ours, the hub's and the batch service's.  Everything is escaped."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

HERE = Path(__file__).parent
# Overrides of JupyterHub's own templates, for c.JupyterHub.template_paths.
HUB_TEMPLATES = HERE / "hub_templates"


@functools.cache
def environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["style"] = style
    return found


def render(template: str, **values: Any) -> str:
    """A template of ours as HTML."""
    return environment().get_template(template).render(**values)


@functools.cache
def style() -> Markup:
    """Our CSS, for pages of the hub, which serves no files of ours."""
    return Markup((HERE / "static" / "research.css").read_text())  # noqa: S704 - a file of this package
