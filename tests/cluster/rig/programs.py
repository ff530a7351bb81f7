"""The programs of a cluster, built from Go's module proxy as programs.yaml says, once for each state of that table.

Contract: `go help build`, `go help mod download`, seen with Go 1.26.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import yaml

PROGRAMS = Path(__file__).parents[1] / "programs"
# What decides what comes out: no C compiler is needed, and no other Go is fetched.
ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
# What does not: the compiler collects no garbage until it holds that much, which saves a fifth of its time.
HASTE = {"GOGC": "off", "GOMEMLIMIT": "2GiB"}
UNFINISHED = ".building-"
LOCK = ".lock"
KEPT_UNUSED_DAYS = 14
LINES_OF_A_FAILURE = 15
# What a failure says, and what would help.
HELP = {
    "no space left on device": "Free some disk, or let GOCACHE, GOMODCACHE and XDG_CACHE_HOME be where there is more.",
    "dial tcp": "The modules come from where `go env GOPROXY` says: can this machine reach that?",
    "signal: killed": "The kernel killed the compiler, mostly for memory: linking Kubernetes takes about 3 GiB.",
}

Say = Callable[[str], None]


class CannotBuild(RuntimeError):
    """A program cannot be built; the sentence says which and why, and ends with what Go said."""


class NotBuilt(RuntimeError):
    """A program that nobody asked for, or that time did not allow; the sentence says how to build it."""


@dataclass(frozen=True)
class Program:
    """A row of programs.yaml, where the fields are explained."""

    name: str
    used_for: str
    module: str
    version: str
    binaries: Mapping[str, str]
    minutes: float
    staging: str | None = None
    strings: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def directory(self) -> Path:
        """Where its go.mod and go.sum are."""
        return PROGRAMS / self.name

    @property
    def packages(self) -> dict[str, str]:
        """Import path of each binary."""
        return {
            name: self.module if package == "." else f"{self.module}/{package}"
            for name, package in self.binaries.items()
        }


@functools.cache
def table() -> dict[str, Program]:
    """All programs by name, in the order in which they are built."""
    rows = yaml.safe_load((PROGRAMS / "programs.yaml").read_text())
    return {name: Program(name=name, **row) for name, row in rows.items()}


def go_environment() -> dict[str, str]:
    """The machine's own settings of Go (GOPROXY, GOFLAGS, caches), but for what decides what comes out."""
    return {**os.environ, **ENVIRONMENT}


@dataclass(frozen=True)
class Programs:
    """The programs that `build` built. missing: programs that it did not build, because there was no time."""

    missing: tuple[Program, ...] = ()

    def binary(self, name: str) -> Path:
        """Return the executable file of that name. Raises NotBuilt."""
        for program in table().values():
            if name in program.binaries:
                if not is_built(program):
                    raise NotBuilt(f"{name} is not built: `python -m rig build {program.name}` does it.")
                os.utime(_place(program))  # in use: see _sweep
                return _place(program) / name
        known = ", ".join(binary for program in table().values() for binary in program.binaries)
        raise NotBuilt(f"No program of programs.yaml has a binary {name}. There are {known}.")

    def source(self, name: str) -> Path:
        """The directory of that program's module, for its CRDs and manifests; read-only.  Raises CannotBuild."""
        return _source(table()[name])


def is_built(program: Program) -> bool:
    """Return whether this row with its go.mod and go.sum was built completely by this version of Go."""
    return all((_place(program) / name).is_file() for name in program.binaries)


def share_to_build(names: Iterable[str] | None = None) -> float:
    """How much of the work for the whole table these programs (default: all) still need, from 0 to 1."""
    rows = table().values()
    left = sum(
        program.minutes for program in rows if (names is None or program.name in names) and not is_built(program)
    )
    return left / sum(program.minutes for program in rows)


def go_cache() -> Path:
    """Return the directory of Go's build cache. Raises CannotBuild."""
    return Path(_output_of("env", "GOCACHE", cwd=Path("/")).strip())


