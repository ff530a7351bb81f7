"""The spawner in a real hub of each version, on the embedded cluster: starts, refusals and stops.

All tests of a module share one hub per version, because starting one takes longer than most tests. Each test finds new
users, no pods and counters at zero. Tests with other settings, or that restart the hub, are in test_own_hub.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
import yaml
from embedded_cluster import NAMESPACE
from hub import SITE, Browser, Hub, Json, research_cluster_in
from patience import eventually

from jupyter_research_spawner.embedded.apimachinery.api_resources import EVENT, POD
from jupyter_research_spawner.embedded.apiserver import decoding

pytestmark = [pytest.mark.embedded, pytest.mark.asyncio(loop_scope="module")]

CREATE = ("create", "pods")
# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("module_hub", [6], indirect=True, ids=["hub6"])


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[6, 5], ids=["hub6", "hub5"])
async def module_hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """A hub with SITE for all tests of this module."""
    directory = tmp_path_factory.mktemp("module_hub")
    directory.chmod(0o755)  # pods run as other users
    async with research_cluster_in(directory) as cluster:
        found = Hub(request.param, directory / "hub", cluster)
        found.write(SITE)
        try:
            await found.start()
            yield found
        finally:
            await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def hub(module_hub: Hub) -> AsyncIterator[Hub]:
    """The module's hub, with new users alice and bob. Everything that the test made is removed after it."""
    if not module_hub.is_alive:  # the test that ended it has failed
        await module_hub.start()
    cluster = module_hub.cluster
    cluster.api.calls.clear()
    module_hub.forget_log()
    for name in ("alice", "bob"):
        await module_hub.person(name)
    yield module_hub
    cluster.api.delays.before.clear()
    cluster.api.delays.after.clear()
    assert module_hub.is_alive, f"the hub ended:\n{module_hub.recent_log}"
    await module_hub.remove_users()
    await eventually(lambda: not module_hub.pods(), otherwise=lambda: module_hub.recent_log)
    for event in cluster.store.list(EVENT, NAMESPACE):
        cluster.store.delete(EVENT, event)


async def answer_of(pod: Json) -> Json:
    """What the notebook in the pod says of itself."""
    url = f"http://{pod['status']['podIP']}:8888/api"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return dict(json.loads(await answer.text()))


def only_pod(hub: Hub) -> Json:
    (pod,) = hub.pods()
    return pod


@pytest.mark.uid
async def test_a_server_runs_as_its_person_and_stops(hub: Hub) -> None:
    assert (await hub.start_server("alice", {"profile": "small", "queue": "climate"})).status in (201, 202)
    await hub.ready("alice")
    pod = only_pod(hub)
    assert pod["spec"]["securityContext"]["runAsUser"] == 20001
    assert pod["metadata"]["labels"]["research-spawner/queue"] == "climate"
    told = await answer_of(pod)
    assert told["env"]["JUPYTER_IMAGE_SPEC"] == "example/notebook:1"
    # Without root the stand-in runs pods as its caller, with a home that is a directory of its own.
    assert told["env"]["HOME"].endswith("/home/alice")
    if os.geteuid() == 0:
        assert (told["uid"], told["groups"], told["env"]["HOME"]) == (20001, [20500], "/home/alice")
    assert (await hub.api("DELETE", "users/alice/server")).status in (202, 204)
    await eventually(lambda: not hub.pods())
    assert "unhandled user_options" not in hub.log


@once
async def test_a_second_start_costs_one_call_to_the_api_server(hub: Hub) -> None:
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await eventually(lambda: not hub.pods())
    hub.cluster.api.audit.clear()
    await hub.start_server("alice")
    await hub.ready("alice")
    calls = [(call.verb, call.resource) for call in hub.cluster.api.audit]
    # The deadline of the notebook is written after it runs.
    assert [call for call in calls if call[0] not in ("list", "watch") and call != ("patch", "pods")] == [CREATE]
    assert calls.count(("patch", "pods")) <= 1


