"""The pages of the batch service as a browser gets them, without JavaScript."""

from __future__ import annotations

import asyncio
import html
import json
import re
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import yaml
from conftest import PREFIX, Client, small_site
from patience import eventually
from stub_hub import ACCESS, StubHub, user
from tornado.web import create_signed_value

from jupyter_research_spawner.batch import open_streams, page_handlers
from jupyter_research_spawner.batch.auth import cookie_secret
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB

pytestmark = pytest.mark.embedded

MARKUP = '<script>alert("1")</script>&amp;'
NAVIGATION = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}


@dataclass
class Answer:
    """The response of a page."""

    status: int
    headers: Any
    text: str

    @property
    def names(self) -> list[str]:
        """The ids of the jobs and the servers in the table, in its order."""
        return [html.unescape(name) for name in re.findall(r'<tr role="row" data-key="([^"]*)"', self.text)]


class Browser:
    """A browser in which a user has logged in: it keeps cookies, follows no redirect, and runs no script."""

    def __init__(self, batch: Client, token: str) -> None:
        self.batch, self.token = batch, token
        self.cookies = {"service-batch": create_signed_value(cookie_secret("the-services-own"), "service-batch", token)}

    async def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **kwargs: Any) -> Answer:
        cookies = "; ".join(
            f"{name}={value.decode() if isinstance(value, bytes) else value}" for name, value in self.cookies.items()
        )
        async with self.batch.session.request(
            method,
            self.batch.url.removesuffix(PREFIX.rstrip("/")) + path
            if path.startswith(PREFIX)
            else self.batch.url + path,
            headers={**NAVIGATION, "Cookie": cookies, **(headers or {})},
            allow_redirects=False,
            **kwargs,
        ) as response:
            for line in response.headers.getall("Set-Cookie", ()):
                for name, morsel in SimpleCookie(line).items():
                    self.cookies[name] = morsel.value
                    assert name != "_xsrf" or morsel["httponly"], "a script can read the XSRF token"
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, **kwargs: Any) -> Answer:
        return await self.ask("GET", path, **kwargs)

    async def press(self, page: str, action: str, **changes: str) -> Answer:
        """Press the button of a form on a page."""
        shown = await self.get(page)
        form = re.search(rf'<form method="post" action="([^"]*/{action})">(.*?)</form>', shown.text, re.DOTALL)
        assert form, shown.text
        fields = dict(re.findall(r'name="([^"]*)" value="([^"]*)"', form[2]))
        return await self.ask("POST", form[1], data={**fields, **changes})


@pytest.fixture
def alice(batch: Client) -> Browser:
    return Browser(batch, "alices")


async def until(batch: Client, job_id: str, *states: str) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        job = (await batch.ask("alices", "GET", f"/jobs/{job_id}"))[1]
        return job if job["state"] in states else None

    return await eventually(found)


async def test_my_work_shows_own_jobs_and_nothing_of_others(batch, alice):
    job = await batch.submit("alices", "true")
    other = await batch.submit("bobs", "true")
    page = await alice.get("/")
    assert page.status == 200
    assert page.names == [f"job:{job['id']}"]
    assert other["id"] not in page.text
    assert f'href="{PREFIX}jobs/{job["id"]}/page"' in page.text


@pytest.mark.parametrize("batch_site", [small_site({"queues": {"backfill": {"title": "Left over"}}})])
async def test_pages_say_the_title_of_a_queue_and_the_command_its_name(batch):
    # The node has no room for three of them.
    jobs = [await batch.submit("carols", "sleep", "60", profile="half", queue="backfill") for _ in range(3)]

    async def waiting() -> dict[str, Any] | None:
        found = [(await batch.ask("carols", "GET", f"/jobs/{job['id']}"))[1] for job in jobs]
        return next((job for job in found if "enough free CPUs" in job["message"]), None)

    job = await eventually(waiting)
    assert "Waiting in queue backfill since" in job["message"]
    carol = Browser(batch, "carols")
    for path in ("/", f"/jobs/{job['id']}/page"):
        assert "Waiting in queue Left over since" in (await carol.get(path)).text


