"""alice's notebook in a real container: who she is there, what she can read and write, and who she is not."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from alice import Alice
from ground import CLIMATE, JOB, Ground, ground
from real_hub import RealHub, run_hub
from rig import images
from rig.api import Json, until
from rig.cluster import Cluster
from rig.containerd import SANDBOX_IMAGE, Runtime
from rig.node import Node
from work import batch

from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.pod import notices
from jupyter_research_spawner.pod.deadline import DEADLINE
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch.phase import why_ended, why_no_secret

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOREIGN = 30666  # the image's /etc/group says that alice is in it
CLAIMS_GROUP = "localhost/rig/claims-group:1"


# For every notebook, so that one hub serves all tests.
EXTRA = """
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.KubeSpawner.http_timeout = 120
show = ["sh", "-c", "id -u; id -G; touch /tmp/x"]
c.KubeSpawner.init_containers = [{"name": "first", "image": "localhost/rig/job:1", "command": show}]
c.KubeSpawner.extra_containers = [
    {"name": "beside", "image": "localhost/rig/job:1", "command": [*show[:2], show[2] + "; exec sleep 1d"]}
]
"""
OLD_NODE = {"nodeSelector": {"pool": "old"}, "tolerations": [{"key": "old", "operator": "Exists"}]}


def settings(here: Ground) -> Json:
    """SITE with a profile whose image claims a group, and one on the old node."""
    site = here.site()
    small = site["profiles"]["small"]
    site["profiles"]["claims"] = {**small, "title": "Claims", "order": 60, "images": {"default": CLAIMS_GROUP}}
    site["profiles"]["old"] = {**small, "title": "Old", "order": 61, "pod": OLD_NODE}
    return site


@pytest.fixture(scope="module")
def module_here(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(cluster, "jhub", tmp_path_factory.mktemp("notebook") / "storage") as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[6, 5], ids=["hub6", "hub5"])
async def module_hub(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, module_here: Ground
) -> AsyncIterator[RealHub]:
    where = tmp_path_factory.mktemp("hub")
    async with run_hub(request.param, where, module_here, settings(module_here), EXTRA) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def hub(module_hub: RealHub, here: Ground) -> AsyncIterator[RealHub]:
    """The module's hub, with a new user alice."""
    module_hub.forget_log()
    await module_hub.person("alice")
    yield module_hub
    await module_hub.remove_users()


async def started(hub: RealHub, profile: str = "small") -> None:
    """Start alice's notebook, and wait until it is ready."""
    answer = await hub.start_server("alice", {"profile": profile})
    assert answer.status in (201, 202), answer.text
    await hub.ready("alice")


async def test_she_is_herself_in_her_notebook(hub: RealHub) -> None:
    await started(hub)
    assert hub.inside("id") == "uid=20001(alice) gid=20001(alice) groups=20001(alice),20500(climate)"
    assert hub.inside("whoami") == "alice"
    assert hub.inside("sh", "-c", "echo $HOME; cd; pwd") == "/home/alice\n/home/alice"

    hub.inside("sh", "-c", "echo hers > ~/notes.txt; echo ours > /project/climate/shared.txt")
    hers, ours = hub.ground.home / "alice" / "notes.txt", hub.ground.climate / "shared.txt"
    assert (hers.read_text(), hers.stat().st_uid, hers.stat().st_gid) == ("hers\n", 20001, 20001)
    assert (ours.read_text(), ours.stat().st_uid, ours.stat().st_gid) == ("ours\n", 20001, CLIMATE)


async def test_files_of_others_are_closed_to_her(hub: RealHub) -> None:
    theirs = hub.ground.home / "bob" / "grades.txt"
    theirs.write_text("A\n")
    os.chown(theirs, 20002, 20600)
    foreign = hub.ground.home / "secret"
    foreign.mkdir()
    os.chown(foreign, 0, FOREIGN)
    foreign.chmod(0o770)
    await started(hub)
    told = hub.inside("sh", "-c", "(cat /home/bob/grades.txt; ls /home/secret) 2>&1; true")
    assert told.count("Permission denied") == 2


