"""`research-spawner try` as a process: the check of real values, the login, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from pathlib import Path

import aiohttp
import pytest
import yaml
from hub import NOTEBOOK

from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.demo.user_session import UserSession
from jupyter_research_spawner.embedded import abilities
from jupyter_research_spawner.trial import trial_check

pytestmark = pytest.mark.embedded

VALUES = Path(__file__).parents[2] / "helm-values"
COMMAND = [str(Path(sys.executable).with_name("research-spawner")), "try"]
FAST = ["python3", "-c", NOTEBOOK]
# Longer than the check waits for an explanation of a pod that fits on no node.
SLOW = ["python3", "-c", f"import time; time.sleep({trial_check.EXPLAIN_SECONDS + 1})\n{NOTEBOOK}"]
SETTINGS = {
    # Nobody answers there, and nobody has to.
    "identity": {"sources": {"people": {"kind": "static", "passwd": "/nowhere/passwd", "group": "/nowhere/group"}}},
    "namespaces": {"name": "jhub"},
    "storage": {"homes": {"main": {"claim": "home", "root": "/home"}}},
    "scheduler": {"kind": "plain"},
    "priorities": {"normal": {"value": 0, "default": True}},
    "queues": {"general": {}},
    "profiles": {
        "small": {
            "title": "Small",
            "cpu": 1,
            "memory": "1Gi",
            "wall_time": "1h",
            "images": {"default": "example/notebook:1"},
        },
        "huge": {"like": "small", "title": "Huge", "cpu": 512, "order": 200},
    },
}
# A hub that could not run here: its login, its cluster, its containers and its addresses are elsewhere.
CONFIG = """
import jupyter_research_spawner
c = get_config()
c.JupyterHub.authenticator_class = "a_login_that_is_not_installed.Authenticator"
c.JupyterHub.ip = "0.0.0.0"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.db_url = "postgresql://db.example.edu/hub"
c.JupyterHub.services = [{{"name": "other", "url": "http://127.0.0.1:9", "command": ["not-installed"]}}]
c.KubeSpawner.k8s_api_host = "https://cluster.example.edu"
c.KubeSpawner.cmd = ["start-that-is-in-the-image"]
c.KubeSpawner.init_containers = [{{"name": "prepare", "image": "example/prepare:1", "command": ["false"]}}]
jupyter_research_spawner.configure(c, {site!r})
"""


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command until it ends; its temporary directory is below `directory`."""
    temporary = directory / "tmp"
    temporary.mkdir(mode=0o755)
    done = subprocess.run(
        [*COMMAND, *arguments, "--port", str(free_port("127.0.0.1"))],  # tests run at the same time
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert leftovers(temporary) == []
    return done


def processes_of(temporary: Path) -> list[Path]:
    """Return the processes that have this directory in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if str(temporary).encode() in environment.read_bytes():
                found.append(environment.parent)
    return found


def leftovers(temporary: Path) -> list[Path]:
    return [*temporary.iterdir(), *processes_of(temporary)]


def written(directory: Path, name: str, content: object) -> str:
    path = directory / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_each_offer_of_the_example_values_starts(tmp_path: Path) -> None:
    # A hook that needs what the chart's hub has: its module, a file, and a variable.
    hook = """
async def hook(spawner):
    import os, of_the_site, z2jh
    spawner.environment["FOUND"] = of_the_site.NAME + os.environ["OWN"] + z2jh.get_config("singleuser.defaultUrl")
c.KubeSpawner.pre_spawn_hook = hook
"""
    module = {"mountPath": "/usr/local/etc/jupyterhub/of_the_site.py", "stringData": "NAME = 'site'\n"}
    more = {
        "hub": {"extraConfig": {"hook": hook}, "extraFiles": {"m": module}, "extraEnv": {"OWN": "own"}},
        "singleuser": {"cmd": FAST, "defaultUrl": "/lab"},
        "custom": {"research": {"classes": {"stats-101": {"since": date(2999, 1, 1), "until": date(2999, 12, 20)}}}},
    }
    examples = ("base.yaml", "schedulers/kueue.yaml", "gpu.yaml", "batch.yaml", "classes/stats-101.yaml")
    files = [*(VALUES / name for name in examples), written(tmp_path, "more.yaml", more)]
    done = run(tmp_path, *(word for file in files for word in ("-f", str(file))), "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("Your scheduler is kueue, but the embedded cluster schedules as plain")
    assert "The class stats-101 begins on 2999-01-01. Here it has begun already." in lines
    rows = [line.split() for line in lines if line.endswith("  starts")]
    assert ["climate-1", "gpu-numa", "climate", "starts"] in rows
    assert ["stats101-f26-1", "stats-101", "teaching", "starts"] in rows
    assert ["climate-1", "small", "backfill", "starts"] in rows
    assert lines[-1].startswith(f"All {len(rows)} starts succeeded")
    progress = [line for line in lines if line.endswith(": starts")]
    assert [line.partition(":")[0] for line in progress] == [f"{n + 1} of {len(rows)}" for n in range(len(rows))]
    assert sorted(line.partition(": ")[2] for line in progress) == sorted(
        f"{user}, {offer} in {queue}: starts" for user, offer, queue, _ in rows
    )
    assert max(map(len, lines)) <= 80


def test_a_profile_that_fits_on_no_node_fails_the_check(tmp_path: Path) -> None:
    config = written(tmp_path, "fast.py", f"c = get_config()\nc.KubeSpawner.cmd = {FAST!r}\n")
    site = written(tmp_path, "site.yaml", SETTINGS)
    done = run(tmp_path, "--site", site, "--config", config, "--nodes", "cpu=8,memory=32Gi,count=2", "--check")
    assert done.returncode == 1
    rows = done.stdout.splitlines()
    assert [line.split() for line in rows if line.startswith("user-1")] == [
        ["user-1", "small", "general", "starts"],
        ["user-1", "huge", "general", "fits", "on", "no", "node"],
    ]
    assert "the largest has 8 CPUs" in done.stdout
    assert "1 of 2 starts failed" in done.stdout


GATE = """
import os
c = get_config()
c.KubeSpawner.cmd = {command!r}
def hook(spawner, pod):
    if spawner.user.name == "climate-1":
        from kubernetes_asyncio.client import V1PodSchedulingGate
        pod.spec.scheduling_gates = [V1PodSchedulingGate(name="example.edu/never")]
    return pod
c.KubeSpawner.modify_pod_hook = hook
"""


def test_a_pod_that_a_scheduling_gate_holds_waits(tmp_path: Path) -> None:
    config = written(tmp_path, "gate.py", GATE.format(command=FAST))
    allow = {"scheduling_gates": {"example.edu/never": True}}
    queues = {"general": {}, "climate": {"groups": {"climate": True}, "order": 1}}
    profiles = {"small": SETTINGS["profiles"]["small"]}
    settings = {**SETTINGS, "pods": {"allow": allow}, "queues": queues, "profiles": profiles}
    site = written(tmp_path, "site.yaml", settings)
    done = run(tmp_path, "--site", site, "--config", config, "--check", "--wait", "3")
    assert done.returncode == 1
    results = [line.split() for line in done.stdout.splitlines() if line.startswith(("user-1", "climate-1"))]
    assert ["climate-1", "small", "general", "waits"] in results
    assert ["climate-1", "small", "climate", "waits"] in results
    assert ["user-1", "small", "general", "starts"] in results
    assert "It did not start within 3 s." in done.stdout
    assert "2 of 3 starts failed" in done.stdout


def test_users_who_fill_the_nodes_of_each_other_start_all_the_same(tmp_path: Path) -> None:
    """On the only node there is room for one server, so that the servers of other users are tried again alone."""
    config = written(tmp_path, "fast.py", f"c = get_config()\nc.KubeSpawner.cmd = {SLOW!r}\n")
    small = {**SETTINGS["profiles"]["small"], "groups": {"a": True, "b": True, "c": True}}
    site = written(tmp_path, "site.yaml", {**SETTINGS, "profiles": {"small": small}})
    done = run(tmp_path, "--site", site, "--config", config, "--nodes", "cpu=1,memory=1Gi", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 3 starts succeeded" in done.stdout


NAMES_OBJECTS = """
c = get_config()
c.KubeSpawner.cmd = {command!r}
c.KubeSpawner.environment = {{
    "TOKEN": {{"name": "TOKEN", "valueFrom": {{"secretKeyRef": {{"name": "tokens", "key": "token"}}}}}},
    "COLOR": {{"name": "COLOR", "valueFrom": {{"configMapKeyRef": {{"name": "look", "key": "color"}}}}}},
}}
c.KubeSpawner.volumes = [
    {{"name": "look", "configMap": {{"name": "look"}}}},
    {{"name": "own", "secret": {{"secretName": "own-{{username}}", "items": [{{"key": "k", "path": "file"}}]}}}},
    {{"name": "absent", "configMap": {{"name": "absent", "optional": True}}}},
]
c.KubeSpawner.volume_mounts = [
    {{"name": "look", "mountPath": "/etc/look/style.css", "subPath": "style.css", "readOnly": True}},
    {{"name": "own", "mountPath": "/etc/own", "readOnly": True}},
    {{"name": "absent", "mountPath": "/etc/absent", "readOnly": True}},
]
"""
# Fails if a file is missing.
READS = "open('/etc/look/style.css').read() + open('/etc/own/file').read()"


def test_secrets_and_config_maps_that_pods_name_exist(tmp_path: Path) -> None:
    program = f"{READS}\n{NOTEBOOK}" if abilities().namespaces else NOTEBOOK
    config = written(tmp_path, "names.py", NAMES_OBJECTS.format(command=["python3", "-c", program]))
    allow = {"secrets": {"tokens": True, "own-{user}": True, "extra": "optional"}}
    profiles = {"small": SETTINGS["profiles"]["small"]}
    site = written(tmp_path, "site.yaml", {**SETTINGS, "pods": {"allow": allow}, "profiles": profiles})
    done = run(tmp_path, "--site", site, "--config", config, "--check", "--wait", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "Secrets that are empty here: own-{user} and tokens." in lines
    assert [line for line in lines if "ConfigMap" in line] == ["A pod names the ConfigMap look, which is empty here."]
    assert "extra" not in done.stdout


def test_wrong_settings_are_named_at_once_and_start_nothing(tmp_path: Path) -> None:
    values = {"hub": {"config": {"wrong": {}}}, "singleuser": {"storage": {"type": "static"}}}
    site = written(tmp_path, "values.yaml", {**values, "custom": {"research": SETTINGS}})
    done = run(tmp_path, "-f", site, "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert "hub.config.wrong" in done.stderr
    assert "singleuser.storage.type" in done.stderr


def test_a_missing_proxy_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    done = run(tmp_path, "--site", written(tmp_path, "site.yaml", SETTINGS))
    assert done.returncode == 1
    assert done.stderr.startswith("The hub's proxy is not installed.")


@asynccontextmanager
async def started(directory: Path, *arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str, str]]:
    """Run the command; yield its process, the hub's URL, the key, and what it has said."""
    temporary = directory / "tmp"
    temporary.mkdir(mode=0o755, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = await asyncio.wait_for(process.stdout.readline(), 120)
            assert line, said
            said += line.decode()
        url, _, key = next(word for word in said.split() if "?key=" in word).partition("/hub/login?key=")
        yield process, url, key, said
    finally:
        if process.returncode is None:  # the test has failed
            for path in processes_of(temporary):
                os.kill(int(path.name), signal.SIGKILL)


async def interrupted(process: asyncio.subprocess.Process) -> None:
    """Interrupt the command, and check what it says at its end."""
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    rest = (await asyncio.wait_for(process.stdout.read(), 60)).decode()
    assert (await process.wait(), "Nothing of the trial is left" in rest) == (130, True)


@asynccontextmanager
async def running(directory: Path, *arguments: str) -> AsyncIterator[tuple[str, str, str]]:
    """Run the command; yield the hub's URL, the key and the kubeconfig.  At the end it is interrupted."""
    async with started(directory, *arguments) as (process, url, key, said):
        kubeconfig = next(word for word in said.split() if word.startswith("KUBECONFIG=")).partition("=")[2]
        try:
            yield url, key, kubeconfig
        finally:
            await interrupted(process)
    assert leftovers(directory / "tmp") == []


def listening(temporary: Path) -> set[str]:
    """Return the addresses, in hexadecimal, on which processes of the trial listen."""
    inodes = set()
    for process in processes_of(temporary):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    return {fields[1].partition(":")[0] for fields in lines if fields[3] == "0A" and fields[9] in inodes}


async def test_a_hub_of_elsewhere_runs_here_with_a_choice_of_user(tmp_path: Path) -> None:
    """The login needs the key, nothing listens on other addresses, and the page shows the pod of the site."""
    settings = {**SETTINGS, "scheduler": {"kind": "kueue"}}
    site = written(tmp_path, "site.yaml", settings)
    config = written(tmp_path, "jupyterhub_config.py", CONFIG.format(site=site))
    async with running(tmp_path, "--site", site, "--config", config, "--port", "8200") as (url, key, kubeconfig):
        async with aiohttp.ClientSession() as nobody, nobody.get(f"{url}/hub/login") as answer:
            text = await answer.text()
            assert ("user-1" in text, "has printed in the terminal" in text) == (False, True)
        for wrong in ("", "wrong"):
            async with UserSession(url, "user-1", wrong) as session:
                with pytest.raises(RuntimeError, match="could not log in"):
                    await session.log_in()
        async with UserSession(url, "user-1", key) as session:
            async with session.http.get(f"{url}/hub/login", params={"key": key}) as answer:
                page = await answer.text()
            assert "Your scheduler is kueue, but the embedded cluster schedules as plain" in page
            assert 'value="user-1"' in page
            await session.log_in()
            async with session.http.get(f"{url}/hub/research-spawner/pod/user-1?profile=small") as answer:
                pods = await answer.text()
            assert "kueue.x-k8s.io/queue-name: general" in pods
            assert "start-that-is-in-the-image" in pods
            assert "name: prepare" in pods
            assert "do not run here: prepare." in pods
            await session.start_server("Small")
            assert (await session.run("import os; print(os.environ['JUPYTERHUB_USER'])")).strip() == "user-1"
        addresses = listening(tmp_path / "tmp")
        assert addresses
        assert {address for address in addresses if not address.endswith("7F")} == set()  # 127.0.0.0/8
        assert is_private(kubeconfig)


async def test_the_next_trial_removes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    """Of the directories beside it, it removes no other: neither a running trial's, nor one that others can read."""
    site = written(tmp_path, "site.yaml", SETTINGS)
    config = written(tmp_path, "fast.py", f"c = get_config()\nc.KubeSpawner.cmd = {FAST!r}\n")
    temporary = tmp_path / "tmp"
    async with started(tmp_path, "--site", site, "--config", config, "--port", "8201") as (process, url, key, _):
        async with UserSession(url, "user-1", key) as session:
            await session.log_in()
            start = f"{url}/hub/api/users/user-1/server"
            async with session.http.post(start, params={"_xsrf": session.xsrf("/hub/")}, json={"profile": "small"}):
                pass
            async for event in session.progress():
                if event.get("ready"):
                    break
        process.kill()
        await process.wait()
    [left] = temporary.iterdir()
    assert processes_of(temporary)
    readable, empty = temporary / "research-spawner-try-readable", temporary / "research-spawner-try-empty"
    for directory, mode in ((readable, 0o755), (empty, 0o700)):
        directory.mkdir()
        directory.chmod(mode)
    (readable / "lock").write_text("1\n")
    async with started(tmp_path, "--site", site, "--config", config, "--port", "8202") as (process, _, _, said):
        assert f"Removed {left} and its processes" in " ".join(said.split())
        [own] = {*temporary.iterdir()} - {readable, empty}
        assert left != own
        mine = {int(path.name) for path in processes_of(own)} | {process.pid}
        assert {int(path.name) for path in processes_of(temporary)} == mine
        async with started(tmp_path, "--site", site, "--port", "8203") as (third, *further):
            assert "Removed" not in further[-1]
            await interrupted(third)
        assert own.is_dir()
        await interrupted(process)
    assert {*leftovers(temporary)} == {readable, empty}


def is_private(path: str) -> bool:
    return Path(path).stat().st_mode & 0o077 == 0
