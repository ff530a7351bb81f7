"""The source `nss`, against the C library itself: nss_wrapper answers in place of the machine's name service."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_research_spawner.identity import nss
from jupyter_research_spawner.identity.source_interface import Account, SourceDown

LIBRARY = "libnss_wrapper.so"

LOOKUPS = """
import asyncio, dataclasses, grp, json, os, pwd, sys, threading, time
from pathlib import Path
from jupyter_research_spawner.identity import nss
from jupyter_research_spawner.identity.source_interface import InvalidAccount, SourceDown

async def lookup(source, name):
    began = time.monotonic()
    try:
        account = await source.lookup(name)
        said = account and list(dataclasses.astuple(account))
    except (InvalidAccount, SourceDown) as error:
        said = str(error)
    return {"said": said, "seconds": time.monotonic() - began}

async def main(options, rounds):
    source = nss.open_source(nss.Options.model_validate(options), Path())
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1
    ticking = asyncio.create_task(tick())
    answers = [await asyncio.gather(*(lookup(source, name) for name in names)) for names in rounds]
    ticking.cancel()
    lookups = sum(thread.name == "identity-lookup" for thread in threading.enumerate())
    print(json.dumps({"answers": answers, "ticks": ticks, "threads": lookups}))

# While nss_wrapper reads its files for the first time, a second thread finds them empty.
if os.path.isfile(os.environ["NSS_WRAPPER_PASSWD"]):
    pwd.getpwall(), grp.getgrall()
asyncio.run(main(*json.loads(sys.argv[1])))
"""

PASSWD = "alice:x:20001:20001::/home/alice:/bin/bash\nbob:x:20002:20777::/home/bob:\n"
GROUP = "alice:x:20001:\nclimate:x:20500:alice,bob\nstudents:x:20600:bob\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "passwd").write_text(PASSWD)
    (tmp_path / "group").write_text(GROUP)
    return tmp_path


@pytest.fixture
def wrapper() -> Path:
    for directory in ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib"):
        for found in (*Path(directory).glob(LIBRARY), *Path(directory).glob(f"*/{LIBRARY}")):
            return found
    pytest.skip(f"this test needs {LIBRARY}: apt-get install libnss-wrapper")


def ask(directory: Path, wrapper: Path, *rounds: list[str], **options: object) -> dict[str, Any]:
    """A Python with nss_wrapper looks up all names of a round at once, and one round after the other."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(wrapper),
        "NSS_WRAPPER_PASSWD": str(directory / "passwd"),
        "NSS_WRAPPER_GROUP": str(directory / "group"),
    }
    asked = json.dumps([{"kind": "nss", **options}, rounds])
    # It ends in time although threads hang: nothing waits for them.
    ended = subprocess.run(
        [sys.executable, "-c", LOOKUPS, asked], env=environment, capture_output=True, text=True, timeout=20, check=True
    )
    answers: dict[str, Any] = json.loads(ended.stdout)
    return answers


def hang(directory: Path) -> None:
    """Make every lookup wait: nss_wrapper opens the file, and opening a pipe waits for a writer."""
    (directory / "passwd").unlink()
    os.mkfifo(directory / "passwd")


def test_the_answer_is_what_id_prints(directory: Path, wrapper: Path) -> None:
    (answers,) = ask(directory, wrapper, ["alice", "bob", "carol", "a\0lice"])["answers"]
    assert [answer["said"] for answer in answers] == [
        ["alice", 20001, 20001, [[20001, "alice"], [20500, "climate"]], "/home/alice", "/bin/bash", []],
        ["bob", 20002, 20777, [[20500, "climate"], [20600, "students"], [20777, None]], "/home/bob", "/bin/sh", []],
        None,
        None,
    ]


def test_a_burst_waits_for_a_thread_instead_of_failing(directory: Path, wrapper: Path) -> None:
    (answers,) = ask(directory, wrapper, ["alice"] * 200, threads=2)["answers"]
    assert {answer["said"][1] for answer in answers} == {20001}


def test_a_hung_lookup_blocks_neither_the_loop_nor_the_exit(directory: Path, wrapper: Path) -> None:
    hang(directory)
    result = ask(directory, wrapper, ["alice"], lookup_limit="1s")
    ((answer,),) = result["answers"]
    assert answer["said"] == "there was no answer within 1s"
    assert 0.9 < answer["seconds"] < 3
    assert result["ticks"] > 20