async def test_an_image_cannot_add_her_to_a_group(hub: RealHub) -> None:
    foreign = hub.ground.home / "secret"
    foreign.mkdir()
    os.chown(foreign, 0, FOREIGN)
    foreign.chmod(0o770)
    await started(hub, "claims")
    assert hub.inside("id", "-G") == "20001 20500"
    assert "Permission denied" in hub.inside("sh", "-c", "ls /home/secret 2>&1; true")
    (pod,) = hub.pods()
    (user,) = (found["user"]["linux"] for found in pod["status"]["containerStatuses"] if found["name"] == "notebook")
    assert user == {"uid": 20001, "gid": 20001, "supplementalGroups": [20001, CLIMATE]}


async def test_what_an_administrator_adds_runs_as_her_too(hub: RealHub) -> None:
    await started(hub)
    (pod,) = hub.pods()
    api = hub.ground.cluster.api
    for container in ("first", "beside"):
        assert api.logs("jhub", pod["metadata"]["name"], container) == "20001\n20001 20500\n"


async def test_no_container_without_a_gpu_asks_for_the_gpus_of_the_node(hub: RealHub) -> None:
    await started(hub)
    (pod,) = hub.pods()
    for container in ("notebook", "beside"):
        assert hub.inside("printenv", "NVIDIA_VISIBLE_DEVICES", container=container) == "void"
    # The image sets it to "all", which the pod changes for the first two containers as well.
    for init in pod["spec"]["initContainers"]:
        assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in init["env"]


NO_HOME = (
    "Your home directory /home/alice does not exist on the shared file system. Ask your administrators to create it."
)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_a_home_that_does_not_exist_is_a_sentence_and_nobody_makes_it(hub: RealHub) -> None:
    (hub.ground.home / "alice").rmdir()
    assert await why_not(hub) == f"Your server did not start. {NO_HOME} You can start it again."
    assert names_in(hub.ground.home) == ["bob"]


async def test_a_job_without_a_home_says_so_and_nobody_makes_it(here: Ground) -> None:
    (here.home / "alice").rmdir()
    async with batch(here.cluster, Site.model_validate(here.site())) as jobs:
        ended = await jobs.in_state(await jobs.submit("true"), "failed")
    assert (ended["message"], ended["exit_code"], len(ended["attempts"])) == (NO_HOME, None, 1)
    assert names_in(here.home) == ["bob"]


SECRET: Json = {"apiVersion": "v1", "kind": "Secret", "stringData": {"key": "value"}}


def with_ticket(pod: Json) -> None:
    """Mount the secret of alice, as a hook would."""
    pod["spec"]["volumes"].append({"name": "ticket", "secret": {"secretName": "ticket-alice"}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "ticket", "mountPath": "/ticket"})


async def test_the_kubelets_report_of_a_secret_that_does_not_exist_is_understood(here: Ground) -> None:
    site = here.site()
    site["profiles"]["small"]["images"] = {"default": JOB}
    alice = Alice(here, site)
    alice.notebook("waits", "sleep", "600", edit=with_ticket)

    def why() -> str:
        events = alice.api.all_of("v1", "Event", here.namespace, fieldSelector="involvedObject.name=waits")
        return why_no_secret(alice.pod("waits"), events)

    absent = "The secret 'ticket-alice', which your administrators add to the pod, does not exist."
    until(lambda: why() == absent, "the kubelet reports the secret")
    secret = {**SECRET, "metadata": {"name": "ticket-alice", "namespace": here.namespace}}
    alice.api.create(secret)
    try:
        until(lambda: alice.phase("waits").name == "running", "the pod runs")
        assert why() == ""
    finally:
        alice.api.delete(secret)


async def test_a_home_of_a_plain_zero_to_jupyterhub_is_a_sentence(hub: RealHub) -> None:
    os.chown(hub.ground.home / "alice", 1000, 100)
    assert await why_not(hub) == (
        "Your server did not start. Your home directory /home/alice belongs to another user (uid 1000, gid 100), and "
        "you cannot write to it. Ask your administrators to correct this. You can start it again."
    )


