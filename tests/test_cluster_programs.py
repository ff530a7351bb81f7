"""The programs of the real cluster: the table and its pins agree, and a build is taken whole or not at all.

Go itself is a stand-in here: what it is asked for and what becomes of it is seen, nothing is compiled.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import cgroups, debian, machine, programs

RIG = Path(programs.__file__).parents[1]

# It writes what it was called with beside the go.mod, and as binaries the names of the tools that go.mod has.
GO = r"""#!/bin/sh
set -eu
case "$1" in
env) printf 'go1.26.8\namd64\nv1\n'; exit ;;
mod) printf '{"Dir": "%s/module"}' "$PWD"; exit ;;
esac
echo "$@" >> calls
for _ in $(seq 500); do [ ! -e held ] || sleep 0.02; done
if [ -e says ]; then cat says; exit 1; fi
copied=
for word in "$@"; do
    [ "${out:-}" != next ] || out=$word
    case "$word" in
    -o) out=next ;;
    -modfile=*) copied=$(cat "$(sed -n 's/^replace .* => //p' "${word#-modfile=}")/signal_linux.go") ;;
    esac
done
sed -n 's/^tool .*\///p' go.mod | while read -r name; do echo "$name $copied" > "$out$name"; done
"""

TABLE = """
small:
  used_for: this test
  module: example.org/small
  version: v1.2.3
  binaries: {smalld: cmd/small}
  strings: {example.org/small/version.Version: v1.2.3}
  minutes: 1
large:
  used_for: this test
  module: example.org/large
  version: v0.4.0
  binaries: {large: cmd/large}
  links: {signal_linux.go: signal_darwin.go}
  minutes: 30
"""


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two programs in a table of their own, no builds yet, and the stand-in as `go`."""
    pins = tmp_path / "programs"
    for name in ("small", "large"):
        (pins / name).mkdir(parents=True)
        (pins / name / "go.mod").write_text(f"module cluster/{name}\ntool example.org/{name}/cmd/{name}\n")
        (pins / name / "go.sum").write_text("sums\n")
    (pins / "programs.yaml").write_text(TABLE)
    module = pins / "large" / "module"
    module.mkdir()
    (module / "signal_darwin.go").write_text("as on darwin")
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(programs, "PROGRAMS", pins)
    _forget()
    yield pins
    _forget()


def _forget() -> None:
    programs.table.cache_clear()
    programs._go.cache_clear()


def silent(news: str) -> None:
    pass


def calls(pins: Path, name: str) -> int:
    file = pins / name / "calls"
    return len(file.read_text().splitlines()) if file.exists() else 0


def tools_of(go_mod: str) -> set[str]:
    block = re.search(r"^tool \((.*?)^\)", go_mod, re.MULTILINE | re.DOTALL)
    return set(block[1].split()) if block else set(re.findall(r"^tool (\S+)", go_mod, re.MULTILINE))


def test_every_pin_is_what_the_table_says() -> None:
    table = programs.table()
    assert {path.name for path in programs.PROGRAMS.iterdir() if path.is_dir()} == set(table)
    for program in table.values():
        go_mod = (program.directory / "go.mod").read_text()
        required = re.findall(rf"^(?:require )?\s*{re.escape(program.module)} (v\S+)", go_mod, re.MULTILINE)
        assert required == [program.version], program
        assert tools_of(go_mod) == set(program.packages.values()), program
        assert f"{program.module} {program.version} h1:" in (program.directory / "go.sum").read_text(), program


def test_nothing_pinned_depends_on_a_directory_of_this_machine() -> None:
    for program in programs.table().values():
        for target in re.findall(r"=> (\S+)", (program.directory / "go.mod").read_text()):
            assert not target.startswith((".", "/")), f"{program}: {target}"


def test_a_binary_has_one_program_and_tells_its_version() -> None:
    names = Counter(name for program in programs.table().values() for name in program.binaries)
    assert {name for name, count in names.items() if count > 1} == set()
    for program in programs.table().values():
        told = {value for value in program.strings.values() if value.startswith("v")}
        assert told <= {program.version}, program


def test_a_program_is_built_once(pinned: Path) -> None:
    built = programs.build(say=silent)
    programs.build(say=silent)
    assert (calls(pinned, "small"), calls(pinned, "large")) == (1, 1)
    assert built.binary("smalld").read_text().split() == ["small"]
    assert built.source("large") == pinned / "large" / "module"


def test_only_what_is_asked_for_is_built(pinned: Path) -> None:
    built = programs.build(["small"], silent)
    assert calls(pinned, "large") == 0
    with pytest.raises(programs.NotBuilt, match="large is not built: `python -m rig build large`"):
        built.binary("large")
    with pytest.raises(programs.CannotBuild, match="has no medium"):
        programs.build(["medium"], silent)


def test_go_is_told_the_version_and_gets_no_say_in_the_pins(pinned: Path) -> None:
    programs.build(["small"], silent)
    asked = (pinned / "small" / "calls").read_text()
    assert "-X example.org/small/version.Version=v1.2.3" in asked
    assert {"-mod=readonly", "-trimpath", "-buildvcs=false", "tool"} <= set(asked.split())


@pytest.mark.parametrize(
    "change",
    [
        lambda pins: (pins / "small" / "go.sum").write_text("other sums\n"),
        lambda pins: (pins / "programs.yaml").write_text(TABLE.replace("version.Version: v1.2.3", "Version: v1.2.3")),
    ],
    ids=["go.sum", "row"],
)
def test_what_was_built_otherwise_is_not_taken(pinned: Path, change: Callable[[Path], object]) -> None:
    programs.build(["small"], silent)
    change(pinned)
    programs.table.cache_clear()
    assert not programs.is_built(programs.table()["small"])
    programs.build(["small"], silent)
    assert calls(pinned, "small") == 2


def test_other_minutes_are_no_other_program(pinned: Path) -> None:
    programs.build(["small"], silent)
    (pinned / "programs.yaml").write_text(TABLE.replace("minutes: 1\n", "minutes: 2\n"))
    programs.table.cache_clear()
    assert programs.is_built(programs.table()["small"])


def test_a_symbolic_link_of_the_repository_is_there_again(pinned: Path) -> None:
    assert programs.build(["large"], silent).binary("large").read_text() == "large as on darwin\n"


def test_a_failed_build_leaves_nothing_and_says_why(pinned: Path) -> None:
    (pinned / "small" / "says").write_text("# example.org/small\nwrite a.o: no space left on device\n")
    with pytest.raises(programs.CannotBuild) as refused:
        programs.build(["small"], silent)
    assert str(refused.value) == (
        "small v1.2.3 cannot be built: `go build` ended with exit status 1. Free some disk, or let GOCACHE, GOMODCACHE "
        "and XDG_CACHE_HOME be where there is more. It said:\n# example.org/small\nwrite a.o: no space left on device"
    )
    assert [path.name for path in programs.cache().iterdir()] == [programs.LOCK]
    (pinned / "small" / "says").unlink()
    assert programs.build(["small"], silent).binary("smalld").exists()


def test_a_build_that_lost_a_file_is_built_again(pinned: Path) -> None:
    built = programs.build(["small"], silent)
    built.binary("smalld").unlink()
    assert programs.build(["small"], silent).binary("smalld").exists()
    assert calls(pinned, "small") == 2


def test_builds_that_nobody_used_for_long_go(pinned: Path) -> None:
    unused, used = (programs.cache() / f"small@v1.2.{patch}-0123456789abcdef" for patch in (1, 2))
    for old in (unused, used):
        old.mkdir(parents=True)
    long_ago = time.time() - (programs.KEPT_UNUSED_DAYS + 1) * 24 * 3600
    os.utime(unused, (long_ago, long_ago))
    programs.build(["small"], silent)
    assert (unused.exists(), used.exists()) == (False, True)


def test_a_killed_build_is_waited_for_then_swept(pinned: Path) -> None:
    held = pinned / "small" / "held"
    held.touch()
    build_small = (
        "import pathlib, sys; from rig import programs; "
        "programs.PROGRAMS = pathlib.Path(sys.argv[1]); programs.build(['small'])"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", build_small, str(pinned)],
        env={**os.environ, "PYTHONPATH": str(RIG)},
        stdout=subprocess.DEVNULL,
    )
    while not calls(pinned, "small"):
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(programs.cache().glob(f"{programs.UNFINISHED}*"))) == 1
    heard = []

    def say(news: str) -> None:
        heard.append(news)
        if "waiting for process" in news:  # Go still runs, and two builds at once are one too many
            held.unlink()

    assert programs.build(["small"], say).binary("smalld").exists()
    assert any(f"waiting for process {killed.pid}" in news for news in heard)
    assert list(programs.cache().glob(f"{programs.UNFINISHED}*")) == []


def test_what_there_is_no_time_for_is_left_out_and_named(pinned: Path) -> None:
    heard: list[str] = []
    built = programs.build(say=heard.append, budget_minutes=3)
    assert [program.name for program in built.missing] == ["large"]
    assert calls(pinned, "large") == 0
    assert built.binary("smalld").exists()
    assert heard[-1] == "[2/2] large v0.4.0: left out for want of time, it takes about 30 min"
    assert programs.build(["small"], silent, budget_minutes=0).missing == ()


def test_a_slow_machine_begins_less(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 0, 0, 120, 120])  # seconds: the small one takes two minutes, not one
    monkeypatch.setattr(programs.time, "monotonic", lambda: next(times, 120))
    assert [program.name for program in programs.build(say=silent, budget_minutes=40).missing] == ["large"]


