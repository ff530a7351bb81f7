"""The HTML templates and the CSS of all pages. Jinja escapes every value."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

HERE = Path(__file__).parent
# Templates that replace JupyterHub's own, for c.JupyterHub.template_paths.
HUB_TEMPLATES = HERE / "hub_templates"


@functools.cache
def _template_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["stylesheet"] = stylesheet
    return environment


def render_template(template: str, **values: Any) -> str:
    """Render the template with this name, such as `options.html`, to HTML."""
    return _template_environment().get_template(template).render(**values)


@functools.cache
def stylesheet() -> Markup:
    """Return the CSS. The hub's pages contain it in a <style> element, because the hub cannot serve it as a file."""
    return Markup((HERE / "static" / "research.css").read_text())  # noqa: S704 - a file of this package
