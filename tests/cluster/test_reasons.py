"""What a real kubelet reports about containers that fail, and what the product makes of it: ready, or a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alice import MAIN, Alice
from ground import JOB, Ground, ground
from rig import images, oci
from rig.api import Json, until
from rig.cluster import Cluster
from rig.containerd import SANDBOX_IMAGE
from rig.node import Node
from work import batch

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.shape import NOTEBOOK_KIND
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.spawner.pod_wait import PodWait, is_pod_ready

NAME = "notebook-1"


@pytest.fixture(scope="module")
def module_here(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(cluster, "reasons", tmp_path_factory.mktemp("reasons") / "storage") as found:
        yield found


@pytest.fixture
def alice(here: Ground) -> Alice:
    site = here.site()
    site["profiles"]["small"]["images"] = {"default": JOB}
    return Alice(here, site)


def beside(script: str, name: str = "scraper", **more: Any) -> Json:
    """Return a container whose last words are its message."""
    words = {"image": JOB, "command": ["sh", "-c", script], "terminationMessagePolicy": "FallbackToLogsOnError"}
    return {"name": name, **words, **more}


def extra(*containers: Json) -> Callable[[Json], None]:
    return lambda pod: pod["spec"]["containers"].extend(containers)


def sidecar(script: str, **more: Any) -> Callable[[Json], None]:
    """Return an edit that adds a native sidecar (KEP-753) after the check of the home directory."""
    added = beside(script, "proxy", restartPolicy="Always", **more)
    return lambda pod: pod["spec"]["initContainers"].append(added)


def on_main(**fields: Any) -> Callable[[Json], None]:
    return lambda pod: pod["spec"]["containers"][0].update(fields)


class Start:
    """A start of a notebook, as the hub waits for it, with the pod and the events of the real cluster.

    The notebook is ready after `seconds`; by default never, so that only what fails can end the start.
    """

    def __init__(self, alice: Alice, edit: Callable[[Json], None], *, seconds: float = 600) -> None:
        self._alice = alice
        probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}

        def edited(pod: Json) -> None:
            pod["spec"]["terminationGracePeriodSeconds"] = 1  # the kubelet waits as long after a hook that failed
            pod["spec"]["containers"][0]["readinessProbe"] = probe
            edit(pod)

        alice.notebook(NAME, "sh", "-c", f"sleep {seconds}; touch /tmp/ready; exec sleep 600", edit=edited)
        decided = alice.decide(NOTEBOOK_KIND, NAME)
        self._wait = PodWait(decided, alice.site.hub, MAIN, events=self._events)
        self.told: list[str] = []

    def _events(self) -> list[Json]:
        found: list[Json] = self._alice.api.all_of(
            "v1", "Event", self._alice.namespace, fieldSelector=f"involvedObject.name={NAME}"
        )
        return found

    def look(self) -> str:
        """Return "ready", or why the start has failed; "" while it waits."""
        pod = self._alice.pod(NAME)
        if is_pod_ready(pod, MAIN):
            return "ready"
        try:
            self._wait.observe(pod)
        except Refusal as refusal:
            return refusal.message
        if self._wait.message and self._wait.message not in self.told:
            self.told.append(self._wait.message)
        return ""

    def outcome(self) -> str:
        return until(self.look, "ready or failed")


def test_a_post_start_hook_that_fails_is_the_reason(alice: Alice) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo no licence; exit 7"]}}}
    why = Start(alice, on_main(lifecycle=hook, terminationMessagePolicy="FallbackToLogsOnError")).outcome()
    assert why.startswith(
        "Container notebook: its postStart hook failed, so it was stopped (PostStartHookError). Exec lifecycle hook "
    )
    assert "exited with 7" in why
    assert "no licence" in why


def test_an_image_that_the_node_cannot_read_is_told_while_the_start_waits(alice: Alice, node: Node) -> None:
    """containerd does not know which of several images is meant if their digests begin alike."""
    (pause,) = images.build([SANDBOX_IMAGE])
    # Two of 17 digests have the same first digit.
    alike = [
        dataclasses.replace(pause, name=f"localhost/rig/alike-{number}:1", environment={"NUMBER": str(number)})
        for number in range(17)
    ]
    node.import_images(lambda stream: oci.write_archive(stream, alike))
    several = [beside("sleep 600", f"digit-{digit}", image=f"sha256:{digit}") for digit in "0123456789abcdef"]
    for container in several:
        container["imagePullPolicy"] = "Never"
    start = Start(alice, extra(*several))

    def ambiguous() -> list[str]:
        states = {found["name"]: found["state"] for found in alice.pod(NAME)["status"].get("containerStatuses", [])}
        reasons = {name: state.get("waiting", {}).get("reason") for name, state in states.items()}
        return [name for name, reason in reasons.items() if reason == "ImageInspectError"]

    (first, *_) = until(ambiguous, "containerd finds several images")
    expected = f"Container {first}: the node cannot read its image (ImageInspectError). Failed to inspect image"
    found = alice.pod(NAME)
    statuses = found["status"]["containerStatuses"]
    found["status"]["containerStatuses"] = [one for one in statuses if one["name"] in (MAIN, first)]
    assert start._wait.observe(found) is None
    assert start._wait.message.startswith(expected)


def test_a_container_that_crashes_beside_the_notebook_ends_the_start(alice: Alice) -> None:
    start = Start(alice, extra(beside("echo no socket; exit 3")))
    assert start.outcome() == "Container scraper ended with exit code 3: no socket."


def test_a_container_that_succeeds_beside_the_notebook_does_not_count(alice: Alice) -> None:
    start = Start(alice, extra(beside("exit 0")), seconds=2)
    assert start.outcome() == "ready"
    until(lambda: "terminated" in state_of(alice.pod(NAME), "scraper"), "it has ended")
    assert is_pod_ready(alice.pod(NAME), MAIN)


def state_of(pod: Json, name: str) -> Json:
    found: Json = next(one["state"] for one in pod["status"]["containerStatuses"] if one["name"] == name)
    return found


def test_a_native_sidecar_must_have_started(alice: Alice) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test -e /tmp/started"]}, "periodSeconds": 1, "failureThreshold": 60}
    start = Start(alice, sidecar("sleep 8; touch /tmp/started; exec sleep 600", startupProbe=probe), seconds=0)
    assert start.outcome() == "ready"
    assert any(told.startswith("A probe of the pod fails (Unhealthy): Startup probe failed") for told in start.told)
    assert "Container proxy runs, but is not ready yet." in start.told


def test_a_native_sidecar_that_crashes_ends_the_start(alice: Alice) -> None:
    start = Start(alice, sidecar("echo no socket; exit 3"))
    assert start.outcome() == "Container proxy ended with exit code 3: no socket."


def test_a_native_sidecar_that_succeeds_again_and_again_does_not_count(alice: Alice) -> None:
    assert Start(alice, sidecar("exit 0"), seconds=15).outcome() == "ready"


def test_an_init_container_that_crashes_ends_the_start(alice: Alice) -> None:
    failing = beside("echo no network; exit 3", "clone")
    start = Start(alice, lambda pod: pod["spec"]["initContainers"].append(failing))
    assert start.outcome() == "Container clone ended with exit code 3: no network."


def test_a_notebook_that_exits_while_another_container_runs_ends_the_start(alice: Alice) -> None:
    def edit(pod: Json) -> None:
        pod["spec"]["containers"][0]["command"] = ["true"]
        extra(beside("sleep 600"))(pod)

    assert Start(alice, edit).outcome() == ("The notebook server exited without an error before it could be reached.")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"command": ["no-such-lab"]},
            "Container notebook: the image has no program 'no-such-lab' (RunContainerError).",
        ),
        (
            {"command": ["/etc/passwd"]},
            "Container notebook: '/etc/passwd' cannot be executed, permission denied (RunContainerError).",
        ),
        (
            {"command": ["sh", "-c", "no-such-lab"], "terminationMessagePolicy": "FallbackToLogsOnError"},
            "Container notebook ended with exit code 127 (the command was not found): sh: 1: no-such-lab: not found.",
        ),
        ({"command": ["sh", "-c", "exit 137"]}, "Container notebook ended with exit code 137 (SIGKILL)."),
        ({"image": "localhost/Rig:1"}, "Container notebook: its image name is not valid (InvalidImageName)."),
    ],
    ids=["no program", "not executable", "shell", "killed", "image name"],
)
def test_why_the_notebooks_own_container_does_not_run(alice: Alice, fields: Json, why: str) -> None:
    assert Start(alice, on_main(**fields)).outcome().startswith(why)


def test_a_node_that_has_no_room_left_says_so(alice: Alice, node: Node) -> None:
    def edit(pod: Json) -> None:
        pod["spec"]["nodeName"] = node.name
        for kind in ("requests", "limits"):
            pod["spec"]["containers"][0]["resources"][kind]["cpu"] = "999"

    why = Start(alice, edit).outcome()
    assert "(OutOfcpu)." in why
    assert "enough resource" in why


async def test_a_job_and_its_attempt_have_the_reason(here: Ground) -> None:
    site = here.site()
    site["profiles"]["small"]["images"] = {"default": JOB}
    async with batch(here.cluster, Site.model_validate(site)) as jobs:
        missing = await jobs.in_state(await jobs.submit("no-such-program"), "failed")
        killed = await jobs.in_state(await jobs.submit("sh", "-c", "exit 137"), "failed")
    assert missing["message"] == "Container job: the image has no program 'no-such-program' (StartError)."
    assert (missing["exit_code"], missing["started"], missing["reason"]) == (127, None, "JobLaunchFailure")
    assert killed["message"] == "Container job ended with exit code 137 (SIGKILL)."
    for job in (missing, killed):
        assert [attempt["reason"] for attempt in job["attempts"]] == [job["message"]]
