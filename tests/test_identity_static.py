"""The source `static`: passwd(5) and group(5) files, and people in the settings."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyter_research_spawner.identity import static
from jupyter_research_spawner.identity.passwd import parse
from jupyter_research_spawner.identity.source_interface import Account, Source, SourceDown

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
        (
            "people.passwd",
            "alice:x:20001:20001:/home/alice:/bin/bash\n",
            "people.passwd, line 1: the line has 6 fields",
        ),
        ("people.group", "# groups\nclimate:x:20500\n", "people.group, line 2: the line has 3 fields"),
        ("people.passwd", "alice:x:1_000:20001::/home/alice:/bin/bash\n", "line 1: '1_000' is not a number"),
        ("people.passwd", "alice:x:٢٠٠٠١:20001::/home/alice:/bin/bash\n", "line 1: '٢٠٠٠١' is not a number"),
        ("people.passwd", "alice:x: 20001:20001::/home/alice:/bin/bash\n", "line 1: ' 20001' is not a number"),
        ("people.passwd", "alice:x::20001::/home/alice:/bin/bash\n", "line 1: '' is not a number"),
        ("people.passwd", ":x:20001:20001::/home/alice:/bin/bash\n", "line 1: the name is missing"),
        ("people.passwd", "+::::::\n", "line 1: the name is missing (NIS lines"),
        ("people.group", "climate:x:20500:alice,,bob\n", "line 1: the list of members has an empty name"),
        ("people.passwd", PASSWD + "alice:x:20003:20001::/home/a:/bin/bash\n", "line 3: the user 'alice' occurs twice"),
        (
            "people.passwd",
            PASSWD + "carol:x:20001:20003::/home/carol:/bin/bash\n",
            "line 3: the users 'alice' and 'carol' have the same uid 20001",
        ),
        (
            "people.group",
            GROUP + "climate:x:20501:carol\n",
            "line 5: the group 'climate' occurs twice, with gid 20500 and with gid 20501",
        ),
        (
            "people.group",
            GROUP + "klima:x:20500:carol\n",
            "line 5: the groups 'climate' and 'klima' have the same gid 20500",
        ),
    ],
)
async def test_one_wrong_line_and_nobody_is_known(people: Path, name: str, text: str, sentence: str) -> None:
    source = files(people)
    assert await source.lookup("alice") == ALICE
    replace(people / name, text)
    for _ in range(2):  # what was read before is not used again, not even at the second try
        with pytest.raises(SourceDown) as down:
            await source.lookup("alice")
        assert sentence in str(down.value)
    replace(people / name, PASSWD if name == "people.passwd" else GROUP)
    assert await source.lookup("alice") == ALICE


async def test_a_line_that_is_not_utf8_is_named(people: Path) -> None:
    (people / "people.passwd").write_bytes(PASSWD.encode() + b"carol:x:20003:20003:\xff:/home/carol:/bin/sh\n")
    with pytest.raises(SourceDown, match=r"people\.passwd, line 3: the line is not valid UTF-8"):
        await files(people).lookup("alice")


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
    else:
        account = directory.account(name)
        assert account is None or account.name == name


@given(uid=st.integers(0, 2**32 - 1), home=field, cut=st.integers(1, 100))
def test_a_file_cut_anywhere_never_shows_half_a_line(uid: int, home: str, cut: int) -> None:
    passwd = f"alice:x:{uid}:20001::{home}:/bin/bash\n".encode()
    try:
        directory = parse({"p": passwd[: -min(cut, len(passwd) - 1)]}, {"g": GROUP.encode()})
    except ValueError:
        return
    assert directory.account("alice") is None
