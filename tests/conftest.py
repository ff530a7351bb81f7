"""Fixtures that every room's tests may use, and golden files: whole objects as readable YAML under tests/golden/."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import samples
import yaml
from hypothesis import settings

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.pod.yaml_text import Readable
from jupyter_research_spawner.site import Site

GOLDEN = Path(__file__).parent / "golden"
WITH_A_CLUSTER = Path(__file__).parent / "cluster"

# A shared machine may stall for longer than hypothesis' 200 ms; the same examples each time, so that a failure stays.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


# Where everything should be there, a test that skips for want of something is a failure.
NOTHING_MAY_BE_MISSING = os.environ.get("CI") == "true"
# Tests that take minutes run only in the thorough run.
THOROUGH = os.environ.get("THOROUGH") == "1"
# The embedded cluster isolates pods only as root.  Its tests, and those marked `uid`, run as both in CI.
DEPENDS_ON_UID = {"embedded", "behaviour"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/ with what came out")
    parser.addoption("--update-screenshots", action="store_true", help="rewrite the pictures in docs/images/")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and os.environ.get("CI") == "true":
        raise pytest.UsageError("--update-golden would make every golden test pass; it is not for CI")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests with a real cluster run only when they are asked for: they take minutes, and root."""
    asked_for = any(WITH_A_CLUSTER.name in Path(argument.split("::")[0]).parts for argument in config.args)
    return True if collection_path == WITH_A_CLUSTER and not asked_for else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need root or the thorough run where this is neither; pytest counts them, as deselected.

    Tests with real hubs, which mostly wait, come first, so that those beside them do not wait for them at the end.
    """
    items.sort(key=lambda item: "hubs" not in _folders(item))
    for item in items:
        if DEPENDS_ON_UID & _folders(item):
            item.add_marker("uid")
    not_here = [item for item in items if _needs_thorough_run(item) or _needs_root(item)]
    config.hook.pytest_deselected(items=not_here)
    items[:] = [item for item in items if item not in not_here]


def _folders(item: pytest.Item) -> set[str]:
    """Return the folders of the test below the root of the project, wherever that lies."""
    return set(item.path.relative_to(item.config.rootpath).parts)


def _needs_thorough_run(item: pytest.Item) -> bool:
    return not THOROUGH and item.get_closest_marker("thorough") is not None


def _needs_root(item: pytest.Item) -> bool:
    marked = item.get_closest_marker("root") is not None or "isolated" in getattr(item, "fixturenames", ())
    return marked and os.geteuid() != 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and NOTHING_MAY_BE_MISSING and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but here nothing may be missing. {reason}"
    return report


@pytest.fixture(scope="session")
def site() -> Site:
    """The sample settings, tests/data/site.yaml.  Frozen, so one for all."""
    return samples.site_with()


@pytest.fixture(scope="session")
def alice() -> PosixIdentity:
    """A researcher: uid 20001, groups climate and stats101-staff."""
    return samples.person("alice")


@pytest.fixture(scope="session")
def bob() -> PosixIdentity:
    """A student on the roster of stats-101: uid 20002, groups students and stats101-f26."""
    return samples.person("bob")


@pytest.fixture(scope="session")
def carol() -> PosixIdentity:
    """A student of no class: uid 20003, group students; only the preemptible queue is hers."""
    return samples.person("carol")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """`assert object == golden("kueue/notebook")`: the content of tests/golden/kueue/notebook.yaml."""
    update = bool(request.config.getoption("--update-golden"))

    def content(name: str) -> Any:
        path = GOLDEN / f"{name}.yaml"
        if update:
            return _Rewritten(path)
        if not path.exists():
            pytest.fail(f"there is no {path.relative_to(GOLDEN.parent)}: write it with pytest --update-golden, read it")
        return yaml.safe_load(path.read_text())

    return content


class _Rewritten:
    """Equal to whatever it is compared with, after writing that down."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, path: Path) -> None:
        self._path = path

    def __eq__(self, other: object) -> bool:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(yaml.dump(other, Dumper=Readable, width=1000, allow_unicode=True))
        return True
