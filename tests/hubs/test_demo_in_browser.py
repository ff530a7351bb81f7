"""The way of a user through all pages of the demo, in a real Chromium, and what is not accessible on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from browser import Chromium, Look, Page, Screenshots, barriers, expect, is_too_wide, log_in, visit

from jupyter_research_spawner.demo import embedded_cluster
from jupyter_research_spawner.demo import hub as demo_hub
from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.demo.running_demo import RunningDemo, set_up
from jupyter_research_spawner.demo.tour import jobs
from jupyter_research_spawner.demo.user_session import UserSession


@pytest_asyncio.fixture
async def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningDemo]:
    # Two demos that start at once would both find port 8000 unused.
    monkeypatch.setattr(demo_hub, "free_port", lambda address, wanted=0: free_port(address))
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # pods run as other users
    async with set_up(embedded_cluster.EmbeddedCluster(), tmp_path / "demo", print) as running:
        yield running


async def heading(page: Page, text: str) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)


async def choose(page: Page, offer: str) -> None:
    """Select an offer by its title, as a mouse and a finger do."""
    await page.get_by_role("group", name="What to start").get_by_text(offer, exact=True).click()
    await expect(page.get_by_role("radio", name=offer, exact=True)).to_be_checked()


async def submitted(person: UserSession, *arguments: str) -> str:
    """Submit a job from the user's notebook, and return its id."""
    return (await jobs(person, "submit", *arguments)).split()[-1]


TRAIN = """
import time
for epoch in range(1, 4):
    print(f"epoch {epoch}: loss {2.5 / epoch:.3f}", flush=True)
time.sleep(600)
"""


async def test_from_the_login_to_a_cancelled_job(
    demo: RunningDemo, chromium: Chromium, screenshots: Screenshots
) -> None:
    hub = demo.hub
    async with (
        visit(chromium, hub.url) as page,
        UserSession(hub.url, "alice", hub.password) as alice,
    ):
        # The hub's home page, and a server with a name that waits.
        await log_in(page, "alice", hub.password)
        assert await barriers(page) == []
        await page.get_by_label("Name").fill("large")
        await page.get_by_role("button", name="Add a server").click()
        await heading(page, "Start server large")
        await choose(page, "Four A100")
        await page.get_by_role("button", name="Start", exact=True).click()
        await heading(page, "Your server large is waiting")
        await expect(page.get_by_role("status")).to_contain_text("the largest has 2 NVIDIA GPUs")
        assert await barriers(page) == []
        await screenshots.take(page, "pending")

        # The options form, and a server that starts.
        await page.goto("/hub/spawn")
        await heading(page, "Start a server")
        await choose(page, "Small")
        assert await barriers(page) == []
        await screenshots.take(page, "form")
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/hub/spawn-pending/alice**", wait_until="commit")
        await page.wait_for_url("**/user/alice/lab**", wait_until="commit")

        # Jobs of the notebook, in My work.
        await alice.log_in()
        await alice.run(f"open('train.py', 'w').write({TRAIN!r})")
        states = {
            await submitted(alice, "--name", name, *arguments): state
            for name, arguments, state in (
                ("prepare", ("--", "echo", "done"), "Succeeded"),
                ("check", ("--", "sh", "-c", "exit 3"), "Failed"),
                ("simulate", ("--profile", "gpu-four", "--", "sleep", "600"), "Waiting"),
                ("train", ("--wall-time", "4h", "--", "python3", "train.py"), "Running"),
            )
        }
        *_, train = states
        await page.goto("/hub/home")
        assert await barriers(page) == []
        await screenshots.take(page, "home")
        await page.get_by_role("link", name="My work", exact=True).click()
        await heading(page, "My work")
        for job, state in states.items():
            await expect(page.get_by_role("row", name=job)).to_contain_text(state)
        await expect(page.get_by_role("row", name="Server default")).to_contain_text("Running")
        assert await barriers(page) == []
        await screenshots.take(page, "my-work")

        # A job.
        await page.get_by_role("link", name=train).click()
        await heading(page, train)
        await expect(page.get_by_role("region", name="Output")).to_contain_text("epoch 3")
        assert await barriers(page) == []
        await screenshots.take(page, "job")
        await page.get_by_text("Cancel …").click()
        await page.get_by_role("button", name="Cancel the job").click()
        await heading(page, "My work")
        await expect(page.get_by_role("row", name=train)).to_have_count(0)


async def test_a_server_with_a_name_on_a_phone_without_javascript(demo: RunningDemo, chromium: Chromium) -> None:
    async with visit(chromium, demo.hub.url, Look(width=390, has_javascript=False)) as page:
        await log_in(page, "alice", demo.hub.password, then="/hub/spawn/alice/exp")
        # A post that the form does not offer to alice.
        radio = page.get_by_role("radio", name="Four A100", exact=True)
        await radio.evaluate("radio => { radio.value = 'class:stats-101' }")
        await choose(page, "Four A100")
        await page.get_by_role("button", name="Start", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("You are not on the roster of a class")
        assert (await page.title()).startswith("Error: ")
        assert [pod for pod in await demo.pods() if "jupyter" in pod["metadata"]["name"]] == []

        await choose(page, "Four A100")
        await page.get_by_role("button", name="Start", exact=True).click()
        await heading(page, "Your server exp is waiting")
        await page.reload()
        await expect(page.get_by_role("status")).to_contain_text("the largest has 2 NVIDIA GPUs")
        assert not await is_too_wide(page)
        await page.get_by_role("button", name="Cancel the start").click()
        await page.wait_for_url("**/hub/home")
        await heading(page, "Your servers")
        await expect(page.get_by_role("main")).to_contain_text("You cancelled its start.")
        assert not await is_too_wide(page)
