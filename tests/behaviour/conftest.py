"""Fixtures of kube.py for all tests in this directory."""

from __future__ import annotations

import os

import pytest
from kube import kube, server

__all__ = ["kube", "server"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "node: needs a node that runs containers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need a node if another API server is tested and BEHAVIOUR_IMAGE is not set."""
    if "BEHAVIOUR_URL" not in os.environ or os.environ.get("BEHAVIOUR_IMAGE"):
        return
    for_nodes = [item for item in items if item.get_closest_marker("node")]
    config.hook.pytest_deselected(items=for_nodes)
    items[:] = [item for item in items if item not in for_nodes]
