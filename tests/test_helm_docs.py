"""docs/how-to/ about helm-values/: each file has a row, each example of values passes lint, each volume its claim."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import samples
import yaml
from embedded_cluster import NAMESPACE, cluster
from helm_files import ALL, BASE, CLASSES, OTHERS, STORAGE, VALUES

from jupyter_research_spawner.cli.chart_lint import check_chart
from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.manifests import place_of
from jupyter_research_spawner.settings import merge, read
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect

__all__ = ["cluster"]
HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
Json = dict[str, Any]


def blocks(page: str) -> list[list[Json]]:
    """Return the YAML documents of each block of a page."""
    text = (HOW_TO / page).read_text()
    found = re.findall(r"^( *)```yaml\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [list(yaml.safe_load_all(re.sub(f"^{indent}", "", block, flags=re.MULTILINE))) for indent, block in found]


def test_every_file_has_its_row() -> None:
    rows = re.findall(r"^\| `(\S+\.yaml)` \|", (HOW_TO / "helm-values.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(str(file.relative_to(VALUES)) for file in ALL)


VALUES_OF_PAGES = [
    pytest.param(block[0], id=f"{page}-{number}")
    for page in ("zero-to-jupyterhub.md", "helm-values.md", "storage.md")
    for number, block in enumerate(blocks(page))
    if "apiVersion" not in block[0]
]


@pytest.mark.parametrize("example", VALUES_OF_PAGES)
def test_an_example_of_your_own_file_passes_lint(example: Json) -> None:
    found = merge(*map(read, (BASE, *OTHERS, *STORAGE, *CLASSES)), example)
    assert check_chart(found, samples.NOW, VALUES).problems == []


def test_pages_have_examples_of_your_own_file() -> None:
    assert len(VALUES_OF_PAGES) == 4


VOLUMES = {
    block[2]["metadata"]["name"].partition("-")[0]: block for block in blocks("storage.md") if "apiVersion" in block[0]
}


def test_every_storage_has_its_volumes() -> None:
    assert set(VOLUMES) == {file.stem for file in STORAGE}


@pytest.mark.parametrize("storage", STORAGE, ids=lambda file: file.stem)
async def test_the_volumes_of_a_storage_are_those_of_its_file(storage: Path, cluster: Cluster) -> None:
    volumes = [one for one in VOLUMES[storage.stem] if one["kind"] == "PersistentVolume"]
    claims = [one for one in VOLUMES[storage.stem] if one["kind"] == "PersistentVolumeClaim"]
    settings = merge(read(BASE), read(storage))["custom"]["research"]["storage"]
    mounted = {one["claim"] for part in ("homes", "mounts") for one in settings[part].values()}
    assert {claim["metadata"]["name"] for claim in claims} == mounted
    for volume, claim in zip(volumes, claims, strict=True):
        there = {"namespace": claim["metadata"]["namespace"], "name": claim["metadata"]["name"]}
        assert volume["spec"]["claimRef"] == there
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        for field in ("accessModes", "storageClassName"):
            assert claim["spec"][field] == volume["spec"][field]
        assert claim["spec"]["resources"]["requests"] == volume["spec"]["capacity"]
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    for mount in settings["mounts"].values():
        (volume,) = (one for one in volumes if one["spec"]["claimRef"]["name"] == mount["claim"])
        assert mount.get("read_only", False) == (volume["spec"]["accessModes"] == ["ReadOnlyMany"])
    client = await connect(str(cluster.kubeconfig))
    try:
        for one in (*volumes, *claims):
            assert one["metadata"].get("namespace", NAMESPACE) == NAMESPACE
            path = place_of(one).path.rpartition("/")[0]
            await ApiServer(client).ask("POST", path, body=one, query={"fieldValidation": "Strict"})
    finally:
        await client.close()
