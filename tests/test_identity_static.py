"""The source `static`: passwd(5) and group(5) files, and people in the settings."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyter_research_spawner.identity import IdentitySettings, Resolver, static
from jupyter_research_spawner.identity.passwd import parse
from jupyter_research_spawner.identity.source_interface import Account, Entries, InvalidAccount, Source, SourceDown
from jupyter_research_spawner.refusal import Refusal

PASSWD = "alice:x:20001:20001:Alice A.,,,:/home/alice:/bin/bash\nbob:x:20002:20002::/home/bob:\n"
GROUP = "alice:x:20001:\nbob:x:20002:\nclimate:x:20500:alice,bob\nstudents:x:20600:bob\n"
ALICE = Account("alice", 20001, 20001, ((20001, "alice"), (20500, "climate")), "/home/alice", "/bin/bash")
BOB = Account("bob", 20002, 20002, ((20002, "bob"), (20500, "climate"), (20600, "students")), "/home/bob", "/bin/sh")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    (tmp_path / "people.passwd").write_text(PASSWD)
    (tmp_path / "people.group").write_text(GROUP)
    return tmp_path


def files(base: Path, limit: str = "5s") -> Source:
    options = static.Options.model_validate(
        {"kind": "static", "passwd": "people.passwd", "group": "people.group", "lookup_limit": limit}
    )
    return static.open_source(options, base)


def entries(base: Path) -> Entries:
    options = static.Options.model_validate({"kind": "static", "passwd": "people.passwd", "group": "people.group"})
    return static.read_entries(options, base)


def replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


async def test_files_say_what_getent_says(people: Path) -> None:
    source = files(people)
    assert await source.lookup("alice") == ALICE
    assert await source.lookup("bob") == BOB  # passwd(5): an empty shell is /bin/sh
    assert await source.lookup("carol") is None


async def test_comments_and_empty_lines_are_skipped(people: Path) -> None:
    replace(people / "people.passwd", f"# people\n\n{PASSWD}")
    assert await files(people).lookup("alice") == ALICE


async def test_a_long_group_may_have_several_lines(people: Path) -> None:
    replace(people / "people.group", "alice:x:20001:\nclimate:x:20500:bob\nclimate:x:20500:alice\n")
    assert await files(people).lookup("alice") == ALICE


async def test_a_gid_without_a_group_has_no_name(people: Path) -> None:
    replace(people / "people.group", "climate:x:20500:alice\n")
    account = await files(people).lookup("alice")
    assert account is not None
    assert account.groups == ((20001, None), (20500, "climate"))


@pytest.mark.parametrize("in_place", [True, False])
async def test_changed_files_are_read_again(people: Path, in_place: bool) -> None:
    source = files(people)
    assert await source.lookup("carol") is None
    text = f"{PASSWD}carol:x:20003:20003::/home/carol:/bin/bash\n"
    if in_place:
        (people / "people.passwd").write_text(text)
    else:
        replace(people / "people.passwd", text)
    assert await source.lookup("carol") is not None


async def test_the_same_size_at_the_same_mtime_is_still_another_file(people: Path) -> None:
    path = people / "people.passwd"
    source = files(people)
    before = path.stat()
    assert await source.lookup("alice") == ALICE
    path.write_text(PASSWD.replace(":20001:20001:", ":20009:20001:"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    account = await source.lookup("alice")
    assert account is not None
    assert account.uid == 20009


async def test_unchanged_files_are_not_parsed_again(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = files(people)
    await source.lookup("alice")
    monkeypatch.setattr(static, "parse", lambda *_: pytest.fail("parsed again"))
    assert await source.lookup("alice") == ALICE


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("people.passwd", "", "people.passwd is empty"),
        ("people.group", "", "people.group is empty"),
        ("people.passwd", PASSWD[:-1], "people.passwd does not end with a newline"),
        ("people.group", GROUP.removesuffix("students:x:20600:bob\n") + "students:x:20600:b", "not end with a newline"),
    ],
)
async def test_incomplete_file_is_a_source_that_is_down(people: Path, name: str, text: str, sentence: str) -> None:
    source = files(people)
    assert await source.lookup("alice") == ALICE
    replace(people / name, text)
    for _ in range(2):  # what was read before is not used again, not even at the second try
        with pytest.raises(SourceDown) as down:
            await source.lookup("alice")
        assert sentence in str(down.value)
    assert [sentence in problem for problem in entries(people).problems] == [True]
    replace(people / name, PASSWD if name == "people.passwd" else GROUP)
    assert await source.lookup("alice") == ALICE


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("carol:x:20003:20003:/home/carol:/bin/sh", "the line has 6 fields, expected 7"),
        ("carol", "the line has 1 fields, expected 7"),
        ("carol:x:1_000:20003::/home/carol:/bin/sh", "'1_000' is not a number of at most ten digits"),
        ("carol:x:\u0662\u0660\u0660\u0660\u0661:20003::/home/carol:/bin/sh", "is not a number"),
        ("carol:x: 20003:20003::/home/carol:/bin/sh", "' 20003' is not a number"),
        ("carol:x:-2:-2::/:/sbin/nologin", "'-2' is not a number"),
        ("carol:x:20003:::/home/carol:/bin/sh", "'' is not a number"),
        (b"carol:x:20003:20003::/home/\xe9:/bin/sh", "the home is not valid UTF-8"),
    ],
)
async def test_invalid_line_of_passwd_refuses_its_account_only(people: Path, line: str | bytes, problem: str) -> None:
    text = line if isinstance(line, bytes) else line.encode()
    (people / "people.passwd").write_bytes(text + b"\n" + PASSWD.encode())
    source = files(people)
    assert (await source.lookup("alice"), await source.lookup("bob")) == (ALICE, BOB)
    with pytest.raises(InvalidAccount) as invalid:
        await source.lookup("carol")
    assert problem in str(invalid.value)
    (found,) = entries(people).problems
    assert found.startswith(f"{people / 'people.passwd'}:1: ")
    assert problem in found


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b":x:20003:20003::/home/carol:/bin/sh", "the name is missing (NIS lines with + or - are not supported)"),
        (b"+::::::", "the name is missing (NIS lines with + or - are not supported)"),
        (b"ren\xe9e:x:20003:20003::/home/renee:/bin/sh", r"the name 'ren\xe9e' is not valid UTF-8"),
    ],
)
async def test_line_without_a_usable_name_refuses_nobody(people: Path, line: bytes, problem: str) -> None:
    (people / "people.passwd").write_bytes(PASSWD.encode() + line + b"\n")
    source = files(people)
    assert (await source.lookup("alice"), await source.lookup("bob")) == (ALICE, BOB)
    assert entries(people).problems == (f"{people / 'people.passwd'}:3: {problem}",)


@pytest.mark.parametrize(
    "passwd",
    [
        PASSWD + PASSWD,  # `getent passwd` with the services files and sss
        PASSWD.replace("\n", "\r\n"),
        PASSWD.replace("Alice A.,,,", "Ren\xe9e"),
    ],
    ids=["repeated", "carriage returns", "a comment in Latin-1"],
)
async def test_harmless_lines_change_nothing(people: Path, passwd: str) -> None:
    (people / "people.passwd").write_bytes(passwd.encode("latin-1"))
    (people / "people.group").write_bytes((GROUP + GROUP).replace("\n", "\r\n").encode())
    source = files(people)
    assert (await source.lookup("alice"), await source.lookup("bob")) == (ALICE, BOB)
    assert entries(people).problems == ()


async def test_two_users_with_one_uid_and_a_user_with_two_uids_are_refused(people: Path) -> None:
    carol = "carol:x:20003:20003::/home/carol:/bin/sh\n"
    same = "m1:x:30001:20002::/home/m1:/bin/sh\nm2:x:30001:20002::/home/m2:/bin/sh\n"
    replace(people / "people.passwd", PASSWD + carol + carol.replace("20003", "20004") + same)
    source = files(people)
    assert (await source.lookup("alice"), await source.lookup("bob")) == (ALICE, BOB)
    for name, problem in (
        ("carol", "the user 'carol' occurs twice, with different fields"),
        ("m1", "the users 'm1' and 'm2' have the same uid 30001"),
        ("m2", "the users 'm1' and 'm2' have the same uid 30001"),
    ):
        with pytest.raises(InvalidAccount, match=problem):
            await source.lookup(name)
    found = entries(people)
    assert [account.name for account in found.accounts] == ["alice", "bob"]
    assert [problem.rpartition("people.passwd:")[2] for problem in found.problems] == [
        "4: the user 'carol' occurs twice, with different fields",
        "6: the users 'm1' and 'm2' have the same uid 30001",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("extra:x:-2:alice", "'-2' is not a number of at most ten digits"),
        ("extra:x:20700:alice:", "the line has 5 fields, expected 4"),
        ("climate:x:20501:carol", "the group 'climate' occurs twice, with gid 20500 and with gid 20501"),
    ],
)
async def test_invalid_line_of_group_leaves_out_its_group_only(people: Path, line: str, problem: str) -> None:
    replace(people / "people.group", f"{GROUP}{line}\n")
    source, name = files(people), line.partition(":")[0]
    account = await source.lookup("alice")
    assert account is not None
    assert account.left_out == ((name, problem),)
    assert account.groups == tuple(group for group in ALICE.groups if group[1] != name)
    assert await source.gids(["alice", name]) == {"alice": 20001}
    bob = await source.lookup("bob")
    assert bob is not None
    assert bob.left_out == (((name, problem),) if name == "climate" else ())
    assert entries(people).problems == (f"{people / 'people.group'}:5: {problem}",)


async def test_two_names_of_a_gid_are_each_the_name_for_its_own_members(people: Path) -> None:
    replace(people / "people.group", "lab-a:x:40001:alice\nlab-b:x:40001:bob\nclimate:x:20500:alice,,bob\n")
    source = files(people)
    alice, bob = await source.lookup("alice"), await source.lookup("bob")
    assert alice is not None
    assert bob is not None
    assert (40001, "lab-a") in alice.groups
    assert (40001, "lab-b") in bob.groups
    assert (20500, "climate") in bob.groups
    (problem,) = entries(people).problems
    assert problem.endswith("people.group:2: the groups 'lab-a' and 'lab-b' have the same gid 40001")


async def test_files_that_change_while_they_are_read_answer_nothing(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = files(people)
    path = people / "people.passwd"
    read = Path.read_bytes

    def read_and_write(self: Path) -> bytes:
        content = read(self)
        path.write_text(PASSWD + "carol:x:20003:20003::/home/carol:/bin/bash\n")
        return content

    with monkeypatch.context() as patch, pytest.raises(SourceDown, match="changed while they were read"):
        patch.setattr(Path, "read_bytes", read_and_write)
        await source.lookup("alice")
    assert await source.lookup("carol") is not None


@pytest.mark.parametrize("name", ["people.passwd", "people.group"])
async def test_a_missing_file_is_a_source_that_is_down(people: Path, name: str) -> None:
    source = files(people)
    assert await source.lookup("alice") == ALICE
    (people / name).unlink()
    with pytest.raises(SourceDown, match=rf"{name} cannot be read: No such file"):
        await source.lookup("alice")


async def test_a_file_system_that_hangs_is_a_source_that_is_down(people: Path) -> None:
    (people / "people.passwd").unlink()
    os.mkfifo(people / "people.passwd")  # opening it waits for a writer
    source = files(people, limit="1s")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    try:
        with pytest.raises(SourceDown, match="no answer within 1s"):
            await source.lookup("alice")
        assert ticks > 20  # the event loop went on
        with pytest.raises(SourceDown, match="all 1 threads hang"):
            await asyncio.wait_for(source.lookup("alice"), 0.1)
    finally:
        ticking.cancel()
        os.close(os.open(people / "people.passwd", os.O_WRONLY))


def inline(**people: object) -> static.Options:
    return static.Options.model_validate({"kind": "static", "people": people})


async def test_people_may_be_written_in_the_settings() -> None:
    options = inline(
        alice={"uid": 20001, "gid": 20001, "groups": {"alice": 20001, "climate": 20500}, "home": "/home/alice"},
        bob={"uid": 20002, "gid": 20500, "home": "/home/bob", "shell": "/bin/zsh"},
    )
    source = static.open_source(options, Path("/nowhere"))
    assert await source.lookup("alice") == ALICE
    # climate's name is known from alice.
    assert await source.lookup("bob") == Account("bob", 20002, 20500, ((20500, "climate"),), "/home/bob", "/bin/zsh")
    assert await source.lookup("carol") is None


PERSON = {"uid": 20001, "gid": 20001, "home": "/home/alice"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "set either passwd and group, or people"),
        ({"passwd": "people.passwd"}, "passwd and group must be set together"),
        ({"group": "people.group", "people": {"alice": PERSON}}, "passwd and group must be set together"),
        ({"passwd": "p", "group": "g", "people": {"alice": PERSON}}, "set either"),
        ({"people": {"alice": PERSON, "bob": PERSON}}, "'alice' and 'bob' have the same uid 20001"),
        (
            {"people": {"alice": {**PERSON, "groups": {"climate": 1}}, "bob": {**PERSON, "groups": {"climate": 2}}}},
            "have the same uid",
        ),
        (
            {
                "people": {
                    "alice": {**PERSON, "groups": {"climate": 20500}},
                    "bob": {**PERSON, "uid": 20002, "groups": {"climate": 20501}},
                }
            },
            "the group 'climate' occurs twice, with gid 20500 and with gid 20501",
        ),
        ({"people": {"Alice": PERSON}}, "'Alice' is not a valid POSIX user name"),
        ({"people": {"alice": {**PERSON, "uid": "20001"}}}, "valid integer"),
        ({"people": {"alice": {**PERSON, "uid": True}}}, "valid integer"),
        ({"people": {"alice": {**PERSON, "gid": -1}}}, "greater than or equal to 0"),
        ({"people": {"alice": {"uid": 20001, "gid": 20001}}}, "home"),
    ],
)
def test_settings_that_contradict_themselves_are_errors(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        static.Options.model_validate({"kind": "static", **options})


field = st.text(st.characters(exclude_characters=":\n", codec="utf-8")) | st.sampled_from(["20001", "alice", "/bin/sh"])
line = st.lists(field, min_size=3, max_size=8).map(":".join)
content = (st.lists(line).map("\n".join) | st.text()).map(lambda text: text.encode("utf-8", "surrogatepass"))
ended = content.map(lambda text: text + b"\n")


@given(passwd=content | ended | st.binary(), group=content | ended | st.binary(), name=st.text())
def test_any_file_is_read_or_refused_with_its_place(passwd: bytes, group: bytes, name: str) -> None:
    try:
        directory = parse({"people.passwd": passwd}, {"people.group": group})
    except ValueError as error:
        assert str(error).startswith("people.")
        return
    assert all(problem.place.startswith("people.") and problem.message for problem in directory.problems)
    try:
        account = directory.account(name)
    except InvalidAccount as invalid:
        assert str(invalid) in {problem.message for problem in directory.problems}
    else:
        assert account is None or account.name == name


@given(uid=st.integers(0, 2**32 - 1), home=field, cut=st.integers(1, 100))
def test_a_file_cut_anywhere_never_shows_half_a_line(uid: int, home: str, cut: int) -> None:
    passwd = f"alice:x:{uid}:20001::{home}:/bin/bash\n".encode()
    try:
        directory = parse({"p": passwd[: -min(cut, len(passwd) - 1)]}, {"g": GROUP.encode()})
    except ValueError:
        return
    assert directory.account("alice") is None


ODD_PASSWD = b"""root:x:0:0:root:/root:/bin/bash
alice:x:20001:20001:Alice:/home/alice:/bin/bash
alice:x:20001:20001:Alice:/home/alice:/bin/bash
bob:x:20002:20002:Bob:/home/bob:/bin/bash\r
m1:x:30001:20002::/home/m1:/bin/bash
m2:x:30001:20002::/home/m2:/bin/bash
nobody:x:-2:-2:Nobody:/:/sbin/nologin
2345678s:x:20010:20010::/home/students/2345678s:/bin/bash
carol:x:20011:20011:Ren\xe9e:/home/carol:/bin/bash
old:x:512:512::/home/old:/bin/bash

