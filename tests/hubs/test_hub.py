"""The spawner in real hubs of both versions, on the embedded cluster: starts, refusals, restarts."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import time
from typing import Any

import aiohttp
import pytest
from hub import SITE, Browser, Hub
from patience import eventually
from stand_in import NAMESPACE

from jupyter_research_spawner.embedded import NodeSpec, decoding
from jupyter_research_spawner.embedded.kinds import POD

pytestmark = pytest.mark.embedded

Json = dict[str, Any]
CREATE = ("create", "pods")
# What no version of the hub has a part in.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])


def site_with(**over: Any) -> Json:
    return {**copy.deepcopy(SITE), **over}


async def started(hub: Hub, site: Json = SITE, *people: str, **written: str) -> Hub:
    hub.write(site, **written)
    await hub.start()
    for name in people or ("alice", "bob"):
        await hub.person(name)
    return hub


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
    await started(hub)
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
    await started(hub)
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await eventually(lambda: not hub.pods())
    before = len(hub.cluster.api.audit)
    await hub.start_server("alice")
    await hub.ready("alice")
    calls = [(call.verb, call.resource) for call in list(hub.cluster.api.audit)[before:]]
    assert [call for call in calls if call[0] not in ("list", "watch")] == [CREATE]


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
    await started(hub)
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
    await started(hub)
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
    assert "wall_time cannot be '<b>9</b>'" in error.get_text()
    assert page.find("input", {"value": "profile:small"}).has_attr("checked")
    assert page.find("option", {"value": "backfill", "selected": True})
    assert not page.find_all("b", string="9")
    answer = await browser.post("spawn", {"offer": "profile:small", "queue--profile:small": "backfill"})
    assert answer.status == 302
    await hub.ready("bob")
    assert "Traceback" not in hub.log
    await browser.close()


async def test_the_form_of_a_named_server_keeps_its_own_choices(hub: Hub) -> None:
    await started(hub)
    browser = await Browser(hub).login("bob")
    assert (await browser.get("spawn/bob/exp")).status == 200
    answer = await browser.post(
        "spawn/bob/exp", {"offer": "profile:small", "queue--profile:small": "climate", "wall_time--profile:small": "3h"}
    )
    assert answer.status == 403
    assert answer.page.find("input", {"name": "wall_time--profile:small"})["value"] == "3h"
    assert "you are in students" in answer.page.find(id="queue--profile:small-error").get_text()
    # Told once: the next visit is a fresh form.
    answer = await browser.get("spawn/bob/exp")
    assert answer.page.find("input", {"name": "wall_time--profile:small"})["value"] == ""
    await browser.close()


async def test_a_link_chooses_and_starts_nothing(hub: Hub) -> None:
    await started(hub)
    browser = await Browser(hub).login("alice")
    answer = await browser.get("spawn?opt-profile=large&opt-wall_time=90m")
    assert answer.status == 200
    assert answer.page.find("input", {"value": "profile:large"}).has_attr("checked")
    assert answer.page.find("input", {"name": "wall_time--profile:large"})["value"] == "90m"
    assert "Nothing has started yet" in answer.text
    answer = await browser.get("spawn?utm_source=mail")
    assert answer.status == 200
    assert "As you will run" in answer.text
    assert not hub.pods()
    assert (await hub.server("alice"))["pending"] is None  # type: ignore[index]
    assert "Traceback" not in hub.log
    await browser.close()


async def test_a_saved_choice_that_is_gone(hub: Hub) -> None:
    await started(hub)
    await hub.start_server("alice", {"profile": "large"})
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await hub.stop()
    site = site_with()
    del site["profiles"]["large"]
    hub.write(site)
    await hub.start()
    answer = await hub.start_server("alice")
    assert answer.status == 400
    assert "There is no profile 'large'." in answer.message
    browser = await Browser(hub).login("alice")
    answer = await browser.get("spawn")
    assert answer.status == 200
    assert "You chose profile 'large' before. It is not offered to you any more" in answer.page.get_text()
    assert not answer.page.find("input", {"checked": True})
    await browser.close()


async def test_who_cannot_be_resolved_gets_a_sentence_and_no_pod(hub: Hub) -> None:
    await started(hub, SITE, "carol")
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


async def test_a_source_that_is_down_is_503(hub: Hub) -> None:
    people = {"kind": "static", "passwd": "nowhere/passwd", "group": "nowhere/group"}
    await started(hub, site_with(identity={"sources": {"people": people}}))
    answer = await hub.start_server("alice", {"profile": "small"})
    assert (answer.status, answer.headers.get("Retry-After")) == (503, "10")
    assert "does not answer" in answer.message
    browser = await Browser(hub).login("alice")
    assert (await browser.get("spawn")).status == 503
    assert (await browser.post("spawn", {"offer": "profile:small"})).status == 503
    assert not hub.cluster.api.calls[CREATE]
    await browser.close()


@once
@pytest.mark.parametrize("missing", ["claim", "priority class"])
async def test_what_the_cluster_does_not_have_is_named_before_anything_is_created(hub: Hub, missing: str) -> None:
    site = site_with()
    if missing == "claim":
        site["storage"]["homes"]["main"]["claim"] = "elsewhere"
    else:
        site["priorities"]["normal"]["class"] = "nobodys"
    await started(hub, site)
    answer = await hub.start_server("alice", {"profile": "small"})
    assert answer.status == 503
    assert ("'elsewhere'" if missing == "claim" else "PriorityClass 'nobodys'") in answer.message
    assert not hub.cluster.api.calls[CREATE]


@once
async def test_a_cluster_that_would_drop_a_field_takes_no_notebook(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers before Kubernetes 1.31 do not know the policy that keeps an image from adding groups."""
    monkeypatch.delitem(decoding.types()["PodSecurityContext"], "supplementalGroupsPolicy")
    await started(hub)
    answer = await hub.start_server("alice", {"profile": "small"})
    assert answer.status == 503
    assert 'unknown field "spec.securityContext.supplementalGroupsPolicy"' in answer.message
    assert hub.pods() == []


