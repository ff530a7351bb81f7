"""The options form as data, and as a page that works without JavaScript."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from samples import NOW, person, site_with

from jupyter_research_spawner import web
from jupyter_research_spawner.form import Form, build_form, chosen_by_form, chosen_by_link, refused_form
from jupyter_research_spawner.identity import Group
from jupyter_research_spawner.refusal import Refusal


def form_for(name: str, **more: Any) -> Form:
    return build_form(site_with(), person(name), NOW, **more)


def page_of(found: Form) -> BeautifulSoup:
    return BeautifulSoup(web.render_template("options.html", base_url="/hub/", form=found), "html.parser")


def chosen(found: Form) -> list[str]:
    return [offer.value for offer in found.offers if offer.chosen]


def test_offers_of_a_researcher_and_a_student() -> None:
    alice, bob = form_for("alice"), form_for("bob")
    assert [offer.value for offer in alice.offers] == ["profile:small", "profile:a100"]
    assert [offer.value for offer in bob.offers] == ["class:stats-101", "profile:small"]
    small, a100 = alice.offers
    assert (small.resources, small.queue.choices if small.queue else None) == ("2 CPU, 4Gi", ("climate", "backfill"))
    assert (a100.queue, a100.only_queue) == (None, "climate")
    assert chosen(alice) == ["profile:small"]
    assert alice.identity == (
        ("User", "alice, uid 20001"),
        (
            "Groups",
            ", ".join(f"{g.name} ({g.gid}{', primary' if g.gid == 20001 else ''})" for g in person("alice").groups),
        ),
        ("Home", "/home/alice"),
        ("Mounts", "/home, /data/era5 (read-only), /project/climate"),
    )


def test_a_posted_form_gives_only_the_options_of_the_chosen_offer() -> None:
    posted = {
        "offer": ["profile:small"],
        "queue--profile:small": ["backfill"],
        "wall_time--profile:small": [" 90m "],
        "queue--profile:a100": ["climate"],
        "_xsrf": ["secret"],
    }
    assert chosen_by_form(posted) == {"profile": "small", "queue": "backfill", "wall_time": "90m"}
    assert chosen_by_form({"offer": ["class:stats-101"]}) == {"class": "stats-101"}
    assert chosen_by_form({"profile": ["small"]}) == {"profile": "small"}
    assert chosen_by_form({}) == {}


def test_links_of_both_hub_versions_choose_and_other_parameters_are_ignored() -> None:
    assert chosen_by_link({"profile": ["small"], "utm_source": ["mail"]}) == {"profile": "small"}
    assert chosen_by_link({"opt-profile": ["small"], "opt-queue": ["climate"]}) == {
        "profile": "small",
        "queue": "climate",
    }


def test_an_error_is_shown_at_its_field_and_the_choices_are_kept() -> None:
    wrong = Refusal("wall-time-too-long", "Too <long>.", field="wall_time", hint="Ask for 8h.")
    options = {"profile": "small", "queue": "backfill", "wall_time": "9d"}
    found = form_for("alice", options=options, refusal=wrong)
    (small,) = [offer for offer in found.offers if offer.chosen]
    assert small.queue is not None
    assert (small.queue.chosen, small.wall_time.value, small.wall_time.error) == (
        "backfill",
        "9d",
        "Too <long>. Ask for 8h.",
    )
    assert (found.error, found.notes) == ("", ())
    page = page_of(found)
    field = page.find("input", {"name": "wall_time--profile:small"})
    assert field["aria-invalid"] == "true"
    assert page.find(id="wall_time--profile:small-error").get_text() == "Too <long>. Ask for 8h."
    assert field["aria-describedby"].split()[-1] == "wall_time--profile:small-error"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"profile": "nothing"}, Refusal("unknown-profile", "There is no such.", field="profile")),
        ({"profile": "small"}, Refusal("missing-in-cluster", "No claim.", field="mounts", status=503)),
        ({}, Refusal("x", "Anything.", field=None)),
    ],
)
def test_an_error_without_a_field_is_shown_above_the_form(options: Any, refusal: Refusal) -> None:
    assert form_for("alice", options=options, refusal=refusal).error == refusal.message


def test_every_refusal_is_shown_somewhere() -> None:
    for field in ("profile", "class", "queue", "wall_time", "image", "groups", None):
        for options in ({}, {"profile": "small"}, {"profile": "a100"}, {"profile": "gone"}, {"class": "stats-101"}):
            for name in ("alice", "bob"):
                found = form_for(name, options=options, refusal=Refusal("x", "The sentence.", field=field))
                assert "The sentence." in page_of(found).get_text(), (field, options, name)


def test_a_choice_that_is_not_offered_any_more_is_named_and_not_replaced() -> None:
    found = form_for("bob", options={"profile": "a100"})
    assert chosen(found) == []
    assert found.notes == ("You chose profile 'a100' before, but you can no longer use it. Choose another.",)
    found = form_for("alice", options={"profile": "small", "queue": "teaching", "image": "gone"})
    assert chosen(found) == ["profile:small"]
    assert len(found.notes) == 2
    assert form_for("alice", options={"profile": ["small"], "queue": 5}).notes == ()


def test_a_user_without_offers_gets_a_page_with_a_sentence() -> None:
    carol = build_form(site_with({"queues": {"backfill": {"groups": {"climate": True}}}}), person("carol"), NOW)
    down = refused_form(Refusal("source-down", "It does not answer.", hint="Try again.", status=503))
    for found, sentence in (
        (carol, "No profile and no class is available to you."),
        (down, "It does not answer."),
    ):
        page = page_of(found)
        assert sentence in page.find(role="alert").get_text()
        assert not page.find("input")
        assert "#spawn_form .feedback-container { display: none; }" in str(page)


def test_text_from_settings_and_users_is_escaped() -> None:
    evil = "<script>alert(1)</script>{{ 7 * 7 }}"
    site = site_with({"profiles": {"small": {"title": evil, "description": evil}}})
    identity = replace(person("alice"), groups=(*person("alice").groups, Group(29999, evil)))
    found = build_form(site, identity, NOW, options={"profile": "small", "wall_time": '"><img src=x>'})
    html = web.render_template("options.html", base_url="/hub/", form=found)
    assert "<script>" not in html
    assert "<img" not in html
    assert "49" not in html
    assert BeautifulSoup(html, "html.parser").find("label", {"for": "offer-1"}).get_text() == evil


def test_every_field_has_a_label_and_every_description_exists() -> None:
    page = page_of(form_for("alice", options={"profile": "small"}, refusal=Refusal("x", "No.", field="queue")))
    ids = {tag["id"] for tag in page.find_all(id=True)}
    labels = {tag["for"] for tag in page.find_all("label")}
    for field in page.find_all(["input", "select"]):
        assert field["id"] in labels
        assert set(field.get("aria-describedby", "").split()) <= ids
    assert len(ids) == len(page.find_all(id=True))
    assert all(fieldset.find("legend") for fieldset in page.find_all("fieldset"))


def test_more_groups_than_nfs_supports_is_a_warning() -> None:
    many = tuple(Group(gid, f"g{gid}") for gid in range(30000, 30017))
    identity = replace(person("alice"), groups=(*person("alice").groups, *many))
    assert "AUTH_SYS" in page_of(build_form(site_with(), identity, NOW)).get_text()
