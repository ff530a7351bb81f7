"""Layers of images. Each is built once per state of its inputs, and kept as a tar archive."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .oci import Layer, write_layer

KEPT_UNUSED_DAYS = 14
_UNFINISHED = ".building-"

Say = Callable[[str], None]


class CannotBuildImage(RuntimeError):
    """A part of an image cannot be made; the sentence says which and why, and ends with what the program said."""


@dataclass(frozen=True)
class Recipe:
    """How to build a layer.

    made_of: all that decides what is in it, but for what a mirror or index has that day.
    make: puts its files below the given directory; the second one is for what it needs meanwhile.
    keep: whether a path of the image is worth its place in it.
    """

    name: str
    made_of: Iterable[bytes]
    make: Callable[[Path, Path], None]
    keep: Callable[[str], bool] = lambda _: True


def build(recipe: Recipe, say: Say) -> Layer:
    """Return the layer of that recipe, and build it unless it is in the cache. Raises CannotBuildImage."""
    name = f"{recipe.name}@{_digest(recipe.made_of)}"
    if found := _find(name):
        return found
    with _only_one(say):
        if found := _find(name):  # by another run, meanwhile
            return found
        _sweep(recipe.name)
        say(f"{recipe.name} ...")
        start = time.monotonic()
        layer = _build(recipe, name)
        size = layer.file.stat().st_size / 2**20
        say(f"{recipe.name} ... {time.monotonic() - start:.0f} s, {size:.0f} MiB")
        return layer


def unpack(layer: Layer, directory: Path) -> None:
    """The layer's files, with their owners."""
    run(["tar", "--extract", "--numeric-owner", "--same-owner", f"--file={layer.file}", f"--directory={directory}"])


def run(command: list[str | Path], *, environment: dict[str, str] | None = None, directory: Path | None = None) -> None:
    """Run it to its end; it does not outlive this process.  Raises CannotBuildImage with what it said last."""
    done = subprocess.run(
        ["setpriv", "--pdeathsig=KILL", *command],
        check=False,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-15:])
        shown = " ".join(str(word) for word in command)
        raise CannotBuildImage(f"`{shown[:200]}` ended with exit status {done.returncode}. It said:\n{last}")


def cache() -> Path:
    """Return the directory of the layers (XDG Base Directory Specification 0.8)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jupyter-research-spawner" / "images"


def _build(recipe: Recipe, name: str) -> Layer:
    # Not `ignore_cleanup_errors`: a tree that cannot be removed would still have something mounted in it.
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=cache()) as directory:
        tree, work, tar = (Path(directory) / part for part in ("tree", "work", "tar"))
        tree.mkdir(mode=0o755)
        work.mkdir()
        recipe.make(tree, work)
        sha256 = write_layer(tar, tree, recipe.keep)
        os.sync()  # or a crash of the machine could leave the name with an empty file
        return Layer(tar.rename(cache() / f"{name}-{sha256}.tar"), sha256)


def _find(name: str) -> Layer | None:
    for file in cache().glob(f"{name}-*.tar"):
        os.utime(file)  # in use: see _sweep
        return Layer(file, file.stem.rsplit("-", 1)[1])
    return None


def _digest(made_of: Iterable[bytes]) -> str:
    """Of each part's own digest, so that what moves from one part to the next makes a difference."""
    parts = b"".join(hashlib.sha256(part).digest() for part in made_of)
    return hashlib.sha256(parts).hexdigest()[:16]


@contextlib.contextmanager
def _only_one(say: Say) -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that builds images too")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(name: str) -> None:
    """Remove what killed builds left, and unused layers of that name. The caller holds the lock."""
    for left in cache().glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left)
    for old in cache().glob(f"{name}@*"):
        if time.time() - old.stat().st_mtime > KEPT_UNUSED_DAYS * 24 * 3600:
            old.unlink()
