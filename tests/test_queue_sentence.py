"""The sentence about a pod that waits is built from the fields of its QueueStatus, by one function."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_research_spawner.schedulers import (
    ExcludedNodes,
    LargestNode,
    Limit,
    Place,
    QueueStatus,
    Shortage,
    describe,
    summarize,
    why,
)
from jupyter_research_spawner.schedulers.node_messages import with_nodes
from jupyter_research_spawner.schedulers.queue_sentence import amount_of

SINCE = "2026-11-28T10:02:31Z"
GPU = Shortage("nvidia.com/gpu", "1", "a100")


def queued(code: Any = "", **fields: Any) -> QueueStatus:
    return QueueStatus("queued", code, **fields)


def test_a_sentence_has_queue_time_place_what_is_missing_and_what_happens_next() -> None:
    status = queued("quota", missing=(GPU,), since=SINCE, queue="climate", place=Place(2, 5, 7))
    assert describe(status) == (
        "Waiting in queue climate since 28 Nov 10:02 UTC, at place 2 of 5 (7 with other queues). "
        "It starts when 1 more NVIDIA GPU is free in its queue."
    )
    assert summarize(status) == "place 2 of 5, 1 more NVIDIA GPU"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ""),
        ({"queue": "climate"}, "Waiting in queue climate."),
        ({"since": SINCE}, "Waiting since 28 Nov 10:02 UTC."),
        ({"since": "yesterday", "queue": "a"}, "Waiting in queue a."),
        ({"queue": "a", "place": Place(1, 1, 1)}, "Waiting in queue a, at place 1 of 1."),
        ({"queue": "free", "message": "Something new"}, "Waiting in queue free. Something new"),
    ],
)
def test_a_sentence_leaves_out_what_is_unknown_and_shows_unknown_words_as_they_came(fields: Any, told: str) -> None:
    assert describe(queued(**fields)) == told


@pytest.mark.parametrize("phase", ["running", "scheduling"])
def test_nothing_is_said_about_a_pod_that_does_not_wait(phase: Any) -> None:
    assert describe(QueueStatus(phase, "quota", queue="climate", since=SINCE)) == ""


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ((), "Its queue is full."),
        ((Shortage("cpu", "2"),), "It starts when 2 more CPUs are free in its queue."),
        ((Shortage("cpu", "500m"),), "It starts when 0.5 more CPU is free in its queue."),
        ((Shortage("memory", "16Gi"),), "It starts when 16 GiB more memory is free in its queue."),
        ((Shortage("cpu", "1", "a"), Shortage("memory", "512Mi", "a")), (
            "It starts when 1 more CPU and 512 MiB more memory are free in its queue."
        )),
        ((GPU, Shortage("nvidia.com/gpu", "2", "h100")), (
            "It starts when 1 more NVIDIA GPU of flavor a100 or 2 more NVIDIA GPUs of flavor h100 are free "
            "in its queue."
        )),
        ((Shortage("nvidia.com/mig-1g.10gb", "1"),), "It starts when 1 more MIG slice 1g.10gb is free in its queue."),
        ((Shortage("example.com/lens", "3"),), "It starts when 3 more example.com/lens are free in its queue."),
    ],
)  # fmt: skip
def test_a_resource_is_told_in_words(missing: Any, told: str) -> None:
    assert why(queued("quota", missing=missing)) == told


@pytest.mark.parametrize(
    ("resource", "amount", "words"),
    [
        ("cpu", "47500m", "47.5 CPUs"),
        ("cpu", "47999m", "47.9 CPUs"),
        ("cpu", "1", "1 CPU"),
        ("memory", "263842372Ki", "251.6 GiB of memory"),
        ("memory", "536870912", "512 MiB of memory"),
        ("nvidia.com/gpu", "4", "4 NVIDIA GPUs"),
        ("cpu", "100", "100 CPUs"),
    ],
)
def test_an_amount_is_rounded_down(resource: str, amount: str, words: str) -> None:
    assert amount_of(resource, amount) == words


CPUS = (Limit("cpu", "64", "48"),)


@pytest.mark.parametrize(
    ("largest", "told"),
    [
        (
            LargestNode(CPUS),
            "No node here is this big now: the largest has 48 CPUs. It starts only if such a node is added.",
        ),
        (
            LargestNode(CPUS, is_exact=False),
            "No node here is this big now: the largest has at most 48 CPUs. It starts only if such a node is added.",
        ),
        (
            LargestNode(CPUS, can_grow=False),
            "No node here is this big: the largest has 48 CPUs. It never starts: stop it and request less.",
        ),
        (
            LargestNode((Limit("nvidia.com/gpu", "1", ""),)),
            "No node here has NVIDIA GPUs now. It starts only if such a node is added.",
        ),
        (
            LargestNode(together=(Shortage("cpu", "64"), Shortage("nvidia.com/gpu", "1"))),
            "No node here has 64 CPUs and 1 NVIDIA GPU together now. It starts only if such a node is added.",
        ),
    ],
)
def test_never_is_said_only_if_no_node_can_be_added(largest: LargestNode, told: str) -> None:
    status = QueueStatus("unschedulable", "nodes", missing=(Shortage("cpu"),), nodes=3, largest=largest)
    assert why(status) == told
    assert why(QueueStatus("unschedulable", "quota", missing=(GPU,), largest=largest)) == (
        f"It starts when 1 more NVIDIA GPU is free in its queue. {told}"
    )
    assert summarize(status) == "larger than any node"


AFTER = " preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
SELECTOR = "node(s) didn't match Pod's node affinity/selector"


@pytest.mark.parametrize(
    ("message", "missing", "excluded", "told"),
    [
        (
            f"0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory.{AFTER}",
            ["cpu", "memory"],
            [],
            "It starts when a node has enough free CPUs and memory.",
        ),
        (
            f"0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 {SELECTOR}. no new claims,{AFTER}",
            ["nvidia.com/gpu"],
            [(2, SELECTOR)],
            "It starts when a node has enough free NVIDIA GPUs. Of 3 nodes, it cannot use 2 because of its node "
            "selector.",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: only}.",
            [],
            [(1, "node(s) had untolerated taint {gpu: only}")],
            "It starts when a node can take it. Of 1 node, it cannot use 1 because of a taint that it does not "
            "tolerate.",
        ),
        (
            "0/4 nodes are available: 1 Too many pods, 3 node(s) like <b>nobody</b>.",
            ["pods"],
            [(3, "node(s) like <b>nobody</b>")],
            "It starts when a node has enough free pods. Of 4 nodes, it cannot use 3 (node(s) like <b>nobody</b>).",
        ),
    ],
)
def test_kube_schedulers_message_becomes_fields(message: str, missing: Any, excluded: Any, told: str) -> None:
    status = with_nodes(queued(), message)
    assert [found.resource for found in status.missing] == missing
    assert list(status.excluded) == [ExcludedNodes(*one) for one in excluded]
    assert (status.code, status.message) == ("nodes", "")
    assert why(status) == told


@pytest.mark.parametrize(
    "message",
    [
        '0/1 nodes are available: persistentvolumeclaim "home" not found. not found',
        "0/3 nodes are available.",
        "no nodes available to schedule pods",
        "",
    ],
)
def test_a_message_of_another_form_is_shown_as_it_came(message: str) -> None:
    assert why(with_nodes(queued(), message)) == message
