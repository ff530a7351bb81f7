"""Who gets in, and what is said to everybody else."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from conftest import PREFIX, Client
from jupyterhub.services.auth import HubOAuth
from patience import eventually
from stub_hub import ACCESS, user
from tornado.web import create_signed_value

from jupyter_research_spawner.batch import auth, handlers
from jupyter_research_spawner.batch.app import options
from jupyter_research_spawner.batch.auth import HubAuth, cookie_secret, open_hub_auth
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB

pytestmark = pytest.mark.embedded

ERROR = {"code", "field", "message", "hint", "status", "retry_after"}
COMMAND = {"command": ["true"]}


async def refused(batch: Client, who: str | None, method: str, path: str, body=None, **kwargs) -> dict:
    """The error of the answer, which must be a whole one."""
    status, answer = await batch.ask(who, method, path, body, **kwargs)
    assert set(answer) == {"error"}, answer
    error = answer["error"]
    assert set(error) == ERROR
    assert error["status"] == status
    assert error["message"].endswith(".")
    return error


async def test_nobody_gets_in_without_a_token(batch, cluster):
    for who in (None, "unknown"):
        assert (await refused(batch, who, "POST", "/jobs", COMMAND))["status"] == 401
    assert list(cluster.store.list(JOB)) == []


@pytest.mark.parametrize(
    "scopes",
    [
        ["read:users:name!user=alice"],
        ["access:servers!server=alice/"],
        ["access:services!service=another"],
        ["users:activity!user=alice", "self"],
    ],
)
async def test_a_token_that_only_says_whose_it_is_submits_nothing(batch, cluster, hub, scopes):
    """Any service that alice logs in to holds one."""
    hub.tokens["identify"] = user("alice", *scopes)
    for method, path in (("POST", "/jobs"), ("GET", "/jobs"), ("GET", "/jobs/x"), ("DELETE", "/jobs/x")):
        assert (await refused(batch, "identify", method, path, COMMAND))["status"] == 403
    assert list(cluster.store.list(JOB)) == []


async def test_a_hub_that_names_no_scopes_lets_nobody_in(batch, hub):
    hub.tokens["old"] = {"kind": "user", "name": "alice"}
    assert (await refused(batch, "old", "GET", "/jobs"))["status"] == 403


async def test_services_are_no_people(batch, hub):
    hub.tokens["culler"] = {"kind": "service", "name": "alice", "scopes": [ACCESS]}
    assert (await refused(batch, "culler", "POST", "/jobs", COMMAND))["status"] == 403


async def test_wider_scopes_open_too(batch, hub):
    hub.tokens["wide"] = user("alice", "access:services")
    assert (await batch.ask("wide", "GET", "/jobs"))[0] == 200


async def test_a_hub_that_is_down_is_told_as_such(batch, hub, monkeypatch):
    hub.fails = True
    error = await refused(batch, "alices", "GET", "/jobs")
    assert (error["status"], error["code"]) == (503, "hub-down")
    assert error["retry_after"]
    hub.fails, hub.hangs = False, True
    monkeypatch.setattr(auth, "HUB_SECONDS", 0.2)
    assert (await refused(batch, "alices", "GET", "/jobs"))["status"] == 503


async def test_a_stranger_leaves_nothing_in_memory(batch):
    """An exception that is raised once more keeps the frames of every time before, and they the requests."""
    for _ in range(5):
        await refused(batch, None, "POST", "/jobs", COMMAND)
    gc.collect()
    assert len([found for found in gc.get_objects() if isinstance(found, handlers.Jobs)]) <= 1


async def test_the_hub_is_not_asked_for_each_request(batch, hub):
    for _ in range(5):
        await batch.ask("alices", "GET", "/jobs")
    assert hub.asked == 1


async def test_a_token_in_the_address_is_none(batch):
    assert (await refused(batch, None, "GET", "/jobs?token=alices"))["status"] == 401


@pytest.mark.parametrize("path", ["/jobs", "/jobs/x", "/jobs/x/logs", "/events"])
async def test_a_cookie_is_not_accepted_from_a_script_that_hides_as_one_of_the_same_origin(batch, path):
    """The library does not ask for the XSRF token in the mode no-cors, but a script can read the response."""
    secret = cookie_secret("the-services-own")
    cookie = create_signed_value(secret, "service-batch", "alices").decode()
    headers = {"Cookie": f"service-batch={cookie}", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-origin"}
    assert (await refused(batch, None, "GET", path, headers=headers))["status"] == 401
    assert (await batch.ask("alices", "GET", "/jobs", headers=headers))[0] == 200


async def test_a_cookie_alone_cannot_submit(batch, cluster):
    """Another site can make a browser send its cookie; it cannot read the _xsrf token that goes with it."""
    secret = cookie_secret("the-services-own")
    cookie = create_signed_value(secret, "service-batch", "alices").decode()
    headers = {"Cookie": f"service-batch={cookie}"}
    assert (await batch.ask(None, "GET", "/jobs", headers=headers))[0] == 200
    assert (await refused(batch, None, "POST", "/jobs", COMMAND, headers=headers))["status"] == 401
    assert (await refused(batch, None, "DELETE", "/jobs/x", headers=headers))["status"] == 401
    # A wrong token beside it makes it no better.
    assert (await refused(batch, "unknown", "POST", "/jobs", COMMAND, headers=headers))["status"] == 401
    assert list(cluster.store.list(JOB)) == []


@pytest.mark.parametrize("path", ["/jobs", "/jobs/ID", "/jobs/ID/logs", "/jobs/none", "/nothing"])
async def test_no_page_of_another_person_reads_an_answer_in_a_frame_or_window(batch, path):
    job = await batch.submit("alices", "true")
    address = f"{batch.url}{path.replace('ID', job['id'])}"
    async with batch.session.get(address, headers={"Authorization": "token alices"}) as response:
        policy = response.headers["Content-Security-Policy"].split("; ")
    assert {"frame-ancestors 'none'", "sandbox"} <= set(policy)


async def test_a_browser_is_sent_to_the_hub(batch):
    async with batch.session.get(f"{batch.url}/", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith("/hub/api/oauth2/authorize?")


def test_without_scopes_the_service_does_not_start():
    with pytest.raises(ValueError, match="no access scopes"):
        HubAuth(HubOAuth(api_url="http://127.0.0.1:1/hub/api", api_token="x", base_url=PREFIX), ())
    with pytest.raises(ValueError, match="no access scopes"):
        open_hub_auth("", "http://127.0.0.1:1/hub/api", "x", PREFIX)


def test_the_environment_cannot_take_the_scopes_away(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_OAUTH_ACCESS_SCOPES", "[]")
    monkeypatch.delenv("JUPYTERHUB_SERVICE_NAME", raising=False)
    auth_of_batch = open_hub_auth("batch", "http://127.0.0.1:1/hub/api", "x", PREFIX)
    assert auth_of_batch.hub_auth.access_scopes == {ACCESS}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/jobs/no-such-job", 404),
        ("GET", "/jobs/..%2Fpods", 404),
        ("GET", "/jobs/%00", 404),
        ("GET", "/jobs/UPPER", 404),
        ("DELETE", "/jobs/no-such-job", 404),
        ("GET", "/jobs/no-such-job/logs", 404),
        ("PUT", "/jobs", 405),
        ("DELETE", "/jobs", 405),
        ("POST", "/jobs/x", 405),
    ],
)
async def test_what_is_not_there_is_an_error_like_any_other(batch, method, path, status):
    assert (await refused(batch, "alices", method, path))["status"] == status


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[" * 100_000, b'{"command": ["a"], "env": {"A": NaN}}', b'"text"', b"1" * 5000, b"null"],
)
async def test_a_body_that_is_no_job_is_the_senders_fault(batch, body):
    async with batch.session.post(
        f"{batch.url}/jobs", data=body, headers={"Authorization": "token alices"}
    ) as response:
        assert response.status == 400, await response.text()
        assert set((await response.json())["error"]) == ERROR


async def test_a_body_that_is_too_long_is_refused(batch):
    body = {"command": ["x" * 2_000_000]}
    assert (await refused(batch, "alices", "POST", "/jobs", body))["status"] == 413


async def test_what_breaks_inside_is_told_by_an_id_and_nothing_else(batch, monkeypatch, caplog):
    async def broken(*_args, **_kwargs):
        raise RuntimeError("a secret of the house")

    monkeypatch.setattr("jupyter_research_spawner.batch.job_store.JobStore.page_of", broken)
    error = await refused(batch, "alices", "GET", "/jobs")
    assert error["status"] == 500
    assert "secret" not in json.dumps(error)
    mark = error["hint"].rsplit(" ", 1)[-1].rstrip(".")
    assert mark in caplog.text and "a secret of the house" in caplog.text


async def test_a_cluster_that_is_down_is_told_as_such(batch, cluster):
    await cluster.api.stop()
    error = await refused(batch, "alices", "GET", "/jobs")
    assert (error["status"], error["code"]) == (503, "cluster-down")
    assert error["retry_after"]
    error = await refused(batch, "alices", "POST", "/jobs", COMMAND)
    assert error["status"] == 503


async def test_what_the_cluster_does_not_take_is_told_without_its_words(batch, monkeypatch, caplog):
    from jupyter_research_spawner.watch.api_server import ApiError

    async def denied(*_args, **_kwargs):
        raise ApiError(403, 'jobs.batch is forbidden: User "system:serviceaccount:jhub:research-batch"')

    monkeypatch.setattr("jupyter_research_spawner.watch.api_server.ApiServer.ask", denied)
    error = await refused(batch, "alices", "GET", "/jobs")
    assert (error["status"], error["code"]) == (503, "cluster-refused")
    assert "serviceaccount" not in json.dumps(error)
    assert "system:serviceaccount" in caplog.text


async def test_health_needs_no_token(batch):
    answer: dict[str, Any] = {}

    async def is_watched() -> bool:
        nonlocal answer
        status, answer = await batch.ask(None, "GET", "/health")
        assert status == 200
        return answer == {"status": "ok", "cluster": "watched"}

    await eventually(is_watched, otherwise=lambda: str(answer))


async def test_answers_are_nobody_elses_to_keep(batch):
    async with batch.session.get(f"{batch.url}/jobs", headers={"Authorization": "token alices"}) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Type"].lower() == "application/json; charset=utf-8"


ENVIRON = {
    "JUPYTERHUB_API_TOKEN": "x",
    "JUPYTERHUB_API_URL": "http://hub:8081/hub/api",
    "JUPYTERHUB_SERVICE_NAME": "jobs",
    "JUPYTERHUB_SERVICE_PREFIX": "/base/services/jobs/",
    "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8080",
}


def test_what_the_hub_tells_a_service_is_enough():
    found = options(["--site", "site.yaml"], ENVIRON)
    assert (found.name, found.host, found.port, found.prefix) == ("jobs", "0.0.0.0", 8080, "/base/services/jobs/")
    assert "'x'" not in repr(found)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("JUPYTERHUB_API_TOKEN", "token for this service is missing"),
        ("JUPYTERHUB_API_URL", "the address of the hub's API"),
    ],
)
def test_what_is_missing_is_named(name, told, capsys):
    with pytest.raises(SystemExit):
        options(["--site", "site.yaml"], {key: value for key, value in ENVIRON.items() if key != name})
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [("http://[::]:8080", "::", 8080), ("http://[fd00::1]:81/", "fd00::1", 81), ("http://[::1]", "::1", 8000)],
)
def test_addresses_of_ipv6_are_read(url, host, port):
    found = options(["--site", "site.yaml"], {**ENVIRON, "JUPYTERHUB_SERVICE_URL": url})
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize("url", ["http://::1:8080", "http://[::1:8080", "http://host:port"])
def test_an_address_without_brackets_is_refused_with_a_sentence(url, capsys):
    with pytest.raises(SystemExit):
        options(["--site", "site.yaml"], {**ENVIRON, "JUPYTERHUB_SERVICE_URL": url})
    said = capsys.readouterr().err
    assert f"--url: {url!r} is not valid" in said
    assert "an IPv6 address in []" in said


def test_an_empty_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        options(["--site", "site.yaml"], {**ENVIRON, "JUPYTERHUB_SERVICE_NAME": ""})
    assert "name in the hub is empty" in capsys.readouterr().err
