"""Values for a first class, loaded as the chart does it: the configuration of the hub, a pod, and hubs that start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import samples
import yaml
from helm_files import BASE, VALUES, lists
from helm_files import complete as values
from hub import python_of
from patience import PATIENCE_SECONDS
from traitlets.config import Config

from jupyter_research_spawner import chart_values
from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.plan import offers
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import SettingsError, merge, read
from jupyter_research_spawner.site import load
from jupyter_research_spawner.spawner import render_notebook
from jupyter_research_spawner.spawner.process_state import registered_state

BATCH, KUEUE, CLASS = (VALUES / name for name in ("batch.yaml", "schedulers/kueue.yaml", "classes/stats-101.yaml"))
NFS = VALUES / "storage" / "nfs.yaml"
FILES = (BASE, BATCH, KUEUE, CLASS)


def test_a_class_adds_and_replaces_nothing() -> None:
    only_class = read(CLASS)
    assert lists(only_class) == []
    for part in ("storage", "queues", "profiles"):
        before = values(BASE, NFS)["custom"]["research"][part]
        after = values(BASE, NFS, CLASS)["custom"]["research"][part]
        assert set(before) <= set(after)
    research = values(BASE, NFS, CLASS)["custom"]["research"]
    assert set(research["storage"]["mounts"]) == {"projects", "stats-101"}


def test_students_and_staff_are_offered_the_class(
    alice: PosixIdentity, bob: PosixIdentity, carol: PosixIdentity
) -> None:
    site = load(values(*FILES)["custom"]["research"])

    def offered(who: PosixIdentity) -> list[str]:
        return [offer.course for offer in offers(site, who, samples.NOW) if offer.course]

    assert offered(bob) == offered(alice) == ["stats-101"]
    assert offered(carol) == []


def test_everything_the_hub_and_the_service_read_is_an_absolute_path() -> None:
    (source,) = load(values(BASE)["custom"]["research"]).identity.sources.values()
    mounted = {mount["mountPath"] for mount in values(BASE)["hub"]["extraVolumeMounts"]}
    assert {str(source.passwd.parent), str(source.group.parent)} == mounted  # type: ignore[attr-defined]


def loaded(*more: dict[str, Any]) -> Config:
    found = merge(values(*FILES), *more)
    with chart_values.hub_pod(found):
        result = chart_values.build(found)
    assert result.problems == []
    if result.refused:
        raise SettingsError([problem for _, problem in result.refused])
    assert result.not_run == []
    return result.config


def test_the_chart_loads_them() -> None:
    c = loaded()
    assert c.JupyterHub.spawner_class == "jupyter_research_spawner.spawner.ResearchSpawner"
    assert c.ResearchSpawner.namespace == "jhub"
    assert c.JupyterHub.authenticator_class == "null"
    assert [service["name"] for service in c.JupyterHub.services] == ["jupyterhub-idle-culler", "batch"]
    assert "access:services!service=batch" in c.ResearchSpawner.server_token_scopes
    assert not {"uid", "fs_gid", "scheduler_name", "storage_pvc_ensure", "profile_list"} & {
        trait for trait, value in c.KubeSpawner.items() if value
    }


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"singleuser": {"uid": 1001}}, "c.KubeSpawner.uid: is 1001"),
        ({"singleuser": {"fsGid": 101}}, "c.KubeSpawner.fs_gid: is 101"),
        ({"hub": {"services": {"batch": None}}}, "c.JupyterHub.services: has no service named 'batch'"),
        ({"custom": {"research": {"queus": {}}}}, "queus: there is no such setting"),
    ],
)
def test_what_a_site_changes_wrongly_is_said_at_start(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:
        loaded(more)
    assert words in str(error.value)


async def test_the_pod_of_a_student(bob: PosixIdentity) -> None:
    held = {"custom": {"research": {"classes": {"stats-101": {"since": "2020-01-01", "until": "2099-12-20"}}}}}
    research = merge(values(*FILES), held)["custom"]["research"]
    _, pod = await render_notebook(load(research), "bob", {"class": "stats-101"}, loaded(held), identity=bob)
    assert pod["metadata"]["labels"]["hub.jupyter.org/network-access-hub"] == "true", "else it never reaches the hub"
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "teaching"
    assert pod["spec"]["securityContext"]["runAsUser"] == bob.uid
    assert "schedulerName" not in pod["spec"]
    assert [container["name"] for container in pod["spec"]["initContainers"]] == ["research-home"]
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if len(volume) == 2 and "persistentVolumeClaim" in volume
    }
    assert claims == {"home", "course-stats-101"}


EXTRA = {"motd": {"mountPath": "/etc/motd", "stringData": "Hello"}, "b": {"mountPath": "/b.json", "data": {"a": 1}}}


async def test_a_pod_has_the_chart_s_extra_files(alice: PosixIdentity) -> None:
    found = merge(values(BASE), {"singleuser": {"extraFiles": EXTRA}})
    with chart_values.hub_pod(found):
        c = chart_values.build(found).config
    site = registered_state(c.ResearchSpawner.installation).site
    _, pod = await render_notebook(site, "alice", {"profile": "small"}, c, identity=alice)
    (volume,) = (volume for volume in pod["spec"]["volumes"] if "secret" in volume)
    assert volume["secret"] == {
        "secretName": "singleuser",
        "items": [{"key": "motd", "path": "motd"}, {"key": "b", "path": "b"}],
    }
    mounts = [mount for mount in pod["spec"]["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert [(mount["mountPath"], mount["subPath"]) for mount in mounts] == [("/etc/motd", "motd"), ("/b.json", "b")]
    # Another secret, and this one without the files, are refused.
    c.KubeSpawner.volumes["files"]["secret"]["secretName"] = "hub"
    with pytest.raises(Refusal, match=re.escape("volumes[files].secret is the secret 'hub'")):
        await render_notebook(site, "alice", {"profile": "small"}, c, identity=alice)
    c.KubeSpawner.volumes["files"]["secret"]["secretName"] = "singleuser"
    with pytest.raises(Refusal, match="is the secret 'singleuser'"):
        await render_notebook(load(found["custom"]["research"]), "alice", {"profile": "small"}, c, identity=alice)


CONFIG = """
import yaml
from pathlib import Path
from jupyterhub.proxy import Proxy
from jupyter_research_spawner.chart_values import build, hub_pod

class NullProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {{}}

values = yaml.safe_load(Path({values!r}).read_text())
pod = hub_pod(values)
pod.__enter__()
result = build(values, c)
assert (result.problems, result.refused, result.not_run) == ([], [], [])
c.JupyterHub.proxy_class = NullProxy
del c.JupyterHub.hub_connect_url
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret = bytes(32)
c.JupyterHub.services.append({{"name": "tests", "api_token": "a-token-for-this-test", "admin": True}})
"""
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {token: none}}]
"""


@pytest.mark.parametrize("version", [5, 6])
def test_a_real_hub_starts_with_them(version: int, tmp_path: Path) -> None:
    python = python_of(version)
    port = free_port("127.0.0.1")
    # The chart's image has the culler, this machine need not.
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(merge(values(*FILES), {"cull": {"enabled": False}})))
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    text = CONFIG.format(values=str(tmp_path / "values.yaml"), port=port)
    (tmp_path / "config.py").write_text(text)
    log = tmp_path / "hub.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            [python, "-m", "jupyterhub", "-f", "config.py"],
            cwd=tmp_path,
            env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        told = _told(running, f"http://127.0.0.1:{port}/hub/api/info", log)
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
    assert told["version"].startswith(f"{version}.")
    assert told["spawner"]["class"] == "jupyter_research_spawner.spawner.research.ResearchSpawner"
    assert told["authenticator"]["class"].endswith("NullAuthenticator")


def _told(running: subprocess.Popen[bytes], url: str, log: Path) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Authorization": "token a-token-for-this-test"})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and running.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=5) as answer:
            return dict(json.load(answer))
        time.sleep(0.2)
    raise AssertionError(f"the hub does not answer:\n{log.read_text()}")
