"""Whatever base pod or hook came in: the pod that is sent is the person's everywhere, or nothing is sent."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from samples import IMAGE, Json, decide, notebook_pod, person, scheduler, site_with

from jupyter_research_spawner.jobs.notebook import SLOTS as NOTEBOOK
from jupyter_research_spawner.plan import Plan
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import SCHEDULERS
from jupyter_research_spawner.shape import Slots, Template

JOB = Slots((Template(("spec", "template"), "job"),))
NOTEBOOKS = [decide(site_with(scheduler(kind)), person("alice")) for kind in SCHEDULERS]
NUMA = decide(site_with(), person("alice"), profile="a100")
JOBS = [decide(site_with(scheduler(kind)), person("alice"), "job") for kind in SCHEDULERS]
BARE_JOB: Json = {"spec": {"template": {"spec": {"containers": [{"name": "job", "image": IMAGE}]}}}}


# What Kubernetes makes of a manifest, written down without a look at our own code.


def pod_spec(manifest: Json) -> Json:
    spec: Json = manifest["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def every_container(spec: Json) -> Iterator[Json]:
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(sort) or []


def who_runs(manifest: Json) -> set[tuple[Any, Any, frozenset[Any], bool]]:
    """uid, gid, groups and "could become another" of each container, as the kubelet works them out."""
    spec = pod_spec(manifest)
    of_pod = spec.get("securityContext") or {}
    groups = {*(of_pod.get("supplementalGroups") or [])}
    if of_pod.get("fsGroup") is not None:
        groups.add(of_pod["fsGroup"])
    if of_pod.get("supplementalGroupsPolicy") != "Strict":
        groups.add("the image's")
    if spec.get("hostUsers") is False:
        groups.add("another user namespace's")
    found = set()
    for container in every_container(spec):
        own = container.get("securityContext") or {}
        uid = own["runAsUser"] if own.get("runAsUser") is not None else of_pod.get("runAsUser", "the image's")
        gid = own["runAsGroup"] if own.get("runAsGroup") is not None else of_pod.get("runAsGroup", "the image's")
        could = bool(own.get("privileged")) or own.get("allowPrivilegeEscalation") is not False
        could |= bool((own.get("capabilities") or {}).get("add"))
        # 1 and True are equal to Python: their types are told, too.
        found.add(((type(uid), uid), (type(gid), gid), frozenset(groups), could))
    return found


def what_is_seen(manifest: Json) -> set[tuple[Any, ...]]:
    """Each mount (of a projected volume each source): what, where, which part of it, whether it can be written."""
    spec = pod_spec(manifest)
    sources: dict[str, set[tuple[str, Any]]] = {}
    for volume in spec.get("volumes") or []:
        for kind in {key for key, value in volume.items() if value is not None} - {"name"}:
            claim = volume[kind].get("claimName") if kind == "persistentVolumeClaim" else None
            parts = volume[kind].get("sources") or [] if kind == "projected" else []
            sources[volume["name"]] = {(of, None) for part in parts for of in part} or {(kind, claim)}
    return {
        (*source, mount["mountPath"], mount.get("subPath"), not mount.get("readOnly"))
        for container in every_container(spec)
        for mount in container.get("volumeMounts") or []
        for source in sources[mount["name"]]
    }


def tokens(manifest: Json) -> list[Any]:
    """Whatever would give the person rights in the cluster, or what is the node's."""
    spec = pod_spec(manifest)
    fields = ("serviceAccountName", "serviceAccount", "nodeName", "hostNetwork", "hostPID", "hostIPC")
    found = [spec[field] for field in fields if spec.get(field)]
    if spec.get("automountServiceAccountToken") is not False:
        found.append("automountServiceAccountToken")
    return found


