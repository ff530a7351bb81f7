"""The service on the embedded cluster: what people can do with their jobs, and with nobody else's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from conftest import PREFIX, Client, connected, small_site, told
from embedded_cluster import NAMESPACE
from patience import PATIENCE_SECONDS, eventually
from stub_hub import user

from jupyter_research_spawner import jobs
from jupyter_research_spawner.batch import handlers
from jupyter_research_spawner.batch.app import running
from jupyter_research_spawner.batch.attempts import ATTEMPTS
from jupyter_research_spawner.embedded.apimachinery.api_resources import CLAIM, JOB, POD, PRIORITY_CLASS
from jupyter_research_spawner.embedded.apiserver import decoding
from jupyter_research_spawner.embedded.objectstore.pod_operations import bind

pytestmark = pytest.mark.embedded

PREEMPTED = "Preempted: work of a higher priority needed its place."


async def until(batch: Client, who: str, job_id: str, *states: str) -> dict[str, Any]:
    """The job as soon as it is in one of `states`."""
    job: dict[str, Any] = {}

    async def is_there() -> bool:
        nonlocal job
        status, job = await batch.ask(who, "GET", f"/jobs/{job_id}")
        assert status == 200, job
        return job["state"] in states

    await eventually(is_there, otherwise=lambda: f"{job['state']} ({job['message']})")
    return job


def jobs_in(cluster: Any) -> list[dict[str, Any]]:
    return list(cluster.store.list(JOB, NAMESPACE))


async def fill(batch: Client) -> list[dict[str, Any]]:
    """carol takes the whole node with two jobs that others may preempt."""
    jobs = [await batch.submit("carols", "sleep", "60", profile="half", queue="backfill") for _ in range(2)]
    for job in jobs:
        await until(batch, "carols", job["id"], "running")
    return jobs


async def test_a_job_runs_as_its_owner_prints_and_ends(batch, cluster):
    words = ["sh", "-c", 'echo "$RESEARCH_QUEUE ${HOME##*/} ${PWD##*/}"; echo "$1"; exit 3', "sh", "$(HOME)"]
    job = await batch.submit("alices", *words, name="train", workdir="/home/alice")
    assert (job["state"], job["queue"], job["command"]) == ("queued", "climate", words)

    shown = await batch.text("alices", f"/jobs/{job['id']}/logs?follow=true")
    assert shown == "climate alice alice\n$(HOME)\n"

    ended = await until(batch, "alices", job["id"], "failed")
    assert (ended["exit_code"], ended["message"]) == (3, "Container job ended with exit code 3: $(HOME).")
    assert [attempt["exit_code"] for attempt in ended["attempts"]] == [3]
    context = jobs_in(cluster)[0]["spec"]["template"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["supplementalGroups"]) == (20001, [20500, 20602])


async def test_a_job_changes_to_a_directory_below_its_home_and_keeps_its_words_and_exit_code(batch, cluster):
    results = cluster.storage.claims[NAMESPACE, "home"] / "alice" / "it's $(HOME)"
    results.mkdir()
    words = ["sh", "-c", 'echo "${PWD##*/}|$1"; kill -TERM $$', "sh", "$(touch made)"]
    job = await batch.submit("alices", *words, workdir="~/it's $(HOME)")
    assert (job["command"], job["workdir"]) == (words, "/home/alice/it's $(HOME)")
    ended = await until(batch, "alices", job["id"], "failed")
    assert ended["exit_code"] == 143
    assert await batch.text("alices", f"/jobs/{job['id']}/logs") == "it's $(HOME)|$(touch made)\n"
    assert list(results.iterdir()) == []


async def test_an_array_changes_to_its_working_directory(batch, cluster):
    (cluster.storage.claims[NAMESPACE, "home"] / "alice" / "results").mkdir()
    words = ["sh", "-c", 'echo "${PWD##*/} $SLURM_ARRAY_TASK_ID"']
    job = await batch.submit("alices", *words, workdir="~/results", kind="array", array="7")
    assert job["command"] == words
    await until(batch, "alices", job["id"], "succeeded")
    assert await batch.text("alices", f"/jobs/{job['id']}/logs?index=7") == "results 7\n"


@pytest.mark.parametrize(("host", "reached"), [("::", ["127.0.0.1", "[::1]"]), ("::1", ["[::1]"])])
async def test_the_service_listens_at_addresses_of_ipv6(cluster, hub, batch_site, host, reached):
    client = await connected(cluster.kubeconfig)
    options = told(hub.api_url, host=host)
    try:
        async with running(options, batch_site, client) as port, aiohttp.ClientSession() as session:
            for address in ("127.0.0.1", "[::1]"):
                up = Client(session, f"http://{address}:{port}{PREFIX.rstrip('/')}").is_up()
                assert await up == (address in reached)
    finally:
        await client.close()


async def test_a_list_has_my_jobs_only_newest_first(batch):
    mine = [await batch.submit("alices", "true", name=name) for name in ("first", "second")]
    await asyncio.sleep(1)  # creation times have whole seconds
    mine.append(await batch.submit("alices", "true", name="third"))
    theirs = await batch.submit("bobs", "true")
    _, listed = await batch.ask("alices", "GET", "/jobs")
    assert listed["jobs"][0]["id"] == mine[-1]["id"]
    assert {job["id"] for job in listed["jobs"]} == {job["id"] for job in mine}
    _, listed = await batch.ask("bobs", "GET", "/jobs")
    assert [job["id"] for job in listed["jobs"]] == [theirs["id"]]


async def test_others_jobs_are_not_there(batch, cluster):
    job = await batch.submit("alices", "sleep", "60")
    none = await batch.ask("bobs", "GET", "/jobs/no-such-job")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/logs")):
        status, answer = await batch.ask("bobs", method, f"/jobs/{job['id']}{path}")
        assert status == 404
        # Word for word what is said of a job that does not exist.
        assert answer["error"]["message"].replace(job["id"], "no-such-job") == none[1]["error"]["message"]
    assert not jobs_in(cluster)[0]["metadata"].get("deletionTimestamp")


async def test_a_label_alone_makes_nobody_an_owner(batch, cluster):
    """Two hub names may share a label; the annotation has the hub's name as it is."""
    job = await batch.submit("alices", "sleep", "60")
    stored = jobs_in(cluster)[0]
    cluster.store.modify(
        JOB, stored, lambda new: new["metadata"]["annotations"].update({"research-spawner/user-name": "Alice"})
    )
    status, _ = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}")
    assert status == 404
    assert (await batch.ask("alices", "GET", "/jobs"))[1] == {"jobs": []}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "command"),
        ({"command": ["true"], "uid": 0}, 400, "uid"),
        ({"command": ["true"], "name": "a\nb"}, 400, "name"),
        ({"command": ["true"], "memory": ["1Gi"]}, 400, "memory"),
        ({"command": ["true"], "profile": "huge"}, 400, "profile"),
        ({"command": ["true"], "queue": "teaching"}, 403, "queue"),
        ({"command": ["true"], "image": "evil/image"}, 400, "image"),
        ({"command": ["true"], "wall_time": "22d"}, 400, "wall_time"),
        ({"command": ["true"], "workdir": "/etc"}, 400, "workdir"),
        ({"command": ["true"], "env": {"LD_PRELOAD": "/tmp/x.so"}}, 400, "env"),
        ([], 400, None),
    ],
)
async def test_what_is_refused_creates_nothing(batch, cluster, body, status, field):
    found, answer = await batch.ask("alices", "POST", "/jobs", body)
    assert (found, answer["error"]["status"], answer["error"]["field"]) == (status, status, field)
    assert answer["error"]["message"].endswith(".")
    assert jobs_in(cluster) == []