BAD_OPTIONS: list[tuple[Any, int, str]] = [
    ({"profile": "nothing"}, 400, "profile"),
    ({"profile": ["small"]}, 400, "profile"),
    ({"profile": "small\n"}, 400, "profile"),
    ({"profile": "small", "queue": "climate\nbackfill"}, 400, "queue"),
    ({"memory": ["1Gi"]}, 400, "memory"),
    ({"profile": "large"}, 403, "profile"),
    ({"profile": "small", "queue": "climate"}, 403, "queue"),
]


async def test_bad_requests_by_rest_do_not_end_the_hub_nor_poison_the_next_start(hub: Hub) -> None:
    await hub.start_server("bob", {"profile": "small", "queue": "backfill"})
    await hub.ready("bob")
    await hub.api("DELETE", "users/bob/server")
    await hub.stopped("bob")
    for options, status, field in BAD_OPTIONS:
        answer = await hub.start_server("bob", options)
        assert answer.status == status, answer.text
        assert field in answer.message.lower()
    for body in ([1], ["profile"], "text", 5, True):
        assert (await hub.api("POST", "users/bob/server", body)).status == 400
    for number in range(5):
        answer = await hub.start_server("bob", {"profile": "nothing"}, server=f"exp{number}")
        assert "There is no profile 'nothing'." in answer.message
    assert hub.cluster.api.calls[CREATE] == 1
    await asyncio.sleep(2.5)  # the hub ends itself two seconds after too many failures
    assert hub.is_alive
    answer = await hub.start_server("bob")
    assert answer.status in (201, 202), answer.text
    await hub.ready("bob")
    assert only_pod(hub)["metadata"]["labels"]["research-spawner/queue"] == "backfill"
    assert "Traceback" not in hub.log


async def test_bad_requests_by_form_do_not_end_the_hub_and_keep_the_choices(hub: Hub) -> None:
    browser = await Browser(hub).login("bob")
    for _ in range(5):
        answer = await browser.post(
            "spawn",
            {"offer": "profile:small", "queue--profile:small": "backfill", "wall_time--profile:small": "<b>9</b>"},
        )
        assert answer.status == 400
    page = answer.page
    wall_time = page.find("input", {"name": "wall_time--profile:small"})
    assert wall_time["value"] == "<b>9</b>"
    assert wall_time["aria-invalid"] == "true"
    error = page.find(id="wall_time--profile:small-error")
    assert error["id"] in wall_time["aria-describedby"].split()
    assert "'<b>9</b>' is not a valid wall time" in error.get_text()
    assert page.find("input", {"value": "profile:small"}).has_attr("checked")
    assert page.find("input", {"name": "queue--profile:small", "value": "backfill"}).has_attr("checked")
    assert page.title.get_text().startswith("Error: ")
    assert page.find(id="research-error").find("a")["href"] == f"#{wall_time['id']}"
    # Once, and not by the hub's template too.
    assert not page.find(class_="spawn-error-msg")
    assert not page.find_all("b", string="9")
    pod = (await browser.get("research-spawner/pod/bob?offer=profile:small&wall_time--profile:small=9x")).page
    assert pod.find(role="alert").find("p").get_text().startswith("'9x' is not a valid wall time. ")
    answer = await browser.post("spawn", {"offer": "profile:small", "queue--profile:small": "backfill"})
    assert answer.status == 302
    await hub.ready("bob")
    assert "Traceback" not in hub.log
    await browser.close()


async def test_the_form_of_a_named_server_keeps_its_own_choices(hub: Hub) -> None:
    browser = await Browser(hub).login("bob")
    assert (await browser.get("spawn/bob/exp")).status == 200
    answer = await browser.post(
        "spawn/bob/exp", {"offer": "profile:small", "queue--profile:small": "climate", "wall_time--profile:small": "3h"}
    )
    assert answer.status == 403
    assert answer.page.find("input", {"name": "wall_time--profile:small"})["value"] == "3h"
    assert "your groups are students" in answer.page.find(id="queue--profile:small-error").get_text()
    # Told once: the next visit is a fresh form.
    answer = await browser.get("spawn/bob/exp")
    assert answer.page.find("input", {"name": "wall_time--profile:small"})["value"] == ""
    await browser.close()


