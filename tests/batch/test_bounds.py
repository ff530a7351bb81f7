"""What the service bounds: the size, time and number of a user's requests."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote, urlsplit

import pytest
from conftest import connected
from embedded_cluster import NAMESPACE

from jupyter_research_spawner.batch import handlers, job_service, job_store
from jupyter_research_spawner.batch.job_service import JobService
from jupyter_research_spawner.watch.api_server import ApiServer

MIB = 1024 * 1024


class Connection:
    """A connection to the service on which a request can stop anywhere."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        line = await asyncio.wait_for(self.reader.readline(), 20)
        assert line.startswith(b"HTTP/1.1 "), line
        return int(line.split()[1])

    async def is_closed(self) -> bool:
        try:
            while await asyncio.wait_for(self.reader.read(65536), 20):
                pass
        except ConnectionResetError:
            pass
        return True


async def post(batch, token: str, *headers: str) -> Connection:
    """Send the headers of a POST to /jobs, and nothing of its body."""
    url = urlsplit(batch.url)
    connection = Connection(*await asyncio.open_connection(url.hostname, url.port))
    lines = [f"POST {url.path}/jobs HTTP/1.1", f"Host: {url.netloc}", f"Authorization: token {token}", *headers, "", ""]
    await connection.send("\r\n".join(lines).encode())
    return connection


@pytest.fixture
def kept(monkeypatch) -> list[int]:
    """The number of bytes of each body that a handler had in memory when it was done."""
    found: list[int] = []
    finish = handlers.Jobs.on_finish

    def on_finish(self: handlers.Jobs) -> None:
        found.append(len(self._body) + len(self.request.body))
        finish(self)

    monkeypatch.setattr(handlers.Jobs, "on_finish", on_finish)
    return found