def build(names: Iterable[str] | None = None, say: Say = print, budget_minutes: float | None = None) -> Programs:
    """Build those of these programs (default: all) that are not built yet, in the table's order.

    budget_minutes: begin nothing that would not end within it, going by the table's minutes and how this machine has
    done so far; 0 builds nothing.  Raises CannotBuild.
    """
    wanted = [program for program in table().values() if names is None or program.name in _known(names)]
    to_build = [program for program in wanted if not is_built(program)]
    if not to_build:
        return Programs()
    minutes = sum(program.minutes for program in to_build)
    say(f"{len(to_build)} of {len(wanted)} programs are to be built, about {minutes:.0f} min on two idle cores")
    pace = _Pace(budget_minutes)
    missing = []
    for count, program in enumerate(to_build, start=1):
        counted = f"[{count}/{len(to_build)}] {program}"
        if not pace.allows(program):
            say(f"{counted}: left out for want of time, it takes about {pace.expected_minutes(program):.0f} min")
            missing.append(program)
            continue
        say(f"{counted} ... ({program.used_for})")
        took = _build_once(program, _saying(counted, say))
        pace.note(program, took)
        say(f"{counted} ... {_words(took)}; {len(to_build) - count} left")
    return Programs(tuple(missing))


def _saying(what: str, say: Say) -> Say:
    return lambda news: say(f"{what} ... {news}")


def _known(names: Iterable[str]) -> set[str]:
    asked = set(names)
    if unknown := asked - table().keys():
        raise CannotBuild(f"programs.yaml has no {', '.join(sorted(unknown))}. It has {', '.join(table())}.")
    return asked


class _Pace:
    """The speed of builds on this machine, compared with the table."""

    def __init__(self, budget_minutes: float | None) -> None:
        self._budget = budget_minutes
        self._start = time.monotonic()
        self._expected = 0.0
        self._took = 0.0

    def note(self, program: Program, seconds: float) -> None:
        self._expected += program.minutes
        self._took += seconds / 60

    def expected_minutes(self, program: Program) -> float:
        # One small program does not show that a machine is faster than the table.
        slower = max(1.0, self._took / self._expected) if self._expected else 1.0
        return program.minutes * slower

    def allows(self, program: Program) -> bool:
        if self._budget is None:
            return True
        spent = (time.monotonic() - self._start) / 60
        return spent + self.expected_minutes(program) <= self._budget


def _build_once(program: Program, say: Say) -> float:
    """Build the program, unless another run does so meanwhile. Returns seconds."""
    start = time.monotonic()
    with _only_one(say) as lock:
        if not is_built(program):
            _sweep(program)
            _build(program, lock, say)
    return time.monotonic() - start


