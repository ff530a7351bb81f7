"""Rights that are withdrawn after a job was submitted, on the embedded cluster: what waits, runs and runs again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import samples
from conftest import PREFIX, Client, connected, small_site, told
from directory_files import LOCKED, Directory
from embedded_cluster import NAMESPACE
from patience import PATIENCE_SECONDS, eventually
from prometheus_client import REGISTRY
from test_service import until

from jupyter_research_spawner.batch import auth, rights_action
from jupyter_research_spawner.batch.app import running
from jupyter_research_spawner.batch.job_store import JobStore
from jupyter_research_spawner.batch.rights_action import RightsActions
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB, POD
from jupyter_research_spawner.metrics import RIGHTS_CHANGED
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch.api_server import ApiServer

pytestmark = pytest.mark.embedded

EVERY = 0.3
# A refused account is cached for one second, the shortest time.
FAILED_SECONDS = 1.1


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    passwd, group = ((samples.DATA / name).read_text() for name in ("people.passwd", "people.group"))
    return Directory.write(tmp_path, passwd, group)


@pytest.fixture
def batch_site(directory: Directory) -> Site:
    return site_of(directory)


def site_of(directory: Directory, *more: dict[str, Any]) -> Site:
    identity = {"sources": {"people": directory.settings()}, "cache": {"failed": "1s"}}
    return small_site({"identity": identity}, *more)


@asynccontextmanager
async def service(cluster: Any, hub: Any, site: Site, every: float = EVERY) -> AsyncIterator[Client]:
    client = await connected(cluster.kubeconfig)
    try:
        async with running(told(hub.api_url), site, client, every) as port, aiohttp.ClientSession() as session:
            yield Client(session, f"http://127.0.0.1:{port}{PREFIX.rstrip('/')}")
    finally:
        await client.close()


@pytest_asyncio.fixture
async def batch(cluster: Any, hub: Any, batch_site: Site) -> AsyncIterator[Client]:
    async with service(cluster, hub, batch_site) as client:
        yield client


def jobs(cluster: Any) -> list[dict[str, Any]]:
    return list(cluster.store.list(JOB, NAMESPACE))


def pods(cluster: Any, of: str = "") -> list[dict[str, Any]]:
    found = cluster.store.list(POD, NAMESPACE)
    return [pod for pod in found if pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].startswith(of)]


def groups(pod: dict[str, Any]) -> list[int]:
    return list(pod["spec"]["securityContext"]["supplementalGroups"])


def counted(outcome: str, kind: str = "job") -> float:
    labels = {"kind": kind, "outcome": outcome}
    return REGISTRY.get_sample_value("research_spawner_rights_changed_total", labels) or 0.0


async def fill_node(batch: Client) -> list[str]:
    """bob takes the whole node with work of the same priority as others', so that they wait."""
    found = [await batch.submit("bobs", "sleep", "600", profile="half", queue="teaching") for _ in range(2)]
    for job in found:
        await until(batch, "bobs", job["id"], "running")
    return [job["id"] for job in found]


async def waiting_job(batch: Client, *command: str, **wishes: Any) -> str:
    job = await batch.submit("alices", *(command or ("true",)), profile="half", **wishes)
    await eventually(lambda: _is_unschedulable(batch, job["id"]))
    return str(job["id"])


async def _is_unschedulable(batch: Client, job_id: str) -> bool:
    return "enough free CPUs" in (await batch.ask("alices", "GET", f"/jobs/{job_id}"))[1]["message"]


async def make_room(batch: Client, ids: list[str]) -> None:
    for job_id in ids:
        status, _ = await batch.ask("bobs", "DELETE", f"/jobs/{job_id}")
        assert status == 200


async def show(batch: Client, job_id: str) -> dict[str, Any]:
    status, job = await batch.ask("alices", "GET", f"/jobs/{job_id}")
    assert status == 200, job
    return job


