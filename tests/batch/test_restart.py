"""The cluster is the store: what a restart of the service keeps, and what is found out about the time without one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import yaml
from conftest import PREFIX, Client, connected, told
from embedded_cluster import NAMESPACE
from patience import PATIENCE_SECONDS, eventually
from stub_hub import stub_hub, user
from test_service import PREEMPTED, eventually_twice, fill, until

from jupyter_research_spawner.batch.app import running
from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.embedded.apimachinery.api_resources import EVENT, JOB, POD

pytestmark = pytest.mark.embedded


@asynccontextmanager
async def service(cluster: Any, hub: Any, site: Any) -> Any:
    """One life of the service."""
    client = await connected(cluster.kubeconfig)
    try:
        async with running(told(hub.api_url), site, client) as port, aiohttp.ClientSession() as session:
            yield Client(session, f"http://127.0.0.1:{port}{PREFIX.rstrip('/')}")
    finally:
        await client.close()


async def test_attempts_outlive_the_service_that_saw_them(cluster, hub, batch_site):
    async with service(cluster, hub, batch_site) as batch:
        before = await fill(batch)
        job = await batch.submit("alices", "sleep", "1", profile="half", queue="climate")
        await until(batch, "alices", job["id"], "succeeded")
        seen = await eventually_twice(batch, before)
    async with service(cluster, hub, batch_site) as batch:
        after = (await batch.ask("carols", "GET", f"/jobs/{seen['id']}"))[1]
    assert after["attempts"] == seen["attempts"]


async def test_what_happened_while_no_service_ran_is_read_off_the_events(cluster, hub, batch_site):
    async with service(cluster, hub, batch_site) as batch:
        before = await fill(batch)
        job = await batch.submit("alices", "sleep", "3", profile="half", queue="climate")
    # Nobody watches from here on.
    names = {found["id"] for found in before}
    await eventually(lambda: sum(event.get("reason") == "Preempted" for event in cluster.store.list(EVENT, NAMESPACE)))
    await eventually(lambda: _phase_of(cluster, job["id"]) == "Succeeded")
    await eventually(
        lambda: (
            {_owner(pod) for pod in cluster.store.list(POD, NAMESPACE) if pod["status"]["phase"] == "Running"} == names
        )
    )
    async with service(cluster, hub, batch_site) as batch:
        twice = await eventually_twice(batch, before)
    first, second = twice["attempts"]
    assert (first["reason"], first["exit_code"]) == (PREEMPTED, None)
    assert first["started"] and first["finished"]
    assert (second["reason"], twice["state"]) == ("", "running")


def _owner(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])


def _phase_of(cluster: Any, job_id: str) -> str:
    return next((pod["status"]["phase"] for pod in cluster.store.list(POD, NAMESPACE) if _owner(pod) == job_id), "none")


async def test_the_annotation_does_not_grow_when_nothing_happens(cluster, hub, batch_site):
    for _ in range(3):
        async with service(cluster, hub, batch_site) as batch:
            job = await batch.submit("alices", "true")
            await until(batch, "alices", job["id"], "succeeded")
    for found in cluster.store.list(JOB, NAMESPACE):
        assert "research-spawner/attempts" not in found["metadata"]["annotations"]


async def test_the_program_begins_by_what_the_hub_tells_it_and_ends_on_sigterm(cluster, batch_site, tmp_path):
    """As the hub starts a managed service: environment, one argument; and stops it, here while a log is followed."""
    settings = tmp_path / "site.yaml"
    settings.write_text(yaml.safe_dump(batch_site.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    async with stub_hub(alices=user("alice")) as hub:
        port = free_port("127.0.0.1")
        environ = {
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "JUPYTERHUB_API_TOKEN": "the-services-own",
            "JUPYTERHUB_API_URL": hub.api_url,
            "JUPYTERHUB_SERVICE_NAME": "batch",
            "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
            "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "jupyter_research_spawner.batch",
            "--site",
            str(settings),
            env=environ,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with aiohttp.ClientSession() as session:
                batch = Client(session, f"http://127.0.0.1:{port}{PREFIX.rstrip('/')}")
                await eventually(batch.is_up)
                job = await batch.submit("alices", "sh", "-c", "echo begun; sleep 60")
                await until(batch, "alices", job["id"], "running")
                log = await session.get(
                    f"{batch.url}/jobs/{job['id']}/logs?follow=true", headers={"Authorization": "token alices"}
                )
                assert await log.content.readline() == b"begun\n"
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
                # Broken off, and not ended as a whole log ends.
                with pytest.raises(aiohttp.ClientPayloadError):
                    await log.read()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.stderr is not None
        written = (await process.stderr.read()).decode()
    assert "Traceback" not in written
    assert "alices" not in written and "the-services-own" not in written


async def test_settings_that_cannot_be_used_are_told_in_sentences(tmp_path):
    (tmp_path / "site.yaml").write_text("profiles: {small: {cpu: many}}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jupyter_research_spawner.batch",
        "--site",
        str(tmp_path / "site.yaml"),
        env={**os.environ, "JUPYTERHUB_API_TOKEN": "x", "JUPYTERHUB_API_URL": "http://127.0.0.1:1/hub/api"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"profiles.small.cpu" in errors and b"Traceback" not in errors
