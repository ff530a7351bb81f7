"""How a node runs pods and reports their status.  A kubelet uses containers, the embedded node processes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from kube import IMAGE, ON_A_KUBELET, Json, Kube, config_map, eventually

pytestmark = pytest.mark.node

SLEEP = "trap 'exit 0' TERM; sleep 600 & wait"


def container(script: str, name: str = "main", **more: Any) -> Json:
    return {"name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script], **more}


async def start(kube: Kube, script: str = SLEEP, main: Json | None = None, **spec: Any) -> Json:
    """Create a pod `p` whose container runs the script."""
    common = {"automountServiceAccountToken": False, "restartPolicy": "Never", "terminationGracePeriodSeconds": 2}
    spec = {**common, **ON_A_KUBELET, "containers": [container(script, **(main or {}))], **spec}
    return await kube.made("pods", {"metadata": {"name": "p"}, "spec": spec})


async def now(kube: Kube) -> Json:
    answer = await kube.get("pods/p")
    assert answer.status == 200, answer.body
    return answer.body


async def in_phase(kube: Kube, phase: str) -> Json:
    return await seen(kube, lambda pod: pod["status"]["phase"], phase)


async def seen(kube: Kube, part: Callable[[Json], Any], wanted: Any) -> Json:
    """Wait until the given part of the pod is as wanted, and return the pod."""
    pods: list[Json] = []

    async def look() -> Any:
        pods.append(await now(kube))
        return part(pods[-1])

    await eventually(look, wanted)
    return pods[-1]


def state(pod: Json, index: int = 0, part: str = "containerStatuses") -> Json:
    statuses = pod["status"].get(part) or []
    return statuses[index]["state"] if statuses else {}


async def waiting_for(kube: Kube, reason: str, part: str = "containerStatuses") -> Json:
    """Wait until a container waits for that reason, and return the pod."""
    return await seen(kube, lambda pod: state(pod, 0, part).get("waiting", {}).get("reason", ""), reason)


def conditions(pod: Json) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one.get("reason", "")) for one in pod["status"]["conditions"]}


async def log(kube: Kube, **query: str) -> str:
    answer = await kube.get("pods/p/log", **query)
    assert answer.status == 200, answer.body
    return answer.body


async def says(kube: Kube, text: str, **query: str) -> None:
    """Wait until the log contains the text."""

    async def found() -> bool:
        answer = await kube.get("pods/p/log", **query)
        return answer.status == 200 and text in answer.body

    await eventually(found, True)


async def warned(kube: Kube, reason: str, part: str) -> None:
    async def found() -> bool:
        selector = f"involvedObject.name=p,reason={reason}"
        items = (await kube.get("events", fieldSelector=selector)).body["items"]
        return any(part in event["message"] for event in items)

    await eventually(found, True)


async def last_seen(kube: Kube, revision: str) -> Json:
    """Return the last state of the pod before it was removed."""
    query = {"watch": "true", "resourceVersion": revision, "timeoutSeconds": "120"}
    async with kube.session.get(f"{kube.here}/pods", params=query) as response:
        async for line in response.content:
            event = json.loads(line)
            if event["type"] == "DELETED":
                return event["object"]
    raise AssertionError("it did not go")


async def test_a_pod_that_ends_well(kube: Kube) -> None:
    await start(kube, "echo out; echo err >&2")
    found = await in_phase(kube, "Succeeded")
    ended = state(found)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    assert ended["startedAt"] <= ended["finishedAt"]
    status = found["status"]["containerStatuses"][0]
    assert (status["name"], status["ready"], status["started"], status["restartCount"]) == ("main", False, False, 0)
    assert found["status"]["podIPs"] == [{"ip": found["status"]["podIP"]}]
    assert found["status"]["startTime"]
    expected = {"Initialized": "True", "Ready": "False", "ContainersReady": "False"}
    assert {type_: conditions(found)[type_] for type_ in expected} == {
        type_: (is_so, "PodCompleted") for type_, is_so in expected.items()
    }
    assert sorted((await log(kube)).splitlines()) == ["err", "out"]


async def test_a_pod_that_ends_badly(kube: Kube) -> None:
    await start(kube, "exit 3")
    found = await in_phase(kube, "Failed")
    assert (state(found)["terminated"]["exitCode"], state(found)["terminated"]["reason"]) == (3, "Error")
    assert conditions(found)["Ready"] == ("False", "PodFailed")
    assert "reason" not in found["status"]


async def test_a_pod_that_runs(kube: Kube) -> None:
    await start(kube)
    found = await in_phase(kube, "Running")
    assert state(found)["running"]["startedAt"]
    status = found["status"]["containerStatuses"][0]
    assert (status["ready"], status["started"]) == (True, True)
    expected = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    assert {conditions(found)[type_] for type_ in expected} == {("True", "")}
    told = {
        "Scheduled": f"Successfully assigned {kube.namespace}/p to ",
        "Pulled": f'Container image "{IMAGE}" already present on machine and can be accessed by the pod',
        "Created": "Container created",
        "Started": "Container started",
    }
    for reason, message in told.items():
        await warned(kube, reason, message)


async def test_a_pod_is_over_when_its_last_container_is(kube: Kube) -> None:
    await start(kube, containers=[container("exit 3"), container("sleep 10", "side")])
    found = await seen(kube, lambda pod: state(pod).get("terminated", {}).get("exitCode"), 3)
    assert found["status"]["phase"] == "Running"
    await in_phase(kube, "Failed")


@pytest.mark.root  # embedded, it takes mount namespaces
async def test_what_fails_is_run_again_and_remembers(kube: Kube) -> None:
    once = "echo run; [ -e /scratch/ran ] && exec sleep 600; touch /scratch/ran; exit 3"
    mount = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    await start(kube, once, mount, restartPolicy="OnFailure", volumes=[{"name": "scratch", "emptyDir": {}}])

    async def restarts() -> int:
        statuses = (await now(kube))["status"].get("containerStatuses") or [{"restartCount": 0}]
        return statuses[0]["restartCount"]

    await eventually(restarts, 1)
    await in_phase(kube, "Running")
    await says(kube, "run")
    found = (await now(kube))["status"]["containerStatuses"][0]
    ended = found["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert await log(kube, previous="true") == "run\n"


async def test_what_fails_again_waits_longer_and_longer(kube: Kube) -> None:
    made = await start(kube, "exit 1", restartPolicy="OnFailure")
    found = await waiting_for(kube, "CrashLoopBackOff")
    which = f"p_{kube.namespace}({made['metadata']['uid']})"
    message = state(found)["waiting"]["message"]
    # On a busy machine the first time can be missed.
    assert message in {f"back-off {delay}s restarting failed container=main pod={which}" for delay in (10, 20)}
    status = found["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert found["status"]["phase"] == "Running"
    assert conditions(found)["Ready"] == ("False", "ContainersNotReady")
    await warned(kube, "BackOff", f"Back-off restarting failed container main in pod {which}")


async def test_what_ends_well_is_run_again_where_it_is_to_stay(kube: Kube) -> None:
    """A container that succeeds is restarted with the same delay, but is not in CrashLoopBackOff."""
    await start(kube, "exit 0", restartPolicy="Always")

    def has_ended_twice(pod: Json) -> bool:
        status = (pod["status"].get("containerStatuses") or [{}])[0]
        return "terminated" in status.get("lastState", {}) and "terminated" in status["state"]

    found = (await seen(kube, has_ended_twice, True))["status"]
    status = found["containerStatuses"][0]
    assert (found["phase"], status["restartCount"]) == ("Running", 1)
    for ended in (status["lastState"]["terminated"], status["state"]["terminated"]):
        assert (ended["exitCode"], ended["reason"]) == (0, "Completed")


async def test_a_deadline_ends_a_pod(kube: Kube) -> None:
    await start(kube, activeDeadlineSeconds=3)
    found = await in_phase(kube, "Failed")
    assert found["status"]["reason"] == "DeadlineExceeded"
    assert found["status"]["message"] == "Pod was active on the node longer than the specified deadline"
    await warned(kube, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


async def test_who_ends_in_time_has_ended_well(kube: Kube) -> None:
    await start(kube, "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    await says(kube, "ready")
    revision = await kube.revision()
    await kube.delete("pods/p", gracePeriodSeconds="20")
    gone = await last_seen(kube, revision)
    assert (gone["status"]["phase"], state(gone)["terminated"]["exitCode"]) == ("Succeeded", 0)


async def test_who_does_not_is_killed(kube: Kube) -> None:
    await start(kube, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    await says(kube, "ready")
    revision = await kube.revision()
    await kube.delete("pods/p", gracePeriodSeconds="1")
    gone = await last_seen(kube, revision)
    assert (gone["status"]["phase"], state(gone)["terminated"]["exitCode"]) == ("Failed", 137)


async def test_who_ends_by_the_signal_says_so(kube: Kube) -> None:
    await start(kube, "echo ready; exec sleep 600")
    await says(kube, "ready")
    revision = await kube.revision()
    await kube.delete("pods/p", gracePeriodSeconds="1")
    gone = await last_seen(kube, revision)
    assert gone["status"]["phase"] == "Failed"
    assert state(gone)["terminated"]["reason"] == "Error"


async def test_the_last_lines_of_a_log(kube: Kube) -> None:
    await start(kube, "for n in 1 2 3; do echo $n; done")
    await in_phase(kube, "Succeeded")
    assert await log(kube, tailLines="2") == "2\n3\n"
    assert await log(kube, container="main") == "1\n2\n3\n"
    previous = await kube.get("pods/p/log", previous="true")
    assert previous.said == (400, "BadRequest")
    assert previous.body["message"] == 'previous terminated container "main" in pod "p" not found'


async def test_a_log_is_followed_to_its_end(kube: Kube) -> None:
    await start(kube, "echo 1; sleep 1; echo 2")
    await says(kube, "1")
    assert await log(kube, follow="true") == "1\n2\n"


async def test_whose_log_must_be_said(kube: Kube) -> None:
    await start(kube, containers=[container("exit 0"), container("exit 0", "side")])
    answer = await kube.get("pods/p/log")
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"] == "a container name must be specified for pod p, choose one of: [main side]"


@pytest.mark.root  # embedded, it takes mount namespaces
async def test_init_containers_come_first(kube: Kube) -> None:
    mount = {"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    first = [
        container("echo one >> /scratch/order", "one", **mount),
        container("echo two >> /scratch/order", "two", **mount),
    ]
    scratch = [{"name": "scratch", "emptyDir": {}}]
    await start(kube, "cat /scratch/order", mount, initContainers=first, volumes=scratch)
    found = await in_phase(kube, "Succeeded")
    assert await log(kube) == "one\ntwo\n"
    statuses = found["status"]["initContainerStatuses"]
    assert [(one["name"], one["ready"], one["state"]["terminated"]["exitCode"]) for one in statuses] == [
        ("one", True, 0),
        ("two", True, 0),
    ]


async def test_without_them_nothing_begins(kube: Kube) -> None:
    await start(kube, "echo never", initContainers=[container("sleep 10; exit 4", "first")])
    found = await seen(kube, lambda pod: "running" in state(pod, 0, "initContainerStatuses"), True)
    assert found["status"]["phase"] == "Pending"
    assert state(found)["waiting"]["reason"] == "PodInitializing"
    assert conditions(found)["Initialized"] == ("False", "ContainersNotInitialized")
    found = await in_phase(kube, "Failed")
    assert state(found, 0, "initContainerStatuses")["terminated"]["exitCode"] == 4
    assert state(found)["waiting"]["reason"] == "PodInitializing"


async def test_a_sidecar_begins_before_and_ends_after(kube: Kube) -> None:
    """A sidecar container (KEP-753) does not delay the others and does not keep the pod running."""
    side = container("trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done", "side", restartPolicy="Always")
    await start(kube, "sleep 1", initContainers=[side])
    found = await in_phase(kube, "Running")
    assert state(found, 0, "initContainerStatuses")["running"]["startedAt"]
    found = await in_phase(kube, "Succeeded")
    assert "terminated" in state(found, 0, "initContainerStatuses")


async def test_a_container_sees_its_surroundings(kube: Kube) -> None:
    await kube.made("secrets", {**config_map("s"), "stringData": {"key": "secret"}})
    await kube.made("configmaps", {**config_map("c"), "data": {"GIVEN": "given"}})
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2 $$(A) $(NOBODYS)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['example.com/note']"}}},
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "other", "optional": True}}},
    ]
    words = [
        "sh",
        "-c",
        'for n in B NAME NOTE ADDRESS CPUS KEY NONE GIVEN; do echo "$n=$(printenv $n)"; done; echo "$1"',
    ]
    main = {
        **container(""),
        "command": [*words, "sh", "$(A)-$(KEY)"],
        "env": env,
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "resources": {"limits": {"cpu": "500m"}},
    }
    common = {"automountServiceAccountToken": False, "restartPolicy": "Never", **ON_A_KUBELET}
    metadata = {"name": "p", "annotations": {"example.com/note": "noted"}}
    await kube.made("pods", {"metadata": metadata, "spec": {**common, "containers": [main]}})
    found = await in_phase(kube, "Succeeded")
    assert (await log(kube)).splitlines() == [
        "B=12 $(A) $(NOBODYS)",
        "NAME=p",
        "NOTE=noted",
        f"ADDRESS={found['status']['podIP']}",
        "CPUS=1",
        "KEY=secret",
        "NONE=",
        "GIVEN=given",
        "1-secret",
    ]


async def test_a_missing_secret_is_waited_for(kube: Kube) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}}]
    await start(kube, "echo $KEY", {"env": env})
    found = await waiting_for(kube, "CreateContainerConfigError")
    assert state(found)["waiting"]["message"] == 'secret "s" not found'
    assert found["status"]["phase"] == "Pending"
    await kube.made("secrets", {**config_map("s"), "stringData": {"key": "secret"}})


async def test_a_missing_file_is_told_in_an_event(kube: Kube) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    await start(kube, main=mount, volumes=[{"name": "v", "configMap": {"name": "c"}}])
    await warned(kube, "FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "c" not found')
    found = await waiting_for(kube, "ContainerCreating")
    assert found["status"]["phase"] == "Pending"
    answer = await kube.get("pods/p/log")
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"] == 'container "main" in pod "p" is waiting to start: ContainerCreating'


async def test_a_volume_that_no_container_mounts_is_not_looked_at(kube: Kube) -> None:
    await start(kube, "exit 0", volumes=[{"name": "v", "configMap": {"name": "c"}}])
    await in_phase(kube, "Succeeded")


@pytest.mark.root  # embedded, it takes mount namespaces
async def test_files_come_from_annotations(kube: Kube) -> None:
    """/etc/passwd of our pods is such a file: one file of a volume over a file of the image."""
    item = {"path": "passwd", "fieldRef": {"fieldPath": "metadata.annotations['example.com/passwd']"}}
    mount = {"name": "names", "mountPath": "/etc/passwd", "subPath": "passwd"}
    spec = {
        **ON_A_KUBELET,
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "volumes": [{"name": "names", "downwardAPI": {"items": [item]}}],
        "containers": [container("cat /etc/passwd; echo x >> /etc/passwd", volumeMounts=[mount])],
        "securityContext": {"runAsUser": 20001, "runAsGroup": 20001},
    }
    metadata = {"name": "p", "annotations": {"example.com/passwd": "alice:x:20001:20001::/home/alice:/bin/sh\n"}}
    await kube.made("pods", {"metadata": metadata, "spec": spec})
    found = await in_phase(kube, "Failed")
    # Beside what the shell says of the second command: two streams, which a log has in any order.
    assert "alice:x:20001:20001::/home/alice:/bin/sh" in (await log(kube)).splitlines()
    assert state(found)["terminated"]["exitCode"]


@pytest.mark.root  # embedded, it takes mount namespaces
async def test_a_person_is_who_the_pod_says(kube: Kube) -> None:
    context = {"runAsUser": 20001, "runAsGroup": 20001, "supplementalGroups": [20500], "fsGroup": 20600}
    await start(kube, "id -u; id -g; id -G; hostname; pwd", {"workingDir": "/tmp"}, securityContext=context)
    await in_phase(kube, "Succeeded")
    assert (await log(kube)).splitlines() == ["20001", "20001", "20001 20500 20600", "p", "/tmp"]


async def test_who_may_not_be_root_is_not(kube: Kube) -> None:
    made = await start(kube, securityContext={"runAsNonRoot": True, "runAsUser": 0})
    found = await waiting_for(kube, "CreateContainerConfigError")
    which = f'pod: "p_{kube.namespace}({made["metadata"]["uid"]})", container: main'
    assert state(found)["waiting"]["message"] == f"container's runAsUser breaks non-root policy ({which})"


async def test_a_program_that_is_not_there(kube: Kube) -> None:
    await start(kube, main={"command": ["/no/such/program"]})
    found = await in_phase(kube, "Failed")
    ended = state(found)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "/no/such/program" in ended["message"]
    assert "no such file or directory" in ended["message"]


async def test_an_image_that_is_not_there_and_may_not_be_fetched(kube: Kube) -> None:
    await start(kube, main={"image": "example/missing:1"})
    found = await waiting_for(kube, "ErrImageNeverPull")
    message = state(found)["waiting"]["message"]
    assert message == 'Container image "example/missing:1" is not present with pull policy of Never'
    answer = await kube.get("pods/p/log")
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"] == 'container "main" in pod "p" is waiting to start: ErrImageNeverPull'


async def test_an_image_that_cannot_be_fetched(kube: Kube) -> None:
    image = "localhost:1/missing:1"
    await start(kube, main={"image": image, "imagePullPolicy": "IfNotPresent"})
    found = await waiting_for(kube, "ErrImagePull")
    why = state(found)["waiting"]["message"]
    assert why.startswith(f'failed to pull and unpack image "{image}": failed to resolve ')
    answer = await kube.get("pods/p/log")
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"] == 'container "main" in pod "p" is waiting to start: image can\'t be pulled'
    await warned(kube, "Failed", f'Failed to pull image "{image}": {why}')
    await warned(kube, "Failed", "Error: ErrImagePull")
    found = await waiting_for(kube, "ImagePullBackOff")
    assert state(found)["waiting"]["message"] == f'Back-off pulling image "{image}": ErrImagePull: {why}'
    answer = await kube.get("pods/p/log")
    assert answer.body["message"].endswith("is waiting to start: trying and failing to pull image")


@pytest.mark.root  # embedded, it takes mount namespaces
async def test_a_container_may_leave_a_message(kube: Kube) -> None:
    await start(kube, "echo no licence > /dev/termination-log; exit 5")
    found = await in_phase(kube, "Failed")
    assert state(found)["terminated"]["message"].strip() == "no licence"


@pytest.mark.parametrize(
    ("script", "policy", "message"),
    [
        ("echo no home; exit 1", "FallbackToLogsOnError", "no home\n"),
        ("echo no home; exit 1", "File", None),
        ("echo no home", "FallbackToLogsOnError", None),
        # The last 80 lines, and of them the last 2048 bytes.
        ("seq 1 99; exit 1", "FallbackToLogsOnError", "".join(f"{number}\n" for number in range(20, 100))),
        ("seq 100001 101000; exit 1", "FallbackToLogsOnError", "".join(f"{n}\n" for n in range(100921, 101001))),
        ("printf %03000d 7; exit 1", "FallbackToLogsOnError", f"{7:02048}"),
    ],
    ids=["failed", "policy File", "succeeded", "99 lines", "1000 lines", "3000 bytes"],
)
async def test_a_failed_container_leaves_the_end_of_its_log(
    kube: Kube, script: str, policy: str, message: str | None
) -> None:
    await start(kube, script, main={"terminationMessagePolicy": policy})
    found = await seen(kube, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"), wanted=True)
    assert state(found)["terminated"].get("message") == message


@pytest.mark.root
async def test_a_message_is_preferred_to_the_log_and_its_end_is_kept(kube: Kube) -> None:
    script = "echo in the log; printf %05000d 7 > /tmp/why; exit 1"
    more = {"terminationMessagePolicy": "FallbackToLogsOnError", "terminationMessagePath": "/tmp/why"}
    await start(kube, script, main=more)
    found = await in_phase(kube, "Failed")
    assert state(found)["terminated"]["message"] == f"{7:04096}"


async def test_a_job_ends_with_its_container(kube: Kube) -> None:
    template = {"spec": {**ON_A_KUBELET, "restartPolicy": "Never", "containers": [container("exit 3")]}}
    body = {"metadata": {"name": "j"}, "spec": {"backoffLimit": 0, "template": template}}
    assert (await kube.call("POST", kube.jobs, body)).status == 201

    async def verdict() -> list[str]:
        found = (await kube.call("GET", f"{kube.jobs}/j")).body["status"].get("conditions", [])
        return [one["type"] for one in found]

    await eventually(verdict, ["FailureTarget", "Failed"])
    assert re.fullmatch(r"j-.{5}", (await kube.get("pods")).body["items"][0]["metadata"]["name"])