"""
ODD_GROUP = b"""alice:x:20001:
climate:x:20500:alice,bob
lab-a:x:40001:alice
lab-b:x:40001:bob
1002555:x:1002555:2345678s
docker:x:998:alice
ad-group:x:3222000513:bob
climate:x:20500:alice,bob
"""
LENIENT = {
    "username": {"first_digit": True},
    "checks": {"minimum_uid": 500, "drop_groups": {"docker": True}},
}


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [({}, ["bob", "carol"]), (LENIENT, ["2345678s", "alice", "bob", "carol", "old"])],
    ids=["by default", "with wider settings"],
)
async def test_directory_with_odd_lines(tmp_path: Path, settings: dict[str, object], allowed: list[str]) -> None:
    (tmp_path / "odd.passwd").write_bytes(ODD_PASSWD)
    (tmp_path / "odd.group").write_bytes(ODD_GROUP)
    source = {"kind": "static", "passwd": "odd.passwd", "group": "odd.group"}
    made = Resolver(IdentitySettings.model_validate({"sources": {"people": source}, **settings}), tmp_path)
    found = {}
    for name in ("alice", "bob", "carol", "m1", "m2", "nobody", "2345678s", "old", "root"):
        with contextlib.suppress(Refusal):
            found[name] = await made.resolve(name)
    assert sorted(found) == allowed
    assert found["bob"].group_names == ("gid-20002", "climate", "lab-b")
    assert [name for name, _ in found["bob"].left_out] == ["ad-group"]
    if settings:
        assert found["alice"].group_names == ("alice", "climate", "lab-a")
        assert [name for name, _ in found["alice"].left_out] == ["docker"]
        assert found["2345678s"].group_names == ("gid-20010", "1002555")
