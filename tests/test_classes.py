"""Classes own their rights: profiles, queues and mounts that end with the class, its staff, its days and its jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import samples
from samples import person, request

from jupyter_research_spawner.cli import lint
from jupyter_research_spawner.identity.posix import Group
from jupyter_research_spawner.plan import OffersKeys, Plan, offers, plan
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.site import Site, load

CLASS: dict[str, Any] = {
    "time_zone": "America/Los_Angeles",
    "storage": {"mounts": {"course": {"claim": "course", "path": "/course", "classes": {"stats-101": True}}}},
    "queues": {"teaching": {"groups": None, "classes": {"stats-101": True}}},
    "profiles": {
        "stats-101": {
            "title": "Statistics 101",
            "cpu": 1,
            "memory": "2Gi",
            "wall_time": "4h",
            "images": {"default": "quay.io/jupyter/r-notebook:2026-10-01"},
            "classes": {"stats-101": True},
            "queues": {"teaching": True},
        }
    },
    "classes": {"stats-101": {"profile": "stats-101", "since": "2026-09-01", "until": "2026-12-20"}},
}
LOS_ANGELES, SYDNEY = ZoneInfo("America/Los_Angeles"), ZoneInfo("Australia/Sydney")
DURING = datetime(2026, 11, 2, 12, tzinfo=LOS_ANGELES)
BEFORE, AFTER = datetime(2026, 8, 31, 12, tzinfo=LOS_ANGELES), datetime(2026, 12, 21, 0, 1, tzinfo=LOS_ANGELES)
BY_CLASS: dict[str, Any] = {"course": "stats-101"}
BY_PROFILE: dict[str, Any] = {"profile": "stats-101", "queue": "teaching"}


@pytest.fixture
def site() -> Site:
    return samples.site_with(CLASS)


def at(site: Site, who: str, now: datetime, kind: str = "notebook", **wishes: Any) -> Plan:
    asker = person(who)
    return plan(site, asker, request(asker, kind, **wishes), run_id="r-1", now=now)


def refusal(site: Site, who: str, now: datetime, kind: str = "notebook", **wishes: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        at(site, who, now, kind, **wishes)
    return refused.value


@pytest.mark.parametrize("kind", ["notebook", "job", "array"])
@pytest.mark.parametrize("wishes", [BY_CLASS, BY_PROFILE, {"profile": "stats-101"}])
def test_student_can_use_what_the_class_can_while_it_runs(site: Site, kind: str, wishes: dict[str, Any]) -> None:
    decided = at(site, "bob", DURING, kind, **wishes)
    assert (decided.profile, decided.queue) == ("stats-101", "teaching")
    assert "/course" in [mount.path for mount in decided.mounts]


@pytest.mark.parametrize("kind", ["notebook", "job", "array"])
@pytest.mark.parametrize(
    ("now", "when"),
    [(BEFORE, "begins on 2026-09-01"), (AFTER, "ended on 2026-12-20")],
)
def test_dates_bind_whichever_way_is_asked(site: Site, kind: str, now: datetime, when: str) -> None:
    assert when in refusal(site, "bob", now, kind, **BY_CLASS).message
    profile = refusal(site, "bob", now, kind, **BY_PROFILE)
    assert (profile.code, profile.status) == ("profile-not-yours", 403)
    shown = "Statistics 101" if kind == "notebook" else "stats-101"
    assert (
        f"Profile {shown!r} is for class stats-101, which {when} (America/Los_Angeles); your groups are"
        in profile.message
    )
    queue = refusal(site, "bob", now, kind, profile="small", queue="teaching")
    assert (queue.code, queue.field) == ("queue-not-yours", "queue")
    assert when in queue.message
    others = at(site, "bob", now, kind, profile="small", queue="backfill")
    assert "/course" not in [mount.path for mount in others.mounts]


@pytest.mark.parametrize("now", [BEFORE, DURING, AFTER])
@pytest.mark.parametrize("wishes", [BY_CLASS, BY_PROFILE])
def test_staff_can_use_it_at_any_time_and_strangers_never(site: Site, now: datetime, wishes: dict[str, Any]) -> None:
    decided = at(site, "alice", now, **wishes)
    assert (decided.profile, decided.queue) == ("stats-101", "teaching")
    assert "/course" in [mount.path for mount in decided.mounts]
    assert refusal(site, "carol", now, **wishes).status == 403


def offered(site: Site, who: str, now: datetime) -> list[str]:
    return [offer.name for offer in offers(site, person(who), now)]


def test_users_with_the_same_key_get_the_same_offers(site: Site) -> None:
    keys, by_key = OffersKeys(site), {}
    for now in (BEFORE, DURING, AFTER):
        for who in ("alice", "bob", "carol"):
            found = offers(site, person(who), now)
            assert by_key.setdefault(keys.of(person(who), now), found) == found, (who, now)
    # Other groups of users change nothing.
    other = replace(person("bob"), name="bob2", groups=(*person("bob").groups, Group(30000, "bob2")))
    assert keys.of(other, DURING) == keys.of(person("bob"), DURING)


def test_class_and_its_profile_are_one_offer(site: Site) -> None:
    assert offered(site, "bob", DURING) == ["stats-101", "small"]
    assert [offer.course for offer in offers(site, person("bob"), DURING)] == ["stats-101", None]
    assert offered(site, "bob", AFTER) == ["small"]
    assert offered(site, "alice", AFTER)[0] == "stats-101"
    assert "stats-101" not in offered(site, "carol", DURING)


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        (datetime(2026, 8, 31, 23, 59, tzinfo=SYDNEY), False),
        (datetime(2026, 9, 1, 8, 0, tzinfo=SYDNEY), True),  # when it is still the day before in UTC
        (datetime(2026, 12, 20, 23, 59, tzinfo=SYDNEY), True),
        (datetime(2026, 12, 21, 0, 0, tzinfo=SYDNEY), False),
    ],
)
def test_days_are_those_of_the_zone_of_the_class(now: datetime, is_open: bool) -> None:
    in_sydney = samples.site_with(CLASS, {"classes": {"stats-101": {"time_zone": "Australia/Sydney"}}})
    assert ("stats-101" in offered(in_sydney, "bob", now)) is is_open


def test_last_day_in_los_angeles_lasts_until_its_evening(site: Site) -> None:
    evening = datetime(2026, 12, 20, 17, 30, tzinfo=LOS_ANGELES)
    assert evening.astimezone(ZoneInfo("UTC")).day == 21
    assert at(site, "bob", evening, **BY_CLASS).queue == "teaching"
    assert refusal(site, "bob", evening + timedelta(hours=7), **BY_CLASS).code == "class-not-now"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "America", "PST8PDT7"])
@pytest.mark.parametrize("place", [{}, {"classes": {"stats-101": {}}}])
def test_unknown_time_zone_is_an_error_in_the_settings(zone: str, place: dict[str, Any]) -> None:
    wrong: dict[str, Any] = {"classes": {"stats-101": {"time_zone": zone}}} if place else {"time_zone": zone}
    with pytest.raises(SettingsError, match=r"is not a known time zone\. Use for example America/Los_Angeles"):
        samples.site_with(CLASS, wrong)


def test_class_limits_the_jobs_of_its_students_and_not_of_its_staff() -> None:
    site = samples.site_with(CLASS, {"classes": {"stats-101": {"jobs": {"wall_time_hard": "8h"}}}})
    assert at(site, "bob", DURING, "job", **BY_PROFILE).wall_time.hard == timedelta(hours=8)
    too_long = refusal(site, "bob", DURING, "job", wall_time=timedelta(hours=9), **BY_PROFILE)
    assert too_long.message == "Wall time 9h is longer than 8h, the maximum for jobs of your class."
    assert at(site, "bob", DURING, "notebook", **BY_PROFILE).wall_time.hard == timedelta(hours=4)
    # The staff have what their students have, also beyond the wall time of the profile.
    assert at(site, "alice", DURING, "job", **BY_PROFILE).wall_time.hard == timedelta(hours=8)
    # What everybody may use is no matter of the class.
    small = site.profiles["small"].wall_time
    assert (
        at(site, "bob", DURING, "job", profile="small", queue="backfill").wall_time.hard == small == timedelta(hours=8)
    )


def test_wall_time_of_the_profile_of_a_class_binds_its_jobs() -> None:
    def hard(who: str, *more: dict[str, Any]) -> timedelta:
        return at(samples.site_with(CLASS, *more), who, DURING, "job", **BY_PROFILE).wall_time.hard

    def of_profile(limit: str) -> dict[str, Any]:
        return {"profiles": {"stats-101": {"jobs": {"wall_time_hard": limit}}}}

    of_class = {"classes": {"stats-101": {"jobs": {"wall_time_hard": "1h"}}}}
    assert hard("bob") == hard("alice") == timedelta(hours=4)
    assert hard("bob", of_profile("2d")) == hard("alice", of_profile("2d")) == timedelta(days=2)
    assert hard("bob", of_class) == hard("bob", of_class, of_profile("2d")) == timedelta(hours=1)
    assert (hard("alice", of_class), hard("alice", of_class, of_profile("2d"))) == (
        timedelta(hours=4),
        timedelta(days=2),
    )
    own = samples.site_with(SHORT, {"classes": {"ml-7": {"jobs": {"wall_time_hard": None}}}})
    decided = at(own, "bob", DURING, "job", profile="ml-7").wall_time
    assert (decided.hard, decided.reason) == (own.profiles["ml-7"].wall_time, "classes.ml-7.wall_time is 2h")
    longer = samples.site_with(SHORT, {"classes": {"ml-7": {"jobs": {"wall_time_hard": "6h"}}}})
    assert at(longer, "bob", DURING, "job", profile="ml-7").wall_time.hard == timedelta(hours=6)


END = datetime(2026, 12, 21, tzinfo=LOS_ANGELES)


@pytest.mark.parametrize("wishes", [BY_CLASS, BY_PROFILE])
@pytest.mark.parametrize("lost", ["continue", "stop"])
def test_wall_time_beyond_the_end_of_the_class_is_granted_with_a_warning(lost: str, wishes: dict[str, Any]) -> None:
    site = samples.site_with(CLASS, {"on_lost_right": lost})
    fits, too_late = END - timedelta(hours=4, seconds=1), END - timedelta(hours=4)
    assert at(site, "bob", fits, **wishes).warnings == ()
    granted = at(site, "bob", too_late, **wishes)
    (warning,) = granted.warnings
    assert granted.wall_time == at(site, "bob", fits, **wishes).wall_time
    assert warning.startswith("Class stats-101 ends on 2026-12-20 (America/Los_Angeles), before the wall time.")
    assert warning.endswith("what runs then is stopped." if lost == "stop" else "continues until its wall time.")
    # The staff and what everybody may use do not end.
    assert at(site, "bob", END - timedelta(hours=3), "job", **wishes).warnings
    assert at(site, "alice", too_late, **wishes).warnings == ()
    assert at(site, "bob", too_late, profile="small", queue="backfill").warnings == ()


def test_work_of_a_class_that_ended_is_refused_when_it_is_decided_again(site: Site) -> None:
    """What the hub keeps of a notebook, and the batch service of a job."""
    everything = {**BY_CLASS, **BY_PROFILE}
    for kind, wishes in (("notebook", BY_CLASS), ("notebook", everything), ("job", BY_PROFILE), ("job", everything)):
        assert at(site, "bob", END - timedelta(seconds=1), kind, **wishes).queue == "teaching"
        refused = refusal(site, "bob", END, kind, **wishes)
        assert (refused.status, "ended on 2026-12-20 (America/Los_Angeles)" in refused.message) == (403, True)
        assert at(site, "alice", END, kind, **wishes).queue == "teaching"


def test_class_without_jobs() -> None:
    site = samples.site_with(CLASS, {"classes": {"stats-101": {"jobs": {"allowed": False}}}})
    for wishes in (BY_PROFILE, {"profile": "small", "queue": "teaching"}):
        refused = refusal(site, "bob", DURING, "job", **wishes)
        assert (refused.code, refused.status) == ("class-no-jobs", 403)
        assert "Students of class stats-101 cannot submit jobs in queue 'teaching'" in refused.message
    assert at(site, "bob", DURING, **BY_CLASS).queue == "teaching"
    assert at(site, "alice", DURING, "job", **BY_PROFILE).queue == "teaching"
    assert at(site, "bob", DURING, "job", profile="small", queue="backfill").queue == "backfill"


def test_group_opens_what_a_class_opens_too() -> None:
    site = samples.site_with(CLASS, {"queues": {"teaching": {"groups": {"students": True}}}})
    assert at(site, "carol", AFTER, profile="small", queue="teaching").queue == "teaching"
    assert refusal(site, "carol", AFTER, profile="stats-101").code == "profile-not-yours"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"queues": {"teaching": {"classes": {"stats-102": True}}}},
            r"queues\.teaching\.classes\.stats-102: .* classes",
        ),
        (
            {"storage": {"mounts": {"course": {"classes": {"x": True}}}}},
            r"storage\.mounts\.course\.classes\.x: .* classes",
        ),
        (
            {"queues": {"teaching": {"classes": {"stats-101": False}}}},
            r"classes\.stats-101\.queue: the class may not use queue 'teaching'. Set queues\.teaching\.classes",
        ),
    ],
)
def test_mistakes_in_settings_of_classes(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        samples.site_with(CLASS, wrong)


def advice(*more: dict[str, Any], now: datetime = DURING) -> dict[str, str]:
    found = lint.advice(samples.site_with(CLASS, *more), now, samples.DATA)
    return {problem.path: problem.message for problem in found if problem.path.startswith("classes.")}


def test_lint_reports_classes_that_users_would_stumble_over() -> None:
    only_files = {"identity": {"sources": {"local": None}}}
    assert advice(only_files) == {}
    assert "ended on 2026-12-20" in advice(only_files, now=AFTER)["classes.stats-101"]
    twin = {"profile": "stats-101", "queue": "teaching", "roster": {"group": "nobody"}, "until": "2026-12-20"}
    both = {"classes": {"stats-101": {"title": "Statistics"}, "stats-102": {**twin, "title": "Statistics"}}}
    more = {"profiles": {"stats-101": {"classes": {"stats-102": True}}}}
    open_too = {"queues": {"teaching": {"classes": {"stats-102": True}}}}
    found = advice(only_files, both, more, open_too)
    assert found["classes.stats-102.title"] == "is also the title of class 'stats-101', so users cannot tell them apart"
    assert found["classes.stats-102.roster.group"] == "no account of the identity sources is in 'nobody'"
    by_group = advice(only_files, {"queues": {"teaching": {"groups": {"stats101-f26": True}}}})
    assert "also before and after the class" in by_group["classes.stats-101.queue"]


def test_lint_tries_the_profile_of_a_class_although_the_class_is_over(site: Site) -> None:
    assert "stats-101  Statistics 101: 1 CPU, 2Gi; wall time 4h; for class stats-101" in lint.report(
        site, lint.checked(site, AFTER)
    )


SHORT: dict[str, Any] = {
    "time_zone": "America/Los_Angeles",
    "classes": {
        "stats-101": None,
        "ml-7": {
            "title": "Machine Learning",
            "description": "Tuesdays at ten",
            "image": "quay.io/jupyter/pytorch-notebook:2026-10-01",
            "cpu": 1,
            "memory": "2Gi",
            "shm": "1Gi",
            "wall_time": "2h",
            "queue": "teaching",
            "roster": {"group": "stats101-f26"},
            "staff": {"group": "stats101-staff"},
            "since": "2026-09-01",
            "until": "2026-12-20",
        },
    },
    "queues": {"teaching": {"groups": {"stats101-f26": False}}},
}


def test_class_is_one_place() -> None:
    """No profile, and no entry in the queue."""
    site = samples.site_with(SHORT)
    decided = at(site, "bob", DURING, course="ml-7")
    assert (decided.profile, decided.queue, decided.image) == (
        "ml-7",
        "teaching",
        "quay.io/jupyter/pytorch-notebook:2026-10-01",
    )
    assert (str(decided.resources), decided.shm, decided.wall_time.soft) == ("1 CPU, 2Gi", 2**30, timedelta(hours=2))
    offer = offers(site, person("bob"), DURING)[0]
    assert (offer.name, offer.title, offer.description) == ("ml-7", "Machine Learning", "Tuesdays at ten")
    assert offered(site, "bob", DURING) == ["ml-7", "small"]
    assert offered(site, "alice", AFTER)[0] == "ml-7"
    assert offered(site, "bob", AFTER) == ["small"]


@pytest.mark.parametrize("kind", ["notebook", "job"])
@pytest.mark.parametrize(
    "wishes", [{"course": "ml-7"}, {"profile": "ml-7"}, {"queue": "teaching"}, {"profile": "ml-7", "queue": "teaching"}]
)
def test_own_profile_and_queue_end_with_the_class(kind: str, wishes: dict[str, Any]) -> None:
    site = samples.site_with(SHORT)
    assert at(site, "bob", DURING, kind, **wishes).queue == "teaching"
    assert "which ended on 2026-12-20" in refusal(site, "bob", AFTER, kind, **wishes).message or wishes == {
        "course": "ml-7"
    }
    assert refusal(site, "carol", DURING, kind, **wishes).status == 403
    elsewhere = {"profile": "ml-7", "queue": "backfill"}
    assert refusal(site, "bob", DURING, kind, **elsewhere).code == "queue-not-for-profile"


def test_own_profile_does_not_close_a_queue_that_is_open_to_all() -> None:
    site = samples.site_with(SHORT, {"classes": {"ml-7": {"queue": "backfill"}}})
    assert site.queues["backfill"].classes == {}
    assert at(site, "carol", AFTER, profile="small", queue="backfill").queue == "backfill"


def test_class_with_like_has_the_profile_s_fields_and_its_own() -> None:
    short = {key: value for key, value in SHORT["classes"]["ml-7"].items() if key not in ("memory", "wall_time", "shm")}
    like = {"classes": {"ml-7": {**short, "like": "a100", "image": "r:1", "cpu": 4, "queue": "teaching"}}}
    site = samples.site_with(
        {**SHORT, "classes": {**SHORT["classes"], **like["classes"]}},
        {"profiles": {"a100": {"pod": {"nodeSelector": {"gpu": "a100"}}}}},
    )
    decided = at(site, "bob", DURING, course="ml-7")
    assert str(decided.resources) == "4 CPU, 120Gi, 1 GPU (nvidia.com/gpu), single-node" or decided.resources.gpu
    assert (decided.image, site.profiles["ml-7"].images) == ("r:1", {"default": "r:1"})
    assert (site.profiles["ml-7"].numa, site.profiles["ml-7"].wall_time) == ("single-node", timedelta(hours=24))
    assert site.pod_fields["ml-7"].nodeSelector == {"gpu": "a100"}
    # The groups of the other profile are not copied, and its other queues neither.
    assert (site.profiles["ml-7"].groups, site.profiles["ml-7"].queues) == ({}, {"teaching": True})


def test_hub_and_batch_service_have_the_same_class() -> None:
    """The batch service reads what `manifests` writes, in which the class has a profile of its name."""
    site = samples.site_with(SHORT)
    written = site.model_dump(mode="json", by_alias=True, exclude_unset=True)
    again = load(written)
    assert "cpu" not in written["classes"]["ml-7"]
    assert again.profiles == site.profiles
    assert again.queues["teaching"] == site.queues["teaching"]
    assert again.digest == site.digest


@pytest.mark.parametrize(
    ("wrong", "path", "message"),
    [
        (
            {"profile": "small"},
            "classes.ml-7",
            "Remove `profile`, or remove image, cpu, memory",
        ),
        ({"cpu": None, "wall_time": None}, "classes.ml-7", "cpu and wall_time are missing. Set `profile` to the name"),
        ({"images": {"default": "r:1"}}, "classes.ml-7", "has image and images. Remove one of them"),
        ({"shm": "4Gi"}, "classes.ml-7.shm", "shm (4Gi) must not be more than memory (2Gi)"),
        ({"cpu": "two"}, "classes.ml-7.cpu", "'two' is not a valid number of CPUs"),
        ({"wall_time_hard": "1h"}, "classes.ml-7.wall_time_hard", "wall_time_hard must not be shorter than wall_time"),
        ({"queue": "nope"}, "classes.ml-7.queue", "'nope' is not in queues"),
        ({"like": "nope"}, "classes.ml-7.like", "'nope' does not exist. Existing names: a100, small"),
        ({"like": "small", "profile": "small"}, "classes.ml-7.like", "the class has profile 'small' too"),
        ({"gpu": {"kind": "kai-fraction", "fraction": 0.5}}, "classes.ml-7.gpu.kind", "kai"),
        ({"group": "x"}, "classes.ml-7.group", "there is no such setting"),
        ({"groups": {"x": True}}, "classes.ml-7.groups", "there is no such setting"),
    ],
)
def test_contradictions_in_a_class_are_named(wrong: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        samples.site_with(SHORT, {"classes": {"ml-7": wrong}})
    (problem,) = refused.value.problems
    assert (problem.path, message in problem.message) == (path, True), str(problem)


def test_class_with_own_fields_and_a_profile_of_its_name_is_a_contradiction() -> None:
    twin = {"title": "Twin", "cpu": 1, "memory": "2Gi", "wall_time": "4h"}
    with pytest.raises(SettingsError, match=r"classes\.ml-7: has fields of a profile, but a profile of this name"):
        samples.site_with(SHORT, {"profiles": {"ml-7": twin}})
    closed = {"queues": {"teaching": {"classes": {"ml-7": False}}}}
    with pytest.raises(SettingsError, match=r"classes\.ml-7\.queue: the class may not use queue 'teaching'"):
        samples.site_with(SHORT, closed)


def test_null_in_a_class_deletes_a_key_after_like_has_copied_it() -> None:
    new = {"like": "a100", "queue": "teaching", "gpu": None, "roster": {"group": "x"}, "until": "2026-12-20"}
    course = samples.site_with(SHORT, {"classes": {"new": {**new, "numa": None}}}).profiles["new"]
    assert (course.gpu, course.numa, course.cpu) == (None, None, 16)


def test_lint_names_the_class_for_its_own_fields() -> None:
    mutable = {"classes": {"ml-7": {"image": "r:latest"}}, "identity": {"sources": {"local": None}}}
    found = {problem.path: problem.message for problem in lint.advice(samples.site_with(SHORT, mutable), DURING)}
    assert "r:latest can change over time" in found["classes.ml-7.images.default"]
    assert "profiles.ml-7.images.default" not in found
    report = " ".join(lint.report(samples.site_with(SHORT), lint.checked(samples.site_with(SHORT), AFTER)).split())
    assert "ml-7 Machine Learning: 1 CPU, 2Gi; wall time 2h; for class ml-7; queue teaching" in report