async def test_a_restart_keeps_a_queued_server_and_its_place(hub: Hub) -> None:
    await started(hub)
    for server in ("", "exp"):
        await hub.start_server("alice", {"profile": "huge"}, server=server)
    pods = await eventually(lambda: hub.pods() if len(hub.pods()) == 2 else None)
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}
    tokens = [env["value"] for env in pods[0]["spec"]["containers"][0]["env"] if env["name"] == "JUPYTERHUB_API_TOKEN"]
    await hub.kill()
    begun = time.monotonic()
    await hub.start()
    assert time.monotonic() - begun < 20
    for server in ("", "exp"):
        await _pending(hub, "alice", server)
    assert {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in hub.pods()} == before
    browser = await Browser(hub).login("alice")
    page = (await browser.get("spawn-pending/alice/exp")).text
    assert "Cancel this start" in page
    assert 'var server = "exp";' in page
    await browser.close()
    hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
    for server in ("", "exp"):
        await hub.ready("alice", server)
    assert {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in hub.pods()} == before
    assert (await hub.api("GET", "user", token=tokens[0])).status == 200
    assert (await hub.api("DELETE", "users/alice/server")).status in (202, 204)
    await eventually(lambda: len(hub.pods()) == 1)


async def _pending(hub: Hub, name: str, server: str) -> None:
    async def waits() -> bool:
        found = await hub.server(name, server)
        return bool(found) and found["pending"] == "spawn"

    await eventually(waits, otherwise=lambda: f"{name}'s server {server!r}\n{hub.log[-5000:]}")


async def test_a_choice_that_is_gone_after_a_restart_ends_its_pod(hub: Hub) -> None:
    await started(hub)
    await hub.start_server("alice", {"profile": "huge"})
    await eventually(hub.pods)
    await hub.kill()
    site = site_with()
    del site["profiles"]["huge"]
    hub.write(site)
    await hub.start()
    await eventually(lambda: not hub.pods())
    assert hub.is_alive


async def test_a_pod_that_fails_ends_the_wait_at_once_with_its_reason(hub: Hub) -> None:
    await started(hub)
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
async def test_the_second_crash_ends_the_wait_with_the_containers_reason(hub: Hub) -> None:
    crash = "import sys; sys.exit(3)"
    await started(hub, after=f'c.KubeSpawner.cmd = ["{hub.python}", "-c", "{crash}"]')
    await hub.start_server("alice", {"profile": "small"})
    told = [event async for event in hub.progress("alice")]
    assert "Container notebook ended with exit code 3" in told[-1]["message"]


@once
async def test_a_slow_api_server_does_not_break_a_start(hub: Hub) -> None:
    await started(hub)
    hub.cluster.api.delays.before["pods"] = 5.0
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    assert hub.cluster.api.calls[CREATE] == 1


@once
async def test_a_create_that_timed_out_and_was_done_is_adopted(hub: Hub) -> None:
    await started(hub)
    hub.cluster.api.delays.after["pods"] = 11.0
    await hub.start_server("alice", {"profile": "small"})
    uid = (await eventually(hub.pods))[0]["metadata"]["uid"]
    await asyncio.sleep(10)
    hub.cluster.api.delays.after.clear()
    await hub.ready("alice")
    assert only_pod(hub)["metadata"]["uid"] == uid


@once
async def test_a_start_that_is_cancelled_leaves_nothing(hub: Hub) -> None:
    await started(hub)
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
async def test_a_pod_that_waits_in_a_queue_holds_up_nobody(hub: Hub) -> None:
    site = site_with(hub={**SITE["hub"], "concurrent_starts": 1})
    await started(hub, site)
    await hub.start_server("alice", {"profile": "huge"})
    await eventually(hub.pods)
    await hub.start_server("bob", {"profile": "small"})
    await hub.ready("bob")


@once
async def test_progress_tells_why_it_waits_and_bears_events_without_time(hub: Hub) -> None:
    await started(hub)
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "made-by-hand", "namespace": NAMESPACE},
        "involvedObject": {"kind": "Pod", "name": "jupyter-alice", "namespace": NAMESPACE},
    }
    await hub.cluster.apply({**event, "metadata": {**event["metadata"], "name": "before"}})
    await hub.start_server("alice", {"profile": "huge"})
    told: list[str] = []

    async def read() -> None:
        async for found in hub.progress("alice"):
            told.append(found["message"])
            if len(told) == 3:
                await hub.cluster.apply(event)

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read(), 8)
    assert any(line.startswith("Waiting in queue climate. 0/1 nodes are available") for line in told), told
    hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
    await hub.ready("alice")
    assert "Traceback" not in hub.log


ODD: list[Any] = [
    {"user_options": {"profile": "small", "user_options": {}}},
    {"profile": None, "queue": {}, "": 1},
    {"profile": "\u0000"},
    {"profile": "x" * 100_000},
    {"wall_time": "99999999999d"},
    {"wall_time": 5},
    {"image": "a:b c"},
    {"__jupyterhub_bytes__": True, "data": "AAAA"},
    {"class": "small"},
    {"profile": {"__jupyterhub_bytes__": True, "data": "AAAA"}},
    {"display_name": "x", "user_options": {"more": 1}},
    [[[]]],
    {"profile": "small", "uid": 0},
]


async def test_no_option_makes_a_500(hub: Hub) -> None:
    await started(hub)
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
