"""Every object that the product makes, as a real API server takes it: strictly, and keeping all of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import blocks
from openapi import published, written
from rig.api import Json, Refused, namespace, until
from rig.cluster import Cluster
from rig.extensions import CRD, apply_crds, read
from samples import site_with
from test_manifests import HERE, OF_QUEUES, SCHEDULER
from test_pod_golden import AS_DIFFERENCES, IN_FULL, sent

from jupyter_research_spawner.embedded.apiserver import decoding
from jupyter_research_spawner.manifests import difference, everything

TESTS = Path(__file__).parents[1]
GOLDEN = sorted([*TESTS.glob("golden/job/*.yaml"), *TESTS.glob("golden/pod/*/notebook.yaml")])
GOLDEN += [*TESTS.glob("golden/pod/*/job.yaml"), TESTS / "golden/cli/notebook.yaml"]
MANIFESTS = sorted(TESTS.glob("golden/manifests/*.yaml"))
FIELDS = Path(decoding.__file__).parent / "fields.json"
NAMESPACE = "jhub"


# Of the kinds that manifests and the documentation have.
KUEUES = ("workloadpriorityclasses", "localqueues", "clusterqueues", "resourceflavors")
OF_DOCUMENTATION = [
    pytest.param(one, id=f"{block.id}-{one['kind']}-{one['metadata']['name']}")
    for block in blocks()
    if block.language == "yaml"
    for one in yaml.safe_load_all(block.text)
    if one is not None and {"apiVersion", "kind"} <= one.keys()
]


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with what objects of a site must find: namespace, priorities, and kinds of Kueue, Volcano and KAI."""
    kueue = cluster.source("kueue") / "config/components/crd/bases"
    crds = [crd for kind in KUEUES for crd in read(kueue / f"kueue.x-k8s.io_{kind}.yaml")]
    installed = read(cluster.source("volcano") / "installer" / "volcano-development.yaml")
    crds += [one for one in installed if one["metadata"]["name"] == "queues.scheduling.volcano.sh"]
    of_kai = cluster.source("kai") / "deployments" / "kai-scheduler" / "crds"
    crds += [crd for crd in read(of_kai) if crd["metadata"]["name"] == "queues.scheduling.run.ai"]
    new = [crd for crd in crds if cluster.api.find(*CRD, crd["metadata"]["name"]) is None]
    apply_crds(cluster.api, new)
    here = namespace(NAMESPACE)
    classes = [o for o in everything(site_with(), HERE, ["priorities"]) if o["kind"] == "PriorityClass"]
    cluster.api.apply(here, *classes)
    until(lambda: cluster.api.find("v1", "ServiceAccount", "default", NAMESPACE), "the namespace has its account")
    yield cluster
    for obj in (*new, *classes, here):
        cluster.api.delete(obj)
    until(lambda: cluster.api.find("v1", "Namespace", NAMESPACE) is None, f"the namespace {NAMESPACE} is gone")


def taken(cluster: Cluster, obj: Json) -> Json:
    """The object as the API server would store it.  What another test has really made is asked for by another name."""
    here = {"namespace": NAMESPACE} if _is_namespaced(cluster, obj) else {}
    metadata = {**obj["metadata"], **here, "name": f"{obj['metadata']['name']}-asked"}
    return cluster.api.create({**obj, "metadata": metadata}, dryRun="All")


def _is_namespaced(cluster: Cluster, obj: Json) -> bool:
    version = obj["apiVersion"]
    found = cluster.api.call("GET", f"/apis/{version}" if "/" in version else f"/api/{version}")["resources"]
    return any(resource["kind"] == obj["kind"] and resource["namespaced"] for resource in found)


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Paths of what was sent and is not there as it was sent; what was added does not matter."""
    if isinstance(given, dict):
        inside = kept if isinstance(kept, dict) else {}
        return [found for key, value in given.items() for found in lost(value, inside.get(key), f"{path}.{key}")]
    if isinstance(given, list) and isinstance(kept, list):
        rows = zip(given, kept[: len(given)] + [None] * len(given), strict=False)
        return [found for index, (one, other) in enumerate(rows) for found in lost(one, other, f"{path}[{index}]")]
    is_empty = given in (None, "", [], False)
    return [] if given == kept or (is_empty and not kept) else [f"{path}: {given!r} became {kept!r}"]


def assert_kept(cluster: Cluster, obj: Json) -> None:
    kept = taken(cluster, obj)
    given = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in ("name", "namespace")}}
    assert lost(given, kept) == []


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: str(path.relative_to(TESTS / "golden")))
def test_a_golden_object_is_taken_whole(site: Cluster, path: Path) -> None:
    assert_kept(site, yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_golden_manifests_are_taken_whole(site: Cluster, path: Path) -> None:
    for obj in yaml.safe_load(path.read_text()):
        assert_kept(site, obj)


@pytest.mark.parametrize("kind", ["notebook", "job"])
@pytest.mark.parametrize("scheduler", [*IN_FULL, *AS_DIFFERENCES])
def test_a_pod_of_every_scheduler_is_taken_whole(site: Cluster, scheduler: str, kind: str) -> None:
    assert_kept(site, sent(scheduler, kind))


@pytest.mark.parametrize("profile", ["whole", "mig", "shared", "numa"])
@pytest.mark.parametrize("scheduler", ["plain", "volcano"])
def test_a_notebook_of_every_profile_is_taken_whole(site: Cluster, scheduler: str, profile: str) -> None:
    assert_kept(site, sent(scheduler, "notebook", profile=profile))


@pytest.mark.parametrize("scheduler", sorted(SCHEDULER))
def test_what_a_site_applies_is_taken_whole(site: Cluster, scheduler: str) -> None:
    for obj in everything(site_with(SCHEDULER[scheduler], OF_QUEUES), HERE):
        assert_kept(site, obj)


@pytest.mark.parametrize("scheduler", sorted(SCHEDULER))
def test_what_a_site_has_applied_does_not_differ(site: Cluster, scheduler: str) -> None:
    """Only what the API server makes of an object decides which differences are not real."""
    for obj in everything(site_with(SCHEDULER[scheduler], OF_QUEUES), HERE):
        kept = taken(site, obj)
        renamed = {**obj, "metadata": {**obj["metadata"], "name": kept["metadata"]["name"]}}
        assert difference(renamed, kept) == ""


@pytest.mark.parametrize("obj", OF_DOCUMENTATION)
def test_an_object_of_the_documentation_is_taken_whole(site: Cluster, obj: Json) -> None:
    assert_kept(site, obj)


def test_a_misspelled_field_would_be_seen(site: Cluster) -> None:
    pod = sent("plain", "notebook")
    pod["spec"]["securityContext"]["supplementalGroupsPolicies"] = "Strict"
    with pytest.raises(Refused, match=r'unknown field "spec\.securityContext\.supplementalGroupsPolicies"'):
        taken(site, pod)


def test_the_embedded_server_knows_the_fields_of_the_real_one(cluster: Cluster, request: pytest.FixtureRequest) -> None:
    """`pytest --update-golden` writes them down anew."""
    found = published(lambda path: dict(cluster.api.call("GET", path)))
    if request.config.getoption("--update-golden"):
        FIELDS.write_text(written(found))
    assert FIELDS.read_text() == written(found)