@contextlib.contextmanager
def _only_one(say: Say) -> Iterator[IO[str]]:
    """Two builds at once take longer than one after the other, and much more memory."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            say(f"waiting for process {lock.read().strip()}, which builds programs too")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock


def _sweep(program: Program) -> None:
    """Remove what killed builds left, and unused builds of this program. The caller holds the lock."""
    for left in cache().glob(f"{UNFINISHED}*"):
        shutil.rmtree(left)
    for old in cache().glob(f"{program.name}@*"):
        if time.time() - old.stat().st_mtime > KEPT_UNUSED_DAYS * 24 * 3600:
            shutil.rmtree(old)


def _build(program: Program, lock: IO[str], say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=cache(), ignore_cleanup_errors=True) as directory:
        made = Path(directory) / "made"
        made.mkdir(mode=0o755)
        command = [*_command(program), "-o", f"{made}/"]
        if program.links:
            command.append(f"-modfile={_with_links(program, Path(directory))}")
        _run(program, [*command, "tool"], Path(directory) / "log", lock, say)
        for name, package in program.packages.items():
            (made / _name_by_go(package)).rename(made / name)
        shutil.rmtree(_place(program), ignore_errors=True)  # one of its files was removed
        os.sync()  # or a crash of the machine could leave the name with empty files
        made.rename(_place(program))


def _with_links(program: Program, directory: Path) -> Path:
    """A go.mod that takes the module from a copy with its symbolic links: archives have none (golang.org/x/mod/zip)."""
    copy = directory / "source"
    subprocess.run(["cp", "--recursive", "--no-preserve=mode", _source(program), copy], check=True)
    for link, target in program.links.items():
        (copy / link).symlink_to(target)
    shutil.copyfile(program.directory / "go.sum", directory / "go.sum")
    go_mod = directory / "go.mod"
    go_mod.write_text(f"{(program.directory / 'go.mod').read_text()}\nreplace {program.module} => {copy}\n")
    return go_mod


def _run(program: Program, command: Sequence[str], log: Path, lock: IO[str], say: Say) -> None:
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=program.directory,
            env={**go_environment(), **HASTE},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # If this process is killed, the compiler runs on: it keeps the lock.
            pass_fds=(lock.fileno(),),
        )
    try:
        while True:
            try:
                process.wait(timeout=60)
                break
            except subprocess.TimeoutExpired:
                say(_words(time.monotonic() - start))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode:
        raise CannotBuild(_failure(program, process.returncode, log.read_text(errors="replace")))


def _failure(program: Program, status: int, said: str) -> str:
    help_ = [f" {way_out}" for symptom, way_out in HELP.items() if symptom in said]
    last = "\n".join(said.splitlines()[-LINES_OF_A_FAILURE:])
    return f"{program} cannot be built: `go build` ended with exit status {status}.{''.join(help_)} It said:\n{last}"


def _command(program: Program) -> list[str]:
    # Without symbols: a third less on disk, and in the page cache.  What a debugger would need is not made, rather than
    # made and left out by the linker: a fifth of the compiler's time, and a quarter of GOCACHE.
    linked = ["-s", "-w", *(f"-X {name}={value}" for name, value in program.strings.items())]
    flags = ["-trimpath", "-mod=readonly", "-buildvcs=false", "-gcflags=all=-dwarf=false"]
    return ["go", "build", *flags, "-ldflags", " ".join(linked)]


def _name_by_go(package: str) -> str:
    """What `go build` calls the executable: the last element that is not a major version."""
    *_, parent, last = package.split("/")
    return parent if last.startswith("v") and last[1:].isdigit() else last


def cache() -> Path:
    """Return the directory of built programs (XDG Base Directory Specification 0.8)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jupyter-research-spawner" / "programs"


def _place(program: Program) -> Path:
    return cache() / f"{program.name}@{program.version}-{_digest(program)}"


def _digest(program: Program) -> str:
    row = [_command(program), program.binaries, program.links]
    made_of = hashlib.sha256(json.dumps([row, ENVIRONMENT, _go()]).encode())
    for name in ("go.mod", "go.sum"):
        made_of.update((program.directory / name).read_bytes())
    return made_of.hexdigest()[:16]


def _source(program: Program) -> Path:
    # In its own main module, so that go.sum is what the files are checked against.
    downloaded = _output_of("mod", "download", "-json", program.module, cwd=program.directory)
    return Path(json.loads(downloaded)["Dir"])


@functools.cache
def _go() -> str:
    """Return the version of Go and the processors that it builds for."""
    return _output_of("env", "GOVERSION", "GOARCH", "GOAMD64", cwd=Path("/"))


def go_version() -> str:
    """As Go says it: "go1.26.8".  Raises CannotBuild when there is no Go."""
    return _go().split("\n")[0]


def _output_of(*arguments: str, cwd: Path) -> str:
    try:
        done = subprocess.run(
            ["go", *arguments], cwd=cwd, env=go_environment(), capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise CannotBuild("Go is not installed. Install Go 1.26 or newer (go.dev/dl) and put it on PATH.") from None
    if done.returncode:
        said = f"{done.stderr}{done.stdout}".strip()
        raise CannotBuild(f"`go {' '.join(arguments)}` ended with exit status {done.returncode}. It said:\n{said}")
    return done.stdout


def _words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
