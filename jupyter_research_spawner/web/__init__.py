"""The HTML templates of the options form and of the batch service, and the static files of all pages.

Jinja escapes every value.  Pages have no inline styles and scripts, so that they work under a Content-Security-Policy
without 'unsafe-inline'.  The name of a static file in an URL contains a hash of its content, so browsers can keep it.

Templates show each text with `_("...")` in the site's language, and forms of a number with `ngettext`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from .. import texts

HERE = Path(__file__).parent
# Templates that replace JupyterHub's own, for c.JupyterHub.template_paths.
HUB_TEMPLATES = HERE / "hub_templates"
# The path of a static file below the hub's base URL, and below the batch service's prefix.
STATIC_PATH = "research-spawner/static"
KEEP_SECONDS = 365 * 24 * 3600
_CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@dataclass(frozen=True)
class StaticFile:
    """A file that browsers may keep for ever, because its name has a hash of its content."""

    hashed_name: str
    content_type: str
    content: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of a response with the file."""
        return {
            "Content-Type": self.content_type,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": f"public, max-age={KEEP_SECONDS}, immutable",
        }


@functools.cache
def static_files() -> dict[str, StaticFile]:
    """Return all static files by their names, such as `research.css`."""
    return {path.name: _read(path) for path in sorted((HERE / "static").iterdir()) if path.suffix in _CONTENT_TYPES}


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return StaticFile(f"{path.stem}.{digest}{path.suffix}", _CONTENT_TYPES[path.suffix], content)


@functools.cache
def static_paths() -> dict[str, str]:
    """Return the path of each static file by its name, without the hub's base URL or the service's prefix."""
    return {name: f"{STATIC_PATH}/{file.hashed_name}" for name, file in static_files().items()}


def find_static_file(hashed_name: str) -> StaticFile | None:
    """Return the static file with this name in an URL; None if there is none, for example after an upgrade."""
    return next((file for file in static_files().values() if file.hashed_name == hashed_name), None)


@functools.cache
def _template_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(render_part=_render_part, _=gettext, ngettext=ngettext, language=texts.language_tag)
    return environment


def gettext(message: str, /, **values: object) -> Markup:
    """Return the text in the site's language as HTML.  The translation and all values except Markup are escaped."""
    return escape(texts.translate(message)) % values


def ngettext(singular: str, plural: str, count: int, /, **values: object) -> Markup:
    """Return the form of the text for this number as HTML, as `gettext` does."""
    return escape(texts.translate_form(singular, plural, count)) % {texts.COUNT: count, **values}


def hub_variables() -> dict[str, Any]:
    """Return the variables for texts in the hub's templates.  JupyterHub calls functions with the user of the page."""
    return {
        "research_gettext": _hub_gettext,
        "research_ngettext": _hub_ngettext,
        "research_language": texts.language_tag(),
    }


def _hub_gettext(user: Any) -> Callable[..., Markup]:
    return gettext


def _hub_ngettext(user: Any) -> Callable[..., Markup]:
    return ngettext


def _render_part(template: str, value: Hashable) -> Markup:
    """Return a part of a page that depends only on `value`, and that many pages have.  `template` is its file."""
    return _rendered_part(template, value, texts.language_tag())


@functools.lru_cache(maxsize=2048)
def _rendered_part(template: str, value: Hashable, language: str) -> Markup:
    return Markup(_template_environment().get_template(template).render(value=value))  # noqa: S704  escaped by jinja2


def render_template(template: str, *, base_url: str, **values: Any) -> str:
    """Render the template with this name, such as `options.html`, to HTML.

    base_url: what precedes the paths of static files: the hub's base URL or the service's prefix, with a slash at its
    end.  Templates find the URL of each static file in `static`, by its name.
    """
    static = {name: base_url + path for name, path in static_paths().items()}
    return _template_environment().get_template(template).render(base_url=base_url, static=static, **values)
