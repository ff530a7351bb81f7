"""The reference of requests and traits has exactly those of the code."""

from __future__ import annotations

import re
from typing import Any, get_args

import jupyterhub
import pytest
import samples
from doc_pages import DOCS
from kubespawner import KubeSpawner
from tornado.web import RequestHandler
from traitlets.config import Config

from jupyter_research_spawner import ResearchSpawner, configure
from jupyter_research_spawner.batch.handlers import routes
from jupyter_research_spawner.batch.page_handlers import Pages
from jupyter_research_spawner.batch.pages import page_routes
from jupyter_research_spawner.configuration.traits import items
from jupyter_research_spawner.identity.sources import SOURCES
from jupyter_research_spawner.resources.gpu import KINDS as GPU_KINDS
from jupyter_research_spawner.schedulers import SCHEDULERS

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Files of pages, and the redirect of JupyterHub's login: no user or program writes these addresses.
WITHOUT_ENTRY = {"StaticHandler", "StaticFile", "PageCallback"}
REQUEST = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?\s]*)[^`]*`")

GPUS = {get_args(model.model_fields["kind"].annotation)[0] for model in GPU_KINDS}

Requests = dict[tuple[str, str], type[RequestHandler]]


def hub_requests() -> Requests:
    """Return the requests that `configure` adds to the hub, as method and pattern of the path."""
    c = Config()
    configure(c, samples.raw_site(), base=samples.DATA)
    return requests((f"/hub{pattern}", handler) for pattern, handler in items(c.JupyterHub, "extra_handlers"))


def batch_requests() -> Requests:
    pages: Any = Pages.__new__(Pages)  # its handlers are only looked at
    return requests((pattern, handler) for pattern, handler, _ in [*routes("/"), *page_routes("/", pages)])


def requests(found: Any) -> Requests:
    return {
        (method, pattern): handler
        for pattern, handler in found
        if handler.__name__ not in WITHOUT_ENTRY
        for method in METHODS
        if any(
            method.lower() in vars(parent) and parent.__module__.startswith("jupyter_research_spawner")
            for parent in handler.__mro__
        )
    }


def documented(*pages: str) -> set[tuple[str, str]]:
    """Return method and path of each request in the tables of these pages.  NAME and ID stand for a segment."""
    rows = [row for page in pages for row in (DOCS / page).read_text().splitlines() if row.startswith("| `")]
    cells = [row.split(" | ")[0] for row in rows]
    return {(method, path) for cell in cells for method, path in REQUEST.findall(cell)}


@pytest.mark.parametrize(
    ("pages", "found"),
    [
        (("reference/hub-api.md", "how-to/pages.md"), hub_requests),
        (("reference/batch-api.md",), batch_requests),
    ],
    ids=["hub", "batch"],
)
def test_the_reference_has_each_request_and_no_other(pages: tuple[str, ...], found: Any) -> None:
    wanted, written = found(), documented(*pages)
    # JupyterHub's own request, to whose answers we add keys.
    written = {(method, path) for method, path in written if not path.endswith("/progress")}
    # docs/how-to/pages.md says once that the path of the default server ends without its name.
    written |= {(method, path.removesuffix("/SERVER")) for method, path in written}
    matched = {
        (method, path): [
            (way, pattern) for way, pattern in wanted if way == method and re.fullmatch(pattern, path, re.DOTALL)
        ]
        for method, path in written
    }
    assert sorted(request for request, routes_of in matched.items() if not routes_of) == []
    assert sorted(wanted.keys() - {route for routes_of in matched.values() for route in routes_of}) == []
    assert len(wanted) > 8


def test_the_reference_has_each_trait_that_configure_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "reference" / "kubespawner.md").read_text()
    section = text.partition("## Traits that configure sets")[2].partition("\n## ")[0]
    rows = [row.split(" | ")[0] for row in section.splitlines() if row.startswith("| `")]
    written = {name for row in rows for name in re.findall(r"`(\w+\.\w+)`", row)}
    set_by_it: set[str] = set()
    for version in ("5.4.0", "6.1.1"):
        monkeypatch.setattr(jupyterhub, "__version__", version)
        c = Config()
        c.JupyterHub.services = [{"name": "batch", "url": "http://batch", "api_token": "token"}]
        configure(c, samples.raw_site(), base=samples.DATA)
        set_by_it |= {f"{section}.{trait}" for section, traits in c.items() for trait in traits}
    assert written == set_by_it


def test_installation_is_the_only_trait_of_our_own() -> None:
    ours = set(ResearchSpawner.class_trait_names(config=True)) - set(KubeSpawner.class_trait_names(config=True))
    assert ours == {"installation"}


@pytest.mark.parametrize(
    ("page", "kinds"),
    [("schedulers.md", set(SCHEDULERS)), ("identity.md", set(SOURCES)), ("gpus.md", GPUS)],
)
def test_a_how_to_page_has_a_section_with_values_for_each_kind(page: str, kinds: set[str]) -> None:
    sections = (DOCS / "how-to" / page).read_text().split("\n## ")[1:]
    titles = {section.partition("\n")[0]: section for section in sections}
    with_values = {title for title, section in titles.items() if re.search(rf"\bkind: {title}\b", section)}
    assert kinds and kinds <= with_values