def reasons(monkeypatch: pytest.MonkeyPatch, directory: Path) -> str:
    with pytest.raises(machine.CannotRun) as refused:
        machine.examine(directory)
    return str(refused.value)


def test_a_machine_that_cannot_run_a_cluster_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    assert reasons(monkeypatch, tmp_path) == (
        "A real cluster runs containers, and only root can start them here: run the same command with sudo."
    )
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian, "OS_RELEASE", tmp_path / "os-release")
    debian.OS_RELEASE.write_text("ID=fedora\n")
    assert reasons(monkeypatch, tmp_path).splitlines()[-1] == (
        "Images are made of Debian's packages, on Debian only, and this is fedora "
        f"({debian.OS_RELEASE}): use Debian, or a container or virtual machine of it."
    )
    debian.OS_RELEASE.write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    monkeypatch.setattr(machine, "PLACES_OF_PLUGINS", ())
    monkeypatch.setattr(cgroups, "HIERARCHIES", tmp_path)
    monkeypatch.setattr(machine, "CONTROLLERS", ("cpu", "of-no-kernel"))
    monkeypatch.setattr(machine, "_controllers", lambda: {"cpu"})
    monkeypatch.setattr(machine, "FREE_GIB", 10**6)
    (tmp_path / "max_user_instances").write_text("8\n")
    monkeypatch.setattr(machine, "INOTIFY_SETTING", tmp_path / "max_user_instances")
    monkeypatch.setenv("PATH", str(tmp_path))
    _forget()
    said = reasons(monkeypatch, tmp_path).splitlines()
    assert said[0] == "Go is not installed. Install Go 1.26 or newer (go.dev/dl) and put it on PATH."
    assert said[1].startswith("runc, ip, unshare, setpriv, nsenter, debootstrap, the CNI plugin bridge, ")
    assert said[1].endswith(
        "cannot be found: apt-get install containernetworking-plugins debootstrap iproute2 runc util-linux"
    )
    assert said[2].startswith(f"There is no cgroup controller of-no-kernel below {tmp_path}: mount it, or start ")
    assert said[3].startswith("fs.inotify.max_user_instances is 8, and a cluster needs up to 64: sysctl ")
    assert all("GiB free" in line and "make room, or let TMPDIR" in line for line in said[4:5])
    assert len(said) in (5, 6)  # as TMPDIR and the cache are on one file system or on two
    _forget()


def test_what_is_still_to_be_built_needs_room_too(
    pinned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "FREE_GIB", 0)
    monkeypatch.setattr(machine, "GIB_OF_ALL_BUILDS", 10**6)
    whole, part = (list(machine._disk(tmp_path, names)) for names in (None, ["small"]))
    assert f"needs {10**6}: " in whole[0]
    assert "GOCACHE be where there is more" in whole[0]
    assert f"needs {round(10**6 / 31)}: " in part[0]
    programs.build(say=silent)
    assert list(machine._disk(tmp_path, None)) == []


def test_an_older_go_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "go_version", lambda: "go1.19.8")
    assert list(machine._go()) == [
        "Go is go1.19.8, and the programs of the cluster need 1.26 or newer: put one from go.dev/dl first on PATH."
    ]
