"""The way of a user through all pages of the demo, in a real Chromium, and what is not accessible on them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
from browser import Chromium, Look, Page, Screenshots, barriers, expect, is_too_wide, log_in, tab_to, visit
from hub import python_of
from playwright.async_api import Locator

from jupyter_research_spawner.demo import embedded_cluster
from jupyter_research_spawner.demo import hub as demo_hub
from jupyter_research_spawner.demo.demo_cluster import HERE, settings
from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.demo.running_demo import RunningDemo, set_up
from jupyter_research_spawner.demo.tour import jobs
from jupyter_research_spawner.demo.user_session import UserSession
from jupyter_research_spawner.embedded import Abilities, cluster
from jupyter_research_spawner.settings import merge


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    """The file with the accounts of the demo's users, which a test can change."""
    return Path(shutil.copy(HERE / "people.passwd", tmp_path))


@pytest.fixture
def without_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pods of the embedded cluster have no mounts, as where the demo does not run as root."""
    able = Abilities(root=True, namespaces=False, reason="This is a test.")
    for module in (embedded_cluster, cluster):
        monkeypatch.setattr(module, "abilities", lambda: able)


@pytest_asyncio.fixture(params=[6, pytest.param(5, marks=pytest.mark.thorough)], ids=["hub6", "hub5"])
async def demo(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accounts: Path
) -> AsyncIterator[RunningDemo]:
    monkeypatch.setattr(demo_hub, "sys", SimpleNamespace(executable=python_of(request.param)))
    # Two demos that start at once would both find port 8000 unused.
    monkeypatch.setattr(demo_hub, "free_port", lambda address, wanted=0: free_port(address))
    site = {"identity": {"sources": {"people": {"passwd": str(accounts)}}}}
    monkeypatch.setattr(embedded_cluster, "settings", lambda more=None: settings(merge(site, more or {})))
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # pods run as other users
    async with set_up(embedded_cluster.EmbeddedCluster(), tmp_path / "demo", print) as running:
        yield running


def remove(accounts: Path, name: str) -> None:
    lines = accounts.read_text().splitlines(keepends=True)
    accounts.write_text("".join(line for line in lines if not line.startswith(f"{name}:")))


async def heading(page: Page, text: str) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)


async def choose(page: Page, offer: str) -> None:
    """Select an offer by its title, as a mouse and a finger do."""
    await page.get_by_role("group", name="What to start").get_by_text(offer, exact=True).click()
    await expect(page.get_by_role("radio", name=offer, exact=True)).to_be_checked()


async def press(page: Page, button: Locator, key: str = "Enter") -> None:
    """Press a button or follow a link by keyboard."""
    await tab_to(page, button)
    await page.keyboard.press(key)


async def write(page: Page, field: Locator, text: str) -> None:
    """Write into a field by keyboard."""
    await tab_to(page, field)
    await page.keyboard.type(text)


async def choose_by_keyboard(page: Page, offer: str) -> None:
    """Select an offer by its title: Tab leads to the selected one, and arrows to the others."""
    group = page.get_by_role("group", name="What to start")
    await tab_to(page, group.locator("input[name=offer]:checked"))
    radio = page.get_by_role("radio", name=offer, exact=True)
    if not await radio.is_checked():
        await tab_to(page, radio, "ArrowDown")
    await expect(radio).to_be_checked()


async def submitted(person: UserSession, *arguments: str) -> str:
    """Submit a job from the user's notebook, and return its id."""
    return (await jobs(person, "submit", *arguments)).split()[-1]


TRAIN = """
import time
for epoch in range(1, 4):
    print(f"epoch {epoch}: loss {2.5 / epoch:.3f}", flush=True)
time.sleep(600)
"""


