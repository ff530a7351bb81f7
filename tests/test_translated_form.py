"""The options form with a catalogue that brackets each text: no text of ours is outside of brackets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import NOW, person, site_with
from test_form import page_of
from translations import pseudo_catalogue, untranslated

from jupyter_research_spawner import texts
from jupyter_research_spawner.form import Form, Selected, build_form, closed_page
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch.availability import Availability

# What the site and the directory service call things, and units and sizes, which stay.
KNOWN = (
    *("Small", "A100, one NUMA node", "stats-101", "climate", "teaching", "backfill", "kueue", "low", "normal", "none"),
    *("alice", "bob", "carol", "students", "stats101-staff", "stats101-f26", "default", "other", "quay.io/*"),
    *("/home", "/home/alice", "/home/bob", "/home/carol", "/data/era5", "/project/climate"),
    *("1 GPU (nvidia.com/gpu)", "CPU", "GiB", "uid", "UTC"),
)


@pytest.fixture(autouse=True)
def pseudo(tmp_path: Path) -> Iterator[None]:
    texts.use_catalogue(pseudo_catalogue(tmp_path), "xx")
    yield
    texts.use_english()


def answers(site: Site) -> dict[tuple[str, str], Availability]:
    waits = Availability("would-wait", texts.gettext("You would wait"), "", NOW)
    return {(profile, queue): waits for profile in site.profiles for queue in site.queues}


@pytest.mark.parametrize("name", ["alice", "bob", "carol"])
def test_the_form_is_translated(name: str) -> None:
    more: Any = {"profiles": {"small": {"images": {"other": "example/other:1"}, "other_images": {"quay.io/*": True}}}}
    site = site_with(more)
    found = build_form(
        site,
        person(name),
        NOW,
        selected=Selected({"profile": "none", "queue": "none"}, is_link=True),
        last={"profile": "small", "queue": "backfill", "image": "other"},
        answers=answers(site),
    )
    assert isinstance(found, Form)
    page = page_of(found)
    assert page.find(class_="research-form")["lang"] == "xx"
    assert untranslated(page, KNOWN) == []


def test_a_long_form_is_translated() -> None:
    form = build_form(site_with(), person("alice"), NOW)
    assert isinstance(form, Form)
    (group, *_) = form.groups
    many = tuple(replace(group.offers[0], value=f"profile:{number}") for number in range(12))
    page = page_of(replace(form, groups=(replace(group, offers=many),)))
    assert page.find(id="research-search")["placeholder"] == "⟦Search ⟧12⟦ offers⟧"
    assert untranslated(page, KNOWN) == []


def test_the_closed_form_is_translated() -> None:
    refusal = Refusal("no-account", "ΑΒΓ", hint="ΔΕΖ")
    page = page_of(closed_page(site_with({"contact": {"text": "ΗΘΙ"}}), refusal, "alice", person("alice")))
    assert untranslated(page, (*KNOWN, "ΑΒΓ", "ΔΕΖ", "ΗΘΙ")) == []