async def test_a_waiting_job_is_made_anew_without_the_group_that_its_user_left(batch, cluster, directory):
    """The attack: alice left climate while her job waited, and the job still read the group's files."""
    taken = await fill_node(batch)
    before = counted("waiting-renewed")
    job_id = await waiting_job(
        batch, "sh", "-c", "sleep 1; ls /project/climate", queue="backfill", workdir="~", env={"A": "$(B)"}
    )
    assert [groups(pod) for pod in pods(cluster, job_id)] == [[20500, 20602]]
    directory.alice_leaves_climate()
    await eventually(lambda: job_id not in [job["metadata"]["name"] for job in jobs(cluster)])
    shown = await show(batch, job_id)
    assert (shown["id"], shown["state"]) == (job_id, "queued")
    assert shown["command"] == ["sh", "-c", "sleep 1; ls /project/climate"]
    (sentence,) = [text for text in shown["warnings"] if "changed" in text]
    assert "Group climate is no longer yours." in sentence and "lost its place in the queue" in sentence
    assert "Mount" in sentence
    assert counted("waiting-renewed") == before + 1
    await make_room(batch, taken)
    ended = await until(batch, "alices", job_id, "failed")
    assert ended["exit_code"] not in (0, None)
    made = next(job for job in jobs(cluster) if job["metadata"]["labels"].get("research-spawner/id") == job_id)
    assert [groups(pod) for pod in pods(cluster, made["metadata"]["name"])] == [[20602]]
    text = str(made["spec"])
    assert "project-climate" not in text and "20500" not in text
    env = {entry["name"]: entry.get("value") for entry in made["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["A"] == "$$(B)"
    _, listed = await batch.ask("alices", "GET", "/jobs")
    assert [job["id"] for job in listed["jobs"]] == [job_id]
    assert (await batch.ask("alices", "DELETE", f"/jobs/{job_id}?remove=true"))[0] == 200
    await eventually(lambda: not [job for job in jobs(cluster) if "alice" in str(job["metadata"]["labels"])])


async def test_a_waiting_job_of_a_locked_account_never_starts_and_says_why(batch, cluster, directory):
    taken = await fill_node(batch)
    before = counted("waiting-refused")
    job_id = await waiting_job(batch)
    directory.lock("alice")
    refused = await until(batch, "alices", job_id, "failed")
    assert LOCKED in refused["message"]
    assert (refused["exit_code"], refused["started"]) == (None, None)
    assert refused["finished"]
    await eventually(lambda: not pods(cluster, job_id))
    await make_room(batch, taken)
    await asyncio.sleep(3 * EVERY)
    assert not pods(cluster, job_id)
    assert counted("waiting-refused") == before + 1
    _, listed = await batch.ask("alices", "GET", "/jobs")
    assert [(job["state"], LOCKED in job["message"]) for job in listed["jobs"]] == [("failed", True)]
    # The right comes back: the job stays as it is, and a new one runs.
    directory.unlock("alice")
    await asyncio.sleep(FAILED_SECONDS)
    assert (await show(batch, job_id))["state"] == "failed"
    again = await batch.submit("alices", "true")
    await until(batch, "alices", again["id"], "succeeded")
    assert (await batch.ask("alices", "DELETE", f"/jobs/{job_id}?remove=true"))[0] == 200
    await eventually(lambda: job_id not in [job["metadata"]["name"] for job in jobs(cluster)])


async def test_a_waiting_job_stays_as_it_is_while_the_directory_is_down(batch, cluster, directory):
    taken = await fill_node(batch)
    job_id = await waiting_job(batch)
    directory.passwd.rename(directory.passwd.with_suffix(".gone"))
    await asyncio.sleep(4 * EVERY)
    assert (await show(batch, job_id))["state"] == "queued"
    assert [pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in pods(cluster, job_id)] == [job_id]
    assert all("research-spawner/refused" not in str(job["metadata"]) for job in jobs(cluster))
    await make_room(batch, taken)
    await until(batch, "alices", job_id, "succeeded")


async def test_a_running_job_continues_and_its_user_is_told_once(batch, cluster, directory):
    job = await batch.submit("alices", "sleep", "600", queue="backfill")
    await until(batch, "alices", job["id"], "running")
    before = counted("running-changed")
    directory.alice_leaves_climate()
    told_about = await _warned(batch, job["id"], "Group climate is no longer yours.")
    assert told_about["state"] == "running"
    version = _stored(cluster, job["id"])["metadata"]["resourceVersion"]
    await asyncio.sleep(4 * EVERY)
    assert _stored(cluster, job["id"])["metadata"]["resourceVersion"] == version
    assert counted("running-changed") == before + 1
    # The right comes back: there is nothing to tell any more.
    directory.alice_joins_climate_again()
    await eventually(
        lambda: "research-spawner/rights-note" not in _stored(cluster, job["id"])["metadata"]["annotations"]
    )
    # Lost altogether.
    before = counted("running-refused")
    directory.lock("alice")
    lost = await _warned(batch, job["id"], LOCKED)
    assert lost["state"] == "running"
    assert counted("running-refused") == before + 1
    assert pods(cluster, job["id"])[0]["status"]["phase"] == "Running"


async def first_attempt(batch: Client, job_id: str) -> dict[str, Any]:
    """Return the first attempt, which the service records after its watch has seen that the pod is gone."""

    async def recorded() -> list[dict[str, Any]]:
        return (await show(batch, job_id))["attempts"]

    return (await eventually(recorded))[0]


async def _warned(batch: Client, job_id: str, text: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    async def is_told() -> bool:
        nonlocal shown
        shown = await show(batch, job_id)
        return text in " ".join(shown["warnings"])

    await eventually(is_told, otherwise=lambda: str(shown["warnings"]))
    return shown


def _stored(cluster: Any, job_id: str) -> dict[str, Any]:
    return next(job for job in jobs(cluster) if job["metadata"]["name"] == job_id)


async def test_a_running_job_is_stopped_where_the_site_says_so(cluster, hub, directory):
    async with service(cluster, hub, site_of(directory, {"on_lost_right": "stop"})) as batch:
        job = await batch.submit("alices", "sleep", "600")
        await until(batch, "alices", job["id"], "running")
        before = counted("running-stopped")
        directory.lock("alice")
        stopped = await until(batch, "alices", job["id"], "failed")
        assert stopped["message"].startswith(f"It was stopped, because you may no longer run it: {LOCKED}")
        await eventually(lambda: not pods(cluster, job["id"]))
        assert LOCKED in (await first_attempt(batch, job["id"]))["reason"]
        assert counted("running-stopped") == before + 1
        # Only a refusal stops: with other rights it continues.
        directory.unlock("alice")
        await asyncio.sleep(FAILED_SECONDS)
        job = await batch.submit("alices", "sleep", "600", queue="backfill")
        await until(batch, "alices", job["id"], "running")
        directory.alice_leaves_climate()
        assert (await _warned(batch, job["id"], "Group climate is no longer yours."))["state"] == "running"


async def test_a_preempted_job_of_a_locked_account_does_not_run_again(batch, cluster, directory):
    mine = [await batch.submit("alices", "sleep", "600", profile="half", queue="backfill") for _ in range(2)]
    for job in mine:
        await until(batch, "alices", job["id"], "running")
    directory.lock("alice")
    for job in mine:
        await _warned(batch, job["id"], LOCKED)
    first = await batch.submit("bobs", "sleep", "600", profile="half", queue="teaching")
    await until(batch, "bobs", first["id"], "running")

    async def refused() -> list[str]:
        return [job["id"] for job in mine if (await show(batch, job["id"]))["state"] == "failed"]

    (lost,) = await eventually(refused)
    shown = await show(batch, lost)
    assert LOCKED in shown["message"]
    assert (await first_attempt(batch, lost))["reason"].startswith("Preempted")
    assert (await batch.ask("bobs", "DELETE", f"/jobs/{first['id']}"))[0] == 200
    await asyncio.sleep(3 * EVERY)
    assert not pods(cluster, lost)
    assert len((await show(batch, lost))["attempts"]) <= 2


async def test_a_preempted_job_runs_again_with_the_rights_of_now_and_keeps_its_attempts(batch, cluster, directory):
    mine = [await batch.submit("alices", "sleep", "600", profile="half", queue="backfill") for _ in range(2)]
    for job in mine:
        await until(batch, "alices", job["id"], "running")
    directory.alice_leaves_climate()
    for job in mine:
        await _warned(batch, job["id"], "Group climate is no longer yours.")
    first = await batch.submit("bobs", "sleep", "600", profile="half", queue="teaching")
    await until(batch, "bobs", first["id"], "running")

    def renewed() -> list[str]:
        labels = [job["metadata"]["labels"] for job in jobs(cluster)]
        return [found["research-spawner/id"] for found in labels if "research-spawner/id" in found]

    (job_id,) = await eventually(renewed)
    await eventually(lambda: job_id not in [job["metadata"]["name"] for job in jobs(cluster)])
    shown = await show(batch, job_id)
    assert (shown["id"], shown["attempts"][0]["reason"]) == (
        job_id,
        "Preempted: work of a higher priority needed its place.",
    )
    assert (await batch.ask("bobs", "DELETE", f"/jobs/{first['id']}"))[0] == 200
    await until(batch, "alices", job_id, "running")
    (again,) = [
        pod for pod in pods(cluster) if pod["spec"].get("nodeName") and 20500 not in groups(pod) and _is_alices(pod)
    ]
    assert groups(again) == [20602]


def _is_alices(pod: dict[str, Any]) -> bool:
    return bool(pod["metadata"]["labels"]["research-spawner/user"] == "alice")


async def test_indexes_of_an_array_that_run_continue_and_the_others_end_with_the_reason(batch, cluster, directory):
    array = await batch.submit(
        "alices", "sh", "-c", "test $RESEARCH_ARRAY_INDEX = 0 || sleep 600", array="0-4%2", kind="array"
    )
    job_id = array["id"]

    async def first_ended() -> bool:
        states = {index["index"]: index["state"] for index in (await show(batch, job_id))["indexes"]}
        return [states[index] for index in (0, 1, 2)] == ["succeeded", "running", "running"]

    await eventually(first_ended)
    directory.lock("alice")

    async def is_refused() -> bool:
        return "research-spawner/refused" in _stored(cluster, job_id)["metadata"]["annotations"]

    await eventually(is_refused)
    await asyncio.sleep(2 * EVERY)
    running = [pod for pod in pods(cluster, job_id) if pod["status"]["phase"] == "Running"]
    assert len(running) == 2
    # The two that run end: no other begins.
    for pod in running:
        cluster.store.delete(POD, pod)
    ended = await until(batch, "alices", job_id, "failed")
    assert LOCKED in ended["message"]
    by_index = {index["index"]: index for index in ended["indexes"]}
    assert by_index[0]["state"] == "succeeded"
    for index in (3, 4):
        assert by_index[index]["state"] == "failed"
        assert LOCKED in by_index[index]["message"]
    # A pod of the embedded cluster can begin within milliseconds. It runs until its deletion has stopped it.
    await eventually(lambda: not [pod for pod in pods(cluster, job_id) if pod["status"]["phase"] == "Running"])


async def test_an_index_that_begins_before_the_service_sees_its_pod_is_stopped(batch, cluster, directory, monkeypatch):
    array = await batch.submit("alices", "sleep", "600", array="0-2%1", kind="array")
    job_id = array["id"]
    await until(batch, "alices", job_id, "running")
    directory.lock("alice")
    await eventually(lambda: "research-spawner/refused" in _stored(cluster, job_id)["metadata"]["annotations"])
    (first,) = (pod for pod in pods(cluster, job_id) if pod["status"]["phase"] == "Running")
    real = JobStore.pods_of_job

    def another_runs() -> bool:
        running = (pod for pod in pods(cluster, job_id) if pod["status"]["phase"] == "Running")
        return any(pod["metadata"]["uid"] != first["metadata"]["uid"] for pod in running)

    async def late(self: JobStore, job: dict[str, Any]) -> Any:
        await eventually(another_runs)
        return await real(self, job)

    monkeypatch.setattr(JobStore, "pods_of_job", late)
    cluster.store.delete(POD, first)
    await eventually(another_runs)
    monkeypatch.setattr(JobStore, "pods_of_job", real)
    ended = await until(batch, "alices", job_id, "failed")
    assert all(LOCKED in index["message"] for index in ended["indexes"])
    await eventually(lambda: not [pod for pod in pods(cluster, job_id) if pod["status"]["phase"] == "Running"])


async def test_an_array_of_which_nothing_has_run_is_made_anew(batch, cluster, directory):
    taken = await fill_node(batch)
    array = await batch.submit("alices", "true", array="3,5%1", kind="array", profile="half", queue="backfill")
    job_id = array["id"]
    await eventually(lambda: pods(cluster, job_id))
    directory.alice_leaves_climate()
    await eventually(lambda: job_id not in [job["metadata"]["name"] for job in jobs(cluster)])
    await make_room(batch, taken)
    ended = await until(batch, "alices", job_id, "succeeded")
    assert [(index["index"], index["attempts"]) for index in ended["indexes"]] == [(3, 1), (5, 1)]


async def test_an_array_of_which_some_has_run_is_not_made_anew(batch, cluster, directory):
    array = await batch.submit(
        "alices",
        "sh",
        "-c",
        "test $RESEARCH_ARRAY_INDEX = 0 || sleep 600",
        array="0-2%1",
        kind="array",
        queue="backfill",
    )
    job_id = array["id"]

    async def second_runs() -> bool:
        return (await show(batch, job_id))["indexes"][1]["state"] == "running"

    await eventually(second_runs)
    directory.alice_leaves_climate()
    shown = await _warned(batch, job_id, "Group climate is no longer yours.")
    assert (shown["state"], shown["indexes"][1]["state"]) == ("running", "running")
    (running,) = [pod for pod in pods(cluster, job_id) if pod["status"]["phase"] == "Running"]
    cluster.store.delete(POD, running)
    ended = await until(batch, "alices", job_id, "failed")
    assert "none may run twice" in ended["indexes"][2]["message"]
    assert ended["indexes"][2]["attempts"] <= 1


def alices_jobs(cluster: Any) -> list[dict[str, Any]]:
    return [job for job in jobs(cluster) if job["metadata"]["labels"]["research-spawner/user"] == "alice"]


async def replaced_once(batch: Client, cluster: Any, job_id: str, taken: list[str], home: Path) -> None:
    """Wait until the job has been made anew, let it run, and require that it ran once."""
    await eventually(lambda: job_id not in [job["metadata"]["name"] for job in jobs(cluster)])
    await make_room(batch, taken)
    ended = await until(batch, "alices", job_id, "succeeded")
    assert len(alices_jobs(cluster)) == 1
    assert (home / "runs").read_text() == "once\n"
    assert [attempt["exit_code"] for attempt in ended["attempts"]] == [0]


RUNS_ONCE = ("sh", "-c", "echo once >> ~/runs")


async def test_two_instances_of_the_service_make_one_job(cluster, hub, directory, tmp_path):
    """As in a rolling update."""
    site = site_of(directory)
    async with service(cluster, hub, site) as batch, service(cluster, hub, site):
        before = counted("waiting-renewed")
        taken = await fill_node(batch)
        job_id = await waiting_job(batch, *RUNS_ONCE, queue="backfill")
        directory.alice_leaves_climate()
        await replaced_once(batch, cluster, job_id, taken, tmp_path / "home" / "alice")
        assert counted("waiting-renewed") == before + 1


@pytest.mark.parametrize("step", ["create", "delete", "_hold"])
async def test_a_restarted_service_finishes_what_another_has_begun(
    cluster, hub, directory, tmp_path, monkeypatch, step
):
    site = site_of(directory)
    owner: type = RightsActions if step == "_hold" else JobStore
    reached = asyncio.Event()

    async def fails(*arguments: Any) -> Any:
        reached.set()
        raise Refusal("cluster-down", "The cluster does not answer.", status=503)

    async with service(cluster, hub, site) as batch:
        taken = await fill_node(batch)
        job_id = await waiting_job(batch, *RUNS_ONCE, queue="backfill")
        with monkeypatch.context() as broken:
            broken.setattr(owner, step, fails)
            directory.alice_leaves_climate()
            await asyncio.wait_for(reached.wait(), PATIENCE_SECONDS)
    shown = [job["metadata"]["name"] for job in alices_jobs(cluster)]
    assert job_id in shown
    async with service(cluster, hub, site) as batch:
        await replaced_once(batch, cluster, job_id, taken, tmp_path / "home" / "alice")


async def test_a_restarted_service_finds_that_a_right_is_lost(cluster, hub, directory):
    site = site_of(directory)
    async with service(cluster, hub, site) as batch:
        await fill_node(batch)
        job_id = await waiting_job(batch)
    directory.lock("alice")
    # Only the list at its start can tell it.
    async with service(cluster, hub, site, every=600) as batch:
        assert LOCKED in (await until(batch, "alices", job_id, "failed"))["message"]


async def test_a_job_that_is_cancelled_while_it_is_held_does_not_come_back(batch, cluster, directory, monkeypatch):
    monkeypatch.setattr(rights_action, "SETTLE_SECONDS", 10.0)
    await fill_node(batch)
    job_id = await waiting_job(batch, queue="backfill")
    directory.alice_leaves_climate()

    def is_held() -> bool:
        return "research-spawner/successor" in _stored(cluster, job_id)["metadata"]["annotations"]

    async def says_why() -> bool:
        shown = await show(batch, job_id)
        return (shown["state"], "Group climate is no longer yours." in shown["message"]) == ("queued", True)

    await eventually(is_held)
    await eventually(says_why)
    assert (await batch.ask("alices", "DELETE", f"/jobs/{job_id}"))[0] == 200
    await asyncio.sleep(11)
    assert alices_jobs(cluster) == []
    assert (await batch.ask("alices", "GET", f"/jobs/{job_id}"))[0] == 404


async def test_a_refused_job_is_removed_after_the_time_for_ended_jobs(cluster, hub, directory):
    async with service(cluster, hub, site_of(directory, {"batch": {"keep": "2s"}})) as batch:
        await fill_node(batch)
        job_id = await waiting_job(batch)
        directory.lock("alice")
        await until(batch, "alices", job_id, "failed")
        await eventually(lambda: alices_jobs(cluster) == [])


async def test_an_ordinary_job_needs_no_more_requests_and_one_lookup(cluster, hub, directory, monkeypatch):
    asked: list[str] = []
    real = ApiServer.ask

    async def ask(self: ApiServer, method: str, path: str, **more: Any) -> Any:
        asked.append(f"{method} {path.rpartition('/')[2] if method == 'POST' else path}")
        return await real(self, method, path, **more)

    monkeypatch.setattr(ApiServer, "ask", ask)
    async with service(cluster, hub, site_of(directory), every=0.1) as batch:
        await eventually(lambda: any("/pods" in request for request in asked))
        asked.clear()
        job = await batch.submit("alices", "sleep", "1")
        await eventually(lambda: [pod["status"]["phase"] for pod in pods(cluster, job["id"])] == ["Succeeded"])
        await asyncio.sleep(0.5)
    about_the_job = [request for request in asked if job["id"] in request or request.startswith(("PATCH", "DELETE"))]
    assert about_the_job == []
    assert asked.count("POST jobs") == 1


async def test_counters_are_sent_only_with_the_scope_of_metrics(batch, hub):
    hub.tokens["prometheus"] = {"kind": "service", "name": "prometheus", "scopes": ["read:metrics"]}
    RIGHTS_CHANGED.labels(kind="job", outcome="waiting-refused").inc(0)
    for who, status in ((None, 401), ("alices", 403)):
        assert (await batch.ask(who, "GET", "/metrics"))[0] == status
    text = await batch.text("prometheus", "/metrics")
    assert 'research_spawner_rights_changed_total{kind="job",outcome="waiting-refused"}' in text
    assert (await batch.ask("prometheus", "GET", "/jobs"))[0] == 403


async def test_metrics_are_sent_to_everybody_where_the_hub_sends_its_own_to_everybody(batch, hub, monkeypatch):
    assert (await batch.ask(None, "GET", "/metrics"))[0] == 401
    hub.metrics_are_public = True
    assert (await batch.ask(None, "GET", "/metrics"))[0] == 401  # the hub is not asked again at once
    monkeypatch.setattr(auth, "METRICS_RULE_SECONDS", 0)
    for who in ("alices", "unknown"):
        assert "research_spawner_refusals_total" in await batch.text(who, "/metrics")
    assert (await batch.ask(None, "GET", "/jobs"))[0] == 401
    hub.fails = True
    assert (await batch.ask("alices", "GET", "/metrics"))[0] == 503
    hub.fails, hub.metrics_are_public = False, False
    assert (await batch.ask("alices", "GET", "/metrics"))[0] == 403
