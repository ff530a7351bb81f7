"""Golden files of whole notebooks and jobs: three schedulers in full, the others and the GPUs as differences."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import samples
from samples import Json, decide, notebook_pod, person, site_with

from jupyter_research_spawner.jobs import job, notebook, parse_submission
from jupyter_research_spawner.plan import Plan
from jupyter_research_spawner.pod import check, client_commands, compose, notices
from jupyter_research_spawner.schedulers import SCHEDULERS

IN_FULL = ("plain", "kueue", "volcano")
AS_DIFFERENCES = tuple(kind for kind in SCHEDULERS if kind not in IN_FULL)
OPTIONS: Json = {
    "queues": {"climate": {"kai": {"parent": "research"}, "yunikorn": {"queue": "root.research.climate"}}},
    "batch": {"url": "http://proxy-public/services/batch"},
    "pods": {"base": {"env": {"LANG": "C.UTF-8"}, "labels": {"example.edu/department": "physics"}}},
}


@pytest.fixture(autouse=True)
def one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_commands, "client_config_map_name", lambda: "research-client-of-this-version")
    monkeypatch.setattr(notices, "notices_config_map_name", lambda: "research-notices-of-this-version")


def decided(scheduler: str, kind: str, more: Json, **wishes: Any) -> Plan:
    plan = decide(site_with(samples.scheduler(scheduler), OPTIONS, GPUS, more), person("alice"), kind, **wishes)
    return replace(plan, site_digest="digest-of-the-settings", adoption_key="key-of-this-server" * (kind == "notebook"))


def sent(scheduler: str, kind: str, more: Json | None = None, **wishes: Any) -> Json:
    """What would be created, with `more` settings."""
    plan = decided(scheduler, kind, more or {}, **wishes)
    if kind == "notebook":
        composed = compose(plan, notebook_pod(), notebook.SLOTS)
        check(plan, composed, notebook.SLOTS)
        return composed
    asked = parse_submission({"command": ["python", "train.py"]}).request
    composed = compose(plan, job.manifest(plan, asked, site_with().batch), job.SLOTS)
    check(plan, composed, job.SLOTS)
    return composed


GPUS: Json = {
    "profiles": {
        "whole": {"like": "small", "title": "Whole", "gpu": {"kind": "whole", "count": 2}},
        "mig": {"like": "small", "title": "Slice", "gpu": {"kind": "mig", "resource": "nvidia.com/mig-1g.10gb"}},
        "shared": {"like": "small", "title": "Share", "gpu": {"kind": "shared"}},
        "numa": {"like": "small", "title": "One node", "numa": "single-node"},
    }
}
# Kinds that not every scheduler gives: the scheduler with its name, and the GPU.
OF_SCHEDULERS: dict[str, tuple[Json, Json]] = {
    "kai-fraction": ({"kind": "kai"}, {"kind": "kai-fraction", "fraction": 0.5, "count": 2}),
    "kai-memory": ({"kind": "kai"}, {"kind": "kai-fraction", "memory": "8Gi"}),
    "volcano-vgpu": ({"kind": "volcano"}, {"kind": "volcano-vgpu", "memory": "3Gi", "cores": 50, "mode": "hami-core"}),
    "hami": ({"kind": "plain", "name": "hami-scheduler"}, {"kind": "hami", "count": 2, "memory_percentage": 30}),
    "dra": ({"kind": "plain"}, {"kind": "dra", "device_class": "gpu.nvidia.com", "count": 2}),
}


@pytest.mark.parametrize("kind", ["notebook", "job"])
@pytest.mark.parametrize("scheduler", IN_FULL)
def test_in_full(scheduler: str, kind: str, golden: Callable[[str], Any]) -> None:
    assert sent(scheduler, kind) == golden(f"pod/{scheduler}/{kind}")


def leaves(found: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path; the plan's annotation is read, and lists that are not of maps stay whole."""
    if path.endswith("research-spawner/plan]"):
        found = json.loads(found)
    if isinstance(found, dict) and found:
        for key, below in found.items():
            step = f"[{key}]" if "/" in key or "." in key else f".{key}"
            yield from leaves(below, (path + step).lstrip("."))
    elif isinstance(found, list) and found and all(isinstance(item, dict) for item in found):
        for index, item in enumerate(found):
            yield from leaves(item, f"{path}[{item.get('name', index)}]")
    else:
        yield path, found