async def test_from_the_login_to_a_cancelled_job_by_keyboard(
    demo: RunningDemo, chromium: Chromium, screenshots: Screenshots
) -> None:
    hub = demo.hub
    async with (
        visit(chromium, hub.url) as page,
        UserSession(hub.url, "alice", hub.password) as alice,
    ):
        # The hub's home page, and a server with a name that waits.
        await page.goto("/hub/login?next=/hub/home")
        await write(page, page.get_by_label("Username"), "alice")
        await write(page, page.locator("#password_input"), hub.password)
        await page.keyboard.press("Enter")
        await heading(page, "Your servers")
        assert await barriers(page) == []
        await write(page, page.get_by_label("Name"), "large")
        await page.keyboard.press("Enter")
        await heading(page, "Start server large")
        await choose_by_keyboard(page, "Four A100")
        await press(page, page.get_by_role("button", name="Start", exact=True))
        await heading(page, "Your server large is waiting")
        await expect(page.get_by_role("status")).to_contain_text("the largest has 2 NVIDIA GPUs")
        assert await barriers(page) == []
        await screenshots.take(page, "pending")

        # The options form, and a server that starts.
        await page.goto("/hub/spawn")
        await heading(page, "Start a server")
        await choose_by_keyboard(page, "Small")
        assert await barriers(page) == []
        await screenshots.take(page, "form")
        await press(page, page.get_by_role("button", name="Start", exact=True))
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
        await press(page, page.get_by_role("link", name="My work", exact=True))
        await heading(page, "My work")
        for job, state in states.items():
            await expect(page.get_by_role("row", name=job)).to_contain_text(state)
        await expect(page.get_by_role("row", name="Server default")).to_contain_text("Running")
        assert await barriers(page) == []
        await screenshots.take(page, "my-work")

        # A job.
        await press(page, page.get_by_role("link", name=train))
        await heading(page, train)
        await expect(page.get_by_role("region", name="Output")).to_contain_text("epoch 3")
        assert await barriers(page) == []
        await screenshots.take(page, "job")
        await press(page, page.get_by_text("Cancel …"))
        await press(page, page.get_by_role("button", name="Cancel the job"), "Space")
        await heading(page, "My work")
        await expect(page.get_by_role("row", name=train)).to_have_count(0)

        # The server that still waits.
        await press(page, page.get_by_role("link", name="Home"))
        await press(page, page.get_by_role("link", name="See the start of large"))
        await heading(page, "Your server large is waiting")
        await press(page, page.get_by_role("button", name="Cancel the start"), "Space")
        await heading(page, "Your servers")
        await expect(page.get_by_role("main")).to_contain_text("The start of your server large was cancelled.")


async def test_a_class_its_staff_and_an_account_that_is_removed(
    demo: RunningDemo, chromium: Chromium, accounts: Path
) -> None:
    hub = demo.hub
    async with (
        visit(chromium, hub.url) as page,
        visit(chromium, hub.url) as of_carol,
        UserSession(hub.url, "bob", hub.password) as bob,
    ):
        # A student sees the class first, and starts its server.
        await log_in(page, "bob", hub.password, then="/hub/spawn")
        offers = page.get_by_role("group", name="What to start")
        await expect(offers.get_by_role("heading").first).to_have_text("Your class")
        await expect(offers.get_by_role("radio").first).to_have_accessible_name("Statistics 101")
        await expect(offers.get_by_role("radio").first).to_be_checked()
        await expect(offers.get_by_role("radio", name="One A100")).to_have_count(0)
        assert await barriers(page) == []
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/user/bob/lab**", wait_until="commit")
        await bob.log_in()
        job = await submitted(bob, "--name", "homework", "--", "sleep", "600")

        # The staff of the class sees it.
        await log_in(of_carol, "carol", hub.password, then="/services/batch/")
        await heading(of_carol, "My work")
        await expect(of_carol.get_by_role("main")).not_to_contain_text(job)
        await of_carol.get_by_role("navigation", name="Whose work").get_by_role("link", name="Statistics 101").click()
        await expect(of_carol.get_by_role("row", name=job)).to_contain_text("bob")
        assert await barriers(of_carol) == []
        await of_carol.get_by_role("link", name=job).click()
        await heading(of_carol, job)
        await expect(of_carol.get_by_role("button", name="Cancel the job")).to_have_count(0)

        # Without an account, the page says why nothing can be started, and whom to ask.
        remove(accounts, "carol")
        await of_carol.goto("/hub/spawn")
        await heading(of_carol, "You cannot start a server")
        await expect(of_carol.get_by_role("alert")).to_contain_text("Ask the person who started this demo.")
        await expect(of_carol.get_by_role("radio")).to_have_count(0)
        assert await barriers(of_carol) == []


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


# Writes a line into a new terminal, and returns what the terminal shows until it contains `until`.
TERMINAL = """async ([line, until]) => {
    const token = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/)?.[1] ?? "";
    const made = await fetch("/user/alice/api/terminals", {method: "POST", headers: {"X-XSRFToken": token}});
    const address = `/user/alice/terminals/websocket/${(await made.json()).name}`;
    const socket = new WebSocket(new URL(address, location.href.replace(/^http/, "ws")));
    let shown = "";
    return new Promise(resolve => {
        socket.onmessage = message => {
            const [kind, text] = JSON.parse(message.data);
            if (kind === "setup") { socket.send(JSON.stringify(["stdin", `${line}\\r`])); }
            if (kind === "stdout") { shown += text; }
            if (shown.includes(until)) { resolve(shown); }
        };
    });
}"""


@pytest.mark.parametrize("demo", [6], indirect=True, ids=["hub6"])
@pytest.mark.usefixtures("without_mounts")
async def test_a_terminal_has_the_command_job_without_root(demo: RunningDemo, chromium: Chromium) -> None:
    async with visit(chromium, demo.hub.url) as page:
        await log_in(page, "alice", demo.hub.password, then="/hub/spawn")
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/user/alice/lab**")
        shown = await page.evaluate(TERMINAL, ["job list; echo en''d", "end"])
        assert "you have no jobs" in shown, shown