async def test_a_missing_priority_class_is_named(batch, cluster):
    cluster.store.delete(PRIORITY_CLASS, cluster.store.find(PRIORITY_CLASS, None, "research-low"))
    status, answer = await batch.ask("carols", "POST", "/jobs", {"command": ["true"], "queue": "backfill"})
    assert (status, answer["error"]["field"]) == (503, "priority")
    assert "research-low" in answer["error"]["message"]
    assert jobs_in(cluster) == []


async def test_a_missing_claim_is_named(batch, cluster):
    claim = cluster.store.find(CLAIM, NAMESPACE, "home")
    cluster.store.modify(CLAIM, claim, lambda new: new["metadata"].pop("finalizers", None))
    cluster.store.delete(CLAIM, cluster.store.find(CLAIM, NAMESPACE, "home"))
    status, answer = await batch.ask("alices", "POST", "/jobs", {"command": ["true"]})
    assert (status, answer["error"]["field"]) == (503, "mounts")
    assert jobs_in(cluster) == []


async def test_a_cluster_that_would_drop_a_field_takes_no_job(batch, cluster, monkeypatch, caplog):
    """Servers before Kubernetes 1.31 do not know the policy that keeps an image from adding groups."""
    monkeypatch.delitem(decoding.types()["PodSecurityContext"], "supplementalGroupsPolicy")
    status, answer = await batch.ask("alices", "POST", "/jobs", {"command": ["true"]})
    assert (status, answer["error"]["code"]) == (503, "cluster-refused")
    unknown = 'unknown field "spec.template.spec.securityContext.supplementalGroupsPolicy"'
    assert f"strict decoding error: {unknown}" in caplog.text
    assert jobs_in(cluster) == []


