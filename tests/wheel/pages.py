"""A hub renders our pages with the package as it was installed.  Not collected: tools/check_wheel.sh runs it."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest
from hub import SITE, Browser, Hub, research_cluster
from patience import eventually

import jupyter_research_spawner
from jupyter_research_spawner.embedded import Cluster

__all__ = ["research_cluster"]


async def test_an_installed_hub_renders_the_form_and_the_pending_page(
    tmp_path: Path, research_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "site-packages" in Path(jupyter_research_spawner.__file__).parts
    monkeypatch.setenv("HUB5_PYTHON", sys.executable)
    hub = Hub(int(importlib.metadata.version("jupyterhub").split(".")[0]), tmp_path / "hub", research_cluster)
    hub.write(SITE)
    await hub.start()
    try:
        browser = await Browser(hub).login("alice")
        form = await browser.get("spawn")
        assert form.status == 200, hub.log
        assert form.page.find("input", {"value": "profile:small"})
        for tag, address in (("link", "href"), ("script", "src")):
            own = form.page.find(id="spawn_form").find(tag)[address]
            assert (await browser.get(own.removeprefix("/hub/"))).status == 200
        await hub.start_server("alice", {"profile": "huge"})
        await eventually(hub.pods, otherwise=lambda: hub.log)
        pending = await browser.get("spawn-pending/alice")
        assert pending.status == 200, hub.log
        assert pending.page.find(id="research-cancel")
        await browser.close()
        assert "Traceback" not in hub.log
    finally:
        await hub.close()
