"""Site: what a site may write, what is refused with which sentence, and the JSON schema of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, TypeAdapter
from samples import SITE_FILE, raw_site, site_with

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.identity.sources import SOURCES
from jupyter_research_spawner.resources import DraGpu
from jupyter_research_spawner.schedulers import SCHEDULERS
from jupyter_research_spawner.settings import Settings, SettingsError, merge, merge_values
from jupyter_research_spawner.settings.problems import Problem
from jupyter_research_spawner.site import Site, json_schema, load, validate
from jupyter_research_spawner.storage import IDENTITY_ENV, environment

Json = dict[str, Any]


@dataclass(frozen=True)
class Mistake:
    """Settings merged over the sample, what is said of them, and whether a JSON schema can see it."""

    over: Json
    path: str
    message: str
    in_schema: bool = False


def small(**fields: Any) -> Json:
    """The sample's profile that no other is like."""
    return {"profiles": {"a100": {"like": None, "images": {}}, "small": fields}}


def a100(**fields: Any) -> Json:
    return {"profiles": {"a100": fields}}


def with_gpu(scheduler: str, gpu: Json) -> Json:
    """The sample's GPU profile without its NUMA node, and another scheduler."""
    return {"scheduler": {"kind": scheduler}, **a100(gpu={"count": None, **gpu}, numa=None)}


def mount(**fields: Any) -> Json:
    return {"storage": {"mounts": {"more": {"claim": "more", **fields}}}}


def base(**fields: Any) -> Json:
    return {"pods": {"base": fields}}


def course(**fields: Any) -> Json:
    return {"classes": {"stats-101": fields}}


QUEUES = "backfill, climate, teaching"
DRA = DraGpu(kind="dra", device_class="gpu.nvidia.com")
WITH_DRA = [kind for kind, module in SCHEDULERS.items() if module.refuses_gpu(DRA, None) is None]
NO_NAME = "is not a valid name: use 1 to 63 lower-case letters, digits and dashes, for example stats-101"
HOW_LONG = "is not a valid duration. Use a whole number and a unit: 30s, 90m, 8h, 1h30m or 21d"
OVERLAP = "overlap, so one mount would hide the other. Choose paths that do not contain each other"
PATTERN = r"is not a valid key here. Expected pattern: ^[A-Za-z0-9][A-Za-z0-9.:-]*/([A-Za-z0-9._/:@-]*[/:@])?\*$"
NOT_OURS = "is reserved for the hub, a scheduler or Kubernetes; choose another key"

