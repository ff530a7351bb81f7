"""One cluster for all tests of a process, started when the first asks for it and gone when the last has ended."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from rig import images
from rig.cluster import Cluster
from rig.node import Node
from rig.programs import Programs, is_built, table

# Set where minutes are counted: tests whose programs there was no time to build are then left out, and named.
MAY_LEAVE_OUT = bool(os.environ.get("RIG_MAY_LEAVE_OUT"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "programs(*names): programs of programs.yaml, beside the cluster's own")


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
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Without nodes: whoever needs one adds it, or takes the fixture `node`."""
    built = Programs()
    started = Cluster.start(tmp_path_factory.mktemp("cluster"), built.binary, built.source)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def node(cluster: Cluster) -> Node:
    """The one on which most tests' containers run, with all images; it ends with its cluster."""
    added = cluster.add_node(labels={"pool": "interactive"})
    added.import_images(images.write)
    return added
