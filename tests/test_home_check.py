"""The script of the init container that checks the home and the working directory, in each shell of this machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_research_spawner.pod.home_check import SCRIPT

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]
ALICE, CLIMATE = 20001, 20500
AS_ALICE: dict[str, Any] = {"user": ALICE, "group": ALICE, "extra_groups": [CLIMATE]} if os.geteuid() == 0 else {}
ASK = "Ask your administrators to correct this."


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, home: Path) -> str:
    """A shell under the name `sh`."""
    link = home.parent / "sh"
    link.symlink_to(str(shutil.which(request.param)))
    return str(link)


@pytest.fixture
def home() -> Iterator[Path]:
    """The home of alice in a directory that she can reach."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        found = Path(directory, "alice")
        found.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(found, ALICE, ALICE)
        yield found


def checked(
    shell: str, *asked: str | Path, limit: int = 20, path: str = "/usr/bin:/bin"
) -> subprocess.CompletedProcess[str]:
    """Run the check as alice; as the user of the tests if that is not root.

    The output goes to files, because a process that waits for a file system keeps a pipe open.
    """
    command = [shell, "-c", SCRIPT, "research-home", str(limit), *asked]
    options: dict[str, Any] = {"cwd": "/", "env": {"PATH": path}, **AS_ALICE}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        ran = subprocess.run(command, check=False, timeout=60, stdout=out, stderr=err, **options)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, ran.returncode, out.read(), err.read())


def sentence(ran: subprocess.CompletedProcess[str]) -> str:
    assert (ran.returncode, ran.stderr) == (1, "")
    return ran.stdout.removesuffix("\n")


def test_a_home_of_the_user_is_accepted_and_nothing_is_left(home: Path, shell: str) -> None:
    ran = checked(shell, "home", home)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


def test_a_home_may_be_a_link_and_have_an_odd_name(home: Path, shell: str) -> None:
    odd = home / "-P $(touch made) `b` 'c' %s \\n *"
    odd.mkdir()
    if os.geteuid() == 0:
        os.chown(odd, ALICE, ALICE)
    link = home.parent / "link"
    link.symlink_to(odd)
    assert checked(shell, "home", odd, "work", odd).returncode == 0
    assert checked(shell, "home", link).returncode == 0
    assert [path.name for path in home.iterdir()] == [odd.name]
    missing = sentence(checked(shell, "home", odd / "$(x) \\n"))
    assert missing.startswith(f"Your home directory {odd}/$(x) \\n does not exist on the shared file system.")


@pytest.mark.parametrize("below", ["bob", "bob/deeper"])
def test_a_missing_home_is_named(home: Path, shell: str, below: str) -> None:
    missing = home.parent / below
    assert sentence(checked(shell, "home", missing)) == (
        f"Your home directory {missing} does not exist on the shared file system. Ask your administrators to create it."
    )


def test_a_home_below_a_closed_directory_cannot_be_reached(home: Path, shell: str) -> None:
    closed = home.parent / "closed"
    (closed / "alice").mkdir(parents=True)
    closed.chmod(0o700 if os.geteuid() == 0 else 0o000)
    try:
        found = sentence(checked(shell, "home", closed / "alice"))
        work = sentence(checked(shell, "home", home, "work", closed / "alice"))
    finally:
        closed.chmod(0o700)
    assert found == (f"Your home directory {closed}/alice cannot be reached: you may not enter {closed}. {ASK}")
    assert work == (
        f"The working directory {closed}/alice cannot be reached: you may not enter {closed}. Choose another."
    )


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o775])
@pytest.mark.root
def test_a_home_of_another_user_is_refused_with_the_owner(home: Path, shell: str, mode: int) -> None:
    """The homes of a plain Zero to JupyterHub belong to 1000:100."""
    os.chown(home, 1000, 100)
    home.chmod(mode)
    assert sentence(checked(shell, "home", home)) == (
        f"Your home directory {home} belongs to another user (uid 1000, gid 100), and you cannot write to it. {ASK}"
    )


def test_without_ls_the_owner_is_left_out(shell: str, home: Path) -> None:
    # A directory of root in which other users cannot write.
    found = sentence(checked(shell, "home", "/usr", path="/nowhere"))
    assert found == f"Your home directory /usr belongs to another user, and you cannot write to it. {ASK}"