MISTAKES = {
    "an image that is a number": Mistake(
        small(images={"r": 3}), "profiles.small.images.r", 'must be text, but 3 is a number. Quote it: "3"', True
    ),
    "a map for an image without the image": Mistake(
        small(images={"r": {"title": "R"}}), "profiles.small.images.r.image", "is missing", True
    ),
    "an unknown key of an image": Mistake(
        small(images={"r": {"image": "r:1", "titel": "R"}}),
        "profiles.small.images.r.titel",
        "there is no such setting. Did you mean 'title'?",
        True,
    ),
    "a pattern for images of any registry": Mistake(
        small(other_images={"quay.io*": True}), "profiles.small.other_images.quay.io*", PATTERN, True
    ),
    "a link for help that is a script": Mistake(
        {"contact": {"url": "javascript:alert(1)"}},
        "contact.url",
        "has an invalid format. Example: 'https://support.example.edu/jupyter'. Expected pattern: ^https://[^\\s<>]+$",
        True,
    ),
    "a key that is almost one": Mistake(
        a100(wal_time="8h"),
        "profiles.a100.wal_time",
        "there is no such setting. Did you mean 'wall_time'?",
        in_schema=True,
    ),
    "an unknown key at the top": Mistake(
        {"storge": {}}, "storge", "there is no such setting. Did you mean 'storage'?", in_schema=True
    ),
    "an option of another scheduler's queue": Mistake(
        {"queues": {"climate": {"slurm-bridge": {"partion": "gpu"}}}},
        "queues.climate.slurm-bridge.partion",
        "there is no such setting. Did you mean 'partition'?",
        in_schema=True,
    ),
    "CPUs in words": Mistake(
        a100(cpu="16 cores"),
        "profiles.a100.cpu",
        "'16 cores' is not a valid number of CPUs. Use for example 2, 0.5 or '500m'",
        in_schema=True,
    ),
    "CPUs that are true": Mistake(
        a100(cpu=True),
        "profiles.a100.cpu",
        "true is not a valid number of CPUs. Use for example 2, 0.5 or '500m'",
        in_schema=True,
    ),
    "memory without a unit": Mistake(
        a100(memory=4),
        "profiles.a100.memory",
        "4 must be between 1Mi and 1024Ti. Is the unit missing? Use for example 4Gi or 500Mi",
        in_schema=True,
    ),
    "memory as a list": Mistake(
        a100(memory=["4Gi"]),
        "profiles.a100.memory",
        "['4Gi'] is not a valid amount of memory. Use a whole number and a unit: 4Gi or 500Mi",
        in_schema=True,
    ),
    "memory in GB": Mistake(
        a100(memory="4GB"),
        "profiles.a100.memory",
        "'4GB' is not a valid amount of memory. Use a whole number and a unit: 4Gi or 500Mi",
        in_schema=True,
    ),
    "wall time in ISO 8601": Mistake(
        a100(wall_time="PT24H"), "profiles.a100.wall_time", f"'PT24H' {HOW_LONG}", in_schema=True
    ),
    "wall time in seconds": Mistake(
        a100(wall_time=28800),
        "profiles.a100.wall_time",
        "28800 has no unit. Write 8h for 28800 seconds, or 28800m for minutes (YAML reads 8:00:00 as 28800)",
        in_schema=True,
    ),
    "wall time of nothing": Mistake(
        a100(wall_time="0h"), "profiles.a100.wall_time", "'0h' must be between one second and ten years"
    ),
    "a hard wall time before the soft one": Mistake(
        a100(wall_time_hard="23h"),
        "profiles.a100.wall_time_hard",
        "wall_time_hard must not be shorter than wall_time",
    ),
    "no wall time": Mistake(small(wall_time=None), "profiles.small.wall_time", "is missing", in_schema=True),
    "a profile's queue that is none": Mistake(
        a100(queue="nope", queues=None), "profiles.a100.queue", f"'nope' is not in queues. Allowed values: {QUEUES}"
    ),
    "one of a profile's queues that is none": Mistake(
        a100(queues={"nope": True}), "profiles.a100.queues.nope", f"'nope' is not in queues. Allowed values: {QUEUES}"
    ),
    "a profile's queue that is not among its queues": Mistake(
        a100(queue="teaching"), "profiles.a100.queue", "'teaching' is not in the queues of this profile"
    ),
    "a queue's priority that is none": Mistake(
        {"queues": {"climate": {"priority": "urgent"}}},
        "queues.climate.priority",
        "'urgent' is not in priorities. Allowed values: high, low, normal",
    ),
    "a class in a queue that is none": Mistake(
        course(queue="nope"), "classes.stats-101.queue", f"'nope' is not in queues. Allowed values: {QUEUES}"
    ),
    "a class with a profile that is none": Mistake(
        course(profile="nope"), "classes.stats-101.profile", "'nope' is not in profiles. Allowed values: a100, small"
    ),
    "a class whose roster may not use its queue": Mistake(
        course(queue="climate"),
        "classes.stats-101.queue",
        "the class may not use queue 'climate'. Set queues.climate.classes: {stats-101: true}",
    ),
    "a class whose roster may not use its profile": Mistake(
        {**course(profile="a100"), **a100(queues=None)},
        "classes.stats-101.profile",
        "the class may not use profile 'a100'. Set profiles.a100.classes: {stats-101: true}",
    ),
    "a class whose roster is switched off in its queue": Mistake(
        {"queues": {"teaching": {"groups": {"stats101-f26": False}}}},
        "classes.stats-101.queue",
        "the class may not use queue 'teaching'. Set queues.teaching.classes: {stats-101: true}",
    ),
    "a class whose profile does not allow its queue": Mistake(
        {**course(profile="a100"), **a100(groups=None)},
        "classes.stats-101.queue",
        "profile 'a100' does not allow queue 'teaching'",
    ),
    "a class that ends before it begins": Mistake(
        course(since="2027-01-01"), "classes.stats-101.until", "must not be earlier than `since`"
    ),
    "a day as a number": Mistake(
        course(until=20261220),
        "classes.stats-101.until",
        "20261220 is not a valid date. Use the format year-month-day: 2026-12-20",
        in_schema=True,
    ),
    "a day with an hour": Mistake(
        course(until="2026-12-20T00:00:00"),
        "classes.stats-101.until",
        "'2026-12-20T00:00:00' is not a valid date. Use the format year-month-day: 2026-12-20",
    ),
    "a moment for a day": Mistake(
        course(until=datetime(2026, 12, 20)),
        "classes.stats-101.until",
        "2026-12-20T00:00:00 is not a valid date. Use the format year-month-day: 2026-12-20",
    ),
    "two mounts on one path": Mistake(
        mount(path="/data/era5"),
        "storage.mounts.more.path",
        f"mounts.more.path (/data/era5) and mounts.era5.path (/data/era5) {OVERLAP}",
    ),
    "a mount above another": Mistake(
        mount(path="/data"),
        "storage.mounts.more.path",
        f"mounts.more.path (/data) and mounts.era5.path (/data/era5) {OVERLAP}",
    ),
    "a mount in the homes": Mistake(
        mount(path="/home/more"),
        "storage.mounts.more.path",
        f"mounts.more.path (/home/more) and homes.main.root (/home) {OVERLAP}",
    ),
    "a mount over the image's programs": Mistake(
        mount(path="/usr/local"),
        "storage.mounts.more.path",
        "'/usr/local' is in the image's directory /usr, whose files a mount would hide. Choose another path",
    ),
    "a mount that climbs": Mistake(
        mount(path="/data/../etc"),
        "storage.mounts.more.path",
        "'/data/../etc' is not a normalized absolute path. Write it as `realpath` prints it: /project/climate",
    ),
    "a token in a mount's path": Mistake(
        mount(path="/data/{user}"),
        "storage.mounts.more.path",
        "'/data/{user}' cannot be a mount path. It must not be / or contain spaces, control characters or : { } $",
    ),
    "NUMA with half a CPU": Mistake(
        a100(cpu=2.5),
        "profiles.a100.numa",
        "single-node needs whole CPUs, but cpu is 2500m. The kubelet pins only pods with whole CPUs. "
        "Write cpu: 3, or leave numa out",
    ),
    "two default priorities": Mistake(
        {"priorities": {"low": {"default": True}}},
        "priorities",
        "exactly one priority must have default: true, but low and normal have it",
    ),
    "no default priority": Mistake(
        {"priorities": {"normal": {"default": False}}},
        "priorities",
        "exactly one priority must have default: true, but none has it",
    ),
    "two priorities of one class": Mistake(
        {"priorities": {"low": {"class": "research-high"}}},
        "priorities.high.class",
        "PriorityClass 'research-high' already belongs to priority 'low'",
    ),
    "a priority that is true": Mistake(
        {"priorities": {"low": {"value": True}}},
        "priorities.low.value",
        "must be a whole number, not true",
        in_schema=True,
    ),
    "an order that is true": Mistake(
        {"queues": {"climate": {"order": True}}},
        "queues.climate.order",
        "must be a whole number, not true",
        in_schema=True,
    ),
    "a group that is 'yes'": Mistake(
        {"queues": {"climate": {"groups": {"climate": "yes"}}}},
        "queues.climate.groups.climate",
        "must be a boolean (true or false), not 'yes'",
        in_schema=True,
    ),
    "a group that is 1": Mistake(
        a100(groups={"climate": 1}),
        "profiles.a100.groups.climate",
        "must be a boolean (true or false), not 1",
        in_schema=True,
    ),
    "groups as a list": Mistake(
        a100(groups=["climate"]), "profiles.a100.groups", "must be a map (key: value), not a list", in_schema=True
    ),
    "a MIG slice without its name": Mistake(
        a100(gpu={"kind": "mig"}),
        "profiles.a100.gpu",
        "kind mig needs the name of the slice: resource: nvidia.com/mig-1g.10gb",
        in_schema=True,
    ),
    "two shares of one GPU": Mistake(
        a100(gpu={"kind": "shared", "count": 2}),
        "profiles.a100.gpu",
        "kind shared requires count: 1, because a higher count does not give a larger share of the device",
        in_schema=True,
    ),
    "an unknown kind of GPU": Mistake(
        a100(gpu={"kind": "half"}),
        "profiles.a100.gpu",
        "kind of a GPU must be one of whole, mig, shared, kai-fraction, volcano-vgpu, hami, dra",
        in_schema=True,
    ),
    "a part of a whole GPU": Mistake(
        a100(gpu={"kind": "whole", "fraction": 0.5}),
        "profiles.a100.gpu.fraction",
        "there is no such setting. Allowed keys: count, kind, resource, title",
        in_schema=True,
    ),
    "two kinds of GPU": Mistake(
        a100(gpu=[{"kind": "whole"}, {"kind": "shared"}]),
        "profiles.a100.gpu",
        "kind of a GPU must be one of whole, mig, shared, kai-fraction, volcano-vgpu, hami, dra",
        in_schema=True,
    ),
    "a part of a GPU by two measures": Mistake(
        with_gpu("kai", {"kind": "kai-fraction", "fraction": 0.5, "memory": "8Gi"}),
        "profiles.a100.gpu",
        "kind kai-fraction needs either fraction or memory, for example 'fraction: 0.5' or 'memory: 8Gi'",
        in_schema=True,
    ),
    "more than a GPU as its part": Mistake(
        with_gpu("kai", {"kind": "kai-fraction", "fraction": 1.5}),
        "profiles.a100.gpu.fraction",
        "1.5 is not between 0 and 1. For whole GPUs use kind: whole with a count",
        in_schema=True,
    ),
    "a device class that cannot be one": Mistake(
        with_gpu("plain", {"kind": "dra", "device_class": "GPU"}),
        "profiles.a100.gpu.device_class",
        "has an invalid format. Example: 'gpu.nvidia.com'. Expected pattern: ^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        in_schema=True,
    ),
    "a part of a GPU without KAI": Mistake(
        with_gpu("kueue", {"kind": "kai-fraction", "fraction": 0.5}),
        "profiles.a100.gpu.kind",
        "scheduler.kind kueue does not provide GPUs of kind 'kai-fraction': this scheduler does not support such GPUs. "
        "Values of scheduler.kind that provide them: kai",
    ),
    "a virtual GPU without Volcano": Mistake(
        with_gpu("kai", {"kind": "volcano-vgpu"}),
        "profiles.a100.gpu.kind",
        "scheduler.kind kai does not provide GPUs of kind 'volcano-vgpu': this scheduler does not support such GPUs. "
        "Values of scheduler.kind that provide them: volcano",
    ),
    "HAMi without its scheduler": Mistake(
        with_gpu("plain", {"kind": "hami"}),
        "profiles.a100.gpu.kind",
        "scheduler.kind plain does not provide GPUs of kind 'hami': only HAMi's scheduler provides such GPUs. "
        "Set scheduler.name to the name of HAMi's scheduler",
    ),
    "a claim under YuniKorn": Mistake(
        with_gpu("yunikorn", {"kind": "dra", "device_class": "gpu.nvidia.com"}),
        "profiles.a100.gpu.kind",
        "scheduler.kind yunikorn does not provide GPUs of kind 'dra': YuniKorn has no dynamic resource allocation, so "
        f"no claim would ever be allocated. Values of scheduler.kind that provide them: {', '.join(WITH_DRA)}",
    ),
    "a claim in Slurm": Mistake(
        with_gpu("slurm-bridge", {"kind": "dra", "device_class": "gpu.nvidia.com"}),
        "profiles.a100.gpu.kind",
        "scheduler.kind slurm-bridge does not provide GPUs of kind 'dra': slurm-bridge rejects every pod with "
        "resourceClaims, because slurm-bridge itself creates the claims. Use "
        "{kind: whole, resource: deviceclass.resource.kubernetes.io/gpu.nvidia.com} instead. "
        f"Values of scheduler.kind that provide them: {', '.join(WITH_DRA)}",
    ),
    "a GPU on one NUMA node that no kubelet sees": Mistake(
        {"scheduler": {"kind": "kai"}, **a100(gpu={"kind": "kai-fraction", "fraction": 0.5})},
        "profiles.a100.numa",
        "single-node cannot be used with a GPU of kind kai-fraction, because the kubelet aligns only devices "
        "of device plugins. Leave numa out, or use kind whole, mig or shared",
    ),
    "all GPUs of a node by environment": Mistake(
        base(env={"NVIDIA_VISIBLE_DEVICES": "all"}),
        "pods.base.env.NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES is not allowed, because it gives access to GPUs without a queue. Use "
        "profiles.<name>.gpu",
    ),
    "a name in capitals": Mistake({"queues": {"Climate": {}}}, "queues.Climate", NO_NAME, in_schema=True),
    "a name with a dot": Mistake({"queues": {"root.climate": {}}}, "queues.root.climate", NO_NAME, in_schema=True),
    "a name with a newline": Mistake({"queues": {"climate\n": {}}}, "queues.climate\n", NO_NAME),
    "a name of 64 letters": Mistake({"queues": {"q" * 64: {}}}, f"queues.{'q' * 64}", NO_NAME, in_schema=True),
    "an unknown scheduler": Mistake(
        {"scheduler": {"kind": "slurm"}},
        "scheduler.kind",
        f"unknown kind 'slurm'. Allowed values: {', '.join(SCHEDULERS)}",
        in_schema=True,
    ),
    "an unknown kind of source": Mistake(
        {"identity": {"sources": {"people": {"kind": "lap"}}}},
        "identity.sources.people",
        f"kind is missing or unknown. Allowed kinds of sources: {', '.join(sorted(SOURCES))}",
        in_schema=True,
    ),
    "like a profile that is none": Mistake(
        a100(like="smal"), "profiles.a100.like", "'smal' does not exist. Existing names: a100, small"
    ),
    "profiles that are like each other": Mistake(
        {"profiles": {"small": {"like": "a100"}}}, "profiles.a100.like", "is a cycle: small -> a100 -> small"
    ),
    "a label of ours": Mistake(
        base(labels={"research-spawner/uid": "0"}),
        "pods.base.labels.research-spawner/uid",
        f"'research-spawner/uid' {NOT_OURS}",
    ),
    "a label that queues": Mistake(
        base(labels={"kueue.x-k8s.io/queue-name": "backfill"}),
        "pods.base.labels.kueue.x-k8s.io/queue-name",
        f"'kueue.x-k8s.io/queue-name' {NOT_OURS}",
    ),
    "a label that queues elsewhere": Mistake(
        base(labels={"kai.scheduler/queue": "fast"}),
        "pods.base.labels.kai.scheduler/queue",
        f"'kai.scheduler/queue' {NOT_OURS}",
    ),
    "an annotation of Kubernetes": Mistake(
        base(annotations={"seccomp.security.alpha.k8s.io/pod": "unconfined"}),
        "pods.base.annotations.seccomp.security.alpha.k8s.io/pod",
        f"'seccomp.security.alpha.k8s.io/pod' {NOT_OURS}",
    ),
    "a label that makes a job a server": Mistake(
        base(labels={"component": "singleuser-server"}), "pods.base.labels.component", f"'component' {NOT_OURS}"
    ),
    "a label whose value cannot be one": Mistake(
        base(labels={"team": "a team"}),
        "pods.base.labels.team",
        "has an invalid format. Example: 'true'. Expected pattern: ^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
        in_schema=True,
    ),
    "the hub's environment": Mistake(
        base(env={"JUPYTERHUB_API_TOKEN": "x"}),
        "pods.base.env.JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_API_TOKEN is reserved for the hub or this spawner; choose another name",
    ),
    "the person's environment": Mistake(
        base(env={"HOME": "/root"}),
        "pods.base.env.HOME",
        "HOME is reserved for the hub or this spawner; choose another name",
    ),
    "environment that changes names": Mistake(
        base(env={"LD_PRELOAD": "libnss_wrapper.so"}),
        "pods.base.env.LD_PRELOAD",
        "LD_PRELOAD is not allowed, because it could make programs believe that they run as another user",
    ),
    "environment that is a list": Mistake(
        base(env={"OMP_NUM_THREADS": [4]}),
        "pods.base.env.OMP_NUM_THREADS",
        "must be text, not a list",
        in_schema=True,
    ),
    "an image with a newline": Mistake(
        {"batch": {"images": {"default": "busybox\nevil"}}},
        "batch.images.default",
        "has an invalid format. Example: 'quay.io/jupyter/minimal-notebook:2026-10-01'. Expected pattern: "
        "^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$",
        in_schema=True,
    ),
    "a batch service without http": Mistake(
        {"batch": {"url": "javascript:alert(1)"}},
        "batch.url",
        "has an invalid format. Example: 'http://proxy-public/services/batch'. Expected pattern: "
        r"^https?://[^\s?#]+[^/\s?#]$",
        in_schema=True,
    ),
    "a claim with more than access": Mistake(
        {"pods": {"allow": {"claims": {"software": "rwx"}}}},
        "pods.allow.claims.software",
        "must be 'ro' or 'rw'",
        in_schema=True,
    ),
    "no profiles": Mistake({"profiles": None, "classes": None}, "profiles", "is missing", in_schema=True),
    "a profile that is text": Mistake(
        {"profiles": {"tiny": "small"}},
        "profiles.tiny",
        "must be a map (key: value) with cpu, memory, title and wall_time, not 'small'",
        in_schema=True,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_path_and_what_would_be_right(mistake: Mistake) -> None:
    with pytest.raises(SettingsError) as refused:
        load(SITE_FILE, mistake.over)
    assert Problem(mistake.path, mistake.message) in refused.value.problems
    assert {problem.path for problem in refused.value.problems} == {mistake.path}


def as_json(settings: Any) -> Any:
    """What a chart hands on: YAML's days are text there."""
    return json.loads(json.dumps(settings, default=str))


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    found = json_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_the_schema_refuses_what_a_schema_can_see(mistake: Mistake, schema: jsonschema.Draft202012Validator) -> None:
    assert schema.is_valid(as_json(merge(raw_site(), mistake.over))) != mistake.in_schema


def test_the_schema_takes_the_sample_as_it_is_written(schema: jsonschema.Draft202012Validator) -> None:
    written = as_json(raw_site())
    assert "like" in written["profiles"]["a100"]
    assert list(schema.iter_errors(written)) == []


@pytest.mark.parametrize("given", [{"like": "small", "title": "Tiny"}, {"like": "small", "title": "Tiny", "cpu": 1}])
def test_a_profile_like_another_needs_only_a_title(given: Json, schema: jsonschema.Draft202012Validator) -> None:
    settings = merge(as_json(raw_site()), {"profiles": {"tiny": given}})
    assert schema.is_valid(settings)
    assert load(settings).profiles["tiny"].title == "Tiny"


@pytest.mark.parametrize("given", [{"like": "small"}, {"title": "Tiny"}, {"title": "Tiny", "cpu": 1, "memory": "1Gi"}])
def test_a_profile_without_what_it_needs_is_refused_by_both(
    given: Json, schema: jsonschema.Draft202012Validator
) -> None:
    settings = merge(as_json(raw_site()), {"profiles": {"tiny": given}})
    assert not schema.is_valid(settings)
    with pytest.raises(SettingsError, match="is missing"):
        load(settings)


@pytest.mark.parametrize("text", ["8h", "21d", "90m", "30s", "8h30m"])
def test_durations_are_what_the_files_say_in_the_schema_too(text: str) -> None:
    pattern = json_schema()["$defs"]["Profile"]["properties"]["wall_time"]["pattern"]
    assert re.search(pattern, text)
    assert not any(re.search(pattern, other) for other in ("P1D", "8", "8 h", "1.5h", "-8h", "30m8h"))


def test_the_sample_means_what_it_says() -> None:
    site = site_with()
    a100 = site.profiles["a100"]
    assert (a100.title, a100.order, a100.groups) == ("A100, one NUMA node", 2, {"climate": True})
    assert a100.images == site.profiles["small"].images == {"default": "quay.io/jupyter/scipy-notebook:2026-10-01"}
    assert (a100.wall_time, a100.hard) == (timedelta(hours=24), timedelta(hours=24))
    assert site.batch.wall_time_hard == timedelta(days=21)
    assert site.classes["stats-101"].until == date(2026, 12, 20)
    assert site.queues["backfill"].order == 100
    assert site.default_priority == "normal"
    assert site.priority_class("low") == "research-low"
    assert site.pod_fields["small"].tolerations == [{"key": "research", "operator": "Exists"}]


def test_several_files_are_one_site(tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text(
        yaml.safe_dump(
            {
                "queues": {"climate": {"groups": {"oceans": True}}, "teaching": {"share": 3}},
                "profiles": {"a100": {"wall_time": "12h", "order": None}, "large": {"like": "a100", "title": "Large"}},
                "classes": {"stats-101": None},
            }
        )
    )
    site = load(SITE_FILE, more, {"profiles": {"a100": {"cpu": 8}}})
    assert site.queues["climate"].groups == {"climate": True, "oceans": True}
    assert (site.queues["teaching"].share, site.queues["teaching"].order) == (3, 2)
    assert site.classes == {}
    # `like` looks at what all files together made of a100, and inherits neither its title nor its order.
    large = site.profiles["large"]
    assert (large.cpu, large.wall_time, large.title, large.order) == (8, timedelta(hours=12), "Large", 100)
    assert site.profiles["a100"].order == 100


def test_like_reaches_a_profile_of_a_later_file() -> None:
    site = load({**raw_site(), "profiles": {"tiny": {"title": "Tiny", "like": "small", "cpu": 1}}}, raw_site())
    assert site.profiles["tiny"].memory == site.profiles["small"].memory


def test_a_queue_among_a_profile_s_own_and_a_class_with_a_first_day_are_right() -> None:
    site = load(
        SITE_FILE,
        {
            "profiles": {
                "a100": None,
                "small": {"queue": "teaching", "queues": {"teaching": True, "backfill": True}},
                "tiny": {"like": "small", "title": "Tiny", "queue": "backfill", "queues": {}},
            },
            "classes": {"stats-101": {"since": "2026-09-01"}},
        },
    )
    assert site.profiles["tiny"].queue == "backfill"
    assert site.classes["stats-101"].since == date(2026, 9, 1)


def test_null_deletes_a_key_after_like_has_copied_it() -> None:
    """In the file of the profile, in a later file, and in the one map that helm makes of several files."""
    more = {"profiles": {"cheap": {"like": "a100", "title": "Cheap", "numa": None, "gpu": None}}}
    one = load(SITE_FILE, more)
    assert (one.profiles["cheap"].gpu, one.profiles["cheap"].cpu) == (None, 16)
    gpu = {"profiles": {"cheap": {"gpu": {"kind": "whole", "count": 2}}}}
    assert load(merge_values(raw_site(), gpu, more)).profiles == load(SITE_FILE, gpu, more).profiles == one.profiles
    site = load(SITE_FILE, {"profiles": {"a100": {"images": {"r": "r"}}}}, {"profiles": {"a100": {"images": None}}})
    assert site.profiles["a100"].images == {}
    # A profile like one whose key is deleted does not get the key either; a third file can set it again.
    chain = {"profiles": {"other": {"like": "cheap", "title": "Other"}}}
    assert load(SITE_FILE, more, chain).profiles["other"].gpu is None
    assert load(SITE_FILE, more, chain, gpu).profiles["other"].gpu == load(SITE_FILE, more, gpu).profiles["cheap"].gpu
    with pytest.raises(SettingsError, match=r"profiles\.other\.like: 'cheap' does not exist"):
        load(SITE_FILE, more, chain, {"profiles": {"cheap": None}})


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load(SITE_FILE, {"profiles": {"small": {"cpu": "2 cores"}, "a100": {"memory": 4}}, "storge": {}})
    paths = [problem.path for problem in refused.value.problems]
    assert sorted(paths) == ["profiles.a100.memory", "profiles.small.cpu", "storge"]


def test_what_a_site_writes_and_reads_back_is_the_same() -> None:
    site = site_with()
    assert validate(as_json(site.model_dump(mode="json", by_alias=True, exclude_none=True))) == site


def test_the_digest_tells_settings_apart_and_nothing_else() -> None:
    site = site_with()
    assert site.digest == site_with({}).digest
    assert site.digest != site_with({"profiles": {"small": {"cpu": 3}}}).digest


def test_one_profile_s_pod_fields_are_over_the_site_s() -> None:
    gpu, research = {"key": "gpu", "operator": "Exists"}, {"key": "research", "operator": "Exists"}
    site = site_with(
        {
            "pods": {
                "base": {
                    "dnsPolicy": "Default",
                    "nodeSelector": {"zone": "a", "arch": "amd64"},
                    "env": {"LANG": "C", "TZ": "UTC"},
                }
            },
            "profiles": {
                "small": {
                    "pod": {
                        "dnsPolicy": "None",
                        "nodeSelector": {"zone": "b"},
                        "env": {"TZ": "Europe/Zurich"},
                        "tolerations": [
                            {"key": "gpu", "operator": "Exists"},
                            {"key": "research", "operator": "Exists"},
                        ],
                    }
                }
            },
        }
    )
    fields = site.pod_fields["small"]
    assert fields.spec() == {
        "dnsPolicy": "None",
        "nodeSelector": {"zone": "b", "arch": "amd64"},
        "tolerations": [research, gpu],
    }
    assert fields.env == {"LANG": "C", "TZ": "Europe/Zurich"}


def test_numbers_and_booleans_in_env_become_text() -> None:
    env = {"OMP_NUM_THREADS": 2, "DEBUG": True, "HALF": 0.5, "BIG": 1e6}
    site = site_with({"pods": {"base": {"env": env}}})
    assert site.pods.base.env == {"OMP_NUM_THREADS": "2", "DEBUG": "true", "HALF": "0.5", "BIG": "1000000"}


def test_the_names_that_a_site_may_not_set_are_those_that_an_identity_sets(alice: PosixIdentity) -> None:
    assert tuple(environment(alice)) == IDENTITY_ENV


def models(at: Any, seen: set[type[Settings]]) -> Iterator[type[Settings]]:
    """Every settings model below `at`, whatever it is wrapped in."""
    if isinstance(at, type) and issubclass(at, BaseModel) and at not in seen:
        assert issubclass(at, Settings), f"{at} does not refuse unknown keys"
        seen.add(at)
        yield at
        for field in at.model_fields.values():
            yield from models(field.annotation, seen)
    for below in get_args(at):
        yield from models(below, seen)


EVERY_MODEL = sorted(models(Site, set()), key=lambda model: (model.__module__, model.__name__))
EVERY_FIELD = [
    pytest.param(model, name, id=f"{model.__module__.rpartition('.')[2]}.{model.__name__}.{name}")
    for model in EVERY_MODEL
    for name in model.model_fields
]


def test_the_walk_finds_the_settings_of_every_room() -> None:
    names = {model.__name__ for model in EVERY_MODEL}
    assert names >= {"Site", "Queue", "QueueOptions", "Profile", "PodFields", "Username", "Options", "Checks", "Home"}
    assert len([model for model in EVERY_MODEL if model.__name__ == "QueueOptions"]) == len(SCHEDULERS)


@pytest.mark.parametrize("model", EVERY_MODEL, ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_every_model_explains_itself(model: type[Settings]) -> None:
    assert model.__doc__


@pytest.mark.parametrize(("model", "name"), EVERY_FIELD)
def test_every_setting_has_a_title_and_examples_that_are_right(model: type[Settings], name: str) -> None:
    field = model.model_fields[name]
    assert field.title
    wanted: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    for example in field.examples or []:
        TypeAdapter(wanted).validate_python(example)


def test_json_schema_writes_default_durations_as_a_site_does() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["Batch"]["properties"]["wall_time_hard"]["default"] == "21d"
    assert definitions["Hub"]["properties"]["boot_limit"]["default"] == "10m"