async def test_who_is_no_person_of_the_file_systems_submits_nothing(batch, cluster, hub):
    hub.tokens["daves"] = user("dave")
    status, answer = await batch.ask("daves", "POST", "/jobs", {"command": ["true"]})
    assert (status, answer["error"]["code"]) == (403, "unknown-person")
    assert jobs_in(cluster) == []
    assert (await batch.ask("daves", "GET", "/jobs"))[1] == {"jobs": []}


@pytest.fixture
def batch_site(request):
    return small_site(*getattr(request, "param", ()))


NOWHERE = {"identity": {"sources": {"people": {"passwd": "/nowhere/passwd"}}}}


@pytest.mark.parametrize("batch_site", [[NOWHERE]], indirect=True)
async def test_while_a_source_is_down_nobody_submits_and_all_see_their_jobs(batch, cluster):
    status, answer = await batch.ask("alices", "POST", "/jobs", {"command": ["true"]})
    assert (status, answer["error"]["code"], answer["error"]["retry_after"]) == (503, "source-down", 10)
    assert jobs_in(cluster) == []
    assert await batch.ask("alices", "GET", "/jobs") == (200, {"jobs": []})


@pytest.mark.parametrize("batch_site", [[{"batch": {"max_jobs": 2}}]], indirect=True)
async def test_jobs_of_one_person_are_bounded_also_when_they_come_at_once(batch):
    answers = await asyncio.gather(
        *(batch.ask("alices", "POST", "/jobs", {"command": ["sleep", "60"]}) for _ in range(6))
    )
    assert sorted(status for status, _ in answers) == [201, 201, 409, 409, 409, 409]
    assert (await batch.ask("bobs", "POST", "/jobs", {"command": ["true"]}))[0] == 201
    _, listed = await batch.ask("alices", "GET", "/jobs")
    await batch.ask("alices", "DELETE", f"/jobs/{listed['jobs'][0]['id']}")
    await eventually_none(batch, listed["jobs"][0]["id"])
    assert (await batch.ask("alices", "POST", "/jobs", {"command": ["true"]}))[0] == 201


async def eventually_none(batch: Client, job_id: str, who: str = "alices") -> None:
    async def is_gone() -> bool:
        return (await batch.ask(who, "GET", f"/jobs/{job_id}"))[0] == 404

    await eventually(is_gone)


