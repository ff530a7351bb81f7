"""The end of notebooks and jobs on a real kubelet: who gets SIGTERM, and what the deadline file says."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from ground import JOB, PEOPLE, Ground, ground
from hub import Hub
from patience import eventually
from real_hub import RealHub, run_hub
from rig.api import Json
from rig.cluster import Cluster
from rig.node import Node
from work import batch

from jupyter_research_spawner.pod.deadline import DEADLINE, DEADLINE_DIRECTORY
from jupyter_research_spawner.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Writes `ready` when it can be stopped, and `saved` after SIGTERM.
PROGRAM = """
import os, pathlib, signal, sys, time
home = pathlib.Path(os.environ["HOME"])
def save(*_):
    (home / ("saved-" + sys.argv[1])).write_text("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
(home / ("ready-" + sys.argv[1])).write_text("ready")
time.sleep(600)
"""
# IPython runs it in each kernel that starts. The first kernel starts a program, which gets SIGTERM when the server
# shuts the kernel down. ipykernel waits for this program longer than the server waits for the kernel, so only the
# second kernel, which has no program, gets to its atexit functions. If the kubelet killed the server, nothing would be
# written.
STARTUP = """
import atexit, os, pathlib, subprocess, sys
home = pathlib.Path(os.environ["HOME"])
if (home / "ready-kernel").exists():
    atexit.register(lambda: (home / "kernel-ended").write_text("ended"))
    (home / "ready-second").write_text("ready")
else:
    subprocess.Popen([sys.executable, str(home / "program.py"), "kernel"])
"""
# Starts a kernel as JupyterLab does.
START_KERNEL = """
import json, os, urllib.request
base = "http://127.0.0.1:8888" + os.environ["JUPYTERHUB_SERVICE_PREFIX"]
headers = {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}
request = urllib.request.Request(base + "api/kernels", data=b"{}", headers=headers, method="POST")
print(json.load(urllib.request.urlopen(request))["id"])
"""


def settings(here: Ground) -> Json:
    site = here.site()
    site["profiles"]["short"] = {**site["profiles"]["small"], "title": "Short", "order": 60, "wall_time": "1m"}
    site["profiles"]["small"] |= {"wall_time": "1h", "wall_time_hard": "4h"}
    site["profiles"]["short"]["wall_time_hard"] = "4h"
    return site


@pytest.fixture(scope="module")
def module_here(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(cluster, "ends", tmp_path_factory.mktemp("ends") / "storage") as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_hub(tmp_path_factory: pytest.TempPathFactory, module_here: Ground) -> AsyncIterator[RealHub]:
    extra = 'c.KubeSpawner.cmd = ["jupyterhub-singleuser"]\nc.KubeSpawner.http_timeout = 120\n'
    async with run_hub(6, tmp_path_factory.mktemp("hub"), module_here, settings(module_here), extra) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def hub(module_hub: RealHub, here: Ground) -> AsyncIterator[RealHub]:
    module_hub.forget_log()
    (here.home / "alice" / "program.py").write_text(PROGRAM)
    startup = here.home / "alice" / ".ipython" / "profile_default" / "startup"
    await module_hub.person("alice")
    startup.mkdir(parents=True)
    (startup / "00-end.py").write_text(STARTUP)
    for path in (here.home / "alice").rglob("*"):
        _give_to_alice(path)
    yield module_hub
    await module_hub.remove_users()


def _give_to_alice(path: Path) -> None:
    os.chown(path, *PEOPLE["alice"])


async def started(hub: Hub, profile: str) -> None:
    answer = await hub.start_server("alice", {"profile": profile})
    assert answer.status in (201, 202), answer.text
    await hub.ready("alice")


@pytest.mark.parametrize("profile", ["small", "short"], ids=["stopped", "over its wall time"])
async def test_a_server_that_ends_shuts_its_kernels_down(hub: RealHub, profile: str) -> None:
    home = hub.ground.home / "alice"
    await started(hub, profile)
    hub.inside("python3", "-c", START_KERNEL)
    await eventually((home / "ready-kernel").exists)
    hub.inside("python3", "-c", START_KERNEL)
    await eventually((home / "ready-second").exists)
    if profile == "small":
        await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await eventually(lambda: not hub.pods())
    assert (home / "saved-kernel").exists()
    assert (home / "kernel-ended").exists()


async def test_the_deadline_file_follows_an_extension(hub: RealHub) -> None:
    await started(hub, "small")

    def annotation() -> str:
        return str(hub.pods()[0]["metadata"]["annotations"].get(DEADLINE))

    def in_file() -> str:
        return hub.inside("cat", f"{DEADLINE_DIRECTORY}/deadline.json")

    await eventually(lambda: "ends_at" in annotation())
    await eventually(lambda: in_file() == annotation(), every=1)
    before = json.loads(annotation())
    answer = await hub.api("POST", "research-spawner/users/alice/server/wall-time")
    assert answer.status == 200, answer.text
    assert json.loads(annotation())["ends_at"] == before["hard_ends_at"]
    await eventually(lambda: in_file() == annotation(), every=1)


@pytest.mark.parametrize("command", ["program", "shell", "script"])
async def test_the_program_of_a_job_over_its_wall_time_can_save(here: Ground, command: str) -> None:
    home = here.home / "alice"
    (home / "program.py").write_text(PROGRAM)
    (home / "run.sh").write_text("#!/bin/sh\npython3 $HOME/program.py script\necho after\n")
    for name in ("program.py", "run.sh"):
        (home / name).chmod(0o755)
        _give_to_alice(home / name)
    words = {
        "program": ["python3", "/home/alice/program.py", "program"],
        "shell": ["sh", "-c", "python3 $HOME/program.py shell; echo after"],
        "script": ["/home/alice/run.sh"],
    }[command]
    site = here.site()
    site["profiles"]["small"]["images"] = {"default": JOB}
    async with batch(here.cluster, Site.model_validate(site)) as jobs:
        job = await jobs.submit(*words, wall_time="20s")
        await jobs.in_state(job, "failed")
    assert (home / f"saved-{command}").exists()
