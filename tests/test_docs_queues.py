"""docs/how-to/schedulers.md: the queue objects of each scheduler belong to its settings, and have fields of real ones.

tests/cluster gives the same objects to a real API server with the schemas of the schedulers, and to YuniKorn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import samples
import yaml
from doc_pages import DOCS, blocks, scheduler_examples
from helm_files import BASE, VALUES

from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.schedulers import kai
from jupyter_research_spawner.settings import merge, read
from jupyter_research_spawner.site import Site, load

Json = dict[str, Any]
EXAMPLES = scheduler_examples()
QUEUES = ("backfill", "climate", "general", "teaching")


def site_of(kind: str) -> Site:
    """Return the site of base.yaml and the settings of the page."""
    found = merge(read(BASE), read(VALUES / "schedulers" / f"{kind}.yaml"), EXAMPLES[kind].values)
    return load(found["custom"]["research"])


def objects_of(kind: str) -> dict[tuple[str, str], Json]:
    """Return the objects of the page and those that `manifests` prints, by kind and name."""
    found = [*EXAMPLES[kind].objects, *everything(site_of(kind), Release(), ["queues"])]
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(by_name) == len(found), "an object is on the page and in the manifests"
    return by_name


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Return the path of each field, whatever the index in a list is."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from paths(below, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, f"{path}[]")
    else:
        yield path


@pytest.mark.parametrize("kind", ["kueue", "volcano", "kai"])
def test_objects_have_only_fields_of_real_objects(kind: str) -> None:
    recorded = yaml.safe_load((samples.DATA / "queues" / f"{kind}.yaml").read_text())
    for one in EXAMPLES[kind].objects:
        real = recorded[one["kind"]]
        assert one["apiVersion"] == real[0]["apiVersion"]
        assert one["metadata"].keys() == {"name"}, "it is an object of the whole cluster"
        known = {path for other in real for path in paths(other.get("spec"))} | {".preemption.withinClusterQueue"}
        assert set(paths(one.get("spec"))) <= {*known, ""}


def test_kueue_every_queue_has_a_cluster_queue_for_what_profiles_request() -> None:
    found = objects_of("kueue")
    local = {name: one["spec"]["clusterQueue"] for (kind, name), one in found.items() if kind == "LocalQueue"}
    assert local == dict.fromkeys(QUEUES, "research")
    for group in found["ClusterQueue", "research"]["spec"]["resourceGroups"]:
        assert set(group["coveredResources"]) >= {"cpu", "memory"}
        for flavor in group["flavors"]:
            assert ("ResourceFlavor", flavor["name"]) in found
            # Kueue refuses another order.
            assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]


def test_volcano_every_queue_has_its_queue() -> None:
    assert sorted(name for _, name in objects_of("volcano")) == list(QUEUES)


def test_yunikorn_every_queue_is_a_leaf_that_users_may_use() -> None:
    [configuration] = EXAMPLES["yunikorn"].objects
    [partition] = yaml.safe_load(configuration["data"]["queues.yaml"])["partitions"]

    def leaves(queue: Json, above: str = "", is_open: bool = False) -> Iterator[tuple[str, bool]]:
        path, is_open = f"{above}.{queue['name']}".lstrip("."), is_open or "submitacl" in queue
        for below in queue.get("queues", ()):
            yield from leaves(below, path, is_open)
        if not queue.get("queues"):
            yield path, is_open

    [root] = partition["queues"]
    wanted = {queue.yunikorn.queue for queue in site_of("yunikorn").queues.values()}
    assert dict(leaves(root)) == dict.fromkeys(wanted, True)
    assert len(wanted) == len(QUEUES)


def test_kai_a_queue_has_a_parent_and_a_quota_of_each_resource() -> None:
    found = {name: one["spec"] for (_, name), one in objects_of("kai").items()}
    assert found.keys() == {"research", "climate"}
    assert found["climate"]["parentQueue"] == "research" == site_of("kai").queues["climate"].kai.parent
    for one in EXAMPLES["kai"].objects:
        bounds = kai._bounds(one)
        # In cores, bytes and GPUs: a core would be 1000 and a gigabyte a thousand if the units were wrong.
        assert 1 <= bounds["cpu"]["quota"] <= 64
        assert 10**9 <= bounds["memory"]["quota"] <= 256 * 10**9
        assert bounds["gpu"]["quota"] <= 8


def test_every_block_is_read() -> None:
    page = list(blocks([DOCS / "how-to" / "schedulers.md"]))
    assert sum(block.language == "yaml" for block in page) == sum(example.blocks for example in EXAMPLES.values())