async def test_a_page_has_nothing_inline_and_its_policy_allows_nothing_inline(batch, alice):
    job = await batch.submit("alices", "true")
    for path in ("/", f"/jobs/{job['id']}/page", "/jobs/no-such-job/page", "/nothing"):
        page = await alice.get(path)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8", path
        assert page.headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
            "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert page.headers["Cross-Origin-Opener-Policy"] == "noopener-allow-popups"
        assert page.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page.text)
        assert re.findall(r"<script(.*?)</script>", page.text) == re.findall(
            r"<script( src=[^>]*>)</script>", page.text
        )
        assert page.text.count("<h1>") == page.text.count("<main ") == 1


async def test_a_page_gets_the_token_with_which_its_script_may_read(batch, alice):
    """Without the token in a header, the cookie counts for navigations only."""
    await alice.get("/")
    token = alice.cookies["_xsrf"]
    by_script = {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    assert (await alice.get("/jobs", headers=by_script)).status == 401
    assert (await alice.get("/jobs", headers={**by_script, "X-XSRFToken": token})).status == 200


async def test_static_files_are_served_to_everybody_and_kept(batch, alice):
    page = await alice.get("/")
    (path,) = re.findall(r'href="([^"]*/research\.[0-9a-f]{12}\.css)"', page.text)
    async with batch.session.get(batch.url.removesuffix(PREFIX.rstrip("/")) + path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/css; charset=utf-8"
        assert "immutable" in response.headers["Cache-Control"]
    assert (await batch.ask(None, "GET", "/research-spawner/static/no.css"))[0] == 404


async def test_markup_in_names_and_output_is_escaped(batch, alice):
    job = await batch.submit("alices", "echo", MARKUP, name=MARKUP, env={"A": MARKUP})
    await until(batch, job["id"], "succeeded")
    everywhere = urlencode(dict.fromkeys(("name", "queue", "sort", "state", "period", "page"), MARKUP))
    for path in ("/", f"/jobs/{job['id']}/page", f"/?{everywhere}"):
        page = await alice.get(path)
        assert MARKUP not in page.text
        assert "<script>" not in page.text
        assert html.escape(MARKUP).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page.text
    assert html.unescape((await alice.get(f"/jobs/{job['id']}/page")).text).count(MARKUP) >= 4


async def test_servers_come_from_the_hub_with_the_users_own_token(batch, hub: StubHub, alice):
    assert "Your servers are not shown" in (await alice.get("/")).text
    server = {
        "name": "",
        "full_name": "alice/",
        "url": "/user/alice/",
        "ready": True,
        "pending": None,
        "started": "2026-11-29T10:00:00.000000Z",
        "user_options": {"profile": "half", "queue": "climate"},
    }
    starting = {**server, "name": MARKUP, "ready": False, "pending": "spawn", "user_options": {"profile": MARKUP}}
    stopped = {**server, "name": "old", "stopped": True}
    hub.tokens["seeing"] = {**user("alice"), "servers": {"": server, MARKUP: starting, "old": stopped}}
    page = await Browser(batch, "seeing").get("/?sort=state")
    assert page.names == ["server:", f"server:{MARKUP}"]
    assert "Your servers are not shown" not in page.text
    assert 'href="/user/alice/"' in page.text and "Half a node" in page.text
    assert '<a href="/hub/spawn-pending/alice/%3Cscript%3E' in page.text
    assert "<script>alert" not in page.text


async def test_a_browser_without_a_login_is_sent_to_the_hub(batch):
    for path in ("/", "/jobs/x/page"):
        async with batch.session.get(f"{batch.url}{path}", headers=NAVIGATION, allow_redirects=False) as response:
            assert response.status == 302
            assert response.headers["Location"].startswith("/hub/api/oauth2/authorize?")
    async with batch.session.get(f"{batch.url}/events", allow_redirects=False) as response:
        assert response.status == 401


async def test_a_program_still_gets_the_list_of_jobs(batch):
    headers = {"Authorization": "token alices"}
    async with batch.session.get(f"{batch.url}/", headers=headers, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, f"{PREFIX}jobs")


async def test_a_request_by_a_script_of_another_page_is_not_answered(batch, alice):
    """A page of another user's notebook can have the same origin, and its requests have the cookie."""
    for path in ("/", "/events"):
        headers = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
        assert (await alice.get(path, headers=headers)).status in (302, 401)


async def test_errors_are_pages_for_a_browser_and_json_for_others(batch, hub, alice):
    missing = await alice.get("/jobs/no-such-job/page")
    assert missing.status == 404
    assert "You have no job &#39;no-such-job&#39;." in missing.text and "`job list`" not in missing.text
    assert (await alice.get("/nothing")).status == 404
    assert "error" in json.loads((await alice.get("/nothing", headers={"Accept": "application/json"})).text)
    assert "error" in json.loads((await alice.get("/jobs/no-such-job")).text)
    hub.tokens["narrow"] = user("alice", "read:users:name!user=alice")
    refused = await Browser(batch, "narrow").get("/")
    assert (refused.status, "Not allowed" in refused.text) == (403, True)
    hub.fails = True
    down = await Browser(batch, "another").get("/")
    assert (down.status, down.headers["Retry-After"]) == (503, "10")
    assert "The hub does not answer at the moment." in down.text and "Try again" in down.text


async def test_an_address_with_too_many_arguments_is_refused(batch, alice):
    assert (await alice.get("/?" + "&".join(["a=1"] * 51))).status == 400


async def test_a_job_page_shows_what_runs_and_as_whom(batch, alice):
    job = await batch.submit("alices", "sh", "-c", "echo 'two words'; exit 3", wall_time="1h")
    await until(batch, job["id"], "failed")
    page = await alice.get(f"/jobs/{job['id']}/page")
    text = html.unescape(re.sub(r"<[^>]+>", "", page.text))
    for expected in ("sh -c 'echo '\"'\"'two words'", "(uid ", "Attempt 1", "exit code 3", "of 1:00:00", "two words\n"):
        assert expected in text
    manifest = re.search(r'aria-label="Manifest">(.*?)</pre>', page.text, re.DOTALL)
    assert manifest is not None
    shown = yaml.safe_load(html.unescape(manifest[1]))
    assert shown["metadata"]["name"] == job["id"] and "managedFields" not in shown["metadata"]
    assert f'href="{PREFIX}jobs/{job["id"]}/logs?&amp;download=true"' in page.text
    output = await alice.get(f"/jobs/{job['id']}/logs?&download=true")
    assert output.text == "two words\n"
    assert output.headers["Content-Disposition"] == f'attachment; filename="{job["id"]}.log"'


async def test_jobs_of_others_have_no_pages(batch, cluster):
    job = await batch.submit("alices", "sleep", "60")
    bob = Browser(batch, "bobs")
    assert (await bob.get(f"/jobs/{job['id']}/page")).status == 404
    await bob.get("/")
    mine = await batch.submit("bobs", "sleep", "60")
    form = await bob.get(f"/jobs/{mine['id']}/page")
    token = re.search(r'name="_xsrf" value="([^"]*)"', form.text)
    assert token is not None
    for action in ("cancel", "again", "remove"):
        answer = await bob.ask("POST", f"/jobs/{job['id']}/page/{action}", data={"_xsrf": token[1]})
        assert answer.status == 404
    async with batch.session.get(f"{batch.url}/jobs/{job['id']}/events", headers={"Authorization": "token bobs"}) as r:
        assert r.status == 404
    assert len(list(cluster.store.list(JOB))) == 2


async def test_a_job_is_cancelled_by_its_form_only(batch, cluster, alice):
    job = await batch.submit("alices", "sleep", "60")
    page = f"/jobs/{job['id']}/page"
    for action in ("cancel", "again", "remove"):
        assert (await alice.get(f"{page}/{action}")).status == 405
    for fields in ({}, {"_xsrf": "wrong"}, {"_xsrf": "x" * 20_000}):
        refused = await alice.ask("POST", f"{page}/cancel", data=fields)
        assert refused.status == 401
    crossing = {"Sec-Fetch-Site": "cross-site"}
    assert (await alice.ask("POST", f"{page}/cancel", data={}, headers=crossing)).status == 401
    stranger = await Browser(batch, "bobs").get("/")
    assert stranger.status == 200
    assert "deletionTimestamp" not in next(iter(cluster.store.list(JOB)))["metadata"]

    done = await alice.press(page, "cancel")
    assert (done.status, done.headers["Location"]) == (303, PREFIX)
    assert f"{job['id']} was cancelled." in (await alice.get("/")).text
    assert f"{job['id']} was cancelled." not in (await alice.get("/")).text
    await eventually(lambda: not list(cluster.store.list(JOB)))


async def test_the_token_of_another_users_form_is_refused(batch, alice):
    job = await batch.submit("alices", "sleep", "60")
    bob = Browser(batch, "bobs")
    own = await batch.submit("bobs", "sleep", "60")
    token = re.search(r'name="_xsrf" value="([^"]*)"', (await bob.get(f"/jobs/{own['id']}/page")).text)
    assert token is not None
    refused = await alice.ask("POST", f"/jobs/{job['id']}/page/cancel", data={"_xsrf": token[1]})
    assert refused.status == 401


async def test_a_job_runs_again_with_the_same_request_decided_anew(batch, alice):
    job = await batch.submit("alices", "true", name="fit", env={"A": "1"}, wall_time="30m")
    await until(batch, job["id"], "succeeded")
    done = await alice.press(f"/jobs/{job['id']}/page", "again")
    assert done.status == 303
    again = done.headers["Location"]
    page = await alice.get(again)
    assert f"with the request of {job['id']}." in page.text
    new_id = again.split("/")[-2]
    assert new_id != job["id"]
    new = (await batch.ask("alices", "GET", f"/jobs/{new_id}"))[1]
    assert {key: new[key] for key in ("name", "command", "profile", "queue", "wall_time_hard_seconds")} == {
        key: job[key] for key in ("name", "command", "profile", "queue", "wall_time_hard_seconds")
    }


async def test_a_job_that_has_ended_is_removed(batch, cluster, alice):
    job = await batch.submit("alices", "true")
    await until(batch, job["id"], "succeeded")
    done = await alice.press(f"/jobs/{job['id']}/page", "remove")
    assert (done.status, done.headers["Location"]) == (303, PREFIX)
    await eventually(lambda: not list(cluster.store.list(JOB)))


async def test_an_array_shows_its_indexes_and_the_output_of_one(batch, alice):
    job = await batch.submit("alices", "sh", "-c", "echo this is $RESEARCH_ARRAY_INDEX", kind="array", array="4-6")
    await until(batch, job["id"], "succeeded")
    page = await alice.get(f"/jobs/{job['id']}/page")
    assert "Choose an index" in page.text
    assert re.findall(r'data-key="index:(\d+)"', page.text) == ["4", "5", "6"]
    page = await alice.get(f"/jobs/{job['id']}/page?index=5")
    assert "this is 5" in page.text and "this is 4" not in page.text
    missing = await alice.get(f"/jobs/{job['id']}/page?index=9")
    assert missing.status == 200 and "has no index 9" in missing.text


async def test_one_index_of_an_array_is_cancelled_by_its_form(batch, alice):
    """Index 2 has no pod, because one runs at once."""
    job = await batch.submit("alices", "sleep", "600", kind="array", array="1-2%1")
    await until(batch, job["id"], "running")
    page = f"/jobs/{job['id']}/page"
    shown = await alice.get(page)
    buttons = re.findall(r'name="index" value="([^"]*)".*?<button[^>]*>(.*?)</button>', shown.text)
    assert buttons == [("1", "Cancel index 1")]
    for index, status in (("2", 409), ("9", 404), ("x", 400)):
        fields = {"_xsrf": re.findall(r'name="_xsrf" value="([^"]*)"', shown.text)[0], "index": index}
        assert (await alice.ask("POST", f"{page}/cancel", data=fields)).status == status
    (form,) = re.findall(
        r'<form method="post" action="([^"]*/cancel)">((?:(?!</form>).)*name="index".*?)</form>', shown.text
    )
    fields = dict(re.findall(r'name="([^"]*)" value="([^"]*)"', form[1]))
    assert (await alice.ask("POST", form[0], data={**fields, "_xsrf": "forged"})).status == 401
    done = await alice.ask("POST", form[0], data=fields)
    assert (done.status, done.headers["Location"]) == (303, f"{PREFIX}jobs/{job['id']}/page?page=1")
    assert f"Index 1 of {job['id']} was cancelled." in (await alice.get(page)).text

    async def states() -> dict[int, str]:
        found = (await batch.ask("alices", "GET", f"/jobs/{job['id']}"))[1]
        return {index["index"]: index["state"] for index in found["indexes"]}

    async def second_runs() -> bool:
        return await states() == {1: "failed", 2: "running"}

    await eventually(second_runs)
    again = await alice.ask("POST", form[0], data=fields)
    assert again.status == 303
    assert f"Index 1 of {job['id']} had already ended." in (await alice.get(page)).text


async def events(response: aiohttp.ClientResponse) -> Any:
    """Yield the parts of each event."""
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def test_an_open_page_is_told_what_changes(batch, alice):
    await alice.get("/")
    headers = {"Authorization": "token alices"}
    async with batch.session.get(f"{batch.url}/events", headers=headers) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        stream = events(response)
        assert "You have no servers and no jobs." in (await anext(stream))["rows"]
        job = await batch.submit("alices", "sh", "-c", f"echo '{MARKUP}'", name=MARKUP)
        while True:
            parts = await asyncio.wait_for(anext(stream), 20)
            assert "<script>" not in parts["rows"]
            if f'data-key="job:{job["id"]}" data-state="succeeded"' in parts["rows"]:
                break
        assert "1 of 100" in parts["usage"]


async def test_a_page_of_a_job_is_told_what_changes(batch):
    job = await batch.submit("alices", "sleep", "1")
    headers = {"Authorization": "token alices"}
    async with batch.session.get(f"{batch.url}/jobs/{job['id']}/events", headers=headers) as response:
        async for parts in events(response):
            assert set(parts) == {"head", "actions", "timeline"}
            if 'data-state="succeeded"' in parts["head"]:
                assert "Run again" in parts["actions"]
                break


async def test_a_users_oldest_open_page_makes_room_for_a_further_one(batch, monkeypatch):
    monkeypatch.setattr(open_streams, "STREAMS_AT_ONCE", 2)
    url, headers = f"{batch.url}/events", {"Authorization": "token alices"}
    first = await batch.session.get(url, headers=headers)
    second = await batch.session.get(url, headers=headers)
    third = await batch.session.get(url, headers=headers)
    assert (await asyncio.wait_for(first.content.read(), 20)).endswith(b"event: replaced\ndata:\n\n")
    async with batch.session.get(url, headers={"Authorization": "token bobs"}) as other:
        assert other.status == 200
    job = await batch.submit("alices", "true")
    for response in (second, third):
        async for parts in events(response):
            if job["id"] in parts["rows"]:
                break
        response.close()


async def test_many_pages_of_a_user_do_not_keep_others_from_theirs(batch, monkeypatch):
    monkeypatch.setattr(open_streams, "ALL_STREAMS_AT_ONCE", 3)
    url = f"{batch.url}/events"
    of_alice = [await batch.session.get(url, headers={"Authorization": "token alices"}) for _ in range(3)]
    async with batch.session.get(url, headers={"Authorization": "token bobs"}) as other:
        assert other.status == 200
        assert b"event: parts" in await other.content.readline()
        assert b"event: replaced" in await asyncio.wait_for(of_alice[0].content.read(), 20)
        async with batch.session.get(url, headers={"Authorization": "token carols"}) as another:
            assert another.status == 200
            assert b"event: replaced" in await asyncio.wait_for(of_alice[1].content.read(), 20)
    of_alice[2].close()


async def test_a_stream_ends_when_the_token_is_revoked(batch, hub, monkeypatch):
    monkeypatch.setattr(page_handlers, "LONGEST_PAUSE_SECONDS", 0.1)
    hub.tokens["short"] = user("alice", ACCESS)
    async with batch.session.get(f"{batch.url}/events", headers={"Authorization": "token short"}) as response:
        await response.content.readline()
        del hub.tokens["short"]
        await asyncio.wait_for(response.content.read(), 30)
