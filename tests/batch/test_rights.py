"""Rights that are withdrawn after a job was submitted, on the embedded cluster: what waits, runs and runs again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import samples
from conftest import PREFIX, Client, connected, small_site, told
from embedded_cluster import NAMESPACE
from patience import eventually
from prometheus_client import REGISTRY
from test_service import until

from jupyter_research_spawner.batch.app import running
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB, POD
from jupyter_research_spawner.site import Site

pytestmark = pytest.mark.embedded

EVERY = 0.3
# A refused account is cached for one second, the shortest time.
FAILED_SECONDS = 1.1
LOCKED = "Your account is locked: its login shell is '/sbin/nologin'."


@dataclass
class Directory:
    """The accounts of the site, as files that its administrators edit."""

    passwd: Path
    group: Path

    def edit(self, path: Path, before: str, after: str) -> None:
        text = path.read_text()
        assert before in text
        # Put in place as a whole, as a file from a ConfigMap is.
        new = path.with_suffix(".new")
        new.write_text(text.replace(before, after))
        new.replace(path)

    def lock_alice(self) -> None:
        self.edit(self.passwd, "Alice:/home/alice:/bin/bash", "Alice:/home/alice:/sbin/nologin")

    def unlock_alice(self) -> None:
        self.edit(self.passwd, "Alice:/home/alice:/sbin/nologin", "Alice:/home/alice:/bin/bash")

    def alice_leaves_climate(self) -> None:
        self.edit(self.group, "climate:x:20500:alice", "climate:x:20500:")

    def alice_joins_climate_again(self) -> None:
        self.edit(self.group, "climate:x:20500:", "climate:x:20500:alice")


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path / "people.passwd", tmp_path / "people.group")
    for path in (made.passwd, made.group):
        path.write_bytes((samples.DATA / path.name).read_bytes())
    return made


@pytest.fixture
def batch_site(directory: Directory) -> Site:
    return site_of(directory)


def site_of(directory: Directory, *more: dict[str, Any]) -> Site:
    people = {"passwd": str(directory.passwd), "group": str(directory.group)}
    identity = {"sources": {"people": people}, "cache": {"failed": "1s"}}
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
    return "Insufficient cpu" in (await batch.ask("alices", "GET", f"/jobs/{job_id}"))[1]["message"]


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
    assert (await batch.ask("alices", "DELETE", f"/jobs/{job_id}"))[0] == 200
    await eventually(lambda: not [job for job in jobs(cluster) if "alice" in str(job["metadata"]["labels"])])


async def test_a_waiting_job_of_a_locked_account_never_starts_and_says_why(batch, cluster, directory):
    taken = await fill_node(batch)
    before = counted("waiting-refused")
    job_id = await waiting_job(batch)
    directory.lock_alice()
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
    directory.unlock_alice()
    await asyncio.sleep(FAILED_SECONDS)
    assert (await show(batch, job_id))["state"] == "failed"
    again = await batch.submit("alices", "true")
    await until(batch, "alices", again["id"], "succeeded")
    assert (await batch.ask("alices", "DELETE", f"/jobs/{job_id}"))[0] == 200
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
    directory.lock_alice()
    lost = await _warned(batch, job["id"], LOCKED)
    assert lost["state"] == "running"
    assert counted("running-refused") == before + 1
    assert pods(cluster, job["id"])[0]["status"]["phase"] == "Running"


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
        directory.lock_alice()
        stopped = await until(batch, "alices", job["id"], "failed")
        assert stopped["message"].startswith(f"It was stopped, because you may no longer run it: {LOCKED}")
        await eventually(lambda: not pods(cluster, job["id"]))
        stopped = await show(batch, job["id"])
        assert LOCKED in stopped["attempts"][0]["reason"]
        assert counted("running-stopped") == before + 1
        # Only a refusal stops: with other rights it continues.
        directory.unlock_alice()
        await asyncio.sleep(FAILED_SECONDS)
        job = await batch.submit("alices", "sleep", "600", queue="backfill")
        await until(batch, "alices", job["id"], "running")
        directory.alice_leaves_climate()
        assert (await _warned(batch, job["id"], "Group climate is no longer yours."))["state"] == "running"


async def test_a_preempted_job_of_a_locked_account_does_not_run_again(batch, cluster, directory):
    mine = [await batch.submit("alices", "sleep", "600", profile="half", queue="backfill") for _ in range(2)]
    for job in mine:
        await until(batch, "alices", job["id"], "running")
    directory.lock_alice()
    for job in mine:
        await _warned(batch, job["id"], LOCKED)
    first = await batch.submit("bobs", "sleep", "600", profile="half", queue="teaching")
    await until(batch, "bobs", first["id"], "running")

    async def refused() -> list[str]:
        return [job["id"] for job in mine if (await show(batch, job["id"]))["state"] == "failed"]

    (lost,) = await eventually(refused)
    shown = await show(batch, lost)
    assert LOCKED in shown["message"]
    assert shown["attempts"][0]["reason"].startswith("Preempted")
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
    directory.lock_alice()

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
        assert (by_index[index]["state"], by_index[index]["started"]) == ("failed", None)
        assert LOCKED in by_index[index]["message"]


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
    assert ended["indexes"][2]["attempts"] <= 1 and ended["indexes"][2]["started"] is None
