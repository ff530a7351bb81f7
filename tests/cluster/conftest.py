"""Clusters for the tests of a process, and which tests a run leaves out.

The clusters' state is in a directory that the next run of this checkout knows: it ends what a killed run left.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar, cast

import belongings
import groups
import pytest
import thorough
from ground import Ground
from rig import images, states
from rig.cluster import Cluster, sweep
from rig.controllers.volcano import Volcano
from rig.node import Node
from rig.programs import Programs, is_built, table

Started = TypeVar("Started")

# Set where minutes are counted: tests whose programs there was no time to build are then left out, and named.
MAY_LEAVE_OUT = bool(os.environ.get("RIG_MAY_LEAVE_OUT"))

STATES = states.directory("tests")
LOCK = pytest.StashKey[object]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before there are any workers, end what a killed run left, and remove its logs."""
    if os.geteuid() != 0 or hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    try:
        session.config.stash[LOCK] = states.claim("tests")
    except states.InUse as error:
        pytest.exit(str(error), 1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "programs(*names): programs of programs.yaml that the test needs besides CORE")
    config.addinivalue_line("markers", "actions(names): the actions of Volcano's scheduler that the test needs")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))
        config.pluginmanager.register(Record(config))


class FailuresAtOnce:
    """Write each failure when it happens: all tests together take minutes, and a run may be cut off before its end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal: pytest.TerminalReporter = self._config.pluginmanager.getplugin("terminalreporter")
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message[:600] if crash else ""
            terminal.write_line(f"\nFAILED at {report.when}: {report.nodeid}\n    {why}")


class Record:
    """Write thorough.yaml when all tests of thorough.TESTS have passed in a thorough run, whatever became of others."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._digests = thorough.digests() if thorough.is_thorough() and _is_whole(config) else {}
        self._passed: set[str] = set()
        self._failed: set[str] = set()
        self._written = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        module = Path(report.nodeid.split("::")[0]).name
        if report.failed:
            self._failed.add(module)
        elif report.when == "call" and report.passed:
            self._passed.add(module)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        ran_to_the_end = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not self._digests or not ran_to_the_end or not self._passed - self._failed >= {*thorough.TESTS}:
            return
        if self._digests != thorough.digests():
            self._written = f"{thorough.RECORD.name} was not written: files changed while the tests ran."
            return
        thorough.write(self._digests, datetime.now(timezone.utc).date())
        self._written = f"{thorough.RECORD} was written. Commit it."

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._written:
            terminalreporter.write_line(self._written)


def _is_whole(config: pytest.Config) -> bool:
    """Whether no option leaves out some of the tests of a module."""
    option = config.option
    some = option.keyword or option.markexpr or option.deselect or option.maxfail or option.collectonly or _missing()
    return not some and not any("::" in argument for argument in config.args)


decision = functools.cache(thorough.decision)


def _left_out(config: pytest.Config) -> list[str]:
    return thorough.left_out(config.args, config.invocation_params.dir, decision)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    return groups.make_scheduler(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    modules = _left_out(config)
    left_out = [item for item in items if item.path.name in modules or (MAY_LEAVE_OUT and _needed(item) & _missing())]
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted((item for item in items if item not in left_out), key=lambda item: groups.order(item.nodeid))


def _needed(item: pytest.Item) -> set[str]:
    return {name for marker in item.iter_markers("programs") for name in marker.args}


def _missing() -> set[str]:
    return {program.name for program in table().values() if not is_built(program)}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in _not_run(config):
        terminalreporter.write_line(f"NOT RUN: {line}")
        if summary := os.environ.get("NOT_RUN"):  # the list at the end of .ci/run
            with Path(summary).open("a") as opened:
                opened.write(f"in tests/cluster: {line}\n")


def _not_run(config: pytest.Config) -> Iterator[str]:
    left_out = _left_out(config)
    if left_out:
        yield f"{', '.join(left_out)}: {decision().reason} {thorough.VARIABLE}=1 runs them."
    for name in sorted(_missing() - {*(thorough.PROGRAMS if left_out else ())}) if MAY_LEAVE_OUT else ():
        yield f"the tests that need {name}: there was no time to build it here."


class Clusters:
    """The clusters of one process: one at a time, started when the first test of its group asks for it."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._name = ""
        self._cluster: Cluster | None = None
        self._node: Node | None = None
        self._started: dict[Callable[..., object], object] = {}

    def of(self, name: str) -> Cluster:
        """Return the cluster of that name, without nodes. Any other is thrown away."""
        if self._cluster is None or self._name != name:
            self.close()
            built = Programs()
            self._name, self._cluster = name, Cluster.start(self._state, built.binary, built.source)
        return self._cluster

    def node(self) -> Node:
        """Return the cluster's node, which ends with its cluster. It has the images that the group's tests use."""
        assert self._cluster
        if self._node is None:
            self._node = self._cluster.add_node(labels={"pool": "interactive"})
            names = images.NAMES if self._name == groups.SHARED_CLUSTER else (images.SANDBOX_IMAGE, images.JOB)
            self._node.import_images(functools.partial(images.write, names=names))
        return self._node

    def once(self, start: Callable[..., Started], *arguments: object) -> Started:
        """Return what `start(cluster, *arguments)` returned on this cluster, where it is called once.

        What it starts ends with its cluster.
        """
        assert self._cluster
        if start not in self._started:
            self._started[start] = start(self._cluster, *arguments)
        return cast(Started, self._started[start])

    def close(self) -> None:
        """End the cluster with all its containers, and see that nothing of it is left on this machine."""
        if self._cluster is None:
            return
        self._cluster.stop()
        left = belongings.of(self._cluster.state)
        self._cluster, self._node, self._started = None, None, {}
        assert not any(left.values()), left


@pytest.fixture(scope="session")
def clusters(worker_id: str) -> Iterator[Clusters]:
    found = Clusters(STATES / f"{worker_id}-shared")
    yield found
    found.close()


@pytest.fixture(scope="module")
def cluster(clusters: Clusters, request: pytest.FixtureRequest) -> Cluster:
    """The cluster of the module's group. It has no nodes: a test adds one, or uses the fixture `node`."""
    return clusters.of(groups.cluster_of(request.path.stem))


@pytest.fixture
def state(worker_id: str) -> Iterator[Path]:
    """The state directory of a cluster of the test's own, which the test need not stop."""
    path = STATES / f"{worker_id}-own"
    yield path
    sweep(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def node(clusters: Clusters, cluster: Cluster) -> Node:
    """The node on which most tests' containers run. Beside a scheduler it has only the image of jobs."""
    return clusters.node()


@pytest.fixture
def here(module_here: Ground) -> Iterator[Ground]:
    """The ground of the test's module, from the module's own fixture `module_here`, as new for each test."""
    yield module_here
    module_here.clean()
    module_here.make_homes()


@pytest.fixture(scope="module")
def once(clusters: Clusters, cluster: Cluster) -> Callable[..., object]:
    """Call `start(cluster, *arguments)` once on this cluster: see Clusters.once."""
    return clusters.once


@pytest.fixture(scope="module")
def volcano(clusters: Clusters, cluster: Cluster, node: Node) -> Volcano:
    """Volcano as it is installed, for all modules of its group."""
    return clusters.once(Volcano.start)