@pytest.mark.root
def test_a_home_of_another_user_is_accepted_where_the_user_can_write(home: Path, shell: str) -> None:
    """As on CIFS, where all files have one owner, or by a group or an access control list."""
    os.chown(home, 0, CLIMATE)
    home.chmod(0o770)
    assert checked(shell, "home", home).returncode == 0


def test_a_home_with_a_mode_that_forbids_writing_is_refused(home: Path, shell: str) -> None:
    home.chmod(0o500)
    found = sentence(checked(shell, "home", home))
    assert found == f"Your home directory {home} is not writable for you: Permission denied. {ASK}"


def test_a_home_with_a_mode_that_forbids_entering_is_refused(home: Path, shell: str) -> None:
    home.chmod(0o600)
    found = sentence(checked(shell, "home", home))
    assert found == f"Your home directory {home} is closed to you: its permissions do not let you enter it. {ASK}"


@pytest.mark.root
def test_a_read_only_file_system_is_named(home: Path, shell: str) -> None:
    with mounted(home, b"tmpfs", flags=1, options=f"uid={ALICE},gid={ALICE},mode=700".encode()):
        found = sentence(checked(shell, "home", home))
    assert found == f"Your home directory {home} is not writable for you: Read-only file system. {ASK}"


@pytest.mark.root
def test_a_full_file_system_does_not_lock_its_user_out(home: Path, shell: str) -> None:
    with mounted(home, b"tmpfs", options=f"uid={ALICE},gid={ALICE},mode=700,nr_inodes=1".encode()):
        with pytest.raises(OSError, match="No space left"):
            (home / "file").touch()
        assert checked(shell, "home", home).returncode == 0


@pytest.mark.parametrize("target", ["nowhere", "file"])
def test_links_to_nowhere_and_files_are_named(home: Path, shell: str, target: str) -> None:
    (home.parent / "file").touch()
    link = home.parent / "link"
    link.symlink_to(home.parent / target)
    reason = (
        "is not a directory" if target == "file" else "is a symbolic link to a place that is missing or closed to you"
    )
    found = sentence(checked(shell, "home", link))
    assert found == f"Your home directory {link} cannot be reached: {link} {reason}. {ASK}"


def test_a_missing_working_directory_is_named(home: Path, shell: str) -> None:
    found = sentence(checked(shell, "home", home, "work", home / "results"))
    assert found == f"The working directory {home}/results does not exist. Create it first, or choose another."


@pytest.mark.root
def test_a_file_system_that_does_not_answer_is_named_in_time(home: Path, shell: str) -> None:
    for asked in (("home", home / "x"), ("home", home.parent, "work", home)):
        home.parent.chmod(0o777)
        with unanswering(home):
            found = sentence(checked(shell, *asked, limit=1))
        name = "Your home directory" if asked[-2] == "home" else "The working directory"
        assert found == (
            f"{name} {asked[-1]} cannot be used: its file system has not answered for 1 s. "
            "Try again later, or tell your administrators."
        )


def test_a_quick_check_leaves_no_process(home: Path, shell: str) -> None:
    with tempfile.TemporaryFile() as output:
        command = [shell, "-c", SCRIPT, "research-home", "54321", "home", home]
        ran = subprocess.run(
            command, check=False, stdout=output, cwd="/", timeout=60, start_new_session=True, **AS_ALICE
        )
    assert ran.returncode == 0
    assert "54321" not in subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout


LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def mounted(at: Path, kind: bytes, *, flags: int = 0, options: bytes = b"") -> Iterator[None]:
    if LIBC.mount(b"test", os.fsencode(at), kind, flags, options):
        raise OSError(ctypes.get_errno(), "mount")
    try:
        yield
    finally:
        LIBC.umount2(os.fsencode(at), 2)  # MNT_DETACH


@contextmanager
def unanswering(at: Path) -> Iterator[None]:
    """Mount a file system in user space whose program never answers, as NFS without its server."""
    channel = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={channel},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
        with mounted(at, b"fuse", options=options):
            yield
    finally:
        os.close(channel)