async def test_a_link_chooses_and_starts_nothing(hub: Hub) -> None:
    browser = await Browser(hub).login("alice")
    answer = await browser.get("spawn?opt-profile=large&opt-wall_time=90m")
    assert answer.status == 200
    assert answer.page.find("input", {"value": "profile:large"}).has_attr("checked")
    assert answer.page.find("input", {"name": "wall_time--profile:large"})["value"] == "90m"
    assert "Nothing has started yet" in answer.text
    answer = await browser.get("spawn?utm_source=mail")
    assert answer.status == 200
    assert "You will run as" in answer.text
    assert "link" not in answer.page.find(id="spawn_form").get_text()
    answer = await browser.get("spawn?profile=nosuch")
    told = answer.page.find(id="spawn_form").get_text()
    assert "The link that you followed asks for profile 'nosuch'" in told
    assert "before" not in told
    assert not hub.pods()
    assert (await hub.server("alice"))["pending"] is None  # type: ignore[index]
    assert "Traceback" not in hub.log
    await browser.close()


async def test_a_changed_field_of_another_offer_refuses_the_form_once(hub: Hub) -> None:
    browser = await Browser(hub).login("bob")
    fields = {"offer": "profile:huge", "queue--profile:small": "backfill", "wall_time--profile:small": "3h"}
    answer = await browser.post("spawn", fields)
    assert answer.status == 400
    page = answer.page
    assert "You set queue 'backfill' and wall time '3h' for 'Small', but 'Huge' is selected." in answer.text.replace(
        "&#39;", "'"
    )
    assert page.find("input", {"value": "profile:huge"}).has_attr("checked")
    assert page.find("input", {"name": "wall_time--profile:small"})["value"] == "3h"
    shown = {str(field["name"]): str(field["value"]) for field in page.find_all("input", {"type": "hidden"})}
    assert not hub.pods()
    answer = await browser.post("spawn", {**fields, **shown, "offer": "profile:small"})
    assert answer.status == 302
    await hub.ready("bob")
    annotations = only_pod(hub)["metadata"]["annotations"]
    assert annotations["research-spawner/wall-time"] == str(3 * 3600)
    await browser.close()


async def test_one_click_starts_the_same_as_last_time(hub: Hub) -> None:
    browser = await Browser(hub).login("alice")
    answer = await browser.get("spawn")
    assert not answer.page.find("button", {"name": "last_start"})
    await hub.start_server("alice", {"profile": "small", "queue": "backfill", "wall_time": "3h"})
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await eventually(lambda: not hub.pods())
    button = (await browser.get("spawn?profile=large")).page.find("button", {"name": "last_start"})
    assert " ".join(button.get_text(" ").split()) == "Same as last time Small, queue backfill, 3h"
    fields = {"offer": "profile:large", "queue--profile:small": "climate", "last_start": button["value"]}
    assert (await browser.post("spawn", fields)).status == 302
    await hub.ready("alice")
    labels = only_pod(hub)["metadata"]["labels"]
    assert (labels["research-spawner/profile"], labels["research-spawner/queue"]) == ("small", "backfill")
    await browser.close()


