"""The options form as data, and as a page that works without JavaScript."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from samples import NOW, decide, person, request, site_with

from jupyter_research_spawner import web
from jupyter_research_spawner.form import (
    Closed,
    Form,
    FormBuilder,
    Selected,
    build_form,
    changed_elsewhere,
    check_elsewhere,
    chosen_by_form,
    chosen_by_link,
    closed_page,
)
from jupyter_research_spawner.identity import Group
from jupyter_research_spawner.plan import offers, plan, preview, rights_of
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings.units import parse_wall_time

GIVES_WAY = "Preemptible: your work is stopped when work of other queues needs its place."
EVIL = "<script>alert(1)</script>{{ 7 * 7 }}\"'><img src=x>"
LATER = datetime(2026, 12, 21, 12, 0, tzinfo=timezone.utc)


def form_for(name: str, now: datetime = NOW, **selected: Any) -> Form:
    found = build_form(site_with(), person(name), now, selected=Selected(**selected))
    assert isinstance(found, Form)
    return found


def html_of(found: Form | Closed) -> str:
    template = "closed.html" if isinstance(found, Closed) else "options.html"
    return web.render_template(template, base_url="/hub/", form=found, pod_path="research-spawner/pod/alice", owner="")


def page_of(found: Form | Closed) -> BeautifulSoup:
    return BeautifulSoup(html_of(found), "html.parser")


def chosen(found: Form) -> list[str]:
    return [offer.value for offer in found.offers if offer.chosen]


def words(tag: Any) -> str:
    return " ".join(tag.get_text(" ").split())


def test_offers_of_a_researcher_and_a_student() -> None:
    alice, bob = form_for("alice"), form_for("bob")
    assert [(group.heading, [offer.value for offer in group.offers]) for group in alice.groups] == [
        ("Compute", ["profile:small"]),
        ("With a GPU", ["profile:a100"]),
    ]
    assert [(group.heading, [offer.value for offer in group.offers]) for group in bob.groups] == [
        ("Your class", ["class:stats-101"]),
        ("Compute", ["profile:small"]),
    ]
    small, a100 = alice.offers
    assert (small.cpu.number, small.memory.number, small.memory.unit, small.gpu) == ("2", "4", "GiB", "")
    assert [choice.name for choice in small.queue.choices] == ["climate", "backfill"]
    assert (a100.gpu, a100.longest, a100.queue.is_open) == ("1 GPU (nvidia.com/gpu)", "1d", False)
    assert chosen(alice) == ["profile:small"]
    assert alice.person.identity == person("alice")
    assert [mount.path for mount in alice.person.mounts] == ["/home", "/data/era5", "/project/climate"]


def test_no_heading_if_all_offers_are_of_one_kind() -> None:
    (group,) = form_for("carol").groups
    assert group.heading == ""
    assert not page_of(form_for("carol")).find(role="group")


def test_the_class_of_a_student_comes_first_and_is_selected_until_it_ends() -> None:
    bob = form_for("bob")
    assert chosen(bob) == ["class:stats-101"]
    assert bob.offers[0].for_whom == ("Until 20 December 2026",)
    assert chosen(form_for("bob", LATER)) == ["profile:small"]
    alice = build_form(
        site_with({"classes": {"stats-101": {"queue": "climate"}}, "queues": OPEN}), person("alice"), NOW
    )
    assert isinstance(alice, Form)
    assert alice.offers[0].for_whom == ("Until 20 December 2026", "You are on the course staff")
    assert chosen(alice) == ["profile:small"]


OPEN: Any = {"climate": {"groups": {"stats101-f26": True, "stats101-staff": True}}}


def test_a_queue_that_gives_way_says_so_where_it_is_chosen() -> None:
    page = page_of(form_for("alice"))
    for name, gives_way in (("climate", False), ("backfill", True)):
        radio = page.find("input", {"name": "queue--profile:small", "value": name})
        assert (GIVES_WAY in words(page.find(id=radio["aria-describedby"]))) == gives_way
    alone = build_form(site_with({"queues": {"climate": {"preemptible": True}}}), person("alice"), NOW)
    assert isinstance(alone, Form)
    a100 = page_of(alone).find(id="profile:a100").find_parent(class_="research-offer")
    assert GIVES_WAY in words(a100.find(class_="research-facts"))


@pytest.mark.parametrize("name", ["alice", "bob", "carol"])
def test_the_form_says_what_the_plan_decides(name: str) -> None:
    site, who = site_with(), person(name)
    form = form_for(name)
    rights = rights_of(site, who, NOW)
    for offer, shown in zip(offers(site, who, NOW), form.offers, strict=True):
        kind = {"course": offer.course} if offer.course else {"profile": offer.name}
        previewed = preview(site, who, rights, offer, NOW)
        for choice, queue in zip(shown.queue.choices, previewed, strict=True):
            decided = decide(site, who, **kind, **({} if offer.course else {"queue": choice.name}))
            assert (choice.name, choice.priority or site.default_priority) == (decided.queue, decided.priority)
            assert (choice.is_preemptible, choice.warnings) == (decided.preemptible, queue.warnings)
            assert (shown.longest_seconds, queue.warnings) == (decided.hard_seconds, decided.warnings)
            assert decided.mounts == form.person.mounts
            assert (decided.identity, decided.scheduler) == (form.person.identity, form.scheduler)


@pytest.mark.parametrize(("longest", "examples"), [("4h", ["90m", "4:00:00"]), ("30m", ["30m"])])
def test_each_example_of_a_wall_time_can_be_used(longest: str, examples: list[str]) -> None:
    profile = {"wall_time": "30m", "wall_time_hard": longest}
    site, who = site_with({"profiles": {"small": profile, "a100": profile}}), person("bob")
    form = build_form(site, who, NOW)
    assert isinstance(form, Form)
    small = next(offer for offer in form.offers if offer.value == "profile:small")
    assert small.wall_time.help.endswith(f"Examples: {', '.join(examples)}.")
    for example in examples:
        assert (
            decide(site, who, profile="small", wall_time=parse_wall_time(example)).hard_seconds <= small.longest_seconds
        )


def test_a_class_that_ends_before_the_wall_time_is_a_warning() -> None:
    site = site_with({"queues": {"teaching": {"groups": None, "classes": {"stats-101": True}}}})
    bob, last_day = person("bob"), datetime(2026, 12, 20, 20, 0, tzinfo=timezone.utc)
    form = build_form(site, bob, last_day)
    assert isinstance(form, Form)
    course, small = (offer.queue.choices for offer in form.offers)
    decided = plan(site, bob, request(bob, course="stats-101"), run_id="x", now=last_day)
    assert [queue.warnings for queue in course] == [decided.warnings] != [()]
    assert [(queue.name, queue.warnings) for queue in small] == [("teaching", decided.warnings), ("backfill", ())]
    radio, other = page_of(form).find_all("input", {"name": "queue--profile:small"})
    assert decided.warnings[0] in words(page_of(form).find(id=radio["aria-describedby"]))
    assert decided.warnings[0] not in words(page_of(form).find(id=other["aria-describedby"]))
    (facts,) = page_of(form).find(id="class:stats-101").find_parent(class_="research-offer").find_all("dl")
    assert decided.warnings[0] in words(facts)
    earlier = build_form(site, bob, last_day - timedelta(hours=12))
    assert isinstance(earlier, Form)
    assert [queue.warnings for offer in earlier.offers for queue in offer.queue.choices] == [(), (), ()]


def test_kept_offers_are_those_of_the_user_and_of_the_time() -> None:
    more = {
        "profiles": {"a100": {"groups": {"students": True}, "queues": {"climate": None, "backfill": True}}},
        "queues": {"teaching": {"groups": None, "classes": {"stats-101": True}}},
    }
    site = site_with(more)
    last_day = datetime(2026, 12, 20, 20, 0, tzinfo=timezone.utc)
    builder = FormBuilder(site)
    for _ in range(2):
        for name in ("alice", "bob", "carol"):
            for now in (NOW, last_day, LATER):
                for selected in (
                    Selected({"profile": "a100"}, kept={"wall_time--profile:small": "3h"}),
                    Selected(),
                    Selected({"profile": "a100"}),
                    Selected({"profile": "small", "queue": "backfill"}),
                ):
                    assert builder.build(person(name), now, selected=selected) == build_form(
                        site, person(name), now, selected=selected
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


def posted_by_a_browser(page: BeautifulSoup, **changes: str) -> dict[str, list[str]]:
    """Return what a browser posts for the page.  `changes` are fields that the user changed, with `_` for `--`."""
    found: dict[str, list[str]] = {}
    for field in page.find_all(["input", "select"]):
        if field.name == "select":
            option = field.find("option", selected=True) or field.find("option")
            found[field["name"]] = [option["value"]]
        elif field.get("name") and (field["type"] != "radio" or field.has_attr("checked")):
            found[field["name"]] = [field["value"]]
    return found | {name.replace("__", "--", 1).replace("__", ":"): [value] for name, value in changes.items()}


def refusal_for(posted: dict[str, list[str]], name: str = "alice") -> Refusal | None:
    try:
        check_elsewhere(site_with(), person(name), NOW, posted)
    except Refusal as refusal:
        return refusal
    return None


def test_a_changed_field_of_an_offer_that_was_not_chosen_refuses_the_start_once() -> None:
    page = page_of(form_for("alice"))
    assert refusal_for(posted_by_a_browser(page)) is None
    assert not page.find("input", {"type": "hidden"})
    assert refusal_for(posted_by_a_browser(page, offer="profile:a100")) is None
    assert refusal_for(posted_by_a_browser(page, queue__profile__small="backfill")) is None
    posted = posted_by_a_browser(page, offer="profile:a100", queue__profile__small="backfill")
    refusal = refusal_for(posted)
    assert refusal is not None
    assert refusal.message == "You set queue 'backfill' for 'Small', but 'A100, one NUMA node' is selected."
    kept = changed_elsewhere(site_with(), person("alice"), NOW, posted)
    again = form_for("alice", options=chosen_by_form(posted), refusal=refusal, kept=kept)
    assert chosen(again) == ["profile:a100"]
    page = page_of(again)
    assert page.find(id="research-error").find("a")["href"] == "#profile:small"
    assert page.find(id="profile:small")["type"] == "radio"
    small = posted_by_a_browser(page)
    assert small["queue--profile:small"] == ["backfill"]
    # Start once more starts what is selected, and so does the other offer, with what was set for it.
    assert refusal_for(small) is None
    assert chosen_by_form(small)["profile"] == "a100"
    assert chosen_by_form(small | {"offer": ["profile:small"]}) == {"profile": "small", "queue": "backfill"}
    # Another change is refused again.
    assert refusal_for(small | {"wall_time--profile:small": ["2h"]}) is not None


@pytest.mark.parametrize("field", ["queue--profile:small", "wall_time--profile:small", "image--profile:small"])
def test_every_field_of_another_offer_is_checked(field: str) -> None:
    posted = {"offer": ["profile:a100"], field: [EVIL]}
    refusal = refusal_for(posted)
    assert refusal is not None
    kept = changed_elsewhere(site_with(), person("alice"), NOW, posted)
    html = html_of(form_for("alice", options=chosen_by_form(posted), refusal=refusal, kept=kept))
    assert "<img" not in html


def test_options_of_the_last_start_are_no_change_when_another_offer_is_selected() -> None:
    page = page_of(form_for("alice", options={"profile": "small", "queue": "backfill", "wall_time": "3h"}))
    assert refusal_for(posted_by_a_browser(page, offer="profile:a100")) is None


@pytest.mark.parametrize(
    "posted",
    [{}, {"offer": [b"x"]}, {"offer": [":"]}, {"offer": ["class:x"], "queue--profile:small": [5]}, {"offer": []}],
)
def test_tampered_fields_are_not_an_error(posted: Any) -> None:
    assert refusal_for(posted) is None
    chosen_by_form(posted)


def test_the_button_for_the_last_start_posts_exactly_what_it_says() -> None:
    last = {"profile": "small", "queue": "backfill", "wall_time": "3h", "more": "x"}
    form = build_form(site_with(), person("alice"), NOW, selected=Selected({"profile": "a100"}), last=last)
    button = page_of(form).find("button", {"name": "last_start"})
    assert words(button) == "Same as last time Small, queue backfill, 3h"
    assert button.has_attr("formnovalidate")
    posted = {"offer": ["profile:a100"], "wall_time--profile:small": ["7h"], "last_start": [button["value"]]}
    assert chosen_by_form(posted) == {"profile": "small", "queue": "backfill", "wall_time": "3h"}
    assert refusal_for(posted) is None
    for nothing in (None, {}, {"profile": "gone"}, {"queue": "climate"}):
        form = build_form(site_with(), person("alice"), NOW, last=nothing)
        assert not page_of(form).find("button", {"name": "last_start"})


@pytest.mark.parametrize("value", ["{", "5", "null", "[]", "{}", '{"profile": 5}', "[" * 10_000])
def test_a_tampered_button_is_refused(value: str) -> None:
    with pytest.raises(Refusal, match="could not be read"):
        chosen_by_form({"last_start": [value]})


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
    assert (small.queue.chosen, small.wall_time.value, small.wall_time.error) == (
        "backfill",
        "9d",
        "Too <long>. Ask for 8h.",
    )
    assert found.notes == ()
    page = page_of(found)
    field = page.find("input", {"name": "wall_time--profile:small"})
    assert field["aria-invalid"] == "true"
    assert page.find(id="wall_time--profile:small-error").get_text() == "Too <long>. Ask for 8h."
    assert field["aria-describedby"].split()[-1] == "wall_time--profile:small-error"
    summary = page.find(id="research-error")
    assert summary.has_attr("autofocus")
    assert summary["tabindex"] == "-1"
    link = summary.find("a")
    assert (link["href"], link.get_text()) == ("#wall_time--profile:small", "Too <long>.")


def test_an_error_at_a_field_does_not_have_the_name_of_the_option() -> None:
    refusal = Refusal("invalid", "wall_time: 'x' is not a valid wall time.", field="wall_time", hint="Use a unit.")
    page = page_of(form_for("alice", options={"profile": "small", "wall_time": "x"}, refusal=refusal))
    told = "'x' is not a valid wall time. Use a unit."
    assert words(page.find(id="wall_time--profile:small-error")) == told
    assert words(page.find(id="research-error")) == f"Nothing was started {told}"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"profile": "nothing"}, Refusal("unknown-profile", "There is no such.", field="profile")),
        ({"profile": "small"}, Refusal("missing-in-cluster", "No claim.", field="mounts", status=503)),
        ({}, Refusal("x", "Anything.", field=None)),
    ],
)
def test_an_error_without_a_field_has_no_link(options: Any, refusal: Refusal) -> None:
    summary = page_of(form_for("alice", options=options, refusal=refusal)).find(id="research-error")
    assert refusal.message in words(summary)
    assert not summary.find("a")


def test_every_refusal_is_shown_above_the_form_and_its_link_leads_to_a_field() -> None:
    for field in ("profile", "class", "queue", "wall_time", "image", "groups", None):
        for options in ({}, {"profile": "small"}, {"profile": "a100"}, {"profile": "gone"}, {"class": "stats-101"}):
            for name in ("alice", "bob"):
                refusal = Refusal("x", "The sentence.", field=field)
                page = page_of(form_for(name, options=options, refusal=refusal))
                summary = page.find(id="research-error")
                assert "The sentence." in words(summary), (field, options, name)
                for link in summary.find_all("a"):
                    target = page.find(id=link["href"].removeprefix("#"))
                    assert target.name in ("input", "select")
                    offer = target.find_parent(class_="research-offer")
                    assert offer.find("input", {"name": "offer"}).has_attr("checked")


def test_a_choice_that_is_not_offered_any_more_is_named_and_not_replaced() -> None:
    found = form_for("bob", options={"profile": "a100"})
    assert chosen(found) == []
    assert found.notes == (
        "You chose profile 'A100, one NUMA node' before, but you can no longer use it. Choose another.",
    )
    found = form_for("alice", options={"profile": "small", "queue": "teaching", "image": "gone"})
    assert chosen(found) == ["profile:small"]
    assert len(found.notes) == 2
    assert form_for("alice", options={"profile": ["small"], "queue": 5}).notes == ()


def test_a_link_is_not_what_the_user_chose_before() -> None:
    (note,) = form_for("bob", options={"profile": "nosuch"}, is_link=True).notes
    link = "The link that you followed asks for profile 'nosuch', which is not available to you."
    assert note == f"{link} Nothing has started. Choose another."
    (note,) = form_for("bob", options={"profile": "small"}, is_link=True).notes
    assert note == "The link that you followed selected these options. Nothing has started yet."
    # The queue can be available with another profile.
    (note,) = form_for("bob", options={"profile": "small", "queue": "nosuch"}, is_link=True).notes
    link = "The link that you followed asks for queue 'nosuch', which is not available to you with 'Small'."
    assert note == f"{link} Nothing has started. Check the queue."


def test_a_class_that_is_over_says_its_last_day() -> None:
    for is_link in (False, True):
        (note,) = form_for("bob", LATER, options={"class": "stats-101"}, is_link=is_link).notes
        assert note == "Class 'stats-101' ended on 2026-12-20 (UTC). Choose another."
    # Nobody else learns from the form which classes there are.
    (note,) = form_for("carol", LATER, options={"class": "stats-101"}).notes
    assert "2026" not in note


def test_a_user_without_offers_gets_a_page_that_says_who_and_why() -> None:
    nothing = build_form(
        site_with({"queues": {"backfill": {"groups": {"climate": True}}}}), person("carol"), NOW, hub_user="Carol@x"
    )
    down = closed_page(
        site_with(), Refusal("source-down", "It does not answer.", hint="Try again.", status=503), "carol"
    )
    refused = closed_page(site_with(), Refusal("x", "Your shell is nologin.", status=403), "carol", person("carol"))
    for found, title, sentences in (
        (nothing, "Nothing is available to you", ["No profile and no class is available to you.", "Carol@x", "carol"]),
        (down, "Servers cannot be started at the moment", ["It does not answer.", "Try again.", "carol"]),
        (refused, "You cannot start a server", ["Your shell is nologin.", "uid 20003"]),
    ):
        assert isinstance(found, Closed)
        assert found.title == title
        page = page_of(found)
        for sentence in sentences:
            assert sentence in words(page)
        assert not page.find(["input", "button"])
        assert page.find("a", string="Try again")["href"] == ""


def test_text_from_settings_and_users_is_escaped() -> None:
    site = site_with(
        {
            "profiles": {"small": {"title": EVIL, "description": EVIL}},
            "classes": {"stats-101": {"title": EVIL}},
            "storage": {"mounts": {"evil": {"claim": "evil", "path": "/mnt/<script>"}}},
        }
    )
    identity = replace(person("bob"), groups=(*person("bob").groups, Group(29999, EVIL)))
    refusal = Refusal("x", EVIL, field="wall_time", hint=EVIL)
    wishes = {"profile": "small", "wall_time": EVIL, "queue": EVIL, "image": EVIL}
    for selected in (Selected(wishes, refusal=refusal), Selected(wishes), Selected({"profile": EVIL}, is_link=True)):
        form = build_form(
            site, identity, NOW, hub_user=EVIL, selected=selected, last={"profile": "small", "wall_time": EVIL}
        )
        assert isinstance(form, Form)
        html = html_of(replace(form, notes=(*form.notes, EVIL), warnings=(EVIL,)))
        assert "<script>" not in html
        assert "<img" not in html
        # The names of static files have a hash, which can have any digits.
        assert "49" not in re.sub(r'="/hub/research-spawner/static/[^"]*"', "", html)
        page = BeautifulSoup(html, "html.parser")
        assert page.find("label", {"for": "profile:small"}).get_text() == EVIL
        assert json.loads(page.find("button", {"name": "last_start"})["value"])["wall_time"] == EVIL
    closed = html_of(closed_page(site, refusal, EVIL, identity))
    assert "<script>" not in closed
    assert "<img" not in closed


def test_every_field_has_a_label_and_every_description_exists() -> None:
    more = {"profiles": {"small": {"images": {"r": "quay.io/jupyter/r-notebook:2026-10-01"}}}}
    for field in ("queue", "image", "wall_time", "profile"):
        selected = Selected({"profile": "small"}, refusal=Refusal("x", "No.", field=field))
        page = page_of(build_form(site_with(more), person("alice"), NOW, selected=selected))
        ids = {tag["id"] for tag in page.find_all(id=True)}
        labels = {tag["for"] for tag in page.find_all("label")}
        for tag in page.find_all(["input", "select"]):
            assert tag.get("type") == "hidden" or tag["id"] in labels
        for tag in page.find_all(attrs={"aria-describedby": True}):
            assert set(tag["aria-describedby"].split()) <= ids
        for tag in page.find_all(attrs={"aria-labelledby": True}):
            assert tag["aria-labelledby"] in ids
        assert len(ids) == len(page.find_all(id=True))
        assert all(fieldset.find("legend") for fieldset in page.find_all("fieldset"))


def test_a_search_box_only_for_many_offers() -> None:
    def profiles(count: int) -> Any:
        return {f"p{number}": {"like": "small", "title": f"P {number}"} for number in range(count)}

    for more, has_box in ((8, False), (9, True)):
        page = page_of(build_form(site_with({"profiles": profiles(more)}), person("carol"), NOW))
        box = page.find("input", {"type": "search"})
        assert bool(box) == has_box
    # Without JavaScript it would do nothing.
    assert box.find_parent(hidden=True)
    assert not box.get("name")


def test_pages_have_no_inline_style_and_script() -> None:
    for found in (form_for("alice"), form_for("bob"), closed_page(site_with(), Refusal("x", "No."), "carol")):
        page = page_of(found)
        assert not page.find("style")
        assert not page.find(style=True)
        assert all(script.get("src") and not script.get_text() for script in page.find_all("script"))
        assert not [name for tag in page.find_all(True) for name in tag.attrs if name.startswith("on")]


def test_more_groups_than_nfs_supports_is_a_warning() -> None:
    many = tuple(Group(gid, f"g{gid}") for gid in range(30000, 30017))
    identity = replace(person("alice"), groups=(*person("alice").groups, *many))
    page = page_of(build_form(site_with(), identity, NOW))
    assert "AUTH_SYS" in page.get_text()
    folded = page.find("details")
    assert words(folded.find("summary")) == "12 more"
    assert "g30016" in words(folded)


def test_the_form_of_200_profiles_is_small() -> None:
    profiles = {f"p{number}": {"like": "small", "title": f"Profile {number}"} for number in range(200)}
    html = html_of(build_form(site_with({"profiles": profiles}), person("carol"), NOW))
    assert len(html) / 200 < 3000
    assert len(html_of(form_for("alice"))) + sum(file.stat().st_size for file in STATIC) < 60_000


STATIC = [path for path in (Path(web.__file__).parent / "static").iterdir() if path.suffix in (".css", ".js")]


@dataclass(frozen=True)
class Known:
    state: str
    label: str
    detail: str = ""
    as_of: datetime = NOW
    can_never_start: bool = False


def test_what_is_free_is_shown_with_its_time_and_nothing_where_it_is_not_known() -> None:
    builder, alice = FormBuilder(site_with()), person("alice")
    html = html_of(builder.build(alice, NOW))
    assert "free" not in html.lower()
    earlier = NOW - timedelta(seconds=12)
    known = {
        ("small", "climate"): Known("would-wait", "You would wait (7 waiting)"),
        ("small", "backfill"): Known("free-now", "Free now", as_of=earlier),
        ("a100", "climate"): Known("too-big", EVIL, EVIL, can_never_start=True),
    }
    form = builder.build(alice, NOW, answers=dict(known))
    assert isinstance(form, Form)
    assert form.free_as_of == earlier
    small, a100 = form.offers
    assert small.free is not None
    assert (small.free.label, small.can_never_start) == ("You would wait (7 waiting) in climate", False)
    page = page_of(form)
    assert words(page.find(class_="research-read")) == "Free capacity as of 11:59:48 UTC"
    for name, label in (("climate", "You would wait (7 waiting)"), ("backfill", "Free now")):
        radio = page.find("input", {"name": "queue--profile:small", "value": name})
        assert words(page.find(id=radio["aria-describedby"])).startswith(f"{label} · ")
        assert not radio.has_attr("disabled")
    # It can be read, and not selected.
    big = page.find(id="profile:a100")
    assert (big.has_attr("disabled"), a100.can_never_start) == (True, True)
    assert not page.find(id="profile:small").has_attr("disabled")
    assert page.find(id="profile:a100-free")["id"] in big["aria-describedby"].split()
    assert page.find(id="profile:a100-free").contents[0] == EVIL
    assert "<img" not in str(html_of(form))
    # What was free before is not kept.
    known = {("a100", "climate"): Known("free-now", "Free now")}
    form = builder.build(alice, NOW, answers=dict(known))
    assert isinstance(form, Form)
    assert [offer.free.label if offer.free else "" for offer in form.offers] == ["", "Free now"]
    assert builder.build(alice, NOW) == build_form(site_with(), alice, NOW)


NEVER = Known("too-big", "No node is this big", "The largest has 4 CPUs. It can never start.", can_never_start=True)


def form_knowing(never: set[tuple[str, str]], **more: Any) -> Form:
    """Return the form of alice, where these profiles can never start in these queues."""
    found = build_form(
        site_with(),
        person("alice"),
        NOW,
        answers={
            (profile, queue): NEVER if (profile, queue) in never else Known("free-now", "Free now")
            for profile in ("small", "a100")
            for queue in ("climate", "backfill")
        },
        **more,
    )
    assert isinstance(found, Form)
    return found


def test_what_can_never_start_is_not_selected_and_keeps_what_was_set_for_it() -> None:
    wishes = {"profile": "a100", "wall_time": "3h"}
    form = form_knowing({("a100", "climate")}, selected=Selected(wishes), last=wishes)
    assert form.notes == ("'A100, one NUMA node' can never start in this cluster. Choose another.",)
    assert form.last is None
    refusal = Refusal("never-fits", "It can never start here.", field="profile", hint="Choose 'Small'.")
    page = page_of(form_knowing({("a100", "climate")}, selected=Selected(wishes, refusal=refusal)))
    radio = page.find(id="profile:a100")
    assert (radio.has_attr("disabled"), radio.has_attr("checked")) == (True, False)
    assert words(page.find(id="profile:a100-error")) == "It can never start here. Choose 'Small'."
    assert page.find(id="research-error").find("a")["href"] == "#profile:a100"
    posted = posted_by_a_browser(page)
    assert "offer" not in posted, "a browser asks for a choice"
    assert posted["wall_time--profile:a100"] == ["3h"]
    # What was set for it does not refuse the start of another one.
    assert refusal_for(posted | {"offer": ["profile:small"]}) is None


def test_a_queue_in_which_it_can_never_start_is_not_selected() -> None:
    for wishes in ({"profile": "small"}, {"profile": "small", "queue": "climate"}):
        form = form_knowing({("small", "climate")}, selected=Selected(wishes), last={**wishes, "queue": "climate"})
        assert form.last is None
        small = form.offers[0]
        assert small.free is not None
        assert (small.can_never_start, small.free.label) == (False, "Free now in backfill")
        page = page_of(form)
        climate, backfill = page.find_all("input", {"name": "queue--profile:small"})
        assert (climate.has_attr("disabled"), climate.has_attr("checked")) == (True, False)
        assert (backfill.has_attr("disabled"), backfill.has_attr("checked")) == (False, True)
        posted = posted_by_a_browser(page)
        assert chosen_by_form(posted) == {"profile": "small", "queue": "backfill"}
        # The queue that the form has selected is not a change of the user.
        assert refusal_for(posted | {"offer": ["profile:a100"]}) is None


def test_only_what_is_not_the_default_is_a_fact_of_a_queue() -> None:
    page = page_of(form_for("alice"))
    climate, backfill = page.find_all("input", {"name": "queue--profile:small"})
    assert [radio.parent["data-short"] for radio in (climate, backfill)] == ["", "preemptible, priority low"]
    assert "Priority" not in words(page.find(id=climate["aria-describedby"]))
    assert "Priority low." in words(page.find(id=backfill["aria-describedby"]))
    assert "normal" not in words(page)
    # kube-scheduler alone has no queues of its own, so its name says nothing to a user.
    assert "Scheduler kueue" in words(page)
    plain = build_form(site_with({"scheduler": {"kind": "plain"}}), person("alice"), NOW)
    assert "Scheduler" not in words(page_of(plain))


def test_sentences_about_a_form_name_titles() -> None:
    titles = {"queues": {"backfill": {"title": "Left over"}}}
    images = {"r": {"image": "quay.io/jupyter/r-notebook:2026-10-01", "title": "R 4.6"}}
    site = site_with(titles, {"profiles": {"small": {"images": images}}})
    posted = {
        "offer": ["profile:a100"],
        "queue--profile:small": ["backfill"],
        "image--profile:small": ["r"],
    }
    with pytest.raises(Refusal, match="You set queue 'Left over' and image 'R 4\\.6' for 'Small', but 'A100, one"):
        check_elsewhere(site, person("alice"), NOW, posted)
    last = {"profile": "small", "queue": "backfill", "image": "r"}
    form = build_form(site, person("alice"), NOW, last=last)
    assert isinstance(form, Form) and form.last is not None
    assert form.last.text == "Small, queue Left over, 8h, image R 4.6"


def test_what_a_user_has_written_is_not_kept_in_memory() -> None:
    """A text can be as long as a request, and each refused form can have another one."""
    web._rendered_part.cache_clear()
    page_of(form_for("alice"))
    kept = web._rendered_part.cache_info().currsize
    assert kept == 2
    refusal = Refusal("invalid", "No.", field="wall_time")
    for number in range(3):
        text = "x" * 10_000 + str(number)
        options = {"profile": "small", "wall_time": text}
        refused = form_for("alice", options=options, refusal=refusal, kept={"wall_time--profile:a100": text})
        assert html_of(refused).count(text) >= 2
    assert web._rendered_part.cache_info().currsize == kept


def test_options_of_the_button_that_no_page_can_show() -> None:
    with pytest.raises(Refusal):
        chosen_by_form({"last_start": ['{"profile": "small", "wall_time": "\\ud800"}']})