async def test_homes_that_cannot_be_used_are_sentences_of_a_job(here: Ground) -> None:
    home = here.home / "alice"
    async with batch(here.cluster, Site.model_validate(here.site())) as jobs:
        home.chmod(0o500)
        read_only = await jobs.in_state(await jobs.submit("true"), "failed")
        home.chmod(0o700)
        here.home.chmod(0o700)
        try:
            closed = await jobs.in_state(await jobs.submit("true"), "failed")
        finally:
            here.home.chmod(0o755)
        good = await jobs.in_state(await jobs.submit("true"), "succeeded")
    ask = "Ask your administrators to correct this."
    assert read_only["message"] == f"Your home directory /home/alice is not writable for you: Permission denied. {ask}"
    assert closed["message"] == f"Your home directory /home/alice cannot be reached: you may not enter /home. {ask}"
    assert good["exit_code"] == 0
    assert names_in(home) == []


async def test_a_job_says_that_its_file_system_is_not_mounted_and_starts_when_it_is(here: Ground) -> None:
    away = here.home.rename(here.home.with_name("away"))
    try:
        async with batch(here.cluster, Site.model_validate(here.site())) as jobs:
            job = await jobs.submit("true")
            waiting = await jobs.until(job, "told what is not mounted", lambda job: "FailedMount" in job["message"])
            away.rename(here.home)
            await jobs.in_state(job, "succeeded")
    finally:
        if not here.home.exists():
            away.rename(here.home)
    assert waiting["state"] == "starting"
    assert waiting["message"].startswith("A file system cannot be mounted or does not answer (FailedMount): ")
    assert "is not a directory" in waiting["message"]


async def test_a_working_directory_that_is_missing_is_made_by_nobody(here: Ground) -> None:
    async with batch(here.cluster, Site.model_validate(here.site())) as jobs:
        ended = await jobs.in_state(await jobs.submit("true", workdir="~/results"), "failed")
    missing = "The working directory /home/alice/results does not exist. Create it first, or choose another."
    assert ended["message"] == missing
    assert names_in(here.home / "alice") == []


async def test_a_working_directory_that_is_switched_to_another_home_is_made_by_nobody(here: Ground) -> None:
    """A user replaces the directory by a symlink, after it was checked and before the program starts."""

    def switch(pod: Json) -> None:
        script = "mkdir -p ~/results/new && rm -r ~/results && ln -s /home/bob ~/results"
        pod["spec"]["initContainers"][0] |= {"command": ["sh", "-c", script]}
        pod["spec"]["initContainers"][0]["env"].append({"name": "HOME", "value": "/home/alice"})

    site = here.site()
    site["profiles"]["small"]["images"] = {"default": JOB}
    alice = Alice(here, site)
    alice.notebook("switched", "touch", "ran", edit=switch, workdir="/home/alice/results/new")
    assert until(lambda: why_ended(alice.pod("switched"), "notebook"), "it has ended") == (
        "Container notebook ended with exit code 1: The working directory /home/alice/results/new does not exist."
    )
    assert (here.home / "alice/results").is_symlink()
    assert names_in(here.home / "bob") == []


async def test_a_job_starts_below_its_home_as_its_user(here: Ground) -> None:
    async with batch(here.cluster, Site.model_validate(here.site())) as jobs:
        results = here.home / "alice/results"
        results.mkdir()
        os.chown(results, 20001, 20001)
        done = await jobs.in_state(await jobs.submit("sh", "-c", "pwd > it; exit 3", workdir="~/results"), "failed")
        results.chmod(0o000)
        closed = await jobs.in_state(await jobs.submit("true", workdir="~/results"), "failed")
    assert (done["exit_code"], done["workdir"]) == (3, "/home/alice/results")
    assert done["command"] == ["sh", "-c", "pwd > it; exit 3"]
    assert (results / "it").read_text() == "/home/alice/results\n"
    assert closed["message"] == (
        "The working directory /home/alice/results is closed to you: its permissions do not let you enter it. "
        "Choose another."
    )


