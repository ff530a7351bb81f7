"""Objects of kinds that the product does not make yet, with its marks and identity in all of their pods.

One module per kind says how it is made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol

import samples
from ground import JOB, Ground
from rig.api import Api, Json, until
from rig.cluster import Cluster
from rig.node import Node

from jupyter_research_spawner.plan import Plan, Request, plan
from jupyter_research_spawner.pod import check, compose, problems
from jupyter_research_spawner.resources import NVIDIA_DEVICES
from jupyter_research_spawner.shape import Shape, Slots, Template
from jupyter_research_spawner.site import Site

# Says who it is, and ends with a status of our choosing when a file of its host's name appears at home.
PROGRAM = """
id
order="$HOME/$(hostname).end"
until [ -s "$order" ]; do sleep 0.2; done
status=$(cat "$order")
rm "$order"
exit "$status"
"""
ALICE = "uid=20001(alice) gid=20001(alice) groups=20001(alice),20500(climate),20602(stats101-staff)"
# Written by the API server's own admission and by the scheduler, whatever was sent.
SERVERS_OWN = ("nodeName", "preemptionPolicy", "priority", "serviceAccount", "serviceAccountName")
# Written by the controller of a job into its pods.
CONTROLLERS_OWN = ("finalizers", "ownerReferences")
URGENT = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "kinds-urgent"},
    "value": 1000,
}

Keys = tuple[str | int, ...]


def container(name: str, *command: str) -> Json:
    """Of the small job image."""
    return {"name": name, "image": JOB, "command": [*command] or ["sh", "-c", PROGRAM]}


def template(main: str, *command: str, **spec: Any) -> Json:
    """A pod template as somebody writes it by hand: a container and nothing of ours."""
    return {
        "metadata": {},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(main, *command)], **spec},
    }


def at(manifest: Any, path: Keys) -> Any:
    for key in path:
        manifest = manifest[key]
    return manifest


@dataclass(frozen=True)
class Composed:
    """An object as it is sent, and the plan that is in it.

    more: plans for other schedulers, whose marks it has too.
    """

    plan: Plan
    manifest: Json
    more: tuple[Plan, ...] = ()

    @property
    def name(self) -> str:
        return self.plan.shape.name

    def findings(self, pod: Json, main: str) -> dict[str, str]:
        """What check says of a pod that a controller made of it, by path; nothing of what every pod gets."""
        spec = {key: value for key, value in pod["spec"].items() if key not in SERVERS_OWN}
        if self.plan.marks.scheduler_name is None and spec["schedulerName"] == "default-scheduler":
            del spec["schedulerName"]
        # Variables that the Job controller and KubeRay give to every container.
        look, *others = spec["initContainers"]
        own = [entry for entry in look.get("env", []) if entry["name"] == NVIDIA_DEVICES]
        spec["initContainers"] = [{**look, "env": own}, *others]
        metadata = {key: value for key, value in pod["metadata"].items() if key not in CONTROLLERS_OWN}
        sent = {"metadata": self.manifest["metadata"], "pod": {"metadata": metadata, "spec": spec}}
        return dict(problems(self.plan, sent, Slots((Template(("pod",), main),))))

    def lost_marks(self, obj: Json, pods: Iterable[Json]) -> list[str]:
        """Return the marks of all its schedulers that are missing on the object or on one of these pods."""
        lost = []
        for one in (self.plan, *self.more):
            for marks, founds in ((one.marks.object, [obj]), (one.marks.pod, pods)):
                for metadata in (found["metadata"] for found in founds):
                    labels, annotations = (metadata.get(kind, {}) for kind in ("labels", "annotations"))
                    lost += sorted({*marks.labels.items()} - {*labels.items()})
                    lost += sorted({*marks.annotations.items()} - {*annotations.items()})
            named = one.marks.names_main
            lost += [(named, "") for pod in pods if named and named not in pod["metadata"].get("annotations", {})]
        return [f"{key}={value}" for key, value in lost]


@dataclass(frozen=True)
class Kinds:
    """alice's objects in a namespace, by these settings of the site (else the sample's), that many pods together.

    more_marks: schedulers whose marks the objects have besides those of the site's own.
    """

    ground: Ground
    settings: Json | None = None
    queue: str | None = None
    gang: int = 1
    more_marks: tuple[str, ...] = ()

    def under(self, scheduler: str) -> Kinds:
        """Return the same with the marks of another scheduler, which does not run here: such pods wait."""
        return replace(self, settings=self.ground.site(scheduler={"kind": scheduler}), more_marks=())

    def under_all(self) -> Kinds:
        """Return the same with the marks of all of MARKING. Their pods wait for the first of them."""
        return replace(self.under(MARKING[0]), more_marks=MARKING[1:])

    def plan(self, kind: str, name: str) -> Plan:
        settings = copy.deepcopy(self.settings or self.ground.site(scheduler={"kind": "plain"}))
        settings["profiles"]["small"] |= {"cpu": "20m", "memory": "32Mi", "images": {"default": JOB}}
        asked = Request(Shape(kind, name, self.gang, self.gang), "alice", profile="small", queue=self.queue)
        who = samples.person("alice")
        # A run of its own for each: YuniKorn puts what has the same into one application.
        return plan(Site.model_validate(settings), who, asked, run_id=f"r-{name}", now=samples.NOW)

    def compose(self, kind: str, manifest: Json, templates: Mapping[Keys, str]) -> Composed:
        """`templates`: where they are (also in lists, through which Slots do not lead), and their main containers."""
        found = self._compose(kind, manifest, templates)
        others = [self.under(scheduler)._compose(kind, manifest, templates) for scheduler in self.more_marks]
        for other in others:
            for path in ((), *templates):
                metadata = at(found.manifest, path)["metadata"]
                more = at(other.manifest, path)["metadata"]
                for key in ("labels", "annotations"):
                    metadata[key] = {**more.get(key, {}), **metadata.get(key, {})}
        return replace(found, more=tuple(other.plan for other in others))

    def _compose(self, kind: str, manifest: Json, templates: Mapping[Keys, str]) -> Composed:
        plan = self.plan(kind, manifest["metadata"]["name"])
        slots = Slots(tuple(Template((str(index),), main) for index, main in enumerate(templates.values())))
        flat = {str(index): at(manifest, path) for index, path in enumerate(templates)}
        filled = compose(plan, {"metadata": manifest["metadata"], **flat}, slots)
        check(plan, filled, slots)
        found = copy.deepcopy(manifest)
        found["metadata"] = filled["metadata"]
        for index, path in enumerate(templates):
            at(found, path[:-1])[path[-1]] = filled[str(index)]
        return Composed(plan, found)

    def running(self, composed: Composed, *names: str) -> AbstractContextManager[dict[str, Json]]:
        """Its pods by what their names begin with after its own, all running; in the end nothing of it is left."""
        return self._with(composed, names, is_running)

    def made(self, composed: Composed, *names: str) -> AbstractContextManager[dict[str, Json]]:
        """The same as soon as they are there, whether or not anybody schedules them."""
        return self._with(composed, names, bool)

    @contextmanager
    def _with(
        self, composed: Composed, names: tuple[str, ...], is_so: Callable[[Json], bool]
    ) -> Iterator[dict[str, Json]]:
        prefixes = [f"{composed.name}-{name}" for name in names]

        def look() -> dict[str, Json]:
            pods = self.pods()
            found = {
                name: pod
                for name, prefix in zip(names, prefixes, strict=True)
                for pod in pods
                if pod["metadata"]["name"].startswith(prefix) and is_so(pod)
            }
            return found if len(pods) == len(found) == len(names) else {}

        with self.created(composed):
            yield until(look, f"{', '.join(prefixes)} and no other pod")

    @contextmanager
    def created(self, composed: Composed) -> Iterator[None]:
        """In the end nothing of it is left."""
        self.api.create(composed.manifest)
        try:
            yield
        finally:
            self.api.delete(composed.manifest)
            until(lambda: not self.of(composed), f"the pods of {composed.name} to be gone")

    def of(self, composed: Composed) -> list[Json]:
        """Its pods."""
        return [pod for pod in self.pods() if pod["metadata"]["name"].startswith(f"{composed.name}-")]

    def pods(self) -> list[Json]:
        return self.ground.pods()

    def pod(self, name: str) -> Json | None:
        return self.api.find("v1", "Pod", name, self.ground.namespace)

    def another(self, pod: Json) -> Json:
        """The next one of its name, but for a suffix that the API server gave, as soon as it is there."""
        generated = pod["metadata"].get("generateName")

        def is_meant(found: Json) -> bool:
            name = found["metadata"]["name"]
            return name.startswith(generated) if generated else name == pod["metadata"]["name"]

        def look() -> list[Json]:
            return [found for found in self.pods() if is_meant(found) and uid(found) != uid(pod)]

        return until(look, f"another pod in place of {pod['metadata']['name']}")[0]

    def runs_again(self, pod: Json) -> Json:
        """Another in its place, running."""

        def look() -> Json | None:
            found = self.another(pod)
            return found if is_running(found) else None

        found = until(look, f"another pod in place of {pod['metadata']['name']} to run")
        assert found
        return found

    def same(self, pod: Json) -> bool:
        """It is still there, and runs."""
        found = self.pod(pod["metadata"]["name"])
        return found is not None and uid(found) == uid(pod) and is_running(found)

    def now(self, composed: Composed) -> Json:
        """The object as it is now."""
        metadata = composed.manifest["metadata"]
        return self.api.get(
            composed.manifest["apiVersion"], composed.manifest["kind"], metadata["name"], metadata["namespace"]
        )

    def becomes(self, composed: Composed, **reasons: str) -> Json:
        """Wait for these conditions of the object and no other to be true, with reasons that begin so."""

        def look() -> bool:
            found = conditions(self.now(composed))
            return found.keys() == reasons.keys() and all(found[kind].startswith(reasons[kind]) for kind in found)

        try:
            until(look, f"{composed.name} to have the conditions {reasons}")
        except TimeoutError as error:
            raise AssertionError(f"{error} It has {conditions(self.now(composed))}") from error
        return self.now(composed)

    @property
    def api(self) -> Api:
        return self.ground.cluster.api

    def said(self, pod: Json, container: str | None = None) -> str:
        """The first line of its log."""

        def look() -> str:
            return self.api.logs(self.ground.namespace, pod["metadata"]["name"], container).partition("\n")[0]

        return until(look, f"{pod['metadata']['name']} to say who it is")

    def end(self, pod: Json, status: int) -> None:
        """Let the program in it exit."""
        hostname = pod["spec"].get("hostname") or pod["metadata"]["name"]
        (self.ground.home / "alice" / f"{hostname}.end").write_text(f"{status}\n")

    def kill(self, pod: Json) -> None:
        self.api.delete(pod)

    @contextmanager
    def preempting(self, *weighty: Json) -> Iterator[Json]:
        """A pod of a higher priority that needs the CPU of one of these, running; that one as it was last seen."""
        api, here = self.api, self.ground.namespace
        api.apply(URGENT)
        wanted = {"cpu": f"{self._free(weighty[0]) + _cpu(weighty[0]) - 10}m"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"urgent-{uid(weighty[0])}", "namespace": here},
            "spec": {
                "priorityClassName": "kinds-urgent",
                "terminationGracePeriodSeconds": 1,
                "containers": [{**container("urgent", "sleep", "600"), "resources": {"requests": wanted}}],
            },
        }
        last: list[Json] = []

        def is_disrupted() -> bool:
            for one in weighty:
                found = self.pod(one["metadata"]["name"])
                if found and condition(found, "DisruptionTarget"):
                    last.append(found)
            return bool(last)

        api.create(pod)
        try:
            until(is_disrupted, "one of them is preempted", every=0.02)
            until(lambda: is_running(self.pod(pod["metadata"]["name"]) or {}), "the preemptor runs")
            yield last[-1]
        finally:
            api.delete(pod)

    def _free(self, pod: Json) -> int:
        """Of the CPU of its node, in thousandths."""
        node, api = pod["spec"]["nodeName"], self.api
        whole = _milli(api.get("v1", "Node", node)["status"]["allocatable"]["cpu"])
        there = api.all_of("v1", "Pod", fieldSelector=f"spec.nodeName={node}")
        return whole - sum(_cpu(other) for other in there if other["status"].get("phase") in ("Pending", "Running"))


class Stoppable(Protocol):
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Kind:
    """How one with a leader and workers (or workers alone) of this much CPU is made, with the policies of our Jobs.

    `pods`: what their names begin with after the object's; the leader and one worker among them.  `knows`: whether the
    object says that all of them run, which its operator may learn later than anybody else.
    """

    name: str
    operators: tuple[Callable[[Cluster, Node], Stoppable], ...]
    weighed: Callable[[Kinds, str, str, str], Composed]
    pods: tuple[str, ...]
    leader: str | None
    worker: str
    knows: Callable[[Json], bool] = lambda obj: True


@contextmanager
def operators(cluster: Cluster, node: Node, *kinds: Kind) -> Iterator[list[Stoppable]]:
    """Those that these kinds need run meanwhile."""
    with ExitStack() as stack:
        started: list[Stoppable] = []
        for start in dict.fromkeys(start for kind in kinds for start in kind.operators):
            started.append(start(cluster, node))
            stack.callback(started[-1].stop)
        yield started


# Schedulers of whose marks it is shown here that operators pass them on. All are on the pods, but Kueue's are on the
# object. The first is the one that the pods name.
MARKING = ("volcano", "kueue", "yunikorn", "kai")


def condition(obj: Json, kind: str) -> Json:
    """Its condition of that type when that is true, else {}."""
    for found in obj.get("status", {}).get("conditions", []):
        if found["type"] == kind and found["status"] == "True":
            return dict(found)
    return {}


def conditions(obj: Json) -> dict[str, str]:
    """The reasons of those of its conditions that are true."""
    found = obj.get("status", {}).get("conditions", [])
    return {one["type"]: one.get("reason", "") for one in found if one["status"] == "True"}


def uid(obj: Json) -> str:
    return str(obj["metadata"]["uid"])


def weigh(composed: Composed, path: Keys, cpu: str = "300m") -> Composed:
    """Let the pods of that template be the ones that a preemptor needs the CPU of."""
    manifest = copy.deepcopy(composed.manifest)
    at(manifest, path)["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return replace(composed, manifest=manifest)


def is_running(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def exit_status(pod: Json, name: str) -> int | None:
    """Of its container of that name, when that has ended."""
    for status in pod["status"].get("containerStatuses", []):
        if status["name"] == name and "terminated" in status["state"]:
            return int(status["state"]["terminated"]["exitCode"])
    return None


def restarts(pod: Json | None) -> int:
    """How often the kubelet has restarted its first container."""
    return int(pod["status"]["containerStatuses"][0]["restartCount"]) if pod else 0


def who(pod: Json) -> Json:
    """The identity in a pod's own and its containers' security contexts, as the API server has it."""
    context = pod["spec"]["securityContext"]
    keys = ("runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups", "supplementalGroupsPolicy")
    return {key: context.get(key) for key in keys}


def _cpu(pod: Json) -> int:
    asked = [part.get("resources", {}).get("requests", {}).get("cpu", "0") for part in pod["spec"]["containers"]]
    return sum(_milli(text) for text in asked)


def _milli(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else int(Decimal(text) * 1000)
