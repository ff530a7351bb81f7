"""What a person is offered, as data and as a page that works without JavaScript."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from samples import NOW, person, site_with

from jupyter_research_spawner import web
from jupyter_research_spawner.form import Form, chosen_by_form, chosen_by_link, form, refused_form
from jupyter_research_spawner.identity import Group
from jupyter_research_spawner.refusal import Refusal


def form_for(name: str, **more: Any) -> Form:
    return form(site_with(), person(name), NOW, **more)


def page_of(found: Form) -> BeautifulSoup:
    return BeautifulSoup(web.render("options.html", form=found), "html.parser")


def chosen(found: Form) -> list[str]:
    return [offer.value for offer in found.offers if offer.chosen]


def test_what_a_researcher_and_a_student_are_offered() -> None:
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


def test_a_posted_form_is_the_wishes_of_the_chosen_offer_alone() -> None:
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


def test_a_link_of_either_version_chooses_and_other_parameters_mean_nothing() -> None:
    assert chosen_by_link({"profile": ["small"], "utm_source": ["mail"]}) == {"profile": "small"}
    assert chosen_by_link({"opt-profile": ["small"], "opt-queue": ["climate"]}) == {
        "profile": "small",
        "queue": "climate",
    }


def test_an_error_stands_at_its_field_and_the_choices_are_kept() -> None:
    wrong = Refusal("wall-time-too-long", "Too <long>.", field="wall_time", hint="Ask for 8h.")
    asked = {"profile": "small", "queue": "backfill", "wall_time": "9d"}
    found = form_for("alice", asked=asked, refusal=wrong)
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
    ("asked", "refusal"),
    [
        ({"profile": "nothing"}, Refusal("unknown-profile", "There is no such.", field="profile")),
        ({"profile": "small"}, Refusal("missing-in-cluster", "No claim.", field="mounts", status=503)),
        ({}, Refusal("x", "Anything.", field=None)),
    ],
)
def test_an_error_of_no_field_here_stands_above_the_form(asked: Any, refusal: Refusal) -> None:
    assert form_for("alice", asked=asked, refusal=refusal).error == refusal.message


def test_every_refusal_is_told_somewhere() -> None:
    for field in ("profile", "class", "queue", "wall_time", "image", "groups", None):
        for asked in ({}, {"profile": "small"}, {"profile": "a100"}, {"profile": "gone"}, {"class": "stats-101"}):
            for name in ("alice", "bob"):
                found = form_for(name, asked=asked, refusal=Refusal("x", "The sentence.", field=field))
                assert "The sentence." in page_of(found).get_text(), (field, asked, name)


def test_a_choice_that_is_gone_is_replaced_and_told_and_never_by_another() -> None:
    found = form_for("bob", asked={"profile": "a100"})
    assert chosen(found) == []
    assert found.notes == (
        "You chose profile 'a100' before. It is not offered to you any more: please choose another.",
    )
    found = form_for("alice", asked={"profile": "small", "queue": "teaching", "image": "gone"})
    assert chosen(found) == ["profile:small"]
    assert len(found.notes) == 2
    assert form_for("alice", asked={"profile": ["small"], "queue": 5}).notes == ()


def test_nothing_allowed_and_nobody_known_are_pages_with_a_sentence() -> None:
    carol = form(site_with({"queues": {"backfill": {"groups": {"climate": True}}}}), person("carol"), NOW)
    down = refused_form(Refusal("source-down", "It does not answer.", hint="Try again.", status=503))
    for found, sentence in (
        (carol, "None of the profiles and classes here is for you."),
        (down, "It does not answer."),
    ):
        page = page_of(found)
        assert sentence in page.find(role="alert").get_text()
        assert not page.find("input")
        assert "#spawn_form .feedback-container { display: none; }" in str(page)


def test_text_of_others_is_escaped() -> None:
    evil = "<script>alert(1)</script>{{ 7 * 7 }}"
    site = site_with({"profiles": {"small": {"title": evil, "description": evil}}})
    identity = replace(person("alice"), groups=(*person("alice").groups, Group(29999, evil)))
    found = form(site, identity, NOW, asked={"profile": "small", "wall_time": '"><img src=x>'})
    html = web.render("options.html", form=found)
    assert "<script>" not in html
    assert "<img" not in html
    assert "49" not in html
    assert BeautifulSoup(html, "html.parser").find("label", {"for": "offer-1"}).get_text() == evil


def test_every_field_has_a_label_and_every_description_exists() -> None:
    page = page_of(form_for("alice", asked={"profile": "small"}, refusal=Refusal("x", "No.", field="queue")))
    ids = {tag["id"] for tag in page.find_all(id=True)}
    labels = {tag["for"] for tag in page.find_all("label")}
    for field in page.find_all(["input", "select"]):
        assert field["id"] in labels
        assert set(field.get("aria-describedby", "").split()) <= ids
    assert len(ids) == len(page.find_all(id=True))
    assert all(fieldset.find("legend") for fieldset in page.find_all("fieldset"))


def test_more_groups_than_nfs_carries_is_said() -> None:
    many = tuple(Group(gid, f"g{gid}") for gid in range(30000, 30017))
    identity = replace(person("alice"), groups=(*person("alice").groups, *many))
    assert "AUTH_SYS" in page_of(form(site_with(), identity, NOW)).get_text()