async def test_the_page_with_the_pod_shows_what_a_start_creates(hub: Hub) -> None:
    browser = await Browser(hub).login("alice")
    form = (await browser.get("spawn")).page
    address = form.find(id="research-pod")["formaction"].removeprefix("/hub/")
    query = "offer=profile:small&queue--profile:small=backfill&queue--profile:large=climate&wall_time--profile:small=3h"
    answer = await browser.get(f"{address}?{query}")
    assert answer.status == 200
    previewed = yaml.safe_load(answer.page.find("pre").get_text())
    assert not hub.pods()
    assert (await hub.server("alice"))["pending"] is None  # type: ignore[index]
    await hub.start_server("alice", {"profile": "small", "queue": "backfill", "wall_time": "3h"})
    await hub.ready("alice")
    pod = only_pod(hub)
    for path in ("securityContext", "priorityClassName", "volumes", "activeDeadlineSeconds", "schedulerName"):
        assert previewed["spec"].get(path) is not None or path == "schedulerName"
        if path in previewed["spec"]:
            assert previewed["spec"][path] == pod["spec"][path], path
    assert previewed["metadata"]["name"] == pod["metadata"]["name"]
    assert previewed["metadata"]["labels"] | pod["metadata"]["labels"] == pod["metadata"]["labels"]
    (main, *_), (seen, *_) = pod["spec"]["containers"], previewed["spec"]["containers"]
    assert {name: seen[name] for name in ("image", "resources", "volumeMounts", "args")} == {
        name: main[name] for name in ("image", "resources", "volumeMounts", "args")
    }
    real = {one["name"]: one.get("value") for one in main["env"]}
    shown = {one["name"]: one.get("value") for one in seen["env"]}
    assert real["JUPYTERHUB_API_TOKEN"] not in answer.text
    differ = {name for name in real | shown if real.get(name) != shown.get(name)}
    assert shown["JUPYTERHUB_API_TOKEN"] == shown["JPY_API_TOKEN"] == "(not shown)"
    assert differ <= {"JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "RESEARCH_RUN_ID", *OAUTH}, differ
    # A second page while the server runs changes nothing.
    assert (await browser.get(f"{address}?{query}")).status == 200
    assert (await hub.server("alice"))["ready"]  # type: ignore[index]
    answer = await browser.get(f"{address}?offer=profile:{quote('<script>alert(1)</script>')}")
    assert answer.status == 400
    assert "<script>alert" not in answer.text
    # Another user's.
    other = await Browser(hub).login("bob")
    assert (await other.get(address)).status in (403, 404)
    for one in (browser, other):
        await one.close()


# The hub sets the scopes when it starts a server.
OAUTH = ("JUPYTERHUB_OAUTH_SCOPES", "JUPYTERHUB_OAUTH_ACCESS_SCOPES", "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES")


async def test_who_cannot_be_resolved_gets_a_sentence_and_no_pod(hub: Hub) -> None:
    await hub.person("carol")
    answer = await hub.start_server("carol", {"profile": "small"})
    assert answer.status == 403
    assert "There is no account named" in answer.message
    browser = await Browser(hub).login("carol")
    answer = await browser.get("spawn")
    assert answer.status == 403
    assert "There is no account named" in answer.page.find(role="alert").get_text()
    assert not answer.page.find("input", {"type": "radio"})
    assert not hub.cluster.api.calls[CREATE]
    await browser.close()


@once
async def test_a_cluster_that_would_drop_a_field_takes_no_notebook(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers before Kubernetes 1.31 do not know the policy that keeps an image from adding groups."""
    monkeypatch.delitem(decoding.types()["PodSecurityContext"], "supplementalGroupsPolicy")
    answer = await hub.start_server("alice", {"profile": "small"})
    assert answer.status == 503
    assert 'unknown field "spec.securityContext.supplementalGroupsPolicy"' in answer.message
    assert hub.pods() == []


async def test_a_pod_that_fails_ends_the_wait_at_once_with_its_reason(hub: Hub) -> None:
    await hub.start_server("alice", {"profile": "huge"})
    pod = (await eventually(hub.pods))[0]

    def fail(found: Json) -> None:
        found["status"] |= {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "No such <device>"}

    hub.cluster.store.modify(POD, pod, fail)
    begun = time.monotonic()
    told = [event async for event in hub.progress("alice")]
    assert time.monotonic() - begun < 8
    assert "No such <device> (UnexpectedAdmissionError)" in told[-1]["message"]
    assert "No such &lt;device&gt;" in told[-1]["html_message"]
    await hub.stopped("alice")
    await eventually(lambda: not hub.pods())
    assert "Traceback" not in hub.log


@once
async def test_a_slow_api_server_does_not_break_a_start(hub: Hub) -> None:
    hub.cluster.api.delays.before["pods"] = 5.0
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    assert hub.cluster.api.calls[CREATE] == 1


@once
async def test_a_create_that_timed_out_and_was_done_is_adopted(hub: Hub) -> None:
    hub.cluster.api.delays.after["pods"] = 11.0
    await hub.start_server("alice", {"profile": "small"})
    uid = (await eventually(hub.pods))[0]["metadata"]["uid"]
    await asyncio.sleep(10)
    hub.cluster.api.delays.after.clear()
    await hub.ready("alice")
    assert only_pod(hub)["metadata"]["uid"] == uid


@once
async def test_a_start_that_is_cancelled_leaves_nothing(hub: Hub) -> None:
    hub.cluster.api.delays.before["pods"] = 3.0
    await hub.start_server("alice", {"profile": "huge"})  # cancelled while the create is under way
    await eventually(lambda: hub.cluster.api.calls[CREATE])
    assert (await hub.api("DELETE", "users/alice/server")).status in (202, 204)
    hub.cluster.api.delays.before.clear()
    await hub.start_server("bob", {"profile": "huge"})  # cancelled while it waits in its queue
    await eventually(lambda: any("bob" in pod["metadata"]["name"] for pod in hub.pods()))
    assert (await hub.api("DELETE", "users/bob/server")).status in (202, 204)
    await hub.stopped("bob")
    await asyncio.sleep(4)
    assert not hub.pods()


@once
async def test_progress_tells_why_it_waits_and_bears_events_without_time(hub: Hub) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "made-by-hand", "namespace": NAMESPACE},
        "involvedObject": {"kind": "Pod", "name": "jupyter-alice", "namespace": NAMESPACE},
    }
    await hub.cluster.apply({**event, "metadata": {**event["metadata"], "name": "before"}})
    for server in ("first", ""):  # together they need 6 of the 4 CPUs
        await hub.start_server("alice", {"profile": "large"}, server=server)
        if server:
            await hub.ready("alice", server)
    told: list[str] = []

    async def read() -> None:
        async for found in hub.progress("alice"):
            told.append(found["message"])
            if len(told) == 3:
                await hub.cluster.apply(event)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read(), 8)
    headline = re.compile(r"Waiting in queue climate since .* UTC\. It starts when a node has enough free CPUs\.")
    assert any(map(headline.fullmatch, told)), told
    await hub.api("DELETE", "users/alice/servers/first")
    await hub.ready("alice")
    assert "Traceback" not in hub.log


async def test_a_start_that_fits_on_no_node_is_told_at_once(hub: Hub) -> None:
    await hub.start_server("alice", {"profile": "huge"})
    largest = "No node here is this big now: the largest has 4 CPUs. It starts only if such a node is added."
    headlines: list[str] = []

    async def read() -> None:
        async for found in hub.progress("alice"):
            headlines.extend([found["message"]] if not found.get("log_only") else [])
            if any(line.startswith("Waiting in queue climate since") and line.endswith(largest) for line in headlines):
                return

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), 20)
    assert headlines and headlines[-1].endswith(largest), (headlines, hub.log[-3000:])
    assert not any("nodes are available" in line for line in headlines), "kube-scheduler's words are for the log"
    await hub.api("DELETE", "users/alice/server")


ODD: list[Any] = [
    {"user_options": {"profile": "small", "user_options": {}}},
    {"profile": None, "queue": {}, "": 1},
    {"profile": "\u0000"},
    {"profile": "x" * 100_000},
    {"wall_time": "99999999999d"},
    {"wall_time": -5},
    {"wall_time": [5]},
    {"image": "a:b c"},
    {"__jupyterhub_bytes__": True, "data": "AAAA"},
    {"class": "small"},
    {"profile": {"__jupyterhub_bytes__": True, "data": "AAAA"}},
    {"display_name": "x", "user_options": {"more": 1}},
    [[[]]],
    {"profile": "small", "uid": 0},
]


async def test_no_option_makes_a_500(hub: Hub) -> None:
    for body in ODD:
        answer = await hub.api("POST", "users/alice/server", body)
        assert answer.status in (400, 403), (body, answer.text)
    browser = await Browser(hub).login("alice")
    for fields in (
        {},
        {"offer": "profile"},
        {"offer": ":::"},
        {"offer": "class:small"},
        {"profile": "{{ 7 * 7 }}<script>"},
        {"offer": "profile:small", "image--profile:small": "\u202e"},
    ):
        answer = await browser.post("spawn", fields)
        assert answer.status in (302, 400, 403), (fields, answer.text)
        assert "<script>" not in answer.text.replace("<script src", "").split("spawn_form")[-1][:5000]
        if answer.status == 302:
            await hub.ready("alice")
            await hub.api("DELETE", "users/alice/server")
            await hub.stopped("alice")
    assert hub.is_alive
    await browser.close()
