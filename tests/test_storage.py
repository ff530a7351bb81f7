"""Mounts that a user gets, checks of mount paths and claims, and the passwd, group and environment of a pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.identity.posix import Group
from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.storage import (
    IMAGE_DIRECTORIES,
    MountPoint,
    Storage,
    SystemAccounts,
    environment,
    group_text,
    mounts_for,
    overlap,
    passwd_text,
    within,
)

ALICE = PosixIdentity(
    name="alice",
    uid=20001,
    gid=20001,
    groups=(Group(20001, "alice"), Group(20500, "climate")),
    home="/home/alice",
    shell="/bin/bash",
    source="people",
)
BOB = PosixIdentity("bob", 20002, 20600, (Group(20600, "students"),), "/home/bob", "/bin/sh", "people")
CLIMATE = {"claim": "project-climate", "path": "/project/climate", "groups": {"climate": True}}
ERA5 = {"claim": "era5", "path": "/data/era5", "read_only": True}
HOME = {"main": {"claim": "home", "root": "/home"}}


def storage(homes: dict[str, Any] | None = None, **mounts: dict[str, Any]) -> Storage:
    return Storage.model_validate({"homes": homes or HOME, "mounts": mounts})


def refused(homes: dict[str, Any] | None = None, **mounts: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        storage(homes, **mounts)
    return "\n".join(item["msg"] for item in error.value.errors())


def test_a_user_gets_the_home_and_the_mounts_of_the_groups() -> None:
    site = storage(climate=CLIMATE, era5=ERA5)
    home, era5 = MountPoint("home", "/home"), MountPoint("era5", "/data/era5", read_only=True)
    assert mounts_for(site, ALICE) == (home, era5, MountPoint("project-climate", "/project/climate"))
    assert mounts_for(site, BOB) == (home, era5)


@pytest.mark.parametrize(
    ("groups", "seen_by"),
    [
        ({}, ["alice", "bob"]),
        ({"climate": True}, ["alice"]),
        ({"climate": True, "students": True}, ["alice", "bob"]),
        ({"climate": False, "students": True}, ["bob"]),
        ({"climate": False, "students": False}, []),
        ({"climate": False}, []),
    ],
)
def test_a_mount_whose_groups_are_all_false_is_for_no_user(groups: dict[str, bool], seen_by: list[str]) -> None:
    site = storage(it={**CLIMATE, "groups": groups})
    assert [person.name for person in (ALICE, BOB) if len(mounts_for(site, person)) == 2] == seen_by


HOMES = {
    "main": {"claim": "home", "root": "/home"},
    "physics": {"claim": "home-physics", "root": "/home/physics"},
    "second": {"claim": "home2", "root": "/home2"},
}


@pytest.mark.parametrize(
    ("home", "mounted"),
    [
        ("/home/alice", MountPoint("home", "/home")),
        ("/home/a/b/alice", MountPoint("home", "/home")),
        ("/home/physics/alice", MountPoint("home-physics", "/home/physics")),
        ("/home/physics2/alice", MountPoint("home", "/home")),
        ("/home/physics", MountPoint("home", "/home")),
        ("/home2/alice", MountPoint("home2", "/home2")),
    ],
)
def test_the_home_is_on_the_claim_with_the_longest_matching_root(home: str, mounted: MountPoint) -> None:
    for homes in (HOMES, dict(reversed(HOMES.items()))):
        assert mounts_for(storage(homes), replace(ALICE, home=home)) == (mounted,)


@pytest.mark.parametrize("home", ["/users/alice", "/home22/alice", "/home", "/", "/homealice"])
def test_a_home_outside_the_mounted_file_systems_is_refused(home: str) -> None:
    with pytest.raises(Refusal) as error:
        mounts_for(storage(HOMES), replace(ALICE, home=home))
    assert (error.value.code, error.value.field, error.value.status) == ("home-elsewhere", "home", 403)
    assert f"{home} is not on a file system that is mounted here (/home, /home/physics, /home2)" in str(error.value)


@pytest.mark.parametrize("path", ["/etc", "/etc/ssl", "/usr/local/bin", "/lib64", "/var/run", "/proc", "/dev/shm"])
def test_a_mount_over_a_directory_of_the_image_is_an_error(path: str) -> None:
    message = refused(bad={"claim": "c", "path": path})
    assert "is in the image's directory" in message
    assert "Choose another path" in message
    assert "is in the image's directory" in refused({"main": {"claim": "c", "root": path}})


@pytest.mark.parametrize("path", ["/etcetera", "/users", "/library", "/project/etc"])
def test_a_path_that_only_shares_a_prefix_with_an_image_directory_is_allowed(path: str) -> None:
    assert storage(fine={"claim": "c", "path": path}).mounts["fine"].path == path


@pytest.mark.parametrize(
    "path",
    ["project", "", "./project", "/project/../etc", "/project/.", "/project/", "//project", "/project//a", "/.."],
)
def test_a_path_that_is_not_absolute_and_normalized_is_an_error(path: str) -> None:
    assert "is not a normalized absolute path" in refused(bad={"claim": "c", "path": path})


@pytest.mark.parametrize(
    "path", ["/", "/a b", "/a:b", "/a\nb", "/a\tb", "/{user}", "/$(HOME)", "/a\u00a0b", "/a\x7f", "/a\u2028b"]
)
def test_a_path_with_special_characters_is_an_error(path: str) -> None:
    assert "cannot be a mount path" in refused(bad={"claim": "c", "path": path})


@given(st.text(max_size=30))
def test_no_allowed_path_hides_a_directory_of_the_image(path: str) -> None:
    try:
        site = storage({"main": {"claim": "c", "root": "/home"}}, it={"claim": "c", "path": path})
    except ValidationError:
        return
    taken = site.mounts["it"].path
    assert not any(within(taken, own) or within(own, taken) for own in IMAGE_DIRECTORIES)
    assert not {"..", ".", ""} & set(taken.split("/")[1:])


@pytest.mark.parametrize(
    ("homes", "mounts", "named"),
    [
        (None, {"a": CLIMATE, "b": {**ERA5, "path": "/project/climate"}}, "mounts.b.path (/project/climate)"),
        (None, {"a": CLIMATE, "b": {**ERA5, "path": "/project"}}, "mounts.b.path (/project)"),
        (None, {"a": CLIMATE, "b": {**ERA5, "path": "/project/climate/era5"}}, "mounts.b.path (/project/climate/era5)"),
        (None, {"a": {**CLIMATE, "path": "/home"}}, "homes.main.root (/home)"),
        (None, {"a": {**CLIMATE, "path": "/home/shared"}}, "homes.main.root (/home)"),
        (
            {"main": {"claim": "home", "root": "/export/home"}},
            {"a": {**CLIMATE, "path": "/export"}},
            "homes.main.root (/export/home)",
        ),
        ({**HOME, "other": {"claim": "home2", "root": "/home"}}, {}, "homes.other.root (/home)"),
    ],
)
def test_overlapping_mounts_are_an_error_that_names_both(
    homes: dict[str, Any] | None, mounts: dict[str, Any], named: str
) -> None:
    message = refused(homes, **mounts)
    assert named in message
    assert "overlap, so one mount would hide the other" in message


def test_paths_with_a_common_prefix_do_not_overlap() -> None:
    site = storage(a=CLIMATE, b={**ERA5, "path": "/project/climate2"}, c={**ERA5, "path": "/home2"})
    assert len(mounts_for(site, ALICE)) == 4


@pytest.mark.parametrize("claim", ["", "Home", "home/../x", "-home", "a" * 254, "home\n", 5])
def test_an_invalid_claim_name_is_an_error(claim: Any) -> None:
    assert refused({"main": {"claim": claim, "root": "/home"}})


@pytest.mark.parametrize("read_only", ["yes", 1, "true"])
def test_read_only_must_be_a_boolean(read_only: Any) -> None:
    assert "valid boolean" in refused(bad={**ERA5, "read_only": read_only})


def test_at_least_one_claim_for_homes_is_required() -> None:
    with pytest.raises(ValidationError, match="at least 1"):
        Storage.model_validate({"homes": {}})


def lines(text: str, key: str) -> list[str]:
    assert text.endswith("\n")
    return [line for line in text.splitlines() if line.startswith(f"{key}:") or f":x:{key}:" in line]


def test_passwd_and_group_contain_the_user_and_the_system_accounts() -> None:
    passwd, group = passwd_text(SystemAccounts(), ALICE), group_text(SystemAccounts(), ALICE)
    assert passwd.splitlines()[0] == "root:x:0:0:root:/root:/bin/sh"
    assert passwd.splitlines()[-1] == "alice:x:20001:20001::/home/alice:/bin/bash"
    assert lines(passwd, "sshd") == ["sshd:x:110:65534::/run/sshd:/usr/sbin/nologin"]
    assert group.splitlines()[-2:] == ["alice:x:20001:alice", "climate:x:20500:alice"]
    assert lines(group, "users") == ["users:x:100:"]


def test_a_group_of_the_user_replaces_a_system_group_with_the_same_gid() -> None:
    # Most images call gid 100 `users`, and at many sites it is the primary group of all users.
    carol = PosixIdentity("carol", 20003, 100, (Group(100, "staff"),), "/home/carol", "/bin/sh", "people")
    group = group_text(SystemAccounts(), carol)
    assert lines(group, "100") == ["staff:x:100:carol"]
    assert lines(group, "users") == []
    assert environment(carol)["NB_GROUP"] == "staff"


def test_a_group_of_the_user_replaces_a_system_group_with_the_same_name() -> None:
    person = replace(ALICE, groups=(Group(20500, "users"),), gid=20500)
    assert lines(group_text(SystemAccounts(), person), "users") == ["users:x:20500:alice"]


names = st.from_regex(r"[a-z_][a-z0-9_-]{0,30}", fullmatch=True)
group_sets = st.dictionaries(st.integers(0, 2**31), names, min_size=1, max_size=8).filter(
    lambda found: len(set(found.values())) == len(found)
)


@given(names, st.integers(1, 2**31), group_sets)
def test_every_name_has_one_id_and_every_id_one_name(name: str, uid: int, by_gid: dict[int, str]) -> None:
    groups = tuple(Group(gid, by_gid[gid]) for gid in sorted(by_gid))
    person = PosixIdentity(name, uid, groups[0].gid, groups, f"/home/{name}", "/bin/sh", "people")
    for text, own in (
        (passwd_text(SystemAccounts(), person), [(name, uid)]),
        (group_text(SystemAccounts(), person), [(group.name, group.gid) for group in groups]),
    ):
        entries = [(line.split(":")[0], int(line.split(":")[2])) for line in text.splitlines()]
        assert len({key for key, _ in entries}) == len({number for _, number in entries}) == len(entries)
        assert set(own) <= set(entries)


@pytest.mark.parametrize(
    ("field", "line", "sentence"),
    [
        ("passwd", "alice:x:20001:20001::/home/alice:/bin/sh", "has an ID of 1000 or higher"),
        ("passwd", "alice:x:70000:70000::/home/alice:/bin/sh", "has an ID of 1000 or higher"),
        ("group", "climate:x:20500:", "has an ID of 1000 or higher"),
        ("passwd", "daemon:x:1:1:daemon", "It must have 7 fields"),
        ("passwd", "daemon:x:one:1:daemon:/:/bin/false", "is not a valid line of passwd(5)"),
        ("group", "", "It must have 4 fields"),
        ("group", "daemon:x:1:bob:", "It must have 4 fields"),
    ],
)
def test_system_accounts_must_be_valid_lines_with_ids_below_1000(field: str, line: str, sentence: str) -> None:
    with pytest.raises(ValidationError) as error:
        SystemAccounts.model_validate({field: line + "\n"})
    assert sentence in str(error.value)


def test_the_id_65534_is_allowed_for_system_accounts() -> None:
    accounts = SystemAccounts(passwd="nobody:x:65534:65534::/:/bin/false\n", group="nogroup:x:65534:\n")
    assert len(accounts.passwd.splitlines()) == 1


def test_the_environment_is_that_of_a_login() -> None:
    assert environment(ALICE) == {
        "HOME": "/home/alice",
        "USER": "alice",
        "LOGNAME": "alice",
        "SHELL": "/bin/bash",
        "NB_USER": "alice",
        "NB_UID": "20001",
        "NB_GID": "20001",
        "NB_GROUP": "alice",
    }


def test_a_mount_is_shown_as_one_line() -> None:
    assert [str(mount) for mount in mounts_for(storage(era5=ERA5), ALICE)] == [
        "/home (home)",
        "/data/era5 (era5, read-only)",
    ]


PATHS = st.lists(st.sampled_from(["home", "homework", "a"]), max_size=3).map(lambda names: "/" + "/".join(names))


@given(path=PATHS, other=PATHS)
def test_paths_overlap_if_one_is_the_other_or_is_below_it(path: str, other: str) -> None:
    assert overlap(path, other) == (within(path, other) or within(other, path)) == overlap(other, path)


@pytest.mark.parametrize(
    ("path", "other", "expected"),
    [
        ("/home", "/home", True),
        ("/home/alice", "/home", True),
        ("/", "/home", True),
        ("/home/", "/home/alice", True),
        ("/home", "/homework", False),
        ("/home/alice", "/home/bob", False),
    ],
)
def test_overlap_of_two_paths(path: str, other: str, expected: bool) -> None:
    assert overlap(path, other) == overlap(other, path) == expected


@pytest.mark.parametrize("sub_path", ["courses/stats-101", "a", "..a/b"])
def test_mount_of_a_directory_of_a_claim_with_propagation(sub_path: str) -> None:
    mounts = {
        "course": {"claim": "courses", "path": "/course", "sub_path": sub_path},
        "cvmfs": {"claim": "cvmfs", "path": "/cvmfs", "read_only": True, "mount_propagation": "HostToContainer"},
    }
    decided = samples.decide(samples.site_with({"storage": {"mounts": mounts}}), samples.person("alice"))
    pod = compose(decided, samples.notebook_pod(), SLOTS)
    check(decided, pod, SLOTS)
    found = {mount["mountPath"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
    assert found["/course"]["subPath"] == sub_path
    assert (found["/cvmfs"]["mountPropagation"], found["/cvmfs"]["readOnly"]) == ("HostToContainer", True)
    assert f"/course (courses, directory {sub_path})" in [str(mount) for mount in decided.mounts]
    found["/course"]["subPath"] = "courses"
    with pytest.raises(Refusal, match="the mount /course is missing or was changed"):
        check(decided, pod, SLOTS)


@pytest.mark.parametrize(
    "sub_path", ["", "/a", ".", "..", "../a", "a/../b", "a//b", "a/", "a:b", "{{a}}", "$(HOME)", "a\n"]
)
def test_sub_paths_that_are_not_below_the_claim(sub_path: str) -> None:
    with pytest.raises(SettingsError, match=r"storage\.mounts\.course\.sub_path"):
        samples.site_with({"storage": {"mounts": {"course": {"claim": "c", "path": "/course", "sub_path": sub_path}}}})


def test_size_of_dev_shm_is_a_limited_volume_in_memory_for_notebooks_and_jobs() -> None:
    site = samples.site_with({"profiles": {"small": {"shm": "2Gi"}}})
    decided = samples.decide(site, samples.person("alice"), profile="small")
    pod = compose(decided, samples.notebook_pod(), SLOTS)
    check(decided, pod, SLOTS)
    assert {"name": "research-shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}} in pod["spec"]["volumes"]
    assert {"name": "research-shm", "mountPath": "/dev/shm"} in pod["spec"]["containers"][0]["volumeMounts"]
    job = samples.decide(site, samples.person("alice"), "job", profile="small")
    assert job.shm == 2 * 2**30
    assert samples.decide(samples.site_with(), samples.person("alice")).shm is None
    with pytest.raises(SettingsError, match=r"shm \(8Gi\) must not be more than memory \(4Gi\)"):
        samples.site_with({"profiles": {"small": {"shm": "8Gi"}}})