async def test_a_job_ends_at_its_wall_time_and_says_so(batch):
    job = await batch.submit("alices", "sleep", "60", wall_time="1s")
    assert (job["wall_time_seconds"], job["wall_time_hard_seconds"]) == (1, 1)
    ended = await until(batch, "alices", job["id"], "failed")
    assert ended["message"] == "It reached its hard wall time."
    assert len(ended["attempts"]) == 1


async def test_a_name_that_is_taken_is_no_matter(batch, monkeypatch):
    ids = iter(["same-x7k2p", "same-x7k2p", "same-b4n2w", "same-x7k2p", "same-b4n2w", "same-x7k2p"])
    monkeypatch.setattr(jobs, "new_job_id", lambda request: next(ids))
    assert (await batch.submit("alices", "true"))["id"] == "same-x7k2p"
    assert (await batch.submit("alices", "true"))["id"] == "same-b4n2w"
    status, answer = await batch.ask("alices", "POST", "/jobs", {"command": ["true"]})
    assert (status, answer["error"]["code"]) == (409, "name-taken")


async def test_why_the_cluster_makes_no_pod_is_told(batch, cluster, monkeypatch):
    """A quota or a policy refuses pods, not Jobs, and only an event says so."""
    monkeypatch.setattr(cluster.jobs, "_create_pod", lambda job: None)
    job = await batch.submit("alices", "true")
    assert (await batch.ask("alices", "GET", f"/jobs/{job['id']}"))[1]["message"] == ""
    cluster.store.record(jobs_in(cluster)[0], "FailedCreate", "pods is forbidden: exceeded quota", source="a")
    assert "exceeded quota" in (await batch.ask("alices", "GET", f"/jobs/{job['id']}"))[1]["message"]


async def test_a_running_job_is_cancelled_with_its_pod(batch, cluster):
    job = await batch.submit("alices", "sleep", "60")
    await until(batch, "alices", job["id"], "running")
    status, answer = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}")
    assert (status, answer["state"]) == (200, "cancelling")
    await eventually_none(batch, job["id"])
    assert cluster.store.list(POD, NAMESPACE) == []


async def test_cancel_keeps_a_job_that_has_ended_and_remove_deletes_it(batch):
    job = await batch.submit("alices", "true")
    await until(batch, "alices", job["id"], "succeeded")
    status, answer = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}")
    assert (status, answer["state"]) == (200, "succeeded")
    assert (await batch.ask("alices", "GET", f"/jobs/{job['id']}"))[0] == 200
    assert (await batch.ask("bobs", "DELETE", f"/jobs/{job['id']}?remove=true"))[0] == 404
    status, answer = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}?remove=true")
    assert (status, answer["state"]) == (200, "succeeded")
    await eventually_none(batch, job["id"])


async def test_a_job_that_has_not_ended_is_not_removed(batch, cluster):
    job = await batch.submit("alices", "sleep", "60")
    await until(batch, "alices", job["id"], "running")
    for query, status, code in (("?remove=true", 409, "not-ended"), ("?remove=yes", 400, "invalid")):
        found, answer = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}{query}")
        assert (found, answer["error"]["code"]) == (status, code)
    status, answer = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}?remove=true&index=3")
    assert (status, answer["error"]["field"]) == (400, "index")
    assert not jobs_in(cluster)[0]["metadata"].get("deletionTimestamp")


@pytest.mark.parametrize("command", [["no-such-program"], ["/no/such/program", "x"]])
async def test_a_program_that_is_missing_ends_with_127_and_without_a_start(batch, command):
    job = await batch.submit("alices", *command)
    ended = await until(batch, "alices", job["id"], "failed")
    assert (ended["exit_code"], ended["started"]) == (127, None)
    assert [(attempt["exit_code"], attempt["started"]) for attempt in ended["attempts"]] == [(127, None)]
    assert f"the image has no program {command[0]!r}" in ended["message"]


