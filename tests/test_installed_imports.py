"""What a hub and the batch service load of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module("jupyter_research_spawner" + name)
found = [name for name in sys.modules if name.split(".")[:2] in (
    ["jupyter_research_spawner", "demo"], ["jupyter_research_spawner", "embedded"])]
print(", ".join(sorted(found)))
"""


@pytest.mark.parametrize(
    "modules", [("", ".spawner", ".configuration"), (".batch.app",), (".cli",)], ids=["hub", "batch service", "command"]
)
def test_the_product_loads_neither_the_demo_nor_the_embedded_cluster(modules: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *modules], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_this_check_sees_the_demo() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, ".demo.shared_storage"], capture_output=True, text=True, check=False
    )
    assert "jupyter_research_spawner.demo.shared_storage" in done.stdout