def is_alices(plan: Plan, manifest: Json) -> None:
    groups = frozenset(plan.identity.supplementary_gids)
    assert who_runs(manifest) == {((int, plan.identity.uid), (int, plan.identity.gid), groups, False)}
    granted = {("persistentVolumeClaim", m.claim, m.path, None, not m.read_only) for m in plan.mounts}
    seen = {mount for mount in what_is_seen(manifest) if mount[0] not in ("emptyDir", "configMap", "downwardAPI")}
    assert seen == granted
    for name in ("passwd", "group"):
        over = [mount for mount in what_is_seen(manifest) if mount[2].rstrip("/") == f"/etc/{name}"]
        assert over == [("downwardAPI", None, f"/etc/{name}", name, False)]
    assert tokens(manifest) == []


# What comes in.

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 3) | st.sampled_from([20001, 20500, 2**63, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False) | st.just(20001.0),
    st.text(max_size=4) | st.sampled_from(["ALL", "Strict", "Merge", "root", "/etc", "home", "notebook", "job"]),
)
anything = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=6,
)

VOLUMES: list[Json] = [
    {"name": "x", "emptyDir": {}},
    {"name": "x", "hostPath": {"path": "/"}},
    {"name": "x", "persistentVolumeClaim": {"claimName": "home"}},
    {"name": "x", "persistentVolumeClaim": {"claimName": "bobs"}},
    {"name": "x", "secret": {"secretName": "hub"}},
    {"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    {"name": "research-accounts", "configMap": {"name": "passwd"}},
    {"name": "research-claim-home", "hostPath": {"path": "/home"}},
]
MOUNTS: list[Json] = [
    {"name": name, "mountPath": path, **more}
    for name in ("x", "research-claim-home", "research-claim-era5", "research-accounts")
    for path in ("/mnt", "/etc", "/etc/./passwd", "/etc/passwd", "/home", "/data/era5")
    for more in ({}, {"subPath": "bob"}, {"readOnly": True}, {"subPathExpr": "$(WHO)"})
]
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "runAsUser": st.sampled_from([0, 20001, 20002, True, 20001.0, "20001", None]),
        "runAsGroup": st.sampled_from([0, 20001, 100, None]),
        "runAsNonRoot": st.sampled_from([True, False, None, 1]),
        "allowPrivilegeEscalation": st.sampled_from([True, False, None]),
        "privileged": st.sampled_from([True, False, None]),
        "capabilities": st.sampled_from([{}, {"add": ["SYS_ADMIN"]}, {"drop": ["ALL"]}, {"drop": []}, None]),
        "supplementalGroups": st.sampled_from([[], [20500, 20602], [20602, 20500, 20500], [20500], [0], None]),
        "supplementalGroupsPolicy": st.sampled_from(["Strict", "Merge", None]),
        "fsGroup": st.sampled_from([100, None]),
        "seLinuxOptions": st.just({"type": "spc_t"}),
    },
)
CONTAINERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["notebook", "job", "proxy", "block-cloud-metadata"])},
    optional={
        "image": st.just(IMAGE),
        "securityContext": CONTEXTS | anything,
        "volumeMounts": st.lists(st.sampled_from(MOUNTS), max_size=2) | anything,
        "env": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["HOME", "LD_PRELOAD", "A"])}, optional={"value": st.text()}
            ),
            max_size=2,
        )
        | anything,
        "envFrom": st.just([{"secretRef": {"name": "hub"}}]) | anything,
        "resources": st.just({"limits": {"cpu": 1, "memory": "1Gi"}}) | anything,
        "lifecycle": anything,
        "ports": anything,
        "restartPolicy": st.just("Always"),
    },
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "containers": st.lists(CONTAINERS, max_size=3) | anything,
    "initContainers": st.lists(CONTAINERS, max_size=2) | anything,
    "ephemeralContainers": st.lists(CONTAINERS, max_size=1) | anything,
    "volumes": st.lists(st.sampled_from(VOLUMES), max_size=2) | anything,
    "securityContext": CONTEXTS | anything,
    "hostNetwork": st.booleans() | anything,
    "hostPID": st.booleans(),
    "hostUsers": st.booleans() | anything,
    "serviceAccountName": st.just("hub") | anything,
    "automountServiceAccountToken": st.booleans() | anything,
    "nodeName": st.just("node-1"),
    "schedulerName": st.just("other") | anything,
    "priorityClassName": anything,
    "schedulingGates": anything,
    "activeDeadlineSeconds": st.integers() | anything,
    "tolerations": st.just([{"operator": "Exists"}]) | anything,
    "affinity": anything,
    "imagePullSecrets": anything,
}
METADATA: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["jupyter-alice", "train-x7k2p", "other"]) | anything,
    "namespace": st.sampled_from(["jhub", "kube-system"]) | anything,
    "labels": st.dictionaries(st.sampled_from(["a", "research-spawner/uid", "kueue.x-k8s.io/queue-name"]), scalars),
    "annotations": anything,
}