async def test_a_program_that_is_missing_in_a_directory_below_home_ends_with_127_too(batch, tmp_path):
    (tmp_path / "home" / "alice" / "x").mkdir()
    job = await batch.submit("alices", "no-such-program", workdir="~/x")
    ended = await until(batch, "alices", job["id"], "failed")
    assert ended["exit_code"] == 127
    assert "the command was not found" in ended["message"]


async def test_a_queued_job_has_printed_nothing_yet_and_says_why_it_waits(batch):
    await fill(batch)
    job = await batch.submit("carols", "echo", "done", profile="half", queue="backfill")
    await until(batch, "carols", job["id"], "queued")

    async def message() -> str:
        return str((await batch.ask("carols", "GET", f"/jobs/{job['id']}"))[1]["message"])

    assert "enough free CPUs" in await eventually(message)
    assert await batch.text("carols", f"/jobs/{job['id']}/logs") == ""


async def test_following_waits_for_the_start_and_ends_with_the_pod(batch):
    first, _ = await fill(batch)
    job = await batch.submit("carols", "sh", "-c", "echo one; sleep 0.5; echo two", profile="half", queue="backfill")
    reading = asyncio.ensure_future(batch.text("carols", f"/jobs/{job['id']}/logs?follow=true"))
    await asyncio.sleep(0.5)
    assert not reading.done()
    await batch.ask("carols", "DELETE", f"/jobs/{first['id']}")
    assert await asyncio.wait_for(reading, PATIENCE_SECONDS) == "one\ntwo\n"


async def test_following_a_job_that_is_cancelled_before_it_starts_ends(batch):
    await fill(batch)
    job = await batch.submit("carols", "true", profile="half", queue="backfill")
    reading = asyncio.ensure_future(batch.text("carols", f"/jobs/{job['id']}/logs?follow=true"))
    await asyncio.sleep(0.3)
    await batch.ask("carols", "DELETE", f"/jobs/{job['id']}")
    assert await asyncio.wait_for(reading, PATIENCE_SECONDS) == ""


async def test_the_last_lines_of_a_log(batch):
    job = await batch.submit("alices", "sh", "-c", "for n in 1 2 3 4; do echo $n; done")
    await until(batch, "alices", job["id"], "succeeded")
    assert await batch.text("alices", f"/jobs/{job['id']}/logs?tail=2") == "3\n4\n"
    assert await batch.text("alices", f"/jobs/{job['id']}/logs?tail=0") == ""
    for query, field in (("tail=-1", "tail"), ("tail=x", "tail"), ("tail=99999999", "tail"), ("follow=1", "follow")):
        status, answer = await batch.ask("alices", "GET", f"/jobs/{job['id']}/logs?{query}")
        assert (status, answer["error"]["field"]) == (400, field)
        assert field not in answer["error"]["message"]  # the client names its option before the message


async def test_output_that_is_gone_is_said_to_be_gone(batch, cluster):
    job = await batch.submit("alices", "echo", "hello")
    await until(batch, "alices", job["id"], "succeeded")
    pod = cluster.store.list(POD, NAMESPACE)[0]
    cluster.store.delete(POD, pod, {"gracePeriodSeconds": 0})
    await eventually(lambda: '"exit_code": 0' in _attempts(cluster))
    status, answer = await batch.ask("alices", "GET", f"/jobs/{job['id']}/logs")
    assert (status, answer["error"]["code"]) == (410, "output-gone")
    ended = (await batch.ask("alices", "GET", f"/jobs/{job['id']}"))[1]
    assert (ended["state"], ended["exit_code"]) == ("succeeded", 0)


def _attempts(cluster) -> str:
    """What the service has written down of the one job's attempts."""
    (job,) = cluster.store.list(JOB, NAMESPACE)
    return job["metadata"].get("annotations", {}).get(ATTEMPTS, "")


