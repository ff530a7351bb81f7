"""The files of a release: one version everywhere, images that do not run as root, and labels that are documented."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

TREE = Path(__file__).parents[1]
GOLDEN = TREE / "tests" / "golden"
CONTAINERS = sorted((TREE / "containers").glob("*.Containerfile"))
# The names of our packages and images, before `==` or `:` and a version.
NAMED = re.compile(r"(?:jupyter-research-spawner\s?==\s?|research-(?:hub|batch|notebook):)([0-9]+\.[\w.]*)")


def version() -> str:
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg")
    return setup["metadata"]["version"]


def texts() -> list[Path]:
    pages = [page for page in (TREE / "docs").rglob("*.md") if "_build" not in page.parts]
    return [TREE / "README.md", *pages, *(TREE / "helm-values").rglob("*.yaml"), *CONTAINERS]


def test_files_name_the_version_of_the_package() -> None:
    found = {path.name: set(NAMED.findall(path.read_text())) for path in texts()}
    named = {name: versions for name, versions in found.items() if versions}
    assert {"base.yaml", "build-images.md", "upgrade.md", *(path.name for path in CONTAINERS)} <= named.keys()
    assert {name: versions for name, versions in named.items() if versions != {version()}} == {}


def test_the_changelog_begins_with_the_version() -> None:
    (first, *_) = re.findall(r"^## \[(.*?)\]", (TREE / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first == version()


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_an_image_is_built_in_stages_and_does_not_run_as_root(path: Path) -> None:
    words = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    stages = [number for number, line in enumerate(words) if line[0] == "FROM"]
    users = [line[1] for line in words[stages[-1] :] if line[0] == "USER"]
    assert len(stages) == 2
    assert users, "the last stage sets no user"
    assert users[-1].isdecimal(), "the kubelet compares only numeric users with runAsNonRoot"
    assert users[-1] != "0"


def written() -> set[str]:
    """Return our labels and annotations of all golden notebooks and jobs."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                if key in ("labels", "annotations") and isinstance(below, dict):
                    found.update(name for name in below if name.startswith("research-spawner/"))
                look(below)
        elif isinstance(value, list):
            for below in value:
                look(below)

    for path in GOLDEN.rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            look(document)
    return found


def test_labels_and_annotations_are_documented() -> None:
    page = (TREE / "docs" / "reference" / "labels.md").read_text()
    documented = set(re.findall(r"^\| (`research-spawner/.*?`) \|", page, re.MULTILINE))
    names = {name for cell in documented for name in re.findall(r"research-spawner/[\w-]+", cell)}
    assert written() - names == set()
    assert names - written() == {"research-spawner/owner"}
