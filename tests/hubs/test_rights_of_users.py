"""Changes of accounts and groups in a real hub: a reload of the form, and a change of a uid that is accepted."""

from __future__ import annotations

import asyncio
import copy
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from embedded_cluster import NAMESPACE
from hub import SITE, Browser, Hub, Json, visible
from patience import eventually

from jupyter_research_spawner.embedded.apimachinery.api_resources import CONFIG_MAP

pytestmark = pytest.mark.embedded
# The hub's version makes no difference here.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])

PASSWD = "{name}:x:{uid}:20600::/home/{home}:/bin/sh\n"


def directory(hub: Hub, accounts: dict[str, int], climate: str = "") -> Json:
    """Write the files of a directory with these accounts and these members of climate, and return the source."""
    homes = {20001: "alice", 20009: "alice", 20002: "bob"}
    lines = [PASSWD.format(name=name, uid=uid, home=homes[uid]) for name, uid in accounts.items()]
    for file, text in (("passwd", "".join(lines)), ("group", f"students:x:20600:\nclimate:x:20500:{climate}\n")):
        new = hub.state / f"{file}.new"
        new.write_text(text)
        new.replace(hub.state / file)
    return {"people": {"kind": "static", "passwd": "passwd", "group": "group"}}


async def started(hub: Hub, accounts: dict[str, int], cache: dict[str, str], **more: Any) -> None:
    hub.state.mkdir(exist_ok=True)
    site = {**copy.deepcopy(SITE), "identity": {"sources": directory(hub, accounts), "cache": cache}, **more}
    hub.write(site)
    await hub.start()
    for name in accounts:
        await hub.person(name)


async def research_spawner(hub: Hub, *words: str) -> tuple[int, str]:
    environment = {**os.environ, "KUBECONFIG": str(hub.cluster.kubeconfig)}
    program = Path(sys.executable).parent / "research-spawner"
    process = await asyncio.create_subprocess_exec(
        *(str(program), *words),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@once
async def test_user_who_was_just_added_reloads_the_form(hub: Hub) -> None:
    """The answer is cached for an hour, and a reload may ask again after a second."""
    await started(hub, {"bob": 20002}, {"found": "1h", "reload": "1s"})
    browser = await Browser(hub).login("bob")
    assert "Large" not in visible((await browser.get("spawn")).page)
    refused = await hub.start_server("bob", {"profile": "large"})
    assert refused.status == 403
    assert "A new group has an effect here after 1h at most." in refused.message
    directory(hub, {"bob": 20002}, climate="bob")
    await asyncio.sleep(1)
    assert "Large" in visible((await browser.get("spawn")).page)
    # A start that would be refused asks again too, without the form.
    directory(hub, {"bob": 20002})
    await asyncio.sleep(1)
    assert "Large" not in visible((await browser.get("spawn")).page)
    directory(hub, {"bob": 20002}, climate="bob")
    await asyncio.sleep(1)
    answer = await hub.start_server("bob", {"profile": "large"})
    assert answer.status in (201, 202), answer.text
    await browser.close()


async def test_changed_uid_works_when_an_administrator_accepts_it(hub: Hub, tmp_path: Path) -> None:
    await started(hub, {"alice": 20001}, {"found": "1s"})
    assert (await hub.start_server("alice", {"profile": "small"})).status in (201, 202)
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    directory(hub, {"alice": 20009})
    await asyncio.sleep(1)
    refused = await hub.start_server("alice", {"profile": "small"})
    assert (refused.status, "The uid of the account 'alice' has changed." in refused.message) == (403, True)
    site = ("--site", str(hub.state / "site.yaml"))
    # Another uid than the account has is of no use.
    code, output = await research_spawner(hub, "accept-uid", *site, "--user", "alice", "--uid", "20008")
    assert (code, "Uid 20008 is accepted for alice (account alice) for 1d." in output) == (0, True), output
    await asyncio.sleep(6)
    assert (await hub.start_server("alice", {"profile": "small"})).status == 403
    code, output = await research_spawner(hub, "accept-uid", *site, "--user", "alice", "--uid", "20009")
    assert code == 0, output
    (config_map,) = hub.cluster.store.list(CONFIG_MAP, NAMESPACE)
    assert set(config_map["data"]) == {"alice"}
    # As an administrator does it too: the home gets the new owner, else the check of the home ends the start.
    if os.geteuid() == 0:
        os.chown(tmp_path / "home" / "alice", 20009, -1)

    async def starts() -> bool:
        return (await hub.start_server("alice", {"profile": "small"})).status in (201, 202)

    await eventually(starts, every=1, otherwise=lambda: hub.recent_log)
    (pod,) = await eventually(hub.pods)
    assert pod["spec"]["securityContext"]["runAsUser"] == 20009
    assert "The hub user 'alice' is uid 20009 from now on, as an administrator has accepted" in hub.log


@once
async def test_renamed_user_takes_over_the_uid_and_the_old_name_is_refused(hub: Hub) -> None:
    await started(hub, {"alice": 20001}, {"found": "1s"})
    browser = await Browser(hub).login("alice")
    assert (await browser.get("spawn")).status == 200
    directory(hub, {"alicia": 20001})
    await hub.person("alicia")
    refused = await hub.start_server("alicia", {"profile": "small"})
    assert (refused.status, "Another hub user already uses the account" in refused.message) == (403, True)
    site = ("--site", str(hub.state / "site.yaml"))
    code, output = await research_spawner(hub, "accept-uid", *site, "--user", "alicia", "--uid", "20001")
    assert code == 0, output

    async def starts() -> bool:
        return (await hub.start_server("alicia", {"profile": "small"})).status in (201, 202)

    await eventually(starts, every=1, otherwise=lambda: hub.recent_log)
    assert (await browser.get("spawn")).status == 403
    await browser.close()


@once
async def test_command_says_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    hub.state.mkdir(exist_ok=True)
    site = copy.deepcopy(SITE)
    site["namespaces"] = {"name": "elsewhere"}
    hub.write(site)
    words = ("accept-uid", "--site", str(hub.state / "site.yaml"))

    async def said_on_one_line(*more: str) -> tuple[int, str]:
        code, output = await research_spawner(hub, *words, *more)
        return code, " ".join(output.split())

    code, output = await said_on_one_line("--user", "alice", "--uid", "20009")
    needed = "You need the right to create, get and patch ConfigMaps in namespace elsewhere"
    assert (code, needed in output) == (1, True), output
    code, output = await said_on_one_line("--user", "alice", "--uid", "0")
    assert (code, "'0' is not a uid: a number from 1 to 2147483647" in output) == (2, True)
    code, output = await said_on_one_line("--user", "Alice Smith", "--uid", "20009")
    assert (code, "Alice Smith" in output) == (1, True)
