"""What a job inherits of the notebook that submits it: used where it fits, and never a reason to refuse the job."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import IMAGE, decide, person, site_with

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.plan import Inherited
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings.units import parse_wall_time
from jupyter_research_spawner.site import Site

OTHER = "example/other:1"
SITE = site_with()


def test_what_fits_is_used_without_a_word(alice: PosixIdentity) -> None:
    site = site_with({"batch": {"images": {"other": OTHER}}})
    decided = decide(site, alice, "job", inherited=Inherited("a100", "climate", OTHER, ("/project/climate/x",)))
    assert (decided.profile, decided.queue, decided.image) == ("a100", "climate", OTHER)
    assert (decided.workdir, decided.warnings) == ("/project/climate/x", ())


def test_what_the_user_asks_for_precedes(site: Site, alice: PosixIdentity) -> None:
    inherited = Inherited("a100", "climate", OTHER, ("/home/alice/x",))
    decided = decide(site, alice, "job", queue="climate", image=IMAGE, workdir="~", inherited=inherited)
    assert (decided.profile, decided.queue, decided.image, decided.workdir) == ("a100", "climate", IMAGE, "/home/alice")


def test_who_chooses_a_profile_gets_its_queue_and_image(alice: PosixIdentity) -> None:
    site = site_with({"batch": {"images": {"old": OTHER}}, "profiles": {"small": {"queue": "climate"}}})
    inherited = Inherited("a100", "backfill", OTHER, ("/home/alice/x",))
    decided = decide(site, alice, "job", profile="small", inherited=inherited)
    assert (decided.profile, decided.queue, decided.image, decided.workdir) == (
        "small",
        "climate",
        IMAGE,
        "/home/alice/x",
    )
    assert decided.warnings == ()


@pytest.mark.parametrize(
    ("inherited", "choices", "result", "warning"),
    [
        (
            Inherited("small", "climate", "old:1"),
            {},
            ("small", "climate", IMAGE),
            "The image of your notebook, 'old:1', is not used for this job. Image 'old:1' is not allowed for profile",
        ),
        (
            Inherited("small", "teaching", IMAGE),
            {},
            ("small", "climate", IMAGE),
            "The queue of your notebook, 'teaching', is not used for this job. Queue 'teaching' requires membership in",
        ),
        (
            Inherited("gone", "backfill", IMAGE),
            {},
            ("small", "backfill", IMAGE),
            "The profile of your notebook, 'gone', is not used for this job. There is no profile 'gone'.",
        ),
        (
            Inherited("a100", "climate", IMAGE),
            {"queue": "backfill"},
            ("small", "backfill", IMAGE),
            "The profile of your notebook, 'a100', is not used for this job. Profile 'a100' cannot be used in queue",
        ),
        (
            Inherited("a100", "backfill", None),
            {},
            ("a100", "climate", IMAGE),
            "The queue of your notebook, 'backfill', is not used for this job. Profile 'a100' cannot be used in queue",
        ),
    ],
)
def test_what_does_not_fit_is_left_out_and_told(
    site: Site,
    alice: PosixIdentity,
    inherited: Inherited,
    choices: dict[str, Any],
    result: tuple[str, ...],
    warning: str,
) -> None:
    decided = decide(site, alice, "job", inherited=inherited, **choices)
    assert (decided.profile, decided.queue, decided.image) == result
    assert [text[: len(warning)] for text in decided.warnings] == [warning]
    assert warning in decided.written.replace("\\\\", "")


def test_a_default_image_of_jobs_applies_where_the_notebooks_is_not_offered(alice: PosixIdentity) -> None:
    profiles = {"small": {"images": {"default": None, "other": None}}, "a100": None}
    site = site_with({"batch": {"images": {"default": OTHER}}, "profiles": profiles})
    assert decide(site, alice, "job", inherited=Inherited(image="old:1")).image == OTHER


def test_a_queue_of_a_class_without_jobs_is_left_out(bob: PosixIdentity) -> None:
    site = site_with(
        {
            "classes": {"stats-101": {"jobs": {"allowed": False}}},
            "queues": {
                "open": {"order": 0},
                "teaching": {"groups": {"stats101-f26": None}, "classes": {"stats-101": True}},
            },
        }
    )
    with pytest.raises(Refusal, match="cannot submit jobs"):
        decide(site, bob, "job", queue="teaching")
    assert decide(site, bob, "job", inherited=Inherited("small", "teaching")).queue == "open"


@pytest.mark.parametrize(
    ("paths", "workdir"),
    [
        (("/home/alice",), "/home/alice"),
        (("/home",), "/home"),
        (("/home/alice/two words $(id) é",), "/home/alice/two words $(id) é"),
        (("/data/era5/2026",), "/data/era5/2026"),  # read-only
        (("/mnt/nfs/alice/x", "/home/alice/x"), "/home/alice/x"),  # the home is a link
        (("/project/climate",), "/project/climate"),
    ],
)
def test_the_first_path_of_the_current_directory_that_jobs_have_counts(
    site: Site, alice: PosixIdentity, paths: tuple[str, ...], workdir: str
) -> None:
    decided = decide(site, alice, "job", inherited=Inherited(workdir=paths))
    assert (decided.request.workdir, decided.warnings) == (workdir, ())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/tmp",
        "/etc",
        "/home/bob",
        "/project/climate2",
        "/home/alice/../bob",
        "relative",
        "//home/alice",
        "",
        "/home/alice/a\nb",
    ],
)
def test_a_job_starts_in_the_home_where_it_lacks_the_current_directory(
    site: Site, alice: PosixIdentity, path: str
) -> None:
    decided = decide(site, alice, "job", inherited=Inherited(workdir=(path,)))
    assert (decided.request.workdir, decided.workdir) == (None, "/home/alice")
    assert decided.warnings == (
        f"Your current directory {path!r} is not in your home directory or on a file system mounted for jobs. The job "
        "starts in your home directory /home/alice.",
    )


names = (
    st.none() | st.sampled_from(["small", "a100", "climate", "teaching", "backfill", IMAGE, "", "x\x1b"]) | st.text()
)


@given(profile=names, queue=names, image=names, workdir=st.lists(st.text(), max_size=3))
def test_nothing_inherited_refuses_a_job(
    profile: str | None, queue: str | None, image: str | None, workdir: list[str]
) -> None:
    decide(SITE, person("alice"), "job", inherited=Inherited(profile, queue, image, tuple(workdir)))


def test_a_refusal_is_that_of_what_the_user_asked_for(site: Site, alice: PosixIdentity) -> None:
    with pytest.raises(Refusal) as caught:
        decide(site, alice, "job", queue="gone", inherited=Inherited("old", "older", "oldest"))
    assert (caught.value.field, caught.value.message) == ("queue", "There is no queue 'gone'.")


@pytest.mark.parametrize(
    ("limits", "inherited", "asked", "limit"),
    [
        ({}, Inherited("a100", "climate", IMAGE), "2d", "1d, the maximum for jobs in profile 'a100'"),
        ({"small": {"wall_time": "4d"}}, Inherited("a100", "climate", IMAGE), "2d", "1d"),
        ({"small": {"wall_time": "4d"}}, Inherited("a100", "backfill", "old:1"), "2d", "1d"),
        ({"a100": {"wall_time": "4d"}}, Inherited("gone", "climate", IMAGE), "2d", "8h, the maximum for jobs in"),
    ],
)
def test_a_wall_time_is_refused_and_not_moved_to_a_profile_that_allows_it(
    alice: PosixIdentity, limits: dict[str, Any], inherited: Inherited, asked: str, limit: str
) -> None:
    site = site_with({"profiles": limits})
    with pytest.raises(Refusal) as caught:
        decide(site, alice, "job", wall_time=parse_wall_time(asked), inherited=inherited)
    assert caught.value.field == "wall_time"
    assert f"Wall time 2d is longer than {limit}" in caught.value.message
    assert ("the profile of your notebook" in caught.value.hint) == (inherited.profile == "a100")
