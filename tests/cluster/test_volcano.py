"""Volcano 1.14.1: notebooks and jobs of ours in its queues, by the real controllers, in real containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ground import JOB, Ground, ground
from rig.api import Json
from rig.cluster import Cluster
from rig.controllers.volcano import API, Volcano
from rig.node import Node
from work import Work

pytestmark = pytest.mark.programs("volcano")

# Room for one pod of profile small in each queue.
ROOM = {"cpu": "150m"}


def settings(ground: Ground) -> Json:
    """SITE with Volcano, and pods that end soon after they are asked to."""
    site = ground.site(scheduler={"kind": "volcano"})
    site["priorities"] = {**site["priorities"], "high": {"value": 100}}
    site["queues"]["urgent"] = {"groups": {"climate": True}, "priority": "high", "order": 50}
    for profile in site["profiles"].values():
        profile |= {"images": {"default": JOB}, "pod": {"terminationGracePeriodSeconds": 2}}
    site["profiles"]["small"] |= {"cpu": "100m", "memory": "64Mi"}
    return site


def queue(name: str, **spec: Any) -> Json:
    return {"apiVersion": API, "kind": "Queue", "metadata": {"name": name}, "spec": {"weight": 1, **spec}}


@pytest.fixture(scope="module")
def volcano(cluster: Cluster, node: Node) -> Iterator[Volcano]:
    started = Volcano.start(cluster)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def all_work(volcano: Volcano, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with ground(volcano.cluster, "volcano-work", tmp_path_factory.mktemp("volcano") / "storage") as here:
        found = Work(here, settings(here))
        found.api.apply(*found.priorities())
        yield found


@pytest.fixture
def work(all_work: Work) -> Iterator[Work]:
    queues = [queue(name, capability=ROOM) for name in all_work.site.queues]
    all_work.api.apply(*queues)
    try:
        yield all_work
    finally:
        all_work.clean()


def test_a_notebook_gets_its_pod_group_and_runs(work: Work) -> None:
    created = work.notebook("jupyter-alice")
    running = work.runs("jupyter-alice")
    (group,) = work.api.all_of(API, "PodGroup", work.namespace)
    assert [owner["uid"] for owner in group["metadata"]["ownerReferences"]] == [created["metadata"]["uid"]]
    spec = group["spec"]
    assert (spec["queue"], spec["minMember"], spec["priorityClassName"]) == ("climate", 1, "research-normal")
    assert running["spec"]["schedulerName"] == "volcano"
    assert work.ground.cluster.inside(running, "id", "-u") == "20001"
    assert work.phase("jupyter-alice").name == "running"
