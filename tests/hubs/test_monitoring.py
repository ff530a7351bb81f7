"""The metrics of a real hub, and the log line about each start."""

from __future__ import annotations

import copy
import json
import re

import pytest
from hub import SITE, Hub
from patience import eventually

pytestmark = pytest.mark.embedded


def site(**hub: str) -> dict[str, object]:
    settings = copy.deepcopy(SITE)
    settings["hub"].update(hub)
    return settings


async def test_the_hub_serves_the_metrics_to_tokens_with_the_scope_of_metrics(hub: Hub) -> None:
    """JupyterHub serves the registry of the process, in which our metrics are too."""
    hub.write(site(), extra=PROMETHEUS)
    await hub.start()
    for name in ("alice", "bob"):
        await hub.person(name)
    assert (await hub.start_server("alice", {"profile": "no-such-profile"})).status == 400
    await hub.start_server("alice", {"profile": "small", "queue": "climate"})
    await hub.ready("alice")
    lines = await eventually(lambda: start_lines(hub.log) if len(start_lines(hub.log)) >= 2 else None)
    assert [line["outcome"] for line in lines] == ["refused", "ready"]
    assert lines[0]["code"] == "unknown-profile"
    (pod,) = hub.pods()
    plan = json.loads(pod["metadata"]["annotations"]["research-spawner/plan"])
    assert lines[1]["run_id"] == plan["run_id"]
    assert lines[1]["pod_uid"] == pod["metadata"]["uid"]
    assert lines[1]["queue"] == "climate"
    assert all(re.fullmatch(r"\d{4}-.*Z", lines[1][time]) for time in ("decided", "created", "admitted", "ready"))
    assert (await hub.api("GET", "../metrics", token="wrong")).status == 403
    answer = await hub.api("GET", "../metrics", token=TOKEN)
    assert answer.status == 200
    found = samples(answer.text)
    labels = '{kind="notebook",profile="small",scheduler="plain"}'
    assert found[f"research_spawner_time_to_ready_seconds_count{labels}"] == 1
    assert found[f"research_spawner_queue_wait_seconds_count{labels}"] == 1
    assert found['research_spawner_refusals_total{code="unknown-profile"}'] == 1
    assert found['research_spawner_admissions_total{kind="notebook",queue="climate"}'] == 1
    assert found['research_spawner_admissions_total{kind="notebook",queue="teaching"}'] == 0
    assert found['research_spawner_queued_pods{kind="notebook",queue="climate"}'] == 0
    assert found['research_spawner_identity_lookup_seconds_count{result="answered",source="people"}'] >= 1
    assert found['research_spawner_identity_cache_requests_total{result="miss"}'] >= 1
    assert found["research_spawner_pacing_slots"] == 64
    assert found["research_spawner_pacing_slots_in_use"] == 0
    assert not re.search("alice|bob|jupyter-", "".join(key for key in found if key.startswith("research_spawner")))


async def test_without_authentication_of_prometheus_the_hub_serves_them_to_all(hub: Hub) -> None:
    hub.write(site(start_log="json"), extra="c.JupyterHub.authenticate_prometheus = False")
    await hub.start()
    await hub.person("alice")
    assert (await hub.api("GET", "../metrics", token="wrong")).status == 200
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    (line,) = await eventually(lambda: [line for line in hub.log.splitlines() if line.startswith("{")])
    assert json.loads(line)["outcome"] == "ready"


TOKEN = "token-of-prometheus-0123456789"
PROMETHEUS = f"""
c.JupyterHub.services.append({{"name": "prometheus", "api_token": "{TOKEN}"}})
c.JupyterHub.load_roles = [{{"name": "prometheus", "services": ["prometheus"], "scopes": ["read:metrics"]}}]
"""


def samples(text: str) -> dict[str, float]:
    """Return the samples in Prometheus' text format by name and labels."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {key: float(value) for key, value in lines}


def start_lines(log: str) -> list[dict[str, str]]:
    """Return the fields of the text lines about starts."""
    found = (line.partition("event=start ")[2] for line in log.splitlines() if " event=start " in line)
    return [dict(part.split("=", 1) for part in line.split(" ")) for line in found]