def test_when_all_threads_hang_it_is_down_at_once(directory: Path, wrapper: Path) -> None:
    hang(directory)
    result = ask(directory, wrapper, ["alice"] * 10, ["bob"] * 100, lookup_limit="1s", threads=2)
    first, second = result["answers"]
    assert {answer["said"] for answer in first} == {"there was no answer within 1s"}
    assert {answer["said"] for answer in second} == {"all 2 threads hang in earlier lookups"}
    assert max(answer["seconds"] for answer in second) < 0.5
    assert result["threads"] == 2


def test_with_a_probe_a_service_that_is_down_knows_nobody_and_says_so(directory: Path, wrapper: Path) -> None:
    (answers,) = ask(directory, wrapper, ["alice", "carol"], probe="bob")["answers"]
    assert answers[0]["said"][1] == 20001
    assert answers[1]["said"] is None
    (answers,) = ask(directory, wrapper, ["alice", "carol"], probe="svc-jupyter")["answers"]
    assert answers[0]["said"][1] == 20001
    assert answers[1]["said"] == "the probe account 'svc-jupyter' is also unknown"


def test_groups_from_a_service_that_goes_away_meanwhile_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    root = pwd.getpwnam("root")
    alice = type(root)(("alice", "x", 20001, 20001, "", "/home/alice", "/bin/bash"))
    answers = iter([alice, alice, alice, None])

    def getpwnam(name: str) -> pwd.struct_passwd:
        answer = next(answers)
        if answer is None:
            raise KeyError(name)
        return answer

    monkeypatch.setattr(nss.pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(nss.pwd, "getpwuid", lambda uid: alice)
    monkeypatch.setattr(nss.os, "getgrouplist", lambda name, gid: [gid])
    assert nss._account("alice", None) == Account("alice", 20001, 20001, ((20001, None),), "/home/alice", "/bin/bash")
    with pytest.raises(SourceDown, match="changed while the groups were read"):
        nss._account("alice", None)


def test_second_name_of_a_uid_is_refused(directory: Path, wrapper: Path) -> None:
    (directory / "passwd").write_text(
        f"{PASSWD}m1:x:30001:20001::/home/m1:/bin/sh\nm2:x:30001:20001::/home/m2:/bin/sh\n"
    )
    (answers,) = ask(directory, wrapper, ["m1", "m2", "alice"])["answers"]
    assert [answers[0]["said"][1], answers[2]["said"][1]] == [30001, 20001]
    assert answers[1]["said"] == "its uid 30001 belongs to the account 'm1'"


@pytest.mark.parametrize("qualified", ["alice@example.edu", "EXAMPLE\\alice"])
def test_qualified_name_is_the_account_and_another_name_is_not(qualified: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def name_service(found: str) -> None:
        entry = pwd.struct_passwd((found, "x", 20001, 20001, "", "/home/alice", "/bin/bash"))
        monkeypatch.setattr(nss.pwd, "getpwnam", lambda name: entry)
        monkeypatch.setattr(nss.pwd, "getpwuid", lambda uid: entry)
        monkeypatch.setattr(nss.os, "getgrouplist", lambda name, gid: [gid])

    name_service(qualified)
    account = nss._account("alice", None)
    assert account is not None
    assert account.name == "alice"
    name_service("al")  # `check` refuses an account with another name than asked for
    account = nss._account("alice", None)
    assert account is not None
    assert account.name == "al"


def test_accounts_of_a_containers_own_passwd_file_are_unknown(directory: Path, wrapper: Path) -> None:
    """`daemon` is in /etc/passwd of every Linux system, like `jovyan` in an image."""
    (directory / "passwd").write_text(f"{PASSWD}daemon:x:1:1::/:/usr/sbin/nologin\n")
    (answers,) = ask(directory, wrapper, ["daemon", "alice"], local_files=False)["answers"]
    assert answers[0]["said"] is None
    assert answers[1]["said"][1] == 20001
    (answers,) = ask(directory, wrapper, ["daemon"], local_files=True)["answers"]
    assert answers[0]["said"][1] == 1


def test_default_of_local_files_depends_on_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert nss.NameService(nss.Options(kind="nss"))._local_files is False
    assert nss.NameService(nss.Options(kind="nss", local_files=True))._local_files is True
    monkeypatch.setattr(nss, "_in_container", lambda: False)
    assert nss.NameService(nss.Options(kind="nss"))._local_files is True


async def test_gids_of_groups() -> None:
    source = nss.open_source(nss.Options(kind="nss"), Path())
    assert await source.gids(["root", "no-such-group", "nul\0"]) == {"root": 0}
