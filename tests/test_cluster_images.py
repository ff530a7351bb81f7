"""The layers of the real cluster's images: built once, taken whole or not at all, and nobody builds on unseen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS
from rig import layers
from rig.layers import CannotBuildImage, Recipe

RIG = Path(layers.__file__).parents[1]
BUILD_AND_HANG = """
from rig import layers
layers.build(layers.Recipe("held", [b""], lambda tree, work: layers.run(["sleep", "3600"], directory=work)), print)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return layers.cache()


def silent(_: str) -> None:
    pass


def writing(text: str, made: list[str] | None = None, name: str = "greeting") -> Recipe:
    def make(tree: Path, work: Path) -> None:
        (tree / "greeting").write_text(text)
        (work / "scratch").touch()
        if made is not None:
            made.append(text)

    return Recipe(name, [text.encode()], make)


def test_a_layer_is_built_once_for_each_state_of_what_it_is_made_of() -> None:
    made: list[str] = []
    first, again, other = (layers.build(writing(text, made), silent) for text in ("hello", "hello", "good morning"))
    assert made == ["hello", "good morning"]
    assert first == again != other
    with tarfile.open(first.file) as tar:
        assert [member.name for member in tar if member.isfile()] == ["greeting"]


def test_what_goes_from_one_part_to_the_next_makes_another_layer() -> None:
    one, other = (
        layers.build(Recipe("parts", parts, lambda tree, work: None), silent)
        for parts in ([b"ab", b"c"], [b"a", b"bc"])
    )
    assert one.file != other.file


def test_a_failed_build_leaves_nothing_and_says_why(cache: Path) -> None:
    def make(tree: Path, work: Path) -> None:
        (tree / "half").touch()
        layers.run(["sh", "-c", "echo no such mirror; exit 3"])

    with pytest.raises(CannotBuildImage, match=r"(?s)`sh -c .*` ended with exit status 3\. It said:\nno such mirror"):
        layers.build(Recipe("debian", [b""], make), silent)
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_a_killed_build_ends_with_what_it_ran_and_is_swept(cache: Path) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", BUILD_AND_HANG],
        env={**os.environ, "PYTHONPATH": str(RIG)},
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: sleeping(cache))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_for(lambda: not sleeping(cache))
    assert len(list(cache.glob(".building-*"))) == 1
    layers.build(writing("after"), silent)
    assert list(cache.glob(".building-*")) == []


def test_layers_that_nobody_used_for_long_go() -> None:
    unused, used = layers.build(writing("unused"), silent), layers.build(writing("used"), silent)
    long_ago = time.time() - (layers.KEPT_UNUSED_DAYS + 1) * 24 * 3600
    os.utime(unused.file, (long_ago, long_ago))
    layers.build(writing("new"), silent)
    assert (unused.file.exists(), used.file.exists()) == (False, True)


def sleeping(cache: Path) -> list[int]:
    """Programs that a build runs in its directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where, name = (process / "cwd").readlink(), (process / "comm").read_text()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if where.is_relative_to(cache) and name == "sleep\n":
            found.append(int(process.name))
    return found


def wait_for(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
