"""What no identity may be, whichever source it came from; and how hub names become POSIX names."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyter_research_spawner.identity import Group, PosixIdentity, posix_name, warnings
from jupyter_research_spawner.identity.checks import Checks, advice, check
from jupyter_research_spawner.identity.source_interface import Account
from jupyter_research_spawner.identity.username import Username
from jupyter_research_spawner.refusal import Refusal

ALICE = Account("alice", 20001, 20001, ((20500, "climate"), (20001, "alice")), "/home/alice", "/bin/bash")
AS_IDENTITY = PosixIdentity(
    "alice", 20001, 20001, (Group(20001, "alice"), Group(20500, "climate")), "/home/alice", "/bin/bash", "people"
)


def checked(account: Account, **settings: object) -> PosixIdentity:
    return check(Checks.model_validate(settings), "people", account.name, account)


def refused(account: Account, **settings: object) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        checked(account, **settings)
    assert refusal.value.status == 403
    assert refusal.value.hint
    return refusal.value


def test_a_sound_account_is_an_identity() -> None:
    assert checked(ALICE) == AS_IDENTITY


@pytest.mark.parametrize("uid", [1000, 65533, 65536, 2147483647])
def test_uids_of_people(uid: int) -> None:
    assert checked(replace(ALICE, uid=uid)).uid == uid


@pytest.mark.parametrize(
    "uid", [-2, -1, 0, 1, 999, 65534, 65535, 2147483648, 4294967294, 4294967295, 4294967296, 10**30]
)
def test_uids_that_are_no_person(uid: int, caplog: pytest.LogCaptureFixture) -> None:
    refusal = refused(replace(ALICE, uid=uid))
    assert (refusal.code, refusal.field) == ("invalid-identity", "uid")
    assert "Identity source people: the account 'alice' is refused" in caplog.text


@pytest.mark.parametrize(("uid", "fine"), [(99999, True), (100000, False), (165535, False), (165536, True)])
def test_reserved_uids(uid: int, fine: bool) -> None:
    ranges = {"containers": {"first": 100000, "last": 165535}}
    if fine:
        assert checked(replace(ALICE, uid=uid), reserved_uids=ranges).uid == uid
    else:
        assert "'containers'" in refused(replace(ALICE, uid=uid), reserved_uids=ranges).message


@pytest.mark.parametrize("gid", [0, 27, 99, 65534, 65535])
def test_gids_of_the_system(gid: int) -> None:
    assert refused(replace(ALICE, gid=gid)).field == "gid"
    assert refused(replace(ALICE, groups=((gid, "climate"),))).field == "groups"


@pytest.mark.parametrize("gid", [-1, 2147483648, 3222000513, 4294967294, 4294967295])
def test_gid_that_no_pod_can_have_is_left_out_unless_it_is_primary(gid: int, caplog: pytest.LogCaptureFixture) -> None:
    assert refused(replace(ALICE, gid=gid)).field == "gid"
    identity = checked(replace(ALICE, groups=(*ALICE.groups, (gid, "ad-group"))))
    assert identity.groups == AS_IDENTITY.groups
    (sentence,) = warnings(identity)
    assert sentence == (
        f"You are in the group 'ad-group', but your servers and jobs are not: its gid {gid} is not between 0 and "
        "2147483647, as Kubernetes requires."
    )
    assert "pods of 'alice' do not get these groups: 'ad-group'" in caplog.text


@pytest.mark.parametrize(("gid", "name"), [(998, "docker"), (50, "staff"), (20999, "hpc-admins")])
def test_dropped_group_is_left_out_with_a_warning_and_not_a_reason_to_refuse(gid: int, name: str) -> None:
    account = replace(ALICE, groups=(*ALICE.groups, (gid, name)))
    identity = checked(account, drop_groups={name: True}, denied_groups={"hpc-admins": True})
    assert identity.groups == AS_IDENTITY.groups
    (sentence,) = warnings(identity)
    assert sentence == (
        f"You are in the group '{name}', but your servers and jobs are not: your administrators exclude this group."
    )
    refused(account, drop_groups={name: False}, denied_groups={"hpc-admins": True})
    assert refused(replace(account, gid=gid), drop_groups={name: True}, denied_groups={name: True}).field == "gid"


def test_minimums_can_be_lowered_to_1_and_lint_says_so() -> None:
    old = replace(ALICE, uid=512, gid=20, groups=((20, "users"),))
    identity = checked(old, minimum_uid=500, minimum_gid=20)
    assert (identity.uid, identity.gid) == (512, 20)
    assert refused(replace(old, uid=499), minimum_uid=500, minimum_gid=20).field == "uid"
    assert refused(replace(old, uid=0), minimum_uid=1, minimum_gid=1).field == "uid"
    for name in ("minimum_uid", "minimum_gid"):
        with pytest.raises(ValidationError):
            Checks.model_validate({name: 0})
    assert [name for name, _ in advice(Checks(minimum_uid=500, minimum_gid=20))] == ["minimum_uid", "minimum_gid"]
    assert list(advice(Checks())) == []


def test_group_name_that_is_its_own_gid_is_allowed_and_others_by_a_setting() -> None:
    own = replace(ALICE, groups=((1002555, "1002555"),))
    assert checked(own).groups[1] == Group(1002555, "1002555")
    other = replace(ALICE, groups=((20500, "1002555"),))
    assert refused(other).field == "groups"
    assert checked(other, numeric_group_names=True).groups[1] == Group(20500, "1002555")


def test_the_lowest_gid_can_be_raised_and_not_lowered() -> None:
    assert checked(replace(ALICE, gid=100)).gid == 100
    assert refused(replace(ALICE, gid=999), minimum_gid=1000).field == "gid"
    with pytest.raises(ValidationError):
        Checks(minimum_gid=0)


@pytest.mark.parametrize("name", ["docker", "disk", "shadow", "sudo", "root", "wheel", "adm", "kmem"])
def test_groups_with_rights_over_machines(name: str) -> None:
    refusal = refused(replace(ALICE, groups=((998, name),)))
    assert refusal.field == "groups"
    assert f"'{name}'" in refusal.message


def test_a_site_adds_denied_groups_and_takes_one_out() -> None:
    docker, admins = replace(ALICE, groups=((998, "docker"),)), replace(ALICE, groups=((20999, "hpc-admins"),))
    settings = {"denied_groups": {"hpc-admins": True, "docker": False}}
    assert checked(docker, **settings).groups[0] == Group(998, "docker")
    refused(admins, **settings)
    refused(replace(ALICE, groups=((997, "shadow"),)), **settings)
    assert refused(docker, denied_gids={"services": {"first": 900, "last": 999}}).field == "groups"


def test_the_primary_group_is_always_there_once() -> None:
    assert checked(replace(ALICE, groups=())).groups == (Group(20001, "gid-20001"),)
    assert checked(replace(ALICE, groups=((20001, "alice"),) * 2)).groups == (Group(20001, "alice"),)
    for twice in (((20001, None), (20001, "alice")), ((20001, "alice"), (20001, None))):
        assert checked(replace(ALICE, groups=twice)).groups == (Group(20001, "alice"),)


def test_a_made_up_name_is_never_that_of_a_real_group() -> None:
    assert checked(replace(ALICE, groups=((20500, "gid-20500"),))).groups[1] == Group(20500, "gid-20500")
    assert refused(replace(ALICE, groups=((20500, "gid-20600"),))).field == "groups"


def test_two_names_for_a_gid_and_two_gids_for_a_name() -> None:
    assert refused(replace(ALICE, groups=((20500, "climate"), (20500, "klima")))).field == "groups"
    assert refused(replace(ALICE, groups=((20500, "climate"), (20501, "climate")))).field == "groups"


@pytest.mark.parametrize("name", ["domain users", "Domänen-Benutzer", "R&D", "climate@example.edu", "2026-climate"])
def test_group_names_of_directories(name: str) -> None:
    assert checked(replace(ALICE, groups=((20500, name),))).groups[1] == Group(20500, name)


@pytest.mark.parametrize(
    "name",
    ["", " ", "a ", "20501", "a:b", "a,b", "a\nroot:x:0:", "a\tb", "#a", "+", "-a", "{{a}}", "$(a)", "../a", "a" * 65],
)
def test_group_names_that_group5_would_read_otherwise(name: str) -> None:
    assert refused(replace(ALICE, groups=((20500, name),))).field == "groups"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "home/alice",
        "/home/../root",
        "/home/alice/",
        "/home//alice",
        "//home/alice",
        "/home/./alice",
        "/home/alice:/bin/sh",
        "/home/alice\nroot::0:0::/:/bin/sh",
        "/home/\x00alice",
        "/home/\x7falice",
        "/home/\udc80alice",
        "/home/\u202ealice",
        "/home/{{workflow.name}}",
        "/home/$(HOME)",
        "/" + "a" * 1024,
    ],
)
def test_homes_and_shells_that_are_no_plain_path(path: str) -> None:
    assert refused(replace(ALICE, home=path)).field == "home"
    assert refused(replace(ALICE, shell=path)).field == "shell"


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false"])
def test_a_locked_account(shell: str) -> None:
    refusal = refused(replace(ALICE, shell=shell))
    assert (refusal.code, refusal.field) == ("account-locked", "shell")


@pytest.mark.parametrize("name", ["Alice", "20001", "al..ice", "", "a" * 64, "alice\n", "-alice", "al ice", "älice"])
def test_account_names(name: str) -> None:
    assert refused(replace(ALICE, name=name)).field == "name"


def test_an_account_with_another_name_than_asked_for() -> None:
    with pytest.raises(Refusal) as refusal:
        check(Checks(), "people", "alice", replace(ALICE, name="bob"))
    assert refusal.value.field == "name"


def test_a_range_goes_forward() -> None:
    with pytest.raises(ValidationError, match=r"first \(5\) must not be greater than last \(4\)"):
        Checks.model_validate({"reserved_uids": {"containers": {"first": 5, "last": 4}}})


anything = st.text(st.characters()) | st.sampled_from(["alice", "/home/alice", "/bin/bash", "gid-7", "docker"])
numbers = st.integers() | st.sampled_from([0, 999, 1000, 20001, 65534, 2**32 - 3, 2**32 - 1])
groups = st.lists(st.tuples(numbers, st.none() | anything), max_size=5).map(tuple)
accounts = st.builds(Account, anything, numbers, numbers, groups, anything, anything)


@given(account=accounts, asked=anything)
def test_any_account_is_sound_or_refused(account: Account, asked: str) -> None:
    try:
        identity = check(Checks(), "people", asked, account)
    except Refusal as refusal:
        assert refusal.status == 403
        assert len(str(refusal)) < 600
        return
    line = ":".join([identity.name, "x", str(identity.uid), str(identity.gid), "", identity.home, identity.shell])
    assert len(line.split(":")) == 7
    assert line.isprintable()
    assert identity.name == asked
    assert identity.gid in identity.gids
    assert list(identity.groups) == sorted(set(identity.groups))
    assert min(identity.gids) >= 100
    assert len(set(identity.group_names)) == len(identity.groups)


@given(account=accounts.map(lambda account: replace(account, name="alice", home="/home/alice", shell="/bin/bash")))
def test_a_sound_account_loses_no_group(account: Account) -> None:
    try:
        identity = checked(account)
    except Refusal:
        return
    carried = {gid for gid, _ in account.groups if 0 <= gid <= 2147483647}
    assert set(identity.gids) == {account.gid, *carried}
    assert len(identity.left_out) == len({gid for gid, _ in account.groups} - carried)


def test_more_than_sixteen_groups_are_a_warning_and_all_stay() -> None:
    def member_of(count: int) -> PosixIdentity:
        return checked(replace(ALICE, groups=tuple((20001 + index, f"group{index}") for index in range(count))))

    assert warnings(member_of(16)) == ()
    assert len(member_of(17).groups) == 17
    (sentence,) = warnings(member_of(17))
    assert sentence.startswith("You are in 17 groups, but NFS with AUTH_SYS sends only 16")


EXAMPLE = Username(lower=True, strip_domain="example.edu")
WITH_DOMAIN = Username(strip_domain="example.edu", require_domain=True)
DOMAINS = Username.model_validate({"strip_domain": {"example.edu": True, "students.example.edu": True, "old": False}})
STUDENTS = Username(first_digit=True, longest=40)


@pytest.mark.parametrize(
    ("settings", "hub_name", "name"),
    [
        (Username(), "alice", "alice"),
        (Username(), "alice.b_c-1", "alice.b_c-1"),
        (EXAMPLE, "Alice", "alice"),
        (EXAMPLE, "alice@example.edu", "alice"),
        (EXAMPLE, "Alice@EXAMPLE.edu", "alice"),
        (WITH_DOMAIN, "alice@example.edu", "alice"),
        (DOMAINS, "alice@example.edu", "alice"),
        (DOMAINS, "alice@Students.example.edu", "alice"),
        (DOMAINS, "alice", "alice"),
        (STUDENTS, "2345678s", "2345678s"),
        (STUDENTS, "a" * 40, "a" * 40),
    ],
)
def test_hub_names_and_their_posix_names(settings: Username, hub_name: str, name: str) -> None:
    assert posix_name(settings, hub_name) == name


@pytest.mark.parametrize(
    ("settings", "hub_name"),
    [
        (Username(), "Alice"),
        (Username(), "alice@example.edu"),
        (WITH_DOMAIN, "alice"),
        (EXAMPLE, "alice@example.com"),
        (EXAMPLE, "alice@example.edu@example.com"),
        (EXAMPLE, "alice@example.com@example.edu"),
        (EXAMPLE, "alice@sub.example.edu"),
        (EXAMPLE, "@example.edu"),
        (EXAMPLE, ""),
        (EXAMPLE, "20001"),
        (EXAMPLE, "../bob"),
        (EXAMPLE, "a..b"),
        (EXAMPLE, "alice\n"),
        (EXAMPLE, "\u212aim"),  # the Kelvin sign: lower() makes an ASCII k of it
        (EXAMPLE, "a" * 33),
        (EXAMPLE, "2345678s"),
        (STUDENTS, "2345678"),  # programs read a number as a uid
        (STUDENTS, "a" * 41),
        (DOMAINS, "alice@old"),
        (DOMAINS, "alice@example.com"),
    ],
)
def test_hub_names_that_are_nobody(settings: Username, hub_name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        posix_name(settings, hub_name)
    assert (refusal.value.code, refusal.value.field, refusal.value.status) == ("invalid-identity", "name", 403)


@pytest.mark.parametrize(
    ("settings", "hub_name", "message"),
    [
        (EXAMPLE, "alice@example.com", "has the domain 'example.com', but only names that end in @example.edu are"),
        (DOMAINS, "alice@old", "'old', but only names that end in @example.edu or @students.example.edu are"),
        (WITH_DOMAIN, "alice", "Your user name 'alice' has no domain, but only names that end in @example.edu are"),
    ],
)
def test_foreign_domain_is_the_reason_of_the_refusal(settings: Username, hub_name: str, message: str) -> None:
    with pytest.raises(Refusal, match=re.escape(message)):
        posix_name(settings, hub_name)


@given(settings=st.sampled_from([Username(), EXAMPLE]), hub_name=st.text(st.characters()))
def test_any_hub_name_is_a_short_ascii_name_or_refused(settings: Username, hub_name: str) -> None:
    try:
        name = posix_name(settings, hub_name)
    except Refusal as refusal:
        assert len(refusal.message) < 800
        assert "\n" not in refusal.message
        return
    assert name.isascii()
    assert 0 < len(name) <= 32