async def test_an_image_without_a_shell_is_a_sentence(here: Ground) -> None:
    site = here.site()
    site["profiles"]["small"]["images"] = {"default": SANDBOX_IMAGE}
    async with batch(here.cluster, Site.model_validate(site)) as jobs:
        ended = await jobs.in_state(await jobs.submit("/pause"), "failed")
        site["storage"]["home_check_image"] = JOB
    assert ended["message"] == (
        "The image has no `sh` to check your home directory with. "
        "Choose another image, or ask your administrators to set a home check image."
    )
    async with batch(here.cluster, Site.model_validate(site)) as jobs:
        running = await jobs.submit("/pause")
        await jobs.in_state(running, "running")
        await jobs.cancel(running)
        # Only a directory below the home or a mount needs a shell in the image.
        (here.home / "alice/results").mkdir()
        ended = await jobs.in_state(await jobs.submit("/pause", workdir="~/results"), "failed")
    assert ended["message"] == (
        "The image has no /bin/sh, but job arrays and working directories below your home or a mount require it."
    )


async def test_a_node_that_cannot_keep_groups_out_is_a_sentence(hub: RealHub, old_node: Node) -> None:
    assert "supplementalGroupsPolicy" not in old_node.status().get("features", {})
    assert await why_not(hub, "old") == (
        "Your server did not start. Its node cannot keep an image from adding groups (supplementalGroupsPolicy "
        "Strict), so the pod was not started. The node needs containerd 2 or CRI-O 1.31. You can start it again."
    )


@pytest.fixture(scope="module")
def old_node(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """With Debian's containerd 1.6 or 1.7, which knows no supplementalGroupsPolicy (KEP-3619)."""
    runtime = Runtime.of_debian(tmp_path_factory.mktemp("old") / "containerd", cluster.binary("ctr"))
    # Only pods of profile `old` run there.
    options = {"registerWithTaints": [{"key": "old", "effect": "NoSchedule"}]}
    added = cluster.add_node("old", options=options, labels={"pool": "old"}, runtime=runtime)
    try:
        added.import_images(functools.partial(images.write, names=[SANDBOX_IMAGE, JOB]))
        yield added
    finally:
        added.stop()


async def why_not(hub: RealHub, profile: str = "small") -> str:
    """Return what alice reads when her notebook does not start."""
    await hub.start_server("alice", {"profile": profile})
    last = [event async for event in hub.progress("alice")][-1]
    assert last["failed"], last
    return str(last["message"]).removeprefix("Spawn failed: ")


def test_new_terminals_and_jupyterlab_know_the_end(here: Ground) -> None:
    site = here.site()
    site["profiles"]["small"]["images"] = {"default": JOB}
    alice = Alice(here, site)
    labextension = f"find -L {notices.EXTENSION_DIRECTORY} -type f -printf '%P\\n' | grep -v '^[.]' | sort"

    def runs(name: str) -> Json:
        alice.notebook(name)
        until(lambda: alice.pod(name)["status"].get("phase") == "Running", f"{name} runs")
        return alice.pod(name)

    def inside(pod: Json, *command: str) -> str:
        return here.cluster.inside(pod, *command, container="notebook")

    # Without the ConfigMap, the notebook starts and nothing complains.
    bare = runs("bare")
    assert inside(bare, "sh", "-c", labextension) == ""
    assert inside(bare, "sh", "-lic", "echo end 2>&1") == "end"
    extension = everything(alice.site, Release(), only=["client"])[1]
    here.cluster.api.apply(extension)
    pod = runs("whole")
    assert inside(pod, "sh", "-c", labextension) == "package.json\nstatic/notices.js"
    pages = f"{notices.PAGE_CONFIG_DIRECTORY}/deadline.json"
    assert inside(pod, "cat", pages) == "{}"

    now = int(time.time())
    extend = "/hub/research-spawner/wall-time?server="
    written = {"ends_at_seconds": now + 7230, "hard_ends_at_seconds": now + 28800, "extend_path": extend}
    here.cluster.api.patch(pod, {"metadata": {"annotations": {DEADLINE: json.dumps(written)}}})
    until(lambda: inside(pod, "cat", pages) == json.dumps(written), "JupyterLab's page has the deadline")
    for shell in ("sh", "bash"):
        line, more, end = inside(pod, shell, "-lic", "echo end").splitlines()
        assert re.fullmatch(r"This server ends on .*, in (2 h [01]|1 h 5\d) min\.", line)
        assert more.startswith("To extend it, press Extend on the hub's home page")
        assert end == "end"
    assert inside(pod, "sh", "-lc", "echo end") == "end", "a program's shell is silent"