@st.composite
def some(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]], most: int) -> Json:
    """A map of a few of `fields`: with all of them hardly any would pass."""
    names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=most, unique=True))
    return {name: draw(fields[name]) for name in names}


@st.composite
def pods(draw: st.DrawFn, main: str = "notebook") -> Json:
    """Anything that may have become a pod; mostly one with its main container."""
    spec = draw(some(FIELDS, 3))
    if draw(st.integers(0, 9)):
        others = spec.get("containers")
        container = draw(some({"securityContext": CONTEXTS, "image": st.just(IMAGE), "env": anything}, 1))
        spec["containers"] = [{"name": main, **container}, *(others if isinstance(others, list) else [])]
    return {"metadata": draw(some(METADATA, 1)), "spec": spec}


@st.composite
def jobs(draw: st.DrawFn) -> Json:
    return {"metadata": draw(some(METADATA, 1)), "spec": {"template": draw(pods("job") | anything)}}


def places(found: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a manifest, containers of things and things themselves."""
    yield at
    steps = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for step, below in steps:
        yield from places(below, (*at, step))


@st.composite
def hooks(draw: st.DrawFn, manifest: Json) -> Json:
    """`manifest` after one to three edits: something replaced, taken away, or one of FIELDS and its kind put in."""
    found = copy.deepcopy(manifest)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([place for place in places(found) if place]))
        owner = found
        for step in place[:-1]:
            owner = owner[step]
        what = draw(st.sampled_from(["replace", "remove", "add"]))
        if what == "remove":
            del owner[place[-1]]
        elif what == "replace":
            owner[place[-1]] = draw(anything)
        else:
            below = owner[place[-1]]
            field = draw(st.sampled_from([*FIELDS, "runAsUser", "privileged", "subPath", "readOnly", "valueFrom"]))
            # Copies: hypothesis hands out the same object again, and the next edit may be in it.
            if isinstance(below, dict):
                below[field] = copy.deepcopy(draw(FIELDS.get(field, anything)))
            elif isinstance(below, list):
                item = draw(anything | st.sampled_from(VOLUMES) | st.sampled_from(MOUNTS) | CONTAINERS)
                below.append(copy.deepcopy(item))
    return found


def with_company() -> Json:
    pod = notebook_pod()
    pod["spec"]["initContainers"] = [{"name": "prepare", "image": "busybox"}]
    return pod


GOOD = {plan.scheduler: compose(plan, with_company(), NOTEBOOK) for plan in NOTEBOOKS}
GOOD_JOBS = {plan.scheduler: compose(plan, BARE_JOB, JOB) for plan in JOBS}


def send(plan: Plan, manifest: Json, slots: Slots) -> Json:
    """As the spawner and the batch service do it."""
    composed = compose(plan, manifest, slots)
    check(plan, composed, slots)
    return composed


@settings(max_examples=300)
@given(plan=st.sampled_from(NOTEBOOKS), base=pods())
def test_any_pod_is_sent_as_alice_s_or_not_at_all(plan: Plan, base: Json) -> None:
    with suppress(Refusal):
        is_alices(plan, send(plan, base, NOTEBOOK))


@settings(max_examples=300)
@given(plan=st.sampled_from(JOBS), base=jobs())
def test_any_job_is_sent_as_alice_s_or_not_at_all(plan: Plan, base: Json) -> None:
    with suppress(Refusal):
        is_alices(plan, send(plan, base, JOB))


@settings(max_examples=400)
@given(plan=st.sampled_from(NOTEBOOKS), edited=hooks(with_company()))
def test_any_hook_on_the_base_pod(plan: Plan, edited: Json) -> None:
    with suppress(Refusal):
        is_alices(plan, send(plan, edited, NOTEBOOK))


@settings(max_examples=600)
@given(data=st.data(), plan=st.sampled_from(NOTEBOOKS))
def test_any_hook_after_compose_is_found(data: st.DataObject, plan: Plan) -> None:
    edited = data.draw(hooks(GOOD[plan.scheduler]))
    with suppress(Refusal):
        check(plan, edited, NOTEBOOK)
        is_alices(plan, edited)


@settings(max_examples=200)
@given(data=st.data(), plan=st.sampled_from(JOBS))
def test_any_edit_of_a_job_is_found(data: st.DataObject, plan: Plan) -> None:
    edited = data.draw(hooks(GOOD_JOBS[plan.scheduler]))
    with suppress(Refusal):
        check(plan, edited, JOB)
        is_alices(plan, edited)


@given(plan=st.sampled_from([*NOTEBOOKS, NUMA]), base=pods() | hooks(with_company()))
def test_compose_is_idempotent_and_leaves_its_argument_alone(plan: Plan, base: Json) -> None:
    before = copy.deepcopy(base)
    with suppress(Refusal):
        once = compose(plan, base, NOTEBOOK)
        again = compose(plan, once, NOTEBOOK)
        assert again == once
    assert base == before


@given(manifest=anything | st.sampled_from([object(), {"spec": {1, 2}}, {"spec": b"x"}, {"spec": {"a": float("nan")}}]))
def test_what_is_no_manifest_is_a_refusal(manifest: Any) -> None:
    for act in (compose, check):
        with suppress(Refusal):
            act(NOTEBOOKS[0], manifest, NOTEBOOK)
            raise AssertionError("it passed")


def test_what_is_circular_or_too_deep_is_a_refusal() -> None:
    circle: Json = notebook_pod()
    circle["spec"]["self"] = circle
    deep: Json = notebook_pod()
    at = deep["spec"]
    for _ in range(100_000):
        at["x"] = {}
        at = at["x"]
    for manifest in (circle, deep):
        with suppress(Refusal):
            compose(NOTEBOOKS[0], manifest, NOTEBOOK)
            raise AssertionError("it passed")
    at = deep.pop("spec")
    while at:  # else Python would take it apart recursively
        at = at.pop("x", None)


def test_what_was_composed_shares_nothing_with_the_plan_or_the_site() -> None:
    plan = NOTEBOOKS[0]
    first = compose(plan, notebook_pod(), NOTEBOOK)
    before = copy.deepcopy(first)
    first["spec"]["tolerations"][0]["key"] = "changed"
    first["spec"]["tolerations"].append({})
    first["spec"]["containers"][0]["resources"]["limits"].clear()
    first["spec"]["volumes"][0].clear()
    assert compose(plan, notebook_pod(), NOTEBOOK) == before


def test_the_oracle_knows_an_other_when_it_sees_one() -> None:
    plan = NOTEBOOKS[0]
    for change in (
        lambda spec: spec["initContainers"][0]["securityContext"].update(runAsUser=0),
        lambda spec: spec["securityContext"].update(fsGroup=100),
        lambda spec: spec["securityContext"].update(supplementalGroupsPolicy="Merge"),
        lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda spec: spec["containers"][0]["volumeMounts"][1].pop("readOnly"),
        lambda spec: spec.update(nodeName="node-1"),
    ):
        changed = copy.deepcopy(GOOD["plain"])
        is_alices(plan, changed)
        change(changed["spec"])
        with suppress(AssertionError):
            is_alices(plan, changed)
            raise RuntimeError("the oracle is blind")
