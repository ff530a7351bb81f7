"""Convert lists to the Table (meta.k8s.io/v1) that `kubectl get` requests."""

from __future__ import annotations

from collections.abc import Callable

from ..apimachinery.api_resources import EVENT, JOB, NODE, POD, Kind
from ..apimachinery.object_fields import Json, is_true

Column = tuple[str, Callable[[Json], object]]


def _ready(pod: Json) -> str:
    ready = sum(bool(status.get("ready")) for status in pod["status"].get("containerStatuses") or [])
    return f"{ready}/{len(pod['spec']['containers'])}"


def _status(pod: Json) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for status in pod["status"].get("containerStatuses") or []:
        for state in status["state"].values():
            if state.get("reason"):
                return str(state["reason"])
    return str(pod["status"].get("reason") or pod["status"].get("phase"))


def _restarts(pod: Json) -> int:
    return sum(status.get("restartCount", 0) for status in pod["status"].get("containerStatuses") or [])


def _involved(event: Json) -> str:
    involved = event.get("involvedObject") or {}
    return f"{involved.get('kind', '').lower()}/{involved.get('name')}"


_COLUMNS: dict[Kind, list[Column]] = {
    POD: [
        ("Ready", _ready),
        ("Status", _status),
        ("Restarts", _restarts),
        ("IP", lambda pod: pod["status"].get("podIP", "<none>")),
        ("Node", lambda pod: pod["spec"].get("nodeName", "<none>")),
    ],
    EVENT: [
        ("Type", lambda event: event.get("type")),
        ("Reason", lambda event: event.get("reason")),
        ("Object", _involved),
        ("Message", lambda event: event.get("message")),
    ],
    JOB: [
        ("Completions", lambda job: f"{job['status'].get('succeeded', 0)}/{job['spec'].get('completions') or 1}"),
    ],
    NODE: [("Status", lambda node: "Ready" if is_true(node, "Ready") else "NotReady")],
}


def table(kind: Kind, objects: list[Json], metadata: Json) -> Json:
    created: Column = ("Created At", lambda obj: obj["metadata"]["creationTimestamp"])
    name: Column = ("Name", lambda obj: obj["metadata"]["name"])
    columns = [name, *_COLUMNS.get(kind, []), created]
    definitions = [
        {
            "name": title,
            "type": "string",
            "format": "name" if title == "Name" else "",
            "description": title,
            "priority": 0,
        }
        for title, _ in columns
    ]
    rows = [
        {
            "cells": [cell(obj) for _, cell in columns],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]},
        }
        for obj in objects
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }
