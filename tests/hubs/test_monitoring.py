"""The metrics of real hubs, the log line about each start, and the dashboard on a real Prometheus."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path

import pytest
from hub import SITE, Hub, Json, metric_samples, start_lines
from patience import eventually
from prometheus_server import Prometheus, needs_prometheus, running_prometheus

import jupyter_research_spawner
from jupyter_research_spawner.demo.hub import free_port

pytestmark = pytest.mark.embedded

MONITORING = Path(jupyter_research_spawner.__file__).parent / "monitoring"
TOKEN = "token-of-prometheus-0123456789"
PROMETHEUS = f"""
c.JupyterHub.services.append({{"name": "prometheus", "api_token": "{TOKEN}"}})
c.JupyterHub.load_roles = [{{"name": "prometheus", "services": ["prometheus"], "scopes": ["read:metrics"]}}]
"""
# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])


async def started(hub: Hub, extra: str, arguments: str = "", batch_url: str | None = None, **limits: str) -> None:
    settings = copy.deepcopy(SITE)
    settings["hub"].update(limits)
    settings["batch"] = {"url": batch_url}
    hub.write(settings, extra=extra, arguments=arguments)
    await hub.start()
    for name in ("alice", "bob"):
        await hub.person(name)


async def test_the_hub_serves_the_metrics_to_tokens_with_the_scope_of_metrics(hub: Hub) -> None:
    """JupyterHub serves the registry of the process, in which our metrics are too."""
    await started(hub, PROMETHEUS)
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
    found = metric_samples(answer.text)
    labels = '{kind="notebook",profile="small",scheduler="plain"}'
    assert found[f"research_spawner_time_to_ready_seconds_count{labels}"] == 1
    assert found[f"research_spawner_queue_wait_seconds_count{labels}"] == 1
    assert found['research_spawner_refusals_total{code="unknown-profile"}'] == 1
    assert found['research_spawner_admissions_total{kind="notebook",queue="climate"}'] == 1
    assert found['research_spawner_admissions_total{kind="notebook",queue="teaching"}'] == 0
    assert found['research_spawner_queued_workloads{kind="notebook",queue="climate"}'] == 0
    assert found['research_spawner_identity_lookup_seconds_count{result="answered",source="people"}'] >= 1
    assert found['research_spawner_identity_cache_requests_total{result="miss"}'] >= 1
    assert found['research_spawner_watch_up{resource="pods"}'] == 1
    assert found["research_spawner_pacing_slots"] == 64
    assert found["research_spawner_pacing_slots_in_use"] == 0
    assert not re.search("alice|bob|jupyter-", "".join(key for key in found if key.startswith("research_spawner")))


@once
async def test_without_authentication_of_prometheus_the_hub_serves_them_to_all(hub: Hub) -> None:
    await started(hub, "c.JupyterHub.authenticate_prometheus = False", start_log="json")
    assert (await hub.api("GET", "../metrics", token="wrong")).status == 200
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    (line,) = await eventually(lambda: [line for line in hub.log.splitlines() if line.startswith("{")])
    assert json.loads(line)["outcome"] == "ready"


@once
@needs_prometheus
async def test_each_query_of_the_dashboard_has_a_result_on_a_hub_and_a_batch_service(hub: Hub, tmp_path: Path) -> None:
    batch = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    await started(hub, PROMETHEUS, f", managed_batch={{'url': '{batch}'}}", f"{batch}/services/batch")
    targets = {"hub": f"{hub.url}/hub/metrics", "batch": f"{batch}/services/batch/metrics"}
    (tmp_path / "prometheus").mkdir()
    async with running_prometheus(
        tmp_path / "prometheus", targets, token=TOKEN, rules=MONITORING / "alerts.yaml"
    ) as prometheus:

        async def scraped(expression: str, least: float) -> None:
            told = f"{expression} is less than {least}"
            await eventually(
                lambda: prometheus.has(expression, least), every=0.5, otherwise=lambda: f"{told}:\n{hub.log[-3000:]}"
            )

        await scraped("sum(up)", 2)
        # A rate needs a sample from before the events.
        await scraped("count(research_spawner_pacing_slots > 0)", 1)
        await use(hub)
        await scraped("sum(research_spawner_time_to_ready_seconds_count)", 1)
        await scraped("sum(research_spawner_refusals_total)", 2)
        await scraped('sum(research_spawner_ends_total{kind="notebook"})', 1)
        assert {rule for rule in await prometheus.alerts() if rule.startswith("ResearchSpawner")} != set()
        expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
        assert len(expressions) > 15
        for expression in expressions:
            await eventually(
                lambda query=expression: has_number(prometheus, query), every=0.5, otherwise=expression.__str__
            )


async def use(hub: Hub) -> None:
    """Refuse two starts, start a notebook, and stop it."""
    for _ in range(2):
        assert (await hub.start_server("bob", {"profile": "no-such-profile"})).status == 400
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")


DASHBOARD: Json = json.loads((MONITORING / "dashboard.json").read_text())


async def has_number(prometheus: Prometheus, expression: str) -> bool:
    """Return whether the result has a number. Of a histogram without observations it is NaN."""
    return any(not math.isnan(float(sample["value"][1])) for sample in await prometheus.query(expression))
