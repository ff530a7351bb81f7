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


async def _if_known(browser: Browser) -> dict[str, str] | None:
    found = await labels(browser)
    return found if all(found.values()) else None


async def _when(browser: Browser, offer: str, beginning: str) -> dict[str, str] | None:
    found = await labels(browser)
    return found if found[offer].startswith(beginning) else None
