"""Containers with namespaces and their own users, and the same pods without namespaces."""

# ruff: noqa: ASYNC240  (small files of the test itself)

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from embedded_cluster import NAMESPACE, create, ended, events, log_of, now, phase, pod
from patience import eventually

from jupyter_research_spawner.embedded import Cluster, NodeSpec, abilities
from jupyter_research_spawner.embedded.apimachinery.api_resources import CLAIM
from jupyter_research_spawner.pod.home_check import HOME_CHECK, SCRIPT
from jupyter_research_spawner.pod.overlay import literal

ALICE = {"runAsUser": 20001, "runAsGroup": 20001, "supplementalGroups": [20500], "supplementalGroupsPolicy": "Strict"}
BOB = {"runAsUser": 20002, "runAsGroup": 20002}
PASSWD = "root:x:0:0:root:/root:/bin/sh\nalice:x:20001:20001::/home/alice:/bin/bash\n"
GROUP = "root:x:0:\nalice:x:20001:\nclimate:x:20500:alice\n"


@pytest_asyncio.fixture
async def isolated(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with a claim `home` that contains private directories of alice and bob."""
    assert abilities().namespaces, abilities().reason
    home = tmp_path / "home"
    for name, uid in (("alice", 20001), ("bob", 20002)):
        (home / name).mkdir(parents=True)
        os.chown(home / name, uid, uid)
        (home / name).chmod(0o700)
    cluster = await Cluster.start(
        tmp_path / "cluster", [NodeSpec("node-1")], namespace=NAMESPACE, claims={"home": home}, privileged=True
    )
    try:
        yield cluster
    finally:
        await cluster.stop()


def at_home(name: str, script: str, context: dict[str, Any], **container: Any) -> dict[str, Any]:
    volume = {"name": "home", "persistentVolumeClaim": {"claimName": "home"}}
    mounts = [{"name": "home", "mountPath": "/home"}, *container.pop("volumeMounts", [])]
    volumes = [volume, *container.pop("volumes", [])]
    body = {"volumeMounts": mounts, **container}
    return pod(name, "sh", "-c", script, container=body, securityContext=context, volumes=volumes)


def names(directory: str) -> list[str]:
    return sorted(path.name for path in Path(directory).iterdir())


async def output(cluster: Cluster, body: dict[str, Any]) -> str:
    """Return what the pod prints until its end."""
    name = body["metadata"]["name"]
    await create(cluster, body)
    await ended(cluster, name)
    return log_of(cluster, name)


async def test_uid_gid_and_groups_are_exactly_those(isolated: Cluster) -> None:
    said = await output(
        isolated, at_home("p", "id -u; id -g; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/self/status", ALICE)
    )
    uid, gid, groups, *status = said.splitlines()
    assert (uid, gid, groups.split()) == ("20001", "20001", ["20001", "20500"])
    assert {line.split()[1] for line in status if line.startswith("Cap")} == {"0" * 16}
    assert "NoNewPrivs:\t1" in status


async def test_root_has_no_capability_either(isolated: Cluster) -> None:
    said = await output(isolated, pod("p", "sh", "-c", "id -u; grep CapEff /proc/self/status; cat /home/alice/x"))
    assert said.splitlines()[0] == "0"
    assert "CapEff:\t0000000000000000" in said


async def test_a_home_is_where_it_says_and_others_stay_closed(isolated: Cluster) -> None:
    script = "pwd; echo hello > file; cat file; stat -c %u file; ls /home/bob"
    said = await output(isolated, at_home("p", script, ALICE, workingDir="/home/alice"))
    assert said.startswith("/home/alice\nhello\n20001\n")
    assert "Permission denied" in said
    assert (isolated.storage.claims[NAMESPACE, "home"] / "alice" / "file").read_text() == "hello\n"


async def test_two_people_do_not_see_each_others_processes(isolated: Cluster) -> None:
    await create(isolated, at_home("bob", "exec sleep 6543", BOB))
    await eventually(lambda: phase(isolated, "bob") == "Running")
    said = await output(isolated, at_home("alice", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls /tmp; hostname", ALICE))
    assert "6543" not in said
    assert said.endswith("alice\n")


async def test_passwd_and_group_by_the_downward_api(isolated: Cluster) -> None:
    items = [
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['research-spawner/{name}']"}}
        for name in ("passwd", "group")
    ]
    volume = {"name": "identity", "downwardAPI": {"items": items}}
    mounts = [{"name": "identity", "mountPath": f"/etc/{name}", "subPath": name} for name in ("passwd", "group")]
    before = Path("/etc/passwd").read_bytes()
    body = at_home("p", "id; stat -c '%U %a' /etc/passwd", ALICE, volumes=[volume], volumeMounts=mounts)
    body["metadata"]["annotations"] = {"research-spawner/passwd": PASSWD, "research-spawner/group": GROUP}
    said = await output(isolated, body)
    assert said == "uid=20001(alice) gid=20001(alice) groups=20001(alice),20500(climate)\nroot 644\n"
    assert Path("/etc/passwd").read_bytes() == before


async def test_a_program_mounted_into_usr_local_bin_is_not_written_on_the_host(isolated: Cluster) -> None:
    data = {"research-tool": "#!/bin/sh\necho it runs\n"}
    await create(isolated, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tools"}, "data": data})
    volume = {"name": "tools", "configMap": {"name": "tools", "defaultMode": 0o755}}
    target = "/usr/local/bin/research-tool"
    mount = {"name": "tools", "mountPath": target, "subPath": "research-tool", "readOnly": True}
    before = names("/usr/local/bin")
    script = "research-tool; ls /usr/local/bin; echo x >> /usr/local/bin/research-tool"
    said = await output(isolated, at_home("p", script, ALICE, volumes=[volume], volumeMounts=[mount]))
    assert said.startswith("it runs\n")
    assert set(before) | {"research-tool"} == set(said.splitlines()[1 : 2 + len(before)])
    assert names("/usr/local/bin") == before


async def test_an_optional_config_map_that_is_absent_is_an_empty_directory(isolated: Cluster) -> None:
    volume = {"name": "tools", "configMap": {"name": "none", "optional": True}}
    mount = {"name": "tools", "mountPath": "/usr/local/bin/research-tool", "subPath": "research-tool"}
    script = "stat -c %F /usr/local/bin/research-tool"
    assert await output(isolated, at_home("p", script, ALICE, volumes=[volume], volumeMounts=[mount])) == "directory\n"


async def test_read_only_mounts_are(isolated: Cluster) -> None:
    volume = {"name": "shared", "emptyDir": {}}
    mounts = [{"name": "shared", "mountPath": "/rw"}, {"name": "shared", "mountPath": "/ro", "readOnly": True}]
    script = "echo x > /rw/file; cat /ro/file; echo y > /ro/file; touch /usr/x /etc/x"
    said = await output(isolated, pod("p", "sh", "-c", script, container={"volumeMounts": mounts}, volumes=[volume]))
    assert said.startswith("x\n")
    assert said.count("Read-only file system") == 3


async def test_a_sub_path_may_not_leave_its_volume(isolated: Cluster) -> None:
    home = isolated.storage.claims[NAMESPACE, "home"]
    (home / "escape").symlink_to("/etc")
    mount = {"name": "home", "mountPath": "/x", "subPath": "escape"}
    await create(isolated, at_home("p", "ls /x", ALICE, volumeMounts=[mount]))
    await eventually(lambda: "leads out of the volume" in events(isolated, "p").get("Failed", ""))
    assert phase(isolated, "p") == "Pending"


async def test_a_link_in_a_home_leads_nowhere_on_the_host(isolated: Cluster, tmp_path: Path) -> None:
    """A mountPath below a user's symbolic link is resolved in the container's root, not on the host."""
    (tmp_path / "target").mkdir()
    home = isolated.storage.claims[NAMESPACE, "home"]
    (home / "alice" / "link").symlink_to(tmp_path / "target")
    volume = {"name": "scratch", "emptyDir": {}}
    mount = {"name": "scratch", "mountPath": "/home/alice/link/inner"}
    await create(isolated, at_home("p", "true", ALICE, volumes=[volume], volumeMounts=[mount]))
    await ended(isolated, "p")
    assert list((tmp_path / "target").iterdir()) == []


async def test_the_state_and_the_hosts_homes_are_not_there(isolated: Cluster) -> None:
    script = f"cat {isolated.kubeconfig}; ls -A /root /mnt /home; ls {isolated.state}"
    said = await output(isolated, pod("p", "sh", "-c", script))
    assert "token" not in said
    assert said.count("No such file or directory") >= 2


async def test_a_working_directory_missing_on_a_volume_is_made_by_root(isolated: Cluster) -> None:
    said = await output(isolated, at_home("p", "pwd; touch x", ALICE, workingDir="/home/alice/nowhere"))
    assert said.startswith("/home/alice/nowhere\n")
    assert "Permission denied" in said
    made = isolated.storage.claims[NAMESPACE, "home"] / "alice" / "nowhere"
    assert made.stat().st_uid == 0


@pytest.mark.parametrize(
    ("home", "sentence"),
    [
        ("alice", ""),
        (
            "bob",
            "Your home directory /home/bob belongs to another user (uid 20002, gid 20002), and you cannot write to it.",
        ),
        ("carol", "Your home directory /home/carol does not exist on the shared file system."),
    ],
)
async def test_the_check_of_the_home_runs_as_the_user(isolated: Cluster, home: str, sentence: str) -> None:
    asked = [HOME_CHECK, "20", "home", f"/home/{home}"]
    said = await output(isolated, at_home("p", literal(SCRIPT), ALICE, args=asked, workingDir="/"))
    assert said.startswith(sentence)
    assert bool(said) is bool(sentence)
    assert names(str(isolated.storage.claims[NAMESPACE, "home"] / "alice")) == []


async def test_a_working_directory_of_somebody_else(isolated: Cluster) -> None:
    await create(isolated, at_home("p", "true", ALICE, workingDir="/home/bob"))
    message = (await ended(isolated, "p"))["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    assert 'chdir to cwd ("/home/bob") set in config.json failed: permission denied' in message


async def test_a_working_directory_elsewhere_is_made(isolated: Cluster) -> None:
    assert await output(isolated, pod("p", "pwd", container={"workingDir": "/results/dir"})) == "/results/dir\n"


async def test_a_claim_of_the_clusters_own(isolated: Cluster) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await create(
        isolated, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "own"}, "spec": claim}
    )
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "own"}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/data", "subPath": "alice"}]}
    context = {**ALICE, "fsGroup": 20500}
    for number in (1, 2):
        script = "stat -c '%g' /data; echo x >> /data/../data/x || true"
        await output(
            isolated, pod(f"p{number}", "sh", "-c", script, container=mount, securityContext=context, volumes=[volume])
        )
    assert (isolated.state / "pv" / f"{NAMESPACE}-own" / "alice").is_dir()
    isolated.store.delete(CLAIM, isolated.store.get(CLAIM, NAMESPACE, "own"))
    assert not (isolated.state / "pv" / f"{NAMESPACE}-own").exists()


async def test_terminals_work(isolated: Cluster) -> None:
    said = await output(isolated, at_home("p", "python -c 'import pty; print(pty.openpty())'", ALICE))
    assert said.startswith("(")


@pytest.mark.root
async def test_a_path_may_be_exposed(tmp_path: Path) -> None:
    shown = tmp_path / "private" / "shown"
    shown.mkdir(parents=True)
    (tmp_path / "private").chmod(0o700)
    (shown / "file").write_text("seen")
    cluster = await Cluster.start(tmp_path / "c", [NodeSpec("n")], namespace=NAMESPACE, expose=[shown])
    try:
        script = f"cat {shown}/file; touch {shown}/x"
        said = await output(cluster, pod("p", "sh", "-c", script, securityContext=ALICE))
        assert said.startswith("seen")
        assert "Read-only file system" in said
    finally:
        await cluster.stop()


@pytest_asyncio.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Cluster]:
    home = tmp_path / "home"
    (home / "alice").mkdir(parents=True)
    cluster = await Cluster.start(
        tmp_path / "cluster", [NodeSpec("node-1")], namespace=NAMESPACE, claims={"home": home}, privileged=False
    )
    try:
        yield cluster
    finally:
        await cluster.stop()


async def test_without_namespaces_it_says_what_it_cannot_do(plain: Cluster) -> None:
    body = at_home("p", "id -u", {**ALICE, "runAsUser": os.getuid() + 1, "runAsGroup": os.getgid() + 1})
    assert await output(plain, body) == f"{os.getuid()}\n"
    assert now(plain, "p")["metadata"]["annotations"] == {"embedded/not-honoured": "uid, gid, groups, mounts"}


async def test_without_namespaces_home_and_working_directory_are_found(plain: Cluster) -> None:
    env = [{"name": "HOME", "value": "/home/alice"}]
    said = await output(
        plain, at_home("p", 'pwd; echo "$HOME"; echo hi > "$HOME/file"', {}, env=env, workingDir="/home/alice")
    )
    home = plain.storage.claims[NAMESPACE, "home"] / "alice"
    assert said == f"{home}\n{home}\n"
    assert (home / "file").read_text() == "hi\n"


async def test_without_namespaces_words_that_are_paths_on_a_mount_are_found(plain: Cluster) -> None:
    script = 'cd "$0" && pwd; echo "$1" "$2"'
    said = await output(plain, at_home("p", script, {}, args=["/home/alice", "/usr/alice", "home/alice"]))
    assert said == f"{plain.storage.claims[NAMESPACE, 'home'] / 'alice'}\n/usr/alice home/alice\n"


async def test_without_namespaces_mounted_programs_are_on_path(plain: Cluster) -> None:
    data = {"research-tool": "#!/bin/sh\necho it runs\n"}
    await create(plain, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tools"}, "data": data})
    volume = {"name": "tools", "configMap": {"name": "tools", "defaultMode": 0o755}}
    mount = {"name": "tools", "mountPath": "/usr/local/bin/research-tool", "subPath": "research-tool"}
    said = await output(plain, at_home("p", "research-tool", {}, volumes=[volume], volumeMounts=[mount]))
    assert said == "it runs\n"
    assert not Path("/usr/local/bin/research-tool").exists()


async def test_without_namespaces_children_are_ended_too(plain: Cluster) -> None:
    await create(plain, pod("p", "sh", "-c", "setsid sleep 600 & echo $!"))
    await ended(plain, "p")
    assert not Path("/proc", log_of(plain, "p").strip()).exists()


async def test_asking_for_what_cannot_be_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 20001)
    abilities.cache_clear()
    try:
        with pytest.raises(
            RuntimeError, match="pods cannot run with the uids of their users: the cluster runs as uid 20001"
        ):
            await Cluster.start(tmp_path / "c", privileged=True)
    finally:
        abilities.cache_clear()