@pytest.mark.parametrize("token", ["unknown", "alices"])
@pytest.mark.parametrize("path", ["/jobs", "/health"])
async def test_body_of_a_stranger_or_for_another_address_is_not_kept(batch, kept, token, path):
    """The answer still arrives, although the client sends all of its body first."""
    body = b" " * (3 * MIB if token == "unknown" else MIB // 2)
    headers = {"Authorization": f"token {token}"}
    async with batch.session.post(f"{batch.url}{path}", data=body, headers=headers) as answer:
        expected = 405 if path == "/health" else 401 if token == "unknown" else 400
        assert answer.status == expected, await answer.text()
    assert kept == ([] if path == "/health" else [0 if token == "unknown" else MIB // 2])


async def test_body_of_a_user_is_kept_up_to_its_limit_only(batch, kept):
    connection = await post(batch, "alices", "Transfer-Encoding: chunked")
    for _ in range(3):
        await connection.send(f"{MIB:x}\r\n".encode() + b" " * MIB + b"\r\n")
    await connection.send(b"0\r\n\r\n")
    assert await connection.status() == 413
    assert kept[0] <= handlers.BODY_LIMIT
    connection.writer.close()


async def test_body_that_is_much_too_long_or_too_slow_ends_the_connection(batch, monkeypatch):
    connection = await post(batch, "alices", f"Content-Length: {5 * MIB}")
    assert await connection.status() == 400
    assert await connection.is_closed()
    monkeypatch.setattr(handlers, "BODY_SECONDS", 0.3)
    connection = await post(batch, "alices", "Content-Length: 100")
    await connection.send(b"{")
    assert await connection.is_closed()


async def test_requests_of_a_user_at_once_are_limited_and_those_of_others_are_not(batch, monkeypatch):
    gate = asyncio.Event()

    async def waits(_service, hub_user, _place):
        if hub_user == "alice":
            await gate.wait()
        return {"jobs": []}

    monkeypatch.setattr(JobService, "jobs", waits)
    waiting = [asyncio.create_task(batch.ask("alices", "GET", "/jobs")) for _ in range(handlers.REQUESTS_AT_ONCE)]
    await asyncio.sleep(0.3)
    async with batch.session.get(f"{batch.url}/jobs", headers={"Authorization": "token alices"}) as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "1"
        assert "already handling 20 requests of yours" in json.loads(await answer.text())["error"]["message"]
    assert (await batch.ask("bobs", "GET", "/jobs"))[0] == 200
    waiting.pop().cancel()  # who leaves makes room
    await asyncio.sleep(0.3)
    waiting.append(asyncio.create_task(batch.ask("alices", "GET", "/jobs")))
    await asyncio.sleep(0.3)
    gate.set()
    assert {status for status, _ in await asyncio.gather(*waiting)} == {200}
    assert (await batch.ask("alices", "GET", "/jobs"))[0] == 200


async def test_followed_logs_do_not_count_as_requests(batch):
    job = await batch.submit("alices", "sleep", "600")
    headers = {"Authorization": "token alices"}
    streams = [
        await batch.session.get(f"{batch.url}/jobs/{job['id']}/logs?follow=true", headers=headers)
        for _ in range(handlers.REQUESTS_AT_ONCE)
    ]
    assert {stream.status for stream in streams} == {200}
    assert (await batch.ask("alices", "GET", "/jobs"))[0] == 200
    for stream in streams:
        stream.close()


async def test_lists_of_a_user_are_made_one_after_the_other(batch, monkeypatch):
    at_once = most = 0
    jobs = JobService._jobs

    async def counted(service, owner, place):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        return await jobs(service, owner, place)

    monkeypatch.setattr(JobService, "_jobs", counted)
    answers = await asyncio.gather(*(batch.ask("alices", "GET", "/jobs") for _ in range(5)))
    assert ({status for status, _ in answers}, most) == ({200}, 1)


async def test_jobs_of_all_users_are_read_in_pages(batch, cluster, monkeypatch):
    """At its start the service reads all jobs, which together can be larger than its memory."""
    monkeypatch.setattr(job_store, "PAGE", 2)
    owners = ("alices", "bobs", "carols", "alices", "bobs")
    made = [await batch.submit(who, "sleep", "600", profile="small", queue="backfill") for who in owners]
    submitted = {job["id"] for job in made}
    client = await connected(cluster.kubeconfig)
    try:
        store = job_store.JobStore(ApiServer(client), NAMESPACE)
        pages = [page async for page in store.pages_of_all_jobs()]
        without = [page async for page in store.pages_of_all_jobs(metadata_only=True)]
    finally:
        await client.close()
    assert {job["metadata"]["name"] for page in pages for job in page} == submitted
    assert max(map(len, pages)) == 2
    assert [[job["metadata"]["uid"] for job in page] for page in without] == [
        [job["metadata"]["uid"] for job in page] for page in pages
    ]
    assert not any("spec" in job or "status" in job for page in without for job in page)


async def pages_of(batch, token: str) -> list[dict]:
    """All pages of a user's list, as the client reads them."""
    pages, query = [], ""
    while True:
        status, page = await batch.ask(token, "GET", f"/jobs{query}")
        assert status == 200, page
        pages.append(page)
        if "continue" not in page:
            return pages
        query = f"?continue={quote(page['continue'])}"


async def test_list_of_a_user_is_read_in_pages_and_never_has_the_jobs_of_others(batch, cluster, monkeypatch):
    monkeypatch.setattr(job_store, "PAGE", 2)
    owners = ("alices", "bobs", "alices", "carols", "alices", "bobs", "alices", "alices")
    made = [(who, await batch.submit(who, "sleep", "600", profile="small", queue="backfill")) for who in owners]
    cluster.api.calls.clear()
    pages = await pages_of(batch, "alices")
    assert [len(page["jobs"]) for page in pages] == [2, 2, 1]
    listed = {job["id"] for page in pages for job in page["jobs"]}
    assert listed == {job["id"] for who, job in made if who == "alices"}
    # As many calls as pages, however many pods there are.
    assert (cluster.api.calls["list", "jobs"], cluster.api.calls["list", "pods"]) == (3, 3)
    assert {job["state"] for page in pages for job in page["jobs"]} <= {"queued", "starting", "running"}


async def test_pods_of_a_page_are_read_in_parts(batch, cluster, monkeypatch):
    """A job array has as many pods as indexes, and a page has many arrays."""
    monkeypatch.setattr(job_service, "PODS", 4)
    body = {"kind": "array", "array": "0-2%1", "command": ["true"], "profile": "small"}
    made = [(await batch.ask("alices", "POST", "/jobs", body))[1]["id"] for _ in range(3)]
    cluster.api.calls.clear()
    (page,) = await pages_of(batch, "alices")
    assert {job["id"] for job in page["jobs"]} == set(made)
    assert cluster.api.calls["list", "pods"] == 3


@pytest.mark.parametrize(
    "place", ["x", "0.", "9.abc", "0.not-a-token", "0:0.e30", "0:1.", "0:0." + "A" * 3000, "-1:0.abc", "0:0.a%0Ab"]
)
async def test_place_that_no_page_named_is_refused(batch, place):
    status, answer = await batch.ask("alices", "GET", f"/jobs?continue={place}")
    if status == 200:  # the beginning of the list
        assert (place, answer) == ("0.", {"jobs": []})
    else:
        assert (status, answer["error"]["field"]) == (400, "continue")
