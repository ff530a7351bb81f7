"""A real hub of each version that is killed and started again, on the embedded cluster: what it finds, keeps and ends.

One restart serves all tests of this module, because starting a hub takes longer than they do.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from hub import SITE, Browser, Hub, Json, metric_samples, research_cluster_in, start_lines
from patience import eventually

from jupyter_research_spawner.api_object import annotations_of
from jupyter_research_spawner.embedded import NodeSpec
from jupyter_research_spawner.pod.overlay import PLAN

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="module")]


# The cluster does not answer the first create request of a server after the restart.
SLOW_CLUSTER = """
import asyncio
from jupyter_research_spawner.spawner import research, resume
resume.LONGEST_PAUSE_SECONDS = 2.0
create_pod, unanswered = research.create_pod, set()

async def create_at_the_second_request(api, namespace, manifest, **seconds):
    name = manifest["metadata"]["name"]
    if "exp" in name and name not in unanswered:
        unanswered.add(name)
        raise asyncio.TimeoutError("the cluster does not answer")
    return await create_pod(api, namespace, manifest, **seconds)

research.create_pod = create_at_the_second_request
"""


@dataclass(frozen=True)
class Restarted:
    """The hub after its restart, and what was there before.

    Two servers of alice ("" and "exp") waited for room, as did one of bob whose profile is no longer offered. A third
    server of alice ("saved") had been stopped; its profile is no longer offered either.
    """

    hub: Hub
    uids: dict[str, str]
    token: str
    first_seconds: float
    seconds: float

    def pods_of_alice(self) -> dict[str, str]:
        return uids_of(self.hub, "alice")


def uids_of(hub: Hub, person: str) -> dict[str, str]:
    """Return the uids of the user's pods by name."""
    found = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in hub.pods()}
    return {name: uid for name, uid in found.items() if person in name}


def site() -> Json:
    found = copy.deepcopy(SITE)
    found["profiles"]["larger"] = {**found["profiles"]["huge"], "title": "Larger", "order": 4}
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[6, 5], ids=["hub6", "hub5"])
async def restarted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Restarted]:
    directory = tmp_path_factory.mktemp("restarted")
    directory.chmod(0o755)  # pods run as other users
    async with research_cluster_in(directory) as cluster:
        hub = Hub(request.param, directory / "hub", cluster)
        try:
            yield await restart(hub)
        finally:
            await hub.close()


async def restart(hub: Hub) -> Restarted:
    hub.write(site())
    first_seconds = await seconds_to_start(hub)
    for name in ("alice", "bob"):
        await hub.person(name)
    await hub.start_server("alice", {"profile": "large"}, server="saved")
    await hub.ready("alice", "saved")
    await hub.api("DELETE", "users/alice/servers/saved")
    await hub.stopped("alice", "saved")
    await eventually(lambda: not hub.pods())
    for name, profile, server in (("alice", "huge", ""), ("alice", "huge", "exp"), ("bob", "larger", "")):
        await hub.start_server(name, {"profile": profile}, server=server)
    pods = await eventually(lambda: hub.pods() if len(hub.pods()) == 3 else None)
    (token, *_) = (
        env["value"]
        for pod in pods
        if pod["metadata"]["name"] == "jupyter-alice"
        for env in pod["spec"]["containers"][0]["env"]
        if env["name"] == "JUPYTERHUB_API_TOKEN"
    )
    uids = uids_of(hub, "alice")
    assert len(uids) == 2
    await hub.kill()
    fewer = site()
    for profile in ("large", "larger"):
        del fewer["profiles"][profile]
    hub.write(fewer, SLOW_CLUSTER)
    return Restarted(hub, uids, token, first_seconds, await seconds_to_start(hub))


async def seconds_to_start(hub: Hub) -> float:
    begun = time.monotonic()
    await hub.start()
    return time.monotonic() - begun


async def test_a_restart_does_not_wait_for_servers_in_a_queue(restarted: Restarted) -> None:
    # Compared with the first start, which is as slow on a busy machine.
    assert restarted.seconds < 2 * restarted.first_seconds + 10


async def test_a_choice_that_is_gone_after_a_restart_ends_its_pod(restarted: Restarted) -> None:
    await eventually(lambda: not uids_of(restarted.hub, "bob"))
    assert restarted.hub.is_alive
    browser = await Browser(restarted.hub).login("bob")

    async def is_told() -> bool:
        page = (await browser.get("home")).page.get_text()
        return "was not started again. There is no profile 'larger'." in page

    await eventually(is_told, otherwise=lambda: restarted.hub.log[-5000:])
    await browser.close()


async def test_a_saved_choice_that_is_gone(restarted: Restarted) -> None:
    hub = restarted.hub
    answer = await hub.start_server("alice", server="saved")
    assert answer.status == 400
    assert "There is no profile 'large'." in answer.message
    browser = await Browser(hub).login("alice")
    answer = await browser.get("spawn/alice/saved")
    assert answer.status == 200
    assert "You chose profile 'large' before, but you can no longer use it" in answer.page.get_text()
    assert not answer.page.find("input", {"name": "offer", "checked": True})
    await browser.close()


async def test_a_restart_keeps_a_queued_server_and_its_place(restarted: Restarted) -> None:
    hub = restarted.hub
    for server in ("", "exp"):
        await pending(hub, "alice", server)
    await metric_is(hub, 'adoptions_total{outcome="adopted"}', 2)
    assert "The cluster is too slow: the cluster does not answer" in hub.log
    assert restarted.pods_of_alice() == restarted.uids
    browser = await Browser(hub).login("alice")
    page = (await browser.get("spawn-pending/alice/exp")).text
    assert "Cancel the start" in page
    assert "research-spawner/servers/alice/cancel/exp" in page
    await browser.close()
    await metric_is(hub, 'queued_workloads{kind="notebook",queue="climate"}', 2)
    hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
    for server in ("", "exp"):
        await hub.ready("alice", server)
    assert restarted.pods_of_alice() == restarted.uids
    await metric_is(hub, 'adoptions_total{outcome="adopted"}', 2)
    # The pods have the run ids of the starts before the restart, and so has the log.
    runs = {pod["metadata"]["uid"]: json.loads(annotations_of(pod)[PLAN])["run_id"] for pod in hub.pods()}
    told = {line["pod_uid"]: line["run_id"] for line in start_lines(hub.log) if line["outcome"] == "ready"}
    assert {uid: told[uid] for uid in restarted.uids.values()} == {uid: runs[uid] for uid in restarted.uids.values()}
    assert (await hub.api("GET", "user", token=restarted.token)).status == 200
    assert (await hub.api("DELETE", "users/alice/server")).status in (202, 204)
    await eventually(lambda: len(restarted.pods_of_alice()) == 1)


async def metric_is(hub: Hub, series: str, expected: float) -> None:
    """Wait until a value in the hub's /metrics is as expected."""

    async def has_value() -> bool:
        found = metric_samples((await hub.api("GET", "../metrics")).text)
        return found[f"research_spawner_{series}"] == expected

    await eventually(has_value, every=0.2, otherwise=lambda: f"{series}:\n{hub.log[-5000:]}")


async def pending(hub: Hub, name: str, server: str) -> None:
    async def waits() -> bool:
        found = await hub.server(name, server)
        return bool(found) and found["pending"] == "spawn"

    await eventually(waits, otherwise=lambda: f"{name}'s server {server!r}\n{hub.log[-5000:]}")
