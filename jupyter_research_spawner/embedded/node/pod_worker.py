"""Run one pod on its node, from the volumes and init containers to restarts, deadline and end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..apimachinery.api_resources import POD
from ..apimachinery.command_request import CommandRequest
from ..apimachinery.container_log import ContainerLog
from ..apimachinery.object_fields import Json
from ..objectstore.object_store import Store
from .container_command import Command, run_command
from .container_environment import ConfigError, Surroundings, environment, expand
from .container_process import MARK, POD_MARK, Container, ContainerSpec, Mount, StartError
from .container_status import ContainerState, PodReason, pod_status
from .host_paths import adapt, words_on_host
from .pod_volumes import Storage, VolumeError, mounts, prepare, read_only_volumes, update_downward_files
from .termination_message import create_message_file, termination_message

DEADLINE = PodReason("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
# The command and home directory of the images of jupyter/docker-stacks.  It is also their working directory.
IMAGE_COMMAND = ["jupyterhub-singleuser"]
IMAGE_HOME = "/home/jovyan"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_IP = "127.0.0.1"
RETRY_SECONDS = 1.0  # between two attempts to get a missing image, Secret or ConfigMap
BACK_OFF_LIMIT = 300.0
_ANY_ADDRESS = re.compile(r"//(0\.0\.0\.0|\[::\]|\*)?:")


@dataclass(frozen=True)
class Machine:
    """The objects and settings that all pods of a node share."""

    node: str
    allocatable: dict[str, str]
    storage: Storage
    exposed: list[Path]
    isolate: bool
    back_off_seconds: float


class PodRun:
    """Runs one pod of this node until the pod has ended or is deleted."""

    def __init__(self, store: Store, machine: Machine, pod: Json, address: str) -> None:
        self.store = store
        self.machine = machine
        self.pod = pod
        self.address = address
        spec = pod["spec"]
        self.init = [ContainerState(container, is_init=True) for container in spec.get("initContainers") or []]
        self.containers = [ContainerState(container) for container in spec["containers"]]
        if self.init:
            for state in self.containers:
                state.waits("PodInitializing")
        self.ended_by: PodReason | None = None
        self._volumes: dict[str, Path] = {}
        self._started = 0.0  # time of the event loop
        self._stop = asyncio.Event()
        self._grace_over = asyncio.Event()
        self._deadline_moved = asyncio.Event()

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"]["uid"])

    @property
    def directory(self) -> Path:
        return self.machine.storage.pod(self.uid)

    def updated(self, pod: Json) -> None:
        """React to a change of the pod object, such as an earlier activeDeadlineSeconds or a deletion."""
        self.pod = pod
        self._deadline_moved.set()
        if self._volumes:
            update_downward_files(self.store, self.machine.storage, self.around())
        if pod["metadata"].get("deletionTimestamp"):
            self.stop(pod["metadata"].get("deletionGracePeriodSeconds", 30))

    def stop(self, grace: float) -> None:
        """Send SIGTERM now and SIGKILL after `grace` seconds.  A later call can only shorten the grace period."""
        self._stop.set()
        asyncio.get_running_loop().call_later(grace, self._grace_over.set)

    async def run(self) -> None:
        """Run the pod and write its final status.  If the task is cancelled, kill the pod without writing a status."""
        self._started = asyncio.get_running_loop().time()
        self.publish()
        live, stopped = asyncio.ensure_future(self._live()), asyncio.ensure_future(self._stop.wait())
        deadline = asyncio.ensure_future(self._deadline())
        try:
            await asyncio.wait({live, stopped, deadline}, return_when=asyncio.FIRST_COMPLETED)
            if live.done():
                live.result()
                return
            if deadline.done():
                self.ended_by = DEADLINE
                self.record("DeadlineExceeded", DEADLINE.message)
                self.stop(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
            live.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await live
            await self._end()
        finally:
            for task in (live, stopped, deadline):
                task.cancel()
            await asyncio.gather(live, stopped, deadline, return_exceptions=True)
            await asyncio.gather(*(state.running.kill() for state in self._all() if state.running))

    async def _end(self) -> None:
        """Stop the main containers, then the sidecars, and write the final status of all containers."""
        await self._stop_all(self.containers)
        await self._stop_all(self.init)
        for state in self._all():
            if "waiting" in state.state:  # the container has not started, or waits for its restart
                state.state = state.last_state or {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}
            state.over = True
        self.publish()

    async def _stop_all(self, states: list[ContainerState]) -> None:
        running = [(state, state.running) for state in states if state.running]
        for state, _ in running:
            self.record("Killing", f"Stopping container {state.name}")
        exits = await asyncio.gather(*(container.stop(self._grace_over) for _, container in running))
        for (state, _), code in zip(running, exits, strict=True):
            state.ended(code, self._message(state, code))

    def _all(self) -> list[ContainerState]:
        return [*self.init, *self.containers]

    async def _deadline(self) -> None:
        """Wait until activeDeadlineSeconds have passed since the pod started on this node."""
        while True:
            self._deadline_moved.clear()
            seconds = self.pod["spec"].get("activeDeadlineSeconds")
            # Not from status.startTime, which has whole seconds: a short deadline could pass before the pod starts.
            left = self._started + seconds - asyncio.get_running_loop().time() if seconds else None
            if left is not None and left <= 0:
                return
            # Not wait_for: before Python 3.12 it loses a cancellation in the same loop iteration as the event.
            moved = asyncio.ensure_future(self._deadline_moved.wait())
            try:
                await asyncio.wait({moved}, timeout=left)
            finally:
                moved.cancel()

    async def _live(self) -> None:
        await self._mount()
        policy = self.pod["spec"]["restartPolicy"]
        tasks: list[asyncio.Future[None]] = []
        try:
            for state in self.init:
                if state.is_sidecar:
                    tasks.append(asyncio.ensure_future(self._keep_running(state, "Always")))
                    await state.has_begun.wait()
                    continue
                await self._keep_running(state, "OnFailure" if policy == "Always" else policy)
                if state.exit_code:
                    return
            running = [asyncio.ensure_future(self._keep_running(state, policy)) for state in self.containers]
            tasks += running
            await asyncio.gather(*running)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if all(state.over for state in self.containers) or any(state.exit_code for state in self.init):
                await self._stop_sidecars()

    async def _stop_sidecars(self) -> None:
        """Stop the sidecar containers within the pod's grace period."""
        if not any(state.running for state in self.init):
            return
        grace = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        asyncio.get_running_loop().call_later(grace, self._grace_over.set)
        await self._stop_all(self.init)
        self.publish()

    async def _mount(self) -> None:
        while True:
            try:
                self._volumes = prepare(self.store, self.machine.storage, self.around())
                return
            except VolumeError as reason:  # noqa: PERF203  (the loop retries)
                self.record("FailedMount", str(reason), warning=True)
                await asyncio.sleep(RETRY_SECONDS)

    async def _keep_running(self, state: ContainerState, policy: str) -> None:
        """Run a container, and restart it as its restartPolicy demands."""
        await self._pull(state)
        delay = 0.0  # a kubelet makes the first restart without a delay
        while True:
            code = await self._run_once(state)
            state.over = policy == "Never" or (policy == "OnFailure" and code == 0)
            self.publish()
            if state.over:
                return
            if delay:
                await self._back_off(state, delay)
            delay = min(delay * 2 or self.machine.back_off_seconds, BACK_OFF_LIMIT)
            state.restarts_from_here()

    async def _pull(self, state: ContainerState) -> None:
        """Simulate the pull of an image, which fails if the image's name contains `missing`."""
        image = state.spec["image"]
        if "missing" not in image:
            here = f'Container image "{image}" already present on machine and can be accessed by the pod'
            self.record("Pulled", here)
            return
        if state.spec["imagePullPolicy"] == "Never":
            await self._never_pulled(state)
        why = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
        self.record("Pulling", f'Pulling image "{image}"')
        self.record("Failed", f'Failed to pull image "{image}": {why}', warning=True)
        self.record("Failed", "Error: ErrImagePull", warning=True)
        state.waits("ErrImagePull", why)
        self.publish()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            self.record("BackOff", f'Back-off pulling image "{image}"')
            self.record("Failed", "Error: ImagePullBackOff", warning=True)
            state.waits("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {why}')
            self.publish()

    async def _never_pulled(self, state: ContainerState) -> None:
        why = f'Container image "{state.spec["image"]}" is not present with pull policy of Never'
        state.waits("ErrImageNeverPull", why)
        self.publish()
        while True:
            self.record("ErrImageNeverPull", why, warning=True)
            self.record("Failed", "Error: ErrImageNeverPull", warning=True)
            await asyncio.sleep(RETRY_SECONDS)

    async def _back_off(self, state: ContainerState, delay: float) -> None:
        metadata = self.pod["metadata"]
        which = f"{state.name} in pod {metadata['name']}_{metadata['namespace']}({self.uid})"
        self.record("BackOff", f"Back-off restarting failed container {which}", warning=True)
        if state.exit_code == 0:  # a container that succeeded is never in CrashLoopBackOff
            await asyncio.sleep(delay)
            return
        state.last_state = state.state
        which = f"container={state.name} pod={metadata['name']}_{metadata['namespace']}({self.uid})"
        state.waits("CrashLoopBackOff", f"back-off {delay:g}s restarting failed {which}")
        self.publish()
        await asyncio.sleep(delay)

    async def _run_once(self, state: ContainerState) -> int:
        spec = await self._configured(state)
        self.record("Created", "Container created")
        try:
            container = await Container.start(spec, self.log_path(state.name, state.restarts), self._marks())
        except StartError as reason:
            self.record("Failed", f"Error: {reason}", warning=True)
            state.could_not_start(str(reason))
            return 128
        state.runs(container)
        self.record("Started", "Container started")
        self.publish()
        state.has_begun.set()
        code = await container.wait()
        state.ended(code, self._message(state, code))
        return code

    async def _configured(self, state: ContainerState) -> ContainerSpec:
        """Return the container's spec.  Wait while a required Secret or ConfigMap is missing."""
        while True:
            try:
                return self._container_spec(state)
            except ConfigError as reason:  # noqa: PERF203  (the loop retries)
                self.record("Failed", f"Error: {reason}", warning=True)
                state.waits("CreateContainerConfigError", str(reason))
                self.publish()
                await asyncio.sleep(RETRY_SECONDS)

    def _container_spec(self, state: ContainerState) -> ContainerSpec:
        container, pod_spec = state.spec, self.pod["spec"]
        shared = pod_spec.get("securityContext") or {}
        context = {**shared, **(container.get("securityContext") or {})}
        uid = context.get("runAsUser", 0)
        if context.get("runAsNonRoot") and uid == 0:
            asked = "runAsUser" in context
            rule = "'s runAsUser breaks non-root policy" if asked else " has runAsNonRoot and image will run as root"
            raise ConfigError(f"container{rule} (pod: {self._described()}, container: {state.name})")
        groups = {*(shared.get("supplementalGroups") or []), *([shared["fsGroup"]] if "fsGroup" in shared else [])}
        env = environment(self.store, self.around(), container)
        argv = [expand(word, env) for word in [*(container.get("command") or []), *(container.get("args") or [])]]
        env = self._image_environment() | env
        if "JUPYTERHUB_SERVICE_URL" in env:  # all pods share the network, so listen on the pod's address only
            env["JUPYTERHUB_SERVICE_URL"] = _ANY_ADDRESS.sub(f"//{self.address}:", env["JUPYTERHUB_SERVICE_URL"])
        mounted = mounts(container, self._volumes, env, read_only_volumes(self.pod))
        message_file = create_message_file(self._message_file(state))
        mounted.append(Mount(message_file, container["terminationMessagePath"], read_only=False))
        cwd = container.get("workingDir") or ""
        if not self.machine.isolate:
            argv = words_on_host(argv, mounted)
            env, cwd = adapt(env, cwd, mounted, self.directory / "containers" / state.name)
        root = self.machine.storage.state / "root"
        root.mkdir(exist_ok=True)
        return ContainerSpec(
            argv=argv or IMAGE_COMMAND,
            env=env,
            cwd=cwd,
            isolate=self.machine.isolate,
            uid=uid,
            gid=context.get("runAsGroup", 0),
            groups=sorted(groups),
            hostname=pod_spec.get("hostname") or self.pod["metadata"]["name"],
            home=IMAGE_HOME,
            mounts=mounted,
            exposed=self.machine.exposed,
            hidden=[self.machine.storage.state],
            root=root,
        )

    def _image_environment(self) -> dict[str, str]:
        """Return the variables that an image would set: HOME, and PATH with the directory of this Python."""
        return {
            "PATH": f"{Path(sys.prefix) / 'bin'}:{PATH}",
            "HOME": IMAGE_HOME,
            "HOSTNAME": self.pod["metadata"]["name"],
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash",
        }

    def _message_file(self, state: ContainerState) -> Path:
        """Return the host path of the file that the container sees at its terminationMessagePath."""
        return self.directory / "messages" / f"{state.name}-{state.restarts}"

    def _message(self, state: ContainerState, code: int) -> str:
        log = self.log_path(state.name, state.restarts)
        return termination_message(state.spec, code, self._message_file(state), log)

    def _marks(self) -> dict[str, str]:
        return {MARK: str(self.machine.storage.state), POD_MARK: self.uid}

    def _described(self) -> str:
        metadata = self.pod["metadata"]
        return f'"{metadata["name"]}_{metadata["namespace"]}({self.uid})"'

    def around(self) -> Surroundings:
        return Surroundings(self.pod, self.address, HOST_IP, self.machine.allocatable)

    def log_path(self, container: str, attempt: int) -> Path:
        path = self.directory / "logs" / container / f"{attempt}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, container: str, *, previous: bool) -> ContainerLog | None:
        state = next((s for s in self._all() if s.name == container), None)
        if state is None:
            return None
        attempt = state.restarts - (1 if previous else 0)
        path = self.directory / "logs" / container / f"{attempt}.log"
        if not path.exists() and not previous and attempt:  # the container waits for its restart
            path = path.with_name(f"{attempt - 1}.log")
        if not path.exists():
            return None
        return ContainerLog(path, is_open=_still_writes(state, attempt))

    async def command(self, container: str, request: CommandRequest) -> Command | None:
        """Run a command in a running container; return None if the container does not run.  Raises StartError."""
        running = next((state.running for state in self._all() if state.name == container), None)
        return None if running is None or running.ended else await run_command(running, request, self._marks())

    def publish(self) -> None:
        """Write the complete current status of the pod in one request."""
        addresses = (self.address, HOST_IP)

        def change(pod: Json) -> None:
            pod["status"] = pod_status(pod, self.init, self.containers, addresses, self.ended_by)

        current = self.store.find(POD, self.pod["metadata"]["namespace"], self.pod["metadata"]["name"])
        if current and current["metadata"]["uid"] == self.uid:
            self.pod = self.store.modify(POD, current, change)

    def record(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.store.record(self.pod, reason, message, source="kubelet", warning=warning)

    def clean(self) -> None:
        """Remove the pod's files on the node."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _still_writes(state: ContainerState, attempt: int) -> Callable[[], bool]:
    return lambda: not state.over and state.restarts == attempt and "terminated" not in state.state