def differences(this: Json, that: Json) -> Json:
    """What `this` has otherwise than `that`: path to value; "-" for what it has not."""
    mine, theirs = dict(leaves(this)), dict(leaves(that))
    return {path: mine.get(path, "-") for path in sorted({*mine, *theirs}) if mine.get(path) != theirs.get(path)}


@pytest.mark.parametrize("kind", ["notebook", "job"])
@pytest.mark.parametrize("scheduler", AS_DIFFERENCES)
def test_as_differences_to_plain(scheduler: str, kind: str, golden: Callable[[str], Any]) -> None:
    assert differences(sent(scheduler, kind), sent("plain", kind)) == golden(f"pod/{scheduler}/{kind}-from-plain")


@pytest.mark.parametrize("profile", ["whole", "mig", "shared", "numa"])
@pytest.mark.parametrize("scheduler", ["plain", "volcano"])
def test_gpus_and_numa_as_differences_to_small(scheduler: str, profile: str, golden: Callable[[str], Any]) -> None:
    small = sent(scheduler, "notebook", profile="small")
    found = differences(sent(scheduler, "notebook", profile=profile), small)
    assert found == golden(f"pod/{scheduler}/notebook-{profile}-from-small")


@pytest.mark.parametrize("kind", ["notebook", "job"])
@pytest.mark.parametrize("gpu", OF_SCHEDULERS)
def test_gpus_of_one_scheduler_as_differences_to_none(gpu: str, kind: str, golden: Callable[[str], Any]) -> None:
    scheduler, written = OF_SCHEDULERS[gpu]
    more = {"scheduler": scheduler, "profiles": {gpu: {"like": "small", "title": "GPU", "gpu": written}}}
    without = sent(scheduler["kind"], kind, more, profile="small")
    found = differences(sent(scheduler["kind"], kind, more, profile=gpu), without)
    assert found == golden(f"pod/{scheduler['kind']}/{kind}-{gpu}-from-small")


@pytest.mark.parametrize("scheduler", [*IN_FULL, *AS_DIFFERENCES])
def test_notebook_and_job_are_the_same_person_in_the_same_queue(scheduler: str) -> None:
    pod = sent(scheduler, "notebook")
    template = sent(scheduler, "job")["spec"]["template"]
    for key in ("securityContext", "schedulerName", "priorityClassName", "tolerations"):
        assert template["spec"].get(key) == pod["spec"].get(key), key
    of_pod, of_job = pod["spec"]["containers"][0], template["spec"]["containers"][0]
    for key in ("securityContext", "resources", "image", "workingDir"):
        assert of_job[key] == of_pod[key], key

    def storage(container: Json) -> list[Json]:
        of_notebooks = ("research-client", "research-deadline", "research-notices")
        return [mount for mount in container["volumeMounts"] if mount["name"] not in of_notebooks]

    assert storage(of_job) == storage(of_pod)
    for name in ("passwd", "group", "groups"):
        key = f"research-spawner/{name}"
        assert template["metadata"]["annotations"][key] == pod["metadata"]["annotations"][key]
    for name in ("user", "uid", "gid", "queue", "profile"):
        key = f"research-spawner/{name}"
        assert template["metadata"]["labels"][key] == pod["metadata"]["labels"][key]


def test_a_job_is_no_server_and_has_no_key() -> None:
    found = sent("plain", "job")
    assert "research-spawner/request" not in json.dumps(found)
    assert "component" not in found["spec"]["template"]["metadata"]["labels"]
    assert "research-client" not in json.dumps(found)
