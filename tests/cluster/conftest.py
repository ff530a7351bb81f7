"""One cluster for all tests here, started when the first asks for it and gone when the last has ended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster.start(tmp_path_factory.mktemp("cluster"), _binary, _binary)
    try:
        yield started
    finally:
        started.stop()


def _binary(name: str) -> Path:
    found = shutil.which(name, path="/tmp/bin:/usr/bin:/usr/sbin")
    assert found, name
    return Path(found)
