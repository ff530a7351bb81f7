"""Plans: the choices made for a request, refusals with their messages, and what the adoption key depends on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from samples import IMAGE, NOW, RUN_ID, decide, request, site_with

from jupyter_research_spawner.identity import Group, PosixIdentity
from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.plan import Help, OfferedImage, OfferedQueue, Plan, WallTime, offers, plan, whom_to_ask
from jupyter_research_spawner.pod import compose
from jupyter_research_spawner.prerequisite import Prerequisite
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site

HOUR = timedelta(hours=1)
OTHER_IMAGE = "quay.io/jupyter/datascience-notebook:2026-10-01"


def refused(site: Site, who: PosixIdentity, kind: str = "notebook", **choices: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        decide(site, who, kind, **choices)
    return caught.value


def test_the_defaults_are_the_first_profile_and_queue_that_the_user_may_use(site: Site, alice: PosixIdentity) -> None:
    decided = decide(site, alice)
    assert (decided.profile, decided.queue, decided.priority, decided.preemptible) == (
        "small",
        "climate",
        "normal",
        False,
    )
    assert decided.namespace == "jhub"
    assert decided.image == IMAGE
    assert [str(mount) for mount in decided.mounts] == [
        "/home (home)",
        "/data/era5 (era5, read-only)",
        "/project/climate (project-climate)",
    ]
    assert decided.workdir == "/home/alice"
    assert str(decided.resources) == "2 CPU, 4Gi"
    assert decided.warnings == ()


def test_a_user_gets_no_mount_and_no_queue_of_another_group(site: Site, bob: PosixIdentity) -> None:
    decided = decide(site, bob)
    assert decided.queue == "teaching"
    assert [mount.claim for mount in decided.mounts] == ["home", "era5"]


def test_a_preemptible_queue_is_never_a_default(site: Site, bob: PosixIdentity) -> None:
    first = site_with({"queues": {"backfill": {"order": 0}}})
    assert decide(first, bob).queue == "teaching"
    asked = decide(first, bob, queue="backfill")
    assert (asked.queue, asked.preemptible, asked.priority) == ("backfill", True, "low")


def test_a_user_without_a_default_queue_is_told_which_queue_to_choose(site: Site, carol: PosixIdentity) -> None:
    assert str(refused(site, carol)) == "You have no default profile. Your profiles: 'Small'."
    assert (
        str(refused(site, carol, profile="small"))
        == "You have no default queue for profile 'Small'. Choose a queue: 'backfill'."
    )
    assert (
        str(refused(site, carol, "job", profile="small"))
        == "You have no default queue for profile 'small'. Choose a queue: backfill."
    )
    assert decide(site, carol, queue="backfill").profile == "small"


def test_defaults_follow_the_order_and_then_the_name(alice: PosixIdentity) -> None:
    queues = {"b": {"order": 0}, "a": {"order": 0}, "z": {"order": -1, "groups": {"nobody": True}}}
    assert decide(site_with({"queues": queues}), alice).queue == "a"
    profiles = {"tiny": {"like": "small", "title": "Tiny", "order": 0, "cpu": 1}}
    assert decide(site_with({"profiles": profiles}), alice).profile == "tiny"


def test_a_profile_with_a_gpu_is_never_a_default(alice: PosixIdentity) -> None:
    site = site_with({"profiles": {"a100": {"order": 0}, "small": {"groups": {"students": True}}}, "classes": None})
    assert refused(site, alice).code == "no-profile"
    assert decide(site, alice, profile="a100").resources.gpu is not None


def test_a_class_is_never_a_default(site: Site, bob: PosixIdentity) -> None:
    assert decide(site, bob).request.course is None


def test_the_queue_of_a_profile_precedes_the_order_of_queues(alice: PosixIdentity) -> None:
    site = site_with({"profiles": {"small": {"queue": "backfill"}, "a100": None}})
    assert decide(site, alice).queue == "backfill"
    assert decide(site, alice, queue="climate").queue == "climate"


def test_a_profile_whose_queue_is_not_allowed_is_refused_and_gets_no_other_queue(bob: PosixIdentity) -> None:
    site = site_with({"profiles": {"small": {"queue": "climate"}, "a100": None}})
    assert refused(site, bob, profile="small").code == "queue-not-yours"


def test_a_profile_whose_queue_is_not_allowed_is_never_the_default(bob: PosixIdentity) -> None:
    second = {"like": "small", "title": "Second", "queue": "teaching"}
    site = site_with({"profiles": {"second": second, "small": {"queue": "climate"}, "a100": None}, "classes": None})
    assert decide(site, bob).profile == "second"


def test_the_default_profile_can_be_used_in_the_requested_queue(alice: PosixIdentity) -> None:
    wide = {"like": "small", "title": "Wide", "queues": {"climate": True}}
    site = site_with({"profiles": {"small": {"queues": {"backfill": True, "teaching": True}}, "wide": wide}})
    assert decide(site, alice, queue="climate").profile == "wide"
    assert decide(site, alice, queue="backfill").profile == "small"


SOON = "A new group has an effect here after 5m at most. To have your groups read again sooner, try again after 10s."


@pytest.mark.parametrize(
    ("groups", "is_allowed"),
    [
        ({}, True),
        ({"climate": True}, True),
        ({"climate": True, "students": False}, True),
        ({"climate": False}, False),
        ({"climate": False, "students": False}, False),
        ({"climate": False, "students": True}, False),
        ({"climate": False, "alice": True}, True),
    ],
    ids=str,
)
def test_empty_groups_allow_all_users_and_other_groups_only_those_that_are_true(
    alice: PosixIdentity, groups: dict[str, bool], is_allowed: bool
) -> None:
    for_all_users = {"queues": {"climate": {"groups": None}}}
    of_profile = {"profiles": {"more": {"like": "small", "title": "More", "groups": groups}}}
    of_queue = {"profiles": {"more": {"like": "small", "title": "More"}}, "queues": {"climate": {"groups": groups}}}
    for given in (of_profile, of_queue):
        site = site_with(for_all_users, given)
        if is_allowed:
            assert decide(site, alice, profile="more", queue="climate").queue == "climate"
        else:
            assert refused(site, alice, profile="more", queue="climate").status == 403


def test_the_user_must_be_allowed_both_the_profile_and_the_queue(alice: PosixIdentity, bob: PosixIdentity) -> None:
    site = site_with({"profiles": {"a100": {"queues": None}}})
    assert decide(site, alice, profile="a100", queue="backfill").queue == "backfill"
    assert refused(site, bob, profile="a100", queue="backfill").code == "profile-not-yours"
    assert refused(site, alice, profile="a100", queue="teaching").code == "queue-not-yours"


REFUSED: dict[str, tuple[dict[str, Any], str, str, int, str]] = {
    "a profile of another group": (
        {"profile": "a100"},
        "profile-not-yours",
        "profile",
        403,
        "Profile 'A100, one NUMA node' requires membership in group climate; your groups are bob, students and "
        f"stats101-f26. Ask the group's owner to add you. {SOON} Your profiles: 'Small'.",
    ),
    "a queue of another group": (
        {"queue": "climate"},
        "queue-not-yours",
        "queue",
        403,
        "Queue 'climate' requires membership in group climate; your groups are bob, students and stats101-f26. "
        f"Ask the group's owner to add you. {SOON} Your queues: 'teaching' and 'backfill'.",
    ),
    "an unknown profile": (
        {"profile": "a200"},
        "unknown-profile",
        "profile",
        400,
        "There is no profile 'a200'. Your profiles: small (Small).",
    ),
    "an unknown queue": (
        {"queue": "night"},
        "unknown-queue",
        "queue",
        400,
        "There is no queue 'night'. Your queues: teaching and backfill.",
    ),
    "a profile with a newline": (
        {"profile": "small\nevil"},
        "unknown-profile",
        "profile",
        400,
        r"There is no profile 'small\nevil'. Your profiles: small (Small).",
    ),
    "a profile name of 1000 letters": (
        {"profile": "a" * 1000},
        "unknown-profile",
        "profile",
        400,
        f"There is no profile '{'a' * 63}…'. Your profiles: small (Small).",
    ),
    "an unknown class": (
        {"course": "latin"},
        "class-not-yours",
        "class",
        403,
        "You are not on the roster of a class named 'latin'. Your classes: stats-101.",
    ),
    "a class with another queue": (
        {"course": "stats-101", "queue": "backfill"},
        "class-fixed",
        "queue",
        400,
        "Class 'stats-101' always uses queue 'teaching'; you asked for 'backfill'. "
        "Do not choose a queue for this class.",
    ),
    "a class with another profile": (
        {"course": "stats-101", "profile": "a100"},
        "class-fixed",
        "profile",
        400,
        "Class 'stats-101' always uses profile 'Small'; you asked for 'A100, one NUMA node'. "
        "Do not choose a profile for this class.",
    ),
    "a longer wall time than the profile's": (
        {"wall_time": 9 * HOUR},
        "wall-time-too-long",
        "wall_time",
        400,
        "Wall time 9h is longer than 8h, the maximum for profile 'Small'. Ask for 8h or less.",
    ),
    "a wall time of 0": (
        {"wall_time": timedelta(0)},
        "wall-time-too-short",
        "wall_time",
        400,
        "Wall time must be longer than 0 seconds; you asked for 0 seconds. "
        "Ask for at least 1 second, or leave the wall time out to get the default.",
    ),
    "a negative wall time": (
        {"wall_time": -HOUR},
        "wall-time-too-short",
        "wall_time",
        400,
        "Wall time must be longer than 0 seconds; you asked for -3600 seconds. "
        "Ask for at least 1 second, or leave the wall time out to get the default.",
    ),
    "an image that the site does not list": (
        {"image": "evil.example/miner:1"},
        "image-not-allowed",
        "image",
        400,
        f"Image 'evil.example/miner:1' is not allowed for profile 'Small'. Allowed images: {IMAGE}.",
    ),
    "a working directory in the image": (
        {"workdir": "/etc"},
        "workdir-elsewhere",
        "workdir",
        400,
        "Working directory '/etc' is not in your home directory or on a file system mounted for you. "
        "Choose a directory in /home/bob or /data/era5.",
    ),
    "a working directory in the home of another user": (
        {"workdir": "/home/alice/new"},
        "workdir-elsewhere",
        "workdir",
        400,
        "Working directory '/home/alice/new' is not in your home directory or on a file system mounted for you. "
        "Choose a directory in /home/bob or /data/era5.",
    ),
    "a working directory with ..": (
        {"workdir": "/home/bob/../../etc"},
        "workdir-elsewhere",
        "workdir",
        400,
        "Working directory '/home/bob/../../etc' is not in your home directory or on a file system mounted for you. "
        "Choose a directory in /home/bob or /data/era5.",
    ),
    "a working directory on a mount of another group": (
        {"workdir": "/project/climate"},
        "workdir-elsewhere",
        "workdir",
        400,
        "Working directory '/project/climate' is not in your home directory or on a file system mounted for you. "
        "Choose a directory in /home/bob or /data/era5.",
    ),
}


@pytest.mark.parametrize(("choices", "code", "field", "status", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_has_code_field_status_message_and_hint(
    site: Site, bob: PosixIdentity, choices: dict[str, Any], code: str, field: str, status: int, sentence: str
) -> None:
    refusal = refused(site, bob, **choices)
    assert (refusal.code, refusal.field, refusal.status) == (code, field, status)
    assert str(refusal) == sentence


def test_a_refusal_names_all_required_groups_or_says_that_a_queue_is_closed(bob: PosixIdentity) -> None:
    site = site_with({"queues": {"climate": {"groups": {"oceans": True}}, "shut": {"groups": {"students": False}}}})
    assert refused(site, bob, queue="climate").message.startswith(
        "Queue 'climate' requires membership in group climate or oceans;"
    )
    assert refused(site, bob, queue="shut").message.startswith("Queue 'shut' is closed to all users;")


def test_a_queue_that_the_profile_does_not_allow_is_refused(site: Site, alice: PosixIdentity) -> None:
    assert (
        str(refused(site, alice, profile="a100", queue="backfill"))
        == "Profile 'A100, one NUMA node' cannot be used in queue 'backfill'. Your queues for this profile: 'climate'."
    )


def test_sentences_name_titles_and_those_about_jobs_the_names_that_their_users_write(alice: PosixIdentity) -> None:
    titles = {"queues": {"climate": {"title": "Climate nodes"}, "backfill": {"title": "Left over"}}}
    site = site_with(titles)
    wishes = {"profile": "a100", "queue": "backfill"}
    assert (
        str(refused(site, alice, **wishes)) == "Profile 'A100, one NUMA node' cannot be used in queue 'Left over'. "
        "Your queues for this profile: 'Climate nodes'."
    )
    assert (
        str(refused(site, alice, "job", **wishes))
        == "Profile 'a100' cannot be used in queue 'backfill'. Your queues for this profile: climate."
    )
    # Who wrote a name that does not exist, reads the names that exist.
    hint = refused(site, alice, profile="a1oo").hint
    assert hint == "Your profiles: small (Small) and a100 (A100, one NUMA node)."
    assert refused(site, alice, "job", profile="a1oo").hint == "Your profiles: small and a100."


def test_many_groups_do_not_fill_the_page(bob: PosixIdentity) -> None:
    groups = tuple(Group(30000 + number, f"g{number}") for number in range(40))
    site = site_with({"profiles": {"small": {"groups": {"elsewhere": True}}}, "classes": None})
    message = refused(site, replace(bob, groups=groups), profile="small").message
    assert message.endswith("your groups are g0, g1, g2, g3, g4, g5, g6, g7, g8, g9, g10, g11 and 28 more.")


def at(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), timezone.utc)


def in_class(site: Site, who: PosixIdentity, now: datetime) -> Plan:
    return plan(site, who, request(who, course="stats-101"), run_id=RUN_ID, now=now)


def test_a_class_sets_its_profile_and_its_queue(site: Site, bob: PosixIdentity) -> None:
    decided = decide(site, bob, course="stats-101")
    assert (decided.profile, decided.queue, decided.request.course) == ("small", "teaching", "stats-101")
    same = decide(site, bob, course="stats-101", profile="small", queue="teaching")
    assert same == decided


def test_a_user_who_is_not_on_the_roster_is_told_which_group_to_join(site: Site, carol: PosixIdentity) -> None:
    assert (
        str(refused(site, carol, course="stats-101")) == "You are not on the roster of a class named 'stats-101'. "
        f"Ask the course staff to add you to group stats101-f26. {SOON}"
    )


def test_a_class_is_available_from_its_first_day_to_the_end_of_its_last_day(bob: PosixIdentity) -> None:
    site = site_with({"classes": {"stats-101": {"since": "2026-09-01"}}})
    almost_midnight = timedelta(hours=23, minutes=59)
    for now in (at("2026-09-01"), at("2026-12-20") + almost_midnight):
        assert in_class(site, bob, now).queue == "teaching"
    with pytest.raises(Refusal, match="Class 'stats-101' begins on 2026-09-01"):
        in_class(site, bob, at("2026-08-31") + almost_midnight)
    with pytest.raises(Refusal, match="Class 'stats-101' ended on 2026-12-20") as ended:
        in_class(site, bob, at("2026-12-21"))
    assert (ended.value.field, ended.value.status) == ("class", 403)


def test_the_dates_of_a_class_are_in_utc(site: Site, bob: PosixIdentity) -> None:
    tokyo = timezone(timedelta(hours=9))
    assert in_class(site, bob, datetime(2026, 12, 21, 8, 0, tzinfo=tokyo)).queue == "teaching"


def test_plan_accepts_every_offer(site: Site, alice: PosixIdentity, bob: PosixIdentity, carol: PosixIdentity) -> None:
    told = {
        who.name: [(offer.name, offer.course, offer.queues, offer.is_default) for offer in offers(site, who, NOW)]
        for who in (alice, bob, carol)
    }
    assert told == {
        "alice": [("small", None, ("climate", "backfill"), True), ("a100", None, ("climate",), False)],
        "bob": [
            ("stats-101", "stats-101", ("teaching",), True),
            ("small", None, ("teaching", "backfill"), False),
        ],
        "carol": [("small", None, ("backfill",), False)],
    }
    for who in (alice, bob, carol):
        for offer in offers(site, who, NOW):
            for queue in offer.queues:
                choices = {"course": offer.course} if offer.course else {"profile": offer.profile}
                assert decide(site, who, queue=queue, **choices).profile == offer.profile
    assert [offer.name for offer in offers(site, bob, at("2027-01-01"))] == ["small"]


def test_an_offer_says_what_its_queues_and_images_mean(alice: PosixIdentity, bob: PosixIdentity) -> None:
    pytorch = {"image": "quay.io/jupyter/pytorch-notebook:1", "title": "PyTorch", "description": "CUDA 12."}
    patterns = {"quay.io/a/*": True, "quay.io/b/*": False}
    small = {"heading": "Without a GPU", "images": {"pytorch": pytorch}, "other_images": patterns}
    site = site_with(
        {
            "queues": {"climate": {"title": "Climate group", "description": "The group's nodes"}, "backfill": {}},
            "profiles": {"small": small},
        }
    )
    found, _ = offers(site, alice, NOW)
    assert found.heading == "Without a GPU"
    assert found.offered_queues == (
        OfferedQueue(
            "climate",
            "Climate group",
            "The group's nodes. This queue has weight 2 when all queues are busy. Not preemptible by other queues.",
            False,
        ),
        OfferedQueue(
            "backfill", "backfill", "Preemptible: your work is stopped when work of other queues needs its place.", True
        ),
    )
    assert found.images == (
        OfferedImage("default", "default", "", IMAGE),
        OfferedImage("pytorch", "PyTorch", "CUDA 12.", "quay.io/jupyter/pytorch-notebook:1"),
    )
    assert found.other_images == ("quay.io/a/*",)
    assert [(offer.name, offer.heading) for offer in offers(site, bob, NOW)] == [
        ("stats-101", ""),
        ("small", "Without a GPU"),
    ]


def test_the_site_says_whom_its_users_ask(site: Site) -> None:
    assert whom_to_ask(site) == Help("Ask your administrators.", "")
    support = {"text": "Ask the help desk.", "url": "https://support.example.edu/jupyter"}
    assert whom_to_ask(site_with({"contact": support})) == Help(**support)


def test_profiles_without_an_allowed_queue_are_not_offered(
    alice: PosixIdentity, bob: PosixIdentity, carol: PosixIdentity
) -> None:
    site = site_with(
        {
            "profiles": {
                "a100": {"queues": None},
                "research": {"like": "small", "title": "Research", "queues": {"climate": True}},
            },
            "classes": {"stats-101": {"queue": "backfill", "title": "Statistics"}},
        }
    )
    told = {who.name: [(o.name, o.title) for o in offers(site, who, NOW)] for who in (alice, bob, carol)}
    small, research = ("small", "Small"), ("research", "Research")
    assert told == {
        "alice": [("stats-101", "Statistics"), small, ("a100", "A100, one NUMA node"), research],
        "bob": [("stats-101", "Statistics"), small],
        "carol": [small],
    }
    assert (
        refused(site, bob, profile="research", queue="backfill").hint
        == "You have no queue for this profile. Choose another profile."
    )


def test_a_class_without_a_title_is_shown_by_its_name(site: Site, bob: PosixIdentity) -> None:
    assert offers(site, bob, NOW)[0].title == "stats-101"


@pytest.mark.parametrize(
    ("kind", "asked", "expected"),
    [
        ("notebook", None, WallTime(8 * HOUR, 12 * HOUR, "profiles.small.wall_time_hard is 12h")),
        ("notebook", HOUR, WallTime(HOUR, 12 * HOUR, "asked for 1h; profiles.small.wall_time_hard is 12h")),
        (
            "notebook",
            12 * HOUR,
            WallTime(12 * HOUR, 12 * HOUR, "asked for 12h; profiles.small.wall_time_hard is 12h"),
        ),
        ("job", None, WallTime(8 * HOUR, 12 * HOUR, "profiles.small.wall_time_hard is 12h")),
        ("job", HOUR, WallTime(HOUR, HOUR, "asked for 1h")),
        ("job", 12 * HOUR, WallTime(12 * HOUR, 12 * HOUR, "asked for 12h")),
    ],
    ids=str,
)
def test_wall_time_of_notebooks_and_jobs(
    alice: PosixIdentity, kind: str, asked: timedelta | None, expected: WallTime
) -> None:
    site = site_with({"profiles": {"small": {"wall_time_hard": "12h"}, "a100": None}})
    decided = decide(site, alice, kind, profile="small", wall_time=asked)
    assert decided.wall_time == expected
    assert decided.hard_seconds == expected.hard.total_seconds()


def test_limits_of_a_profile_bind_its_jobs_unless_it_has_others_for_them(site: Site, alice: PosixIdentity) -> None:
    assert (
        str(refused(site, alice, "job", wall_time=9 * HOUR))
        == "Wall time 9h is longer than 8h, the maximum for jobs in profile 'small'. Ask for 8h or less."
    )
    assert decide(site, alice, "job").wall_time == WallTime(8 * HOUR, 8 * HOUR, "profiles.small.wall_time is 8h")

    def own(hard: str) -> Site:
        return site_with({"profiles": {"small": {"jobs": {"wall_time_hard": hard}}}})

    rule = "profiles.small.jobs.wall_time_hard"
    assert decide(own("7d"), alice, "job").wall_time == WallTime(8 * HOUR, 168 * HOUR, f"{rule} is 7d")
    assert decide(own("7d"), alice, "job", wall_time=168 * HOUR).wall_time.hard == 168 * HOUR
    # It can be shorter, too, and notebooks have their own limit.
    assert decide(own("1h"), alice, "job").wall_time == WallTime(HOUR, HOUR, f"{rule} is 1h")
    assert decide(own("1h"), alice).wall_time == decide(own("7d"), alice).wall_time == decide(site, alice).wall_time
    # `like` copies it as any other key.
    assert own("7d").profiles["a100"].jobs.wall_time_hard == 168 * HOUR


def test_a_job_cannot_exceed_the_batch_wall_time(alice: PosixIdentity) -> None:
    site = site_with({"profiles": {"small": {"jobs": {"wall_time_hard": "60d"}}}})
    assert decide(site, alice, "job").wall_time == WallTime(8 * HOUR, 504 * HOUR, "batch.wall_time_hard is 21d")
    assert (
        str(refused(site, alice, "job", wall_time=22 * 24 * HOUR))
        == "Wall time 22d is longer than 21d, the maximum for jobs. Ask for 21d or less."
    )


def test_the_batch_wall_time_also_limits_the_soft_wall_time_of_a_job(alice: PosixIdentity) -> None:
    decided = decide(site_with({"batch": {"wall_time_hard": "1h"}}), alice, "job")
    assert decided.wall_time == WallTime(HOUR, HOUR, "batch.wall_time_hard is 1h")


# `a` sorts before `default`, but `default` must be chosen.
IMAGES = {
    "profiles": {"small": {"images": {"r": OTHER_IMAGE, "a": OTHER_IMAGE}}},
    "batch": {"images": {"alpine": "alpine:3"}},
}


@pytest.mark.parametrize(
    ("kind", "asked", "given"),
    [
        ("notebook", None, IMAGE),
        ("notebook", "r", OTHER_IMAGE),
        ("notebook", OTHER_IMAGE, OTHER_IMAGE),
        ("notebook", "alpine", None),
        ("notebook", "alpine:3", None),
        ("notebook", "", None),
        ("job", None, IMAGE),
        ("job", "r", OTHER_IMAGE),
        ("job", "alpine", "alpine:3"),
        ("job", "alpine:3", "alpine:3"),
        ("job", "alpine:4", None),
    ],
)
def test_only_images_that_the_site_lists_are_allowed(
    alice: PosixIdentity, kind: str, asked: str | None, given: str | None
) -> None:
    site = site_with(IMAGES)
    if given is None:
        assert refused(site, alice, kind, profile="small", image=asked).code == "image-not-allowed"
    else:
        assert decide(site, alice, kind, profile="small", image=asked).image == given


PATTERNS = {"quay.io/jupyter/*": True, "registry.example.edu:5000/climate/model:*": True, "quay.io/old/*": False}


@pytest.mark.parametrize(
    "image",
    [
        "quay.io/jupyter/r-notebook",
        "quay.io/jupyter/r-notebook:2026-10-01",
        "quay.io/jupyter/team/r_notebook@sha256:" + 64 * "0",
        "registry.example.edu:5000/climate/model:v2",
    ],
)
def test_an_image_that_matches_a_pattern_of_the_profile_is_allowed(alice: PosixIdentity, image: str) -> None:
    site = site_with({"profiles": {"small": {"other_images": PATTERNS}}})
    for kind in ("notebook", "job"):
        assert decide(site, alice, kind, profile="small", image=image).image == image


@pytest.mark.parametrize(
    "image",
    [
        "quay.io/jupyter/",
        "quay.io/jupyter/*",
        "quay.io/jupyter/../old/r-notebook:1",
        "quay.io/jupyter//r-notebook",
        "quay.io/jupyter/R:1",
        "quay.io/jupyter/r notebook",
        "quay.io/jupyter/r:1\n",
        "quay.io/jupyter/r:",
        "quay.io/old/r:1",
        "quay.io.evil.example/jupyter/r:1",
        "evil.example/quay.io/jupyter/r:1",
        "registry.example.edu:5000/climate/model2:v2",
        "quay.io/jupyter/" + 600 * "a",
    ],
)
def test_an_image_that_is_not_valid_or_matches_no_pattern_is_refused(alice: PosixIdentity, image: str) -> None:
    site = site_with({"profiles": {"small": {"other_images": PATTERNS}}})
    found = refused(site, alice, profile="small", image=image)
    assert (found.code, found.field) == ("image-not-allowed", "image")
    assert found.hint == (f"Allowed images: {IMAGE}, quay.io/jupyter/* and registry.example.edu:5000/climate/model:*.")


def test_without_images_a_notebook_uses_the_image_of_the_hub_and_a_job_is_refused(alice: PosixIdentity) -> None:
    site = site_with({"profiles": {"small": {"images": None}}})
    assert decide(site, alice).image is None
    assert refused(site, alice, image=IMAGE).code == "no-image"
    assert (
        str(refused(site, alice, "job"))
        == "Profile 'small' has no allowed image. Ask your administrators to add an image to "
        "profiles.small.images or batch.images."
    )
    batch = site_with({"profiles": {"small": {"images": None}}, "batch": {"images": {"b": "busybox", "a": "alpine"}}})
    assert decide(batch, alice, "job").image == "alpine"
    with_default = site_with({"profiles": {"small": {"images": None}}, "batch": {"images": {"a": "a", "default": "b"}}})
    assert decide(with_default, alice, "job").image == "b"


def test_an_image_of_the_profile_precedes_batch_images(alice: PosixIdentity) -> None:
    images = {"profiles": {"small": {"images": {"default": None, "r": OTHER_IMAGE}}}}
    site = site_with(images, {"batch": {"images": {"default": "busybox"}}})
    assert decide(site, alice, "job").image == decide(site, alice).image == OTHER_IMAGE


@pytest.mark.parametrize(("asked", "path"), [("~", "/home/alice"), ("~/results", "/home/alice/results")])
def test_a_tilde_means_the_home_of_the_user(site: Site, alice: PosixIdentity, asked: str, path: str) -> None:
    assert decide(site, alice, "job", workdir=asked).workdir == path


@pytest.mark.parametrize("asked", ["~bob", "~/../bob", "~/../../etc", "~//results"])
def test_a_tilde_cannot_lead_out_of_the_home(site: Site, alice: PosixIdentity, asked: str) -> None:
    with pytest.raises(Refusal, match="is not in your home directory or on a file system"):
        decide(site, alice, "job", workdir=asked)


@pytest.mark.parametrize("workdir", ["/home", "/home/alice/results", "/project/climate"])
def test_a_working_directory_on_mounted_storage_is_allowed(site: Site, alice: PosixIdentity, workdir: str) -> None:
    assert decide(site, alice, "job", workdir=workdir).workdir == workdir


def test_prerequisites_are_those_of_the_scheduler_and_the_claims_of_the_user(site: Site, bob: PosixIdentity) -> None:
    assert decide(site, bob).prerequisites == (
        Prerequisite("kueue.x-k8s.io/v1beta2", "LocalQueue", "teaching", "jhub"),
        Prerequisite("kueue.x-k8s.io/v1beta2", "WorkloadPriorityClass", "research-normal"),
        Prerequisite("scheduling.k8s.io/v1", "PriorityClass", "research-normal"),
        Prerequisite("v1", "PersistentVolumeClaim", "era5", "jhub"),
        Prerequisite("v1", "PersistentVolumeClaim", "home", "jhub"),
    )


def test_a_refusal_of_the_scheduler_is_raised(alice: PosixIdentity) -> None:
    site = site_with({"scheduler": {"kind": "coscheduling"}})
    assert refused(site, alice).code == "scheduler-name-missing"


def test_a_home_outside_the_mounted_file_systems_is_refused(site: Site, alice: PosixIdentity) -> None:
    assert refused(site, replace(alice, home="/users/alice")).code == "home-elsewhere"


def in_groups(who: PosixIdentity, count: int) -> PosixIdentity:
    more = (Group(30_000 + number, f"project-{number:04}") for number in range(count - len(who.groups)))
    return replace(who, groups=(*who.groups, *more))


def test_more_groups_than_nfs_supports_cause_a_warning_and_are_all_kept(site: Site, alice: PosixIdentity) -> None:
    assert decide(site, in_groups(alice, 16)).warnings == ()
    decided = decide(site, in_groups(alice, 17))
    assert len(decided.identity.groups) == 17
    [warning] = decided.warnings
    assert warning.startswith("You are in 17 groups, but NFS with AUTH_SYS sends only 16")


def test_700_groups_are_accepted_and_5000_are_refused(site: Site, alice: PosixIdentity) -> None:
    assert len(decide(site, in_groups(alice, 700)).identity.groups) == 700
    refusal = refused(site, in_groups(alice, 5000))
    assert (refusal.code, refusal.field, refusal.status) == ("too-many-groups", "groups", 403)
    assert refusal.message.startswith("You are in 5000 groups. The pod's annotations list them and would be ")


@pytest.mark.parametrize("kind", ["kueue", "yunikorn"])
def test_annotations_with_the_most_groups_that_plan_accepts_are_below_the_limit(
    alice: PosixIdentity, kind: str
) -> None:
    site = site_with({"scheduler": {"kind": kind}})

    def fits(count: int) -> bool:
        try:
            decide(site, in_groups(alice, count))
        except Refusal:
            return False
        return True

    low, high = 700, 5000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    most = in_groups(alice, low)
    base: dict[str, Any] = {"metadata": {}, "spec": {"containers": [{"name": "notebook", "image": IMAGE}]}}
    decided = decide(site, most)
    annotations = compose(decided, base, SLOTS)["metadata"]["annotations"]
    assert 60_000 < sum(len(key) + len(value) for key, value in annotations.items()) < 66_000


def keyed(site: Site, who: PosixIdentity, *, run_id: str = RUN_ID, now: datetime = NOW, **choices: Any) -> str:
    return plan(site, who, request(who, **choices), run_id=run_id, now=now, secret=b"hub").adoption_key


CHANGED_KEYS: dict[str, Callable[[Site, PosixIdentity], str]] = {
    "another uid": lambda site, who: keyed(site, replace(who, uid=20009)),
    "another gid": lambda site, who: keyed(site, replace(who, gid=20500)),
    "another group": lambda site, who: keyed(site, replace(who, groups=(*who.groups, Group(20700, "oceans")))),
    "another home": lambda site, who: keyed(site, replace(who, home="/home/alice2")),
    "another profile": lambda site, who: keyed(site, who, profile="a100"),
    "another queue": lambda site, who: keyed(site, who, queue="backfill"),
    "another server": lambda site, who: keyed(site, who, server="second"),
    "another wall time": lambda site, who: keyed(site, who, wall_time=HOUR),
    "another requested image": lambda site, who: keyed(site, who, image=IMAGE),
    "another namespace": lambda site, who: keyed(site_with({"namespaces": {"name": "elsewhere"}}), who),
    "another secret": lambda site, who: (
        plan(site, who, request(who), run_id=RUN_ID, now=NOW, secret=b"another hub's").adoption_key
    ),
}


@pytest.mark.parametrize("changed_key", CHANGED_KEYS.values(), ids=CHANGED_KEYS.keys())
def test_the_adoption_key_depends_on_the_request_and_the_decision(
    site: Site, alice: PosixIdentity, changed_key: Callable[[Site, PosixIdentity], str]
) -> None:
    assert changed_key(site, alice) != keyed(site, alice)


def test_the_adoption_key_survives_a_restart_and_an_upgrade(site: Site, alice: PosixIdentity) -> None:
    upgraded = site_with({"profiles": {"small": {"images": {"default": OTHER_IMAGE}, "title": "S"}}})
    assert upgraded.digest != site.digest
    key = keyed(site, alice)
    assert len(key) == 64
    assert keyed(site, alice, run_id="r-another") == key
    assert keyed(site, alice, now=NOW + 24 * HOUR) == key
    assert keyed(upgraded, alice) == key


def test_without_a_secret_the_plan_has_no_adoption_key(site: Site, alice: PosixIdentity) -> None:
    assert decide(site, alice).adoption_key == ""


def test_equal_arguments_give_equal_plans_and_are_not_changed(site: Site, alice: PosixIdentity) -> None:
    before = site.model_dump(), copy.deepcopy(alice)
    asked = request(alice, profile="a100")
    first = plan(site, alice, asked, run_id=RUN_ID, now=NOW, secret=b"hub")
    second = plan(site, alice, asked, run_id=RUN_ID, now=NOW, secret=b"hub")
    assert first == second
    assert (site.model_dump(), alice) == before
    assert asked == request(alice, profile="a100")


def test_the_identity_precedes_the_environment_of_the_site(alice: PosixIdentity) -> None:
    decided = decide(site_with({"pods": {"base": {"env": {"LANG": "C.UTF-8"}}}}), alice)
    assert decided.env == {
        "LANG": "C.UTF-8",
        "HOME": "/home/alice",
        "USER": "alice",
        "LOGNAME": "alice",
        "SHELL": "/bin/bash",
        "NB_USER": "alice",
        "NB_UID": "20001",
        "NB_GID": "20001",
        "NB_GROUP": "alice",
        "RESEARCH_PROFILE": "small",
        "RESEARCH_QUEUE": "climate",
    }
