"""The demo's own logic: the table that compares, and the form that it fills in as a browser would."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_research_spawner.demo import comparison
from jupyter_research_spawner.demo.demo_cluster import settings
from jupyter_research_spawner.demo.embedded_cluster import homes_on_this_machine
from jupyter_research_spawner.demo.user_session import Form, UnexpectedResult
from jupyter_research_spawner.identity import Resolver
from jupyter_research_spawner.site import load

NOTEBOOK = {
    "user": "alice",
    "uid": "20001",
    "gid": "20001",
    "groups": "alice, climate",
    "home": "/home/alice",
    "mounts": "/data/era5 (ro), /home (rw), /project/climate (rw)",
    "scheduler": "default-scheduler",
    "queue": "climate",
    "priority": "research-normal (0)",
}


async def test_without_mounts_homes_have_their_paths_on_this_machine(tmp_path: Path) -> None:
    """A job from a notebook then starts in the notebook's directory, without a warning about it."""
    homes = tmp_path / "shared" / "home"
    site = load(settings(homes_on_this_machine(tmp_path, homes)))
    alice = await Resolver(site.identity).resolve("alice")
    assert alice.home == str(homes / "alice")
    assert site.storage.homes["main"].root == str(homes)


def test_equal_sides_are_equal_row_by_row():
    assert all(row.equal is True for row in comparison.compare(NOTEBOOK, NOTEBOOK, {}))


@pytest.mark.parametrize("name", comparison.COMPARED)
def test_every_row_that_differs_is_told(name):
    rows = comparison.compare(NOTEBOOK, {**NOTEBOOK, name: "other"}, {})
    assert [row.name for row in rows if row.equal is False] == [name]


@pytest.mark.parametrize("name", comparison.COMPARED)
def test_what_neither_side_knows_is_not_equal(name):
    unknown = {key: value for key, value in NOTEBOOK.items() if key != name}
    assert [row.name for row in comparison.compare(unknown, unknown, {}) if row.equal is False] == [name]


def test_what_cannot_be_compared_is_named_with_its_reason():
    rows = comparison.compare(NOTEBOOK, NOTEBOOK, {"uid": "not root", "gid": "not root"})
    assert [row.name for row in rows if row.equal is None] == ["uid", "gid"]
    assert comparison.render(rows).endswith("- not compared: uid, gid: not root")


def test_the_table_fits_a_terminal_and_loses_nothing():
    long = {**NOTEBOOK, "groups": ", ".join(f"group-{number}" for number in range(20)), "home": "/home/" + "x" * 70}
    text = comparison.render(comparison.compare(long, long, {}))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("group-19") == 2
    assert text.count("x") >= 140


PAGE = """
<form method="post"><input type="hidden" name="_xsrf" value="token">
<fieldset><legend>Profile</legend>
<input type="radio" name="profile" id="p1" value="small" checked><label for="p1">Small <small>2 CPU</small></label>
<label><input type="radio" name="profile" value="a100"> A100 &amp; more</label>
</fieldset>
<select name="queue"><option value="climate">climate</option>
<option value="backfill" selected>backfill</option></select>
<input type="submit" name="go" value="Start"></form>
"""


def test_the_form_is_read_with_what_is_chosen():
    assert Form(PAGE).fields == {"_xsrf": "token", "profile": "small", "queue": "backfill"}


def test_a_choice_is_made_by_its_label():
    form = Form(PAGE)
    form.choose("A100 & more")
    assert form.fields["profile"] == "a100"


def test_a_choice_that_is_not_offered_says_what_is():
    with pytest.raises(UnexpectedResult, match=r"no choice 'Large'. Its choices are: Small 2 CPU, A100 & more"):
        Form(PAGE).choose("Large")
