"""One cluster for all tests of a process, started when the first asks for it and gone when the last has ended.

Their state is in a directory that the next run of this checkout knows: it ends what a killed one left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import belongings
import pytest
from rig import images, states
from rig.cluster import Cluster, sweep
from rig.node import Node
from rig.programs import Programs, is_built, table

# Set where minutes are counted: tests whose programs there was no time to build are then left out, and named.
MAY_LEAVE_OUT = bool(os.environ.get("RIG_MAY_LEAVE_OUT"))

STATES = states.directory("tests")
LOCK = pytest.StashKey[object]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before there are any workers: end what a killed run left, with its logs."""
    if os.geteuid() != 0 or hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    try:
        session.config.stash[LOCK] = states.claim("tests")
    except states.InUse as error:
        pytest.exit(str(error), 1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "programs(*names): programs of programs.yaml, beside the cluster's own")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))


class FailuresAtOnce:
    """Says what failed when it fails: all tests take most of an hour, and what is cut off never comes to its end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal: pytest.TerminalReporter = self._config.pluginmanager.getplugin("terminalreporter")
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message[:600] if crash else ""
            terminal.write_line(f"\nFAILED at {report.when}: {report.nodeid}\n    {why}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if MAY_LEAVE_OUT and _needed(item) & _missing()]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _needed(item: pytest.Item) -> set[str]:
    return {name for marker in item.iter_markers("programs") for name in marker.args}


def _missing() -> set[str]:
    return {program.name for program in table().values() if not is_built(program)}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in sorted(_missing()) if MAY_LEAVE_OUT else ():
        terminalreporter.write_line(f"NOT RUN: the tests that need {name}: there was no time to build it here.")


@pytest.fixture(scope="session")
def cluster(worker_id: str) -> Iterator[Cluster]:
    """Without nodes: whoever needs one adds it, or takes the fixture `node`."""
    built = Programs()
    started = Cluster.start(STATES / f"{worker_id}-shared", built.binary, built.source)
    try:
        yield started
    finally:
        started.stop()
        # After all that the tests ran in it: controllers in namespaces of their own, several nodes.
        left = belongings.of(started.state)
        assert not any(left.values()), left


@pytest.fixture
def state(worker_id: str) -> Iterator[Path]:
    """Of a cluster of the test's own; it need not stop it."""
    path = STATES / f"{worker_id}-own"
    yield path
    sweep(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Node:
    """The one on which most tests' containers run, with all images; it ends with its cluster."""
    added = cluster.add_node(labels={"pool": "interactive"})
    added.import_images(images.write)
    return added