async def test_a_reader_who_goes_leaves_no_connection_behind(batch):
    """Else a few notebooks that are closed while they follow would use up a person's logs."""
    job = await batch.submit("alices", "sh", "-c", "echo begun; sleep 60")
    await until(batch, "alices", job["id"], "running")
    headers = {"Authorization": "token alices"}
    for _ in range(25):
        async with aiohttp.ClientSession(headers=headers) as session:
            response = await session.get(f"{batch.url}/jobs/{job['id']}/logs?follow=true")
            assert response.status == 200
            assert await response.content.readline() == b"begun\n"
    readers = [
        await batch.session.get(f"{batch.url}/jobs/{job['id']}/logs?follow=true", headers=headers) for _ in range(21)
    ]
    assert [reader.status for reader in readers] == [200] * 20 + [409]
    for reader in readers:
        reader.close()


async def test_logs_that_are_asked_for_at_once_are_counted_too(batch):
    job = await batch.submit("alices", "sh", "-c", "echo begun; sleep 60")
    await until(batch, "alices", job["id"], "running")
    headers = {"Authorization": "token alices"}
    address = f"{batch.url}/jobs/{job['id']}/logs?follow=true"
    readers = await asyncio.gather(*(batch.session.get(address, headers=headers) for _ in range(60)))
    # Too many logs, or too many requests at once.
    found = [reader.status for reader in readers]
    assert (found.count(200), found.count(409) + found.count(429)) == (20, 40)
    for reader in readers:
        reader.close()


async def test_a_log_that_is_read_for_too_long_is_broken_off_and_not_ended(batch, monkeypatch):
    monkeypatch.setattr(handlers, "LOG_LIMIT", timedelta(seconds=1))
    job = await batch.submit("alices", "sh", "-c", "echo begun; sleep 60")
    await until(batch, "alices", job["id"], "running")
    with pytest.raises(aiohttp.ClientPayloadError):
        await batch.text("alices", f"/jobs/{job['id']}/logs?follow=true")


async def test_a_preempted_job_runs_again_and_shows_both_attempts(batch):
    before = await fill(batch)
    job = await batch.submit("alices", "sleep", "1", profile="half", queue="climate")
    await until(batch, "alices", job["id"], "succeeded")
    twice = await eventually_twice(batch, before)
    first, second = twice["attempts"]
    assert first["reason"] == PREEMPTED
    assert first["started"] and first["finished"] and first["exit_code"] not in (None, 0)
    assert second["reason"] == "" and second["pod"] != first["pod"]
    assert twice["state"] == "running" and twice["started"] == second["started"]


async def eventually_twice(batch: Client, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """The one of carol's jobs that runs for the second time."""

    async def found() -> dict[str, Any] | None:
        for job in jobs:
            now = (await batch.ask("carols", "GET", f"/jobs/{job['id']}"))[1]
            if len(now["attempts"]) == 2 and now["state"] == "running":
                return now
        return None

    return dict(await eventually(found))


@pytest.mark.parametrize("batch_site", [small_site({"scheduler": {"kind": "yunikorn"}})])
async def test_a_job_comes_back_whose_pod_the_scheduler_deletes_without_a_mark(batch, cluster):
    """YuniKorn and KAI preempt so; here nobody schedules in their place, so the pods are bound by hand."""
    job = await batch.submit("alices", "sh", "-c", "trap 'exit 143' TERM; sleep 60 & wait")
    await bound(cluster)
    await until(batch, "alices", job["id"], "running")
    (first,) = cluster.store.list(POD, NAMESPACE)
    cluster.store.delete(POD, first, {})
    await eventually(lambda: [pod for pod in cluster.store.list(POD, NAMESPACE) if not pod["spec"].get("nodeName")])
    await bound(cluster)
    again = await until(batch, "alices", job["id"], "running")
    assert [attempt["reason"] for attempt in again["attempts"]] == ["Evicted by the cluster before it ended.", ""]
    assert "failed" not in jobs_in(cluster)[0]["status"]


async def bound(cluster: Any) -> None:
    """Give every pod that has none a node."""
    for pod in await eventually(lambda: cluster.store.list(POD, NAMESPACE)):
        if not pod["spec"].get("nodeName"):
            bind(cluster.store, pod, "node-1")
