"""What the options form says about free nodes, in a real hub with the embedded cluster."""

from __future__ import annotations

import copy

import pytest
from hub import SITE, Browser, Hub, Json, visible
from patience import eventually

from jupyter_research_spawner.embedded import NodeSpec

pytestmark = [pytest.mark.embedded]

NODES: Json = {**copy.deepcopy(SITE), "availability": "nodes"}
# The answers change at once, so that the test need not wait.
QUICK = """
from jupyter_research_spawner.watch import free_capacity
free_capacity.REFRESH_SECONDS = 0.1
"""


async def labels(browser: Browser, name: str = "alice") -> dict[str, str]:
    """Return what the form of a named server, which never starts, says at each offer."""
    answer = await browser.get(f"spawn/{name}/other")
    assert answer.status == 200, browser.hub.recent_log
    found = {}
    for card in answer.page.find_all(class_="research-offer"):
        said = card.find(id=f"{card.find('input')['value']}-free")
        found[card.find("label").get_text()] = visible(said).strip() if said is not None else ""
    return found


@pytest.mark.parametrize("hub", [6, pytest.param(5, marks=pytest.mark.thorough)], indirect=True, ids=["hub6", "hub5"])
async def test_the_form_follows_what_nodes_have_free(hub: Hub) -> None:
    """The node has 4 CPUs. Large takes 3 of them, Small half of one, and Huge 64."""
    hub.write(NODES, QUICK)
    await hub.start()
    alice, bob = [await Browser(hub).login(name) for name in ("alice", "bob")]
    try:
        first = await eventually(lambda: _if_known(alice), every=0.1, otherwise=lambda: hub.recent_log)
        assert {name: text.partition(" now")[0] for name, text in first.items()} == {
            "Small": "Free",
            "Large": "Free",
            "Huge": "No node is this big",
        }
        await hub.start_server("alice", {"profile": "large"})
        await hub.ready("alice")
        assert (await eventually(lambda: _when(alice, "Large", "You would wait"), every=0.1))["Small"].startswith(
            "Free"
        )
        hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
        assert (await eventually(lambda: _when(alice, "Huge", "Free now"), every=0.1))["Large"].startswith("Free now")
        hub.cluster.api.calls.clear()
        for _ in range(5):
            assert "Large" not in await labels(bob, "bob")
            await labels(alice)
        sent = {call: number for call, number in hub.cluster.api.calls.items() if call[1] in ("nodes", "pods")}
        assert not [call for call in sent if call[0] != "watch"], "a page sends no request"
    finally:
        await alice.close()
        await bob.close()


FIXED: Json = {**copy.deepcopy(SITE), "autoscaling": False}


@pytest.mark.parametrize("hub", [6, pytest.param(5, marks=pytest.mark.thorough)], indirect=True, ids=["hub6", "hub5"])
async def test_what_can_never_start_is_refused_however_it_is_asked_for(hub: Hub) -> None:
    """The only node has 4 CPUs, no other one is added, and Huge requests 64."""
    hub.write(FIXED, QUICK)
    await hub.start()
    await hub.person("alice")
    answer = await hub.start_server("alice", {"profile": "huge"})
    sentence = "'Huge' can never start here. It requests 64 CPUs, and the largest node has 4 CPUs."
    # The DaemonSets may not be listed yet.
    told = answer.message.replace("at most ", "")
    assert (answer.status, told) == (400, f"{sentence} Choose one that fits: 'Small' or 'Large'.")
    alice = await Browser(hub).login("alice")
    try:
        form = (await alice.get("spawn")).page
        disabled = [str(radio["value"]) for radio in form.select('input[name="offer"][disabled]')]
        assert disabled == ["profile:huge"]
        # A post that the form does not offer.
        fields = {"offer": "profile:huge", "wall_time--profile:huge": "90m", "queue--profile:huge": "teaching"}
        refused = await alice.post("spawn", fields)
        assert refused.status == 400
        assert sentence in visible(refused.page).replace("at most ", "")
        assert "Choose one that fits: 'Small' or 'Large'." in visible(refused.page)
        assert refused.page.find("input", {"name": "wall_time--profile:huge"})["value"] == "90m"
        assert hub.pods() == []
        # What fits starts, and with a node that is big enough, so does Huge.
        assert (await alice.post("spawn", {"offer": "profile:small"})).status == 302
        hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
        await eventually(lambda: _starts(hub, "huge"), every=0.2, otherwise=lambda: hub.recent_log)
        await hub.ready("alice", "huge")
    finally:
        await alice.close()


async def _starts(hub: Hub, profile: str) -> bool:
    return (await hub.start_server("alice", {"profile": profile}, profile)).status in (201, 202)


@pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
async def test_a_start_that_waits_keeps_its_place_over_a_restart_if_its_node_is_away(hub: Hub) -> None:
    hub.write(NODES)
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "huge"})
    (pod,) = await eventually(hub.pods, otherwise=lambda: hub.recent_log)
    await hub.kill()
    hub.write(FIXED, QUICK)
    await hub.start()
    await eventually(lambda: _is_pending(hub), otherwise=lambda: hub.recent_log)
    assert [one["metadata"]["uid"] for one in hub.pods()] == [pod["metadata"]["uid"]]
    # A new start of the same is refused.
    assert (await hub.start_server("alice", {"profile": "huge"}, "more")).status == 400


async def _is_pending(hub: Hub) -> bool:
    found = await hub.server("alice")
    return found is not None and found["pending"] == "spawn"


async def _if_known(browser: Browser) -> dict[str, str] | None:
    found = await labels(browser)
    return found if all(found.values()) else None


async def _when(browser: Browser, offer: str, beginning: str) -> dict[str, str] | None:
    found = await labels(browser)
    return found if found[offer].startswith(beginning) else None
