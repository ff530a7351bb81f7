"""Move a group from a plain hub to a hub with ResearchSpawner and back, as docs/how-to/roll-out.md says.

The scripts are those of the page.  They run as root on this machine, as on a file server: the embedded cluster takes
all capabilities from containers, so a Job in it cannot change owners.
"""

from __future__ import annotations

import copy
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import yaml
from doc_pages import DOCS, blocks
from embedded_cluster import NAMESPACE
from hub import NOTEBOOK, SITE, Browser, Hub

from jupyter_research_spawner.embedded import Cluster

pytestmark = [pytest.mark.embedded, pytest.mark.root]

Json = dict[str, Any]
ROLL_OUT = DOCS / "how-to" / "roll-out.md"
PLAIN = "plain"
ALICE, BOB, OLD = (20001, 20001), (20002, 20600), (1000, 100)
PASSWD = "alice:x:20001:20001::/home/alice:/bin/sh\nbob:x:20002:20600::/home/bob:/bin/sh\n"
GROUP = "alice:x:20001:\nstudents:x:20600:\nclimate:x:20500:alice\n"
# It fails if the home or the file belongs to another user.
WRITES = """
import os, pathlib
with (pathlib.Path(os.environ["HOME"]) / "notes.txt").open("a+") as notes:
    notes.write(f"{os.getuid()}\\n")
"""
# What the chart configures with singleuser.storage.type: static.
PLAIN_CONFIG = f"""
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.namespace = "{PLAIN}"
c.KubeSpawner.image = "example/notebook:1"
c.KubeSpawner.uid = 1000
c.KubeSpawner.gid = 100  # that of jovyan in Jupyter's images
c.KubeSpawner.fs_gid = 100
c.KubeSpawner.environment = {{"HOME": "/home/jovyan"}}
c.KubeSpawner.volumes = [{{"name": "home", "persistentVolumeClaim": {{"claimName": "home"}}}}]
c.KubeSpawner.volume_mounts = [{{"name": "home", "mountPath": "/home/jovyan", "subPath": "{{username}}"}}]
"""


@dataclass
class Homes:
    """The homes, and the scripts of the page."""

    root: Path
    scripts: Path

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PASSWD": str(self.scripts / "all.passwd"),
            "GROUPS_FILE": str(self.scripts / "people.group"),
            "PREFIX": str(self.root.parent),
        }
        return subprocess.run(
            ["sh", str(self.scripts / script), *arguments], env=environment, capture_output=True, text=True, check=False
        )

    def change(self, way: str, group: str = "climate") -> str:
        ended = self.run("chown-homes.sh", way, group)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return ended.stdout

    def owner(self, path: str) -> tuple[int, int]:
        found = (self.root / path).lstat()
        return found.st_uid, found.st_gid

    def write(self, path: str, owner: tuple[int, int] = OLD) -> Path:
        file = self.root / path
        file.write_text(path)
        os.chown(file, *owner)
        return file


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    """The homes of alice and bob, which belong to 1000:100, at `home` in the directory of the test."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for block in blocks([ROLL_OUT]):
        if block.text.startswith("#!/bin/sh\n# "):
            (scripts / block.text.splitlines()[1].split()[1]).write_text(block.text)
    (scripts / "all.passwd").write_text(PASSWD)
    (scripts / "people.group").write_text(GROUP)
    root = tmp_path / "home"
    root.mkdir(exist_ok=True)
    for name in ("alice", "bob"):
        (root / name).mkdir(exist_ok=True)
        os.chown(root / name, *OLD)
        (root / name).chmod(0o777)  # as a kubelet creates a subPath
    return Homes(root, scripts)


def test_members_are_those_of_the_group_and_of_the_primary_group(homes: Homes) -> None:
    alice, bob = PASSWD.splitlines()
    assert homes.run("members.sh", "climate").stdout.splitlines() == [alice]
    assert homes.run("members.sh", "students").stdout.splitlines() == [bob]
    assert homes.run("members.sh", "students", "climate").stdout.splitlines() == [alice, bob]
    ended = homes.run("members.sh", "climat")
    assert (ended.returncode, ended.stderr) == (1, "there is no group climat\n")


def test_only_files_of_the_members_get_another_owner(homes: Homes) -> None:
    secret = homes.write("bob/secret")
    (homes.root / "bob" / "directory").mkdir()
    homes.write("bob/directory/file")
    for path in (homes.root / "bob", homes.root / "bob" / "directory"):
        os.chown(path, *OLD)
    alice = homes.root / "alice"
    (alice / "link").symlink_to("../bob/secret")
    (alice / "links").symlink_to("../bob/directory")
    (alice / "stolen").hardlink_to(secret)
    homes.write("alice/package")
    (alice / "environment").hardlink_to(alice / "package")
    homes.write("alice/of another uid", (30000, 30000))
    homes.write("alice/of climate", (1000, 20500))
    homes.write("alice/-R")
    for name in ("link", "links"):
        os.chown(alice / name, *OLD, follow_symlinks=False)
    said = homes.change("new")
    assert f"has a name outside of the home: {alice}/stolen\n" in said
    assert said.endswith(f"alice: {alice} belongs to 20001:20001\n")
    for theirs in ("bob", "bob/secret", "bob/directory", "bob/directory/file", "alice/stolen"):
        assert homes.owner(theirs) == OLD, theirs
    for hers in ("alice", "alice/link", "alice/links", "alice/package", "alice/environment", "alice/-R"):
        assert homes.owner(hers) == ALICE, hers
    assert homes.owner("alice/of another uid") == (30000, 30000)
    assert homes.owner("alice/of climate") == (20001, 20500)
    assert stat.S_IMODE(alice.stat().st_mode) == 0o700, "others see it now at /home"
    # It can run again, and back.
    homes.change("new")
    assert homes.owner("alice/package") == ALICE
    homes.change("old")
    for hers in ("alice", "alice/link", "alice/package", "alice/environment", "bob/secret", "alice/stolen"):
        assert homes.owner(hers) == OLD, hers
    assert homes.owner("alice/of climate") == (1000, 20500)


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ("alice:x:0:0::/home/alice:/bin/sh", "0:0 is not the uid and gid of a user"),
        ("alice:x:+20001:20001::/home/alice:/bin/sh", "is not the uid and gid of a user"),
        ("alice:x:20001:20001::/home/../home/alice:/bin/sh", "is not the path of a home"),
        ("alice:x:20001:20001::/:/bin/sh", "is not the path of a home"),
        ("alice:x:20001:20001::/home/nowhere:/bin/sh", "is not a directory"),
        ("alice:x:20001:20001::/home/moved:/bin/sh", "is not a directory"),
        ("alice:x:20001:20001::/home/carol:/bin/sh", "belongs to uid 20003"),
    ],
)
def test_a_wrong_account_or_home_is_refused_and_others_are_changed(homes: Homes, account: str, reason: str) -> None:
    (homes.root / "carol").mkdir()
    os.chown(homes.root / "carol", 20003, 20003)
    (homes.root / "moved").symlink_to("alice")
    (homes.scripts / "all.passwd").write_text(f"{account}\n{PASSWD.splitlines()[1]}\n")
    ended = homes.run("chown-homes.sh", "new", "climate", "students")
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert homes.owner("alice") == OLD
    assert homes.owner("carol") == (20003, 20003)
    assert homes.owner("bob") == BOB


def test_a_failed_change_is_not_reported_as_done(homes: Homes) -> None:
    """`set -e` has no effect in the function."""
    programs = homes.scripts / "programs"
    programs.mkdir()
    homes.write("alice/file")
    only_the_home = f'#!/bin/sh\ncase "$*" in *./file) exit 1 ;; esac\nexec {shutil.which("chown")} "$@"\n'
    (programs / "chown").write_text(only_the_home)
    (programs / "chown").chmod(0o755)
    script = homes.scripts / "chown-homes.sh"
    script.write_text(script.read_text().replace("set -eu\n", f"set -eu\nPATH={programs}:$PATH\n", 1))
    ended = homes.run("chown-homes.sh", "new", "climate")
    assert (ended.returncode, ended.stdout) == (1, "")


def jobs() -> list[Json]:
    texts = [block.text for block in blocks([ROLL_OUT]) if block.language == "yaml"]
    return [one for text in texts for one in yaml.safe_load_all(text) if one.get("kind") == "Job"]


def run_job(homes: Homes, name: str, mounts: dict[str, Path]) -> subprocess.CompletedProcess[str]:
    """Run the command of a Job of the page here, with the capabilities that it has, and no others.

    mounts: the directory at each path of the container, besides that of the scripts.
    """
    [job] = [one for one in jobs() if one["metadata"]["name"] == name]
    [container] = job["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert (context["runAsUser"], context["capabilities"]["drop"]) == (0, ["ALL"])
    kept = ",".join(["-all", *(f"+{capability.lower()}" for capability in context["capabilities"]["add"])])
    [scripts] = {mount["mountPath"] for mount in container["volumeMounts"]} - mounts.keys()
    directories = {scripts: homes.scripts, **mounts}

    def here(text: str) -> str:
        found = (f"{at}{text[len(path) :]}" for path, at in directories.items() if f"{text}/".startswith(f"{path}/"))
        return next(found, text)

    variables = {variable["name"]: here(variable["value"]) for variable in container.get("env", ())}
    return subprocess.run(
        ["setpriv", "--bounding-set", kept, "--inh-caps", "-all", "--no-new-privs", *map(here, container["command"])],
        env={"PATH": os.environ["PATH"], "PREFIX": str(homes.root.parent), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_job_of_the_page_has_the_capabilities_that_the_script_needs(homes: Homes) -> None:
    homes.write("alice/file").chmod(0o600)
    (homes.root / "alice").chmod(0o700)
    ended = run_job(homes, "chown-homes", {"/home": homes.root})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (homes.owner("alice"), homes.owner("alice/file"), homes.owner("bob")) == (ALICE, ALICE, OLD)


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A volume of alice on the old hub, which a kubelet has given to the group 100."""
    old = tmp_path / "old"
    (old / "lost+found").mkdir(parents=True)
    (old / "shared").mkdir()
    (old / "shared" / "file").write_text("text")
    (old / "link").symlink_to("shared/file")
    (old / "same").hardlink_to(old / "shared" / "file")
    for path in (old / "shared", old / "shared" / "file", old / "link"):
        os.chown(path, *OLD, follow_symlinks=False)
    os.chown(old, 0, 100)
    (old / "shared" / "file").chmod(0o640)
    for path in (old / "shared", old):
        path.chmod(0o2770)
    return old


def copy_of_alice(homes: Homes, claim: Path) -> subprocess.CompletedProcess[str]:
    return run_job(homes, "copy-home-alice", {"/old": claim, "/home": homes.root})


def test_a_home_is_copied_from_a_claim_and_then_given_to_its_user(homes: Homes, claim: Path) -> None:
    ended = copy_of_alice(homes, claim)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{homes.root}/alice has the files of {claim}\n"
    alice = homes.root / "alice"
    assert sorted(path.name for path in alice.iterdir()) == ["link", "same", "shared"]
    assert sorted(path.name for path in homes.root.iterdir()) == ["alice", "bob"]
    assert stat.S_IMODE(alice.stat().st_mode) & 0o777 == 0o700, "others see it now at /home"
    assert stat.S_IMODE((alice / "shared").stat().st_mode) == 0o2770
    assert (alice / "shared" / "file").samefile(alice / "same")
    assert (alice / "link").readlink() == Path("shared/file")
    for path in ("alice/link", "alice/shared", "alice/shared/file"):
        assert homes.owner(path) == OLD
    homes.change("new")
    for path in ("alice", "alice/link", "alice/shared", "alice/shared/file"):
        assert homes.owner(path) == ALICE
    assert (claim / "shared" / "file").read_text() == "text"


def test_a_home_with_files_is_not_replaced(homes: Homes, claim: Path) -> None:
    homes.write("alice/file")
    ended = copy_of_alice(homes, claim)
    assert (ended.returncode, ended.stderr) == (1, f"{homes.root}/alice is not empty\n")
    (homes.root / "alice" / "file").unlink()
    (homes.root / "alice").rmdir()
    (homes.root / "alice").symlink_to("bob")
    ended = copy_of_alice(homes, claim)
    assert (ended.returncode, ended.stderr) == (1, f"{homes.root}/alice is a link\n")
    assert [path.name for path in (homes.root / "bob").iterdir()] == []


def test_a_copy_that_has_failed_leaves_nothing_and_can_run_again(homes: Homes, claim: Path) -> None:
    (claim / "lost+found" / "block").write_text("of a repaired file system")
    assert copy_of_alice(homes, claim).returncode != 0
    assert [path.name for path in (homes.root / "alice").iterdir()] == []
    (claim / "lost+found" / "block").unlink()
    assert copy_of_alice(homes, claim).returncode == 0
    assert sorted(path.name for path in homes.root.iterdir()) == ["alice", "bob"]


@pytest_asyncio.fixture
async def plain_hub(tmp_path: Path, research_cluster: Cluster, hub: Hub) -> AsyncIterator[Hub]:
    """A hub with KubeSpawner in a namespace of its own, whose claim `home` has the same files, and which runs."""
    claims = cast("dict[tuple[str, str], Path]", research_cluster.storage.claims)
    claims[PLAIN, "home"] = claims[NAMESPACE, "home"]
    await research_cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLAIN}})
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "home", "namespace": PLAIN}}
    await research_cluster.apply({**claim, "spec": spec})
    found = Hub(hub.version, tmp_path / "plain", research_cluster)
    write_plain(found)
    await found.start()
    try:
        yield found
    finally:
        await found.close()


def write_plain(hub: Hub, more: str = "") -> None:
    hub.write(SITE)
    (hub.state / "notebook.py").write_text(WRITES + NOTEBOOK)
    config = hub.state / "config.py"
    before = [line for line in config.read_text().splitlines() if "jupyter_research_spawner" not in line]
    config.write_text("\n".join([*before, PLAIN_CONFIG, more]))


async def start_and_stop(hub: Hub, options: dict[str, str] | None = None) -> None:
    await hub.person("alice")
    answer = await hub.start_server("alice", options)
    assert answer.status in (201, 202), answer.text
    await hub.ready("alice")
    await stop(hub)


async def stop(hub: Hub) -> None:
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")


async def test_a_group_moves_to_the_new_hub_and_back(hub: Hub, plain_hub: Hub, homes: Homes) -> None:
    """Alice is in group climate, bob is not."""
    notes = homes.root / "alice" / "notes.txt"
    await start_and_stop(plain_hub)
    assert (notes.read_text(), homes.owner("alice/notes.txt")[0]) == ("1000\n", 1000)
    homes.root.joinpath("alice").chmod(0o755)
    site = copy.deepcopy(SITE)
    site["identity"]["sources"]["people"] = {"kind": "static", "passwd": "people.passwd", "group": "people.group"}
    hub.write(site)
    (hub.state / "notebook.py").write_text(WRITES + NOTEBOOK)
    (hub.state / "people.passwd").write_text(homes.run("members.sh", "climate").stdout)
    (hub.state / "people.group").write_text(GROUP)
    await hub.start()
    # Before the group is moved, the user reads why nothing starts.  Bob is in no group that was moved.
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "small"})
    end = await hub.one_end("alice", "start-failed")
    assert "belongs to another user (uid 1000" in end["message"]
    await hub.person("bob")
    assert (await hub.start_server("bob", {"profile": "small"})).status == 403

    browser = await Browser(plain_hub).login("alice")
    await close_to_alice(plain_hub, browser)
    homes.change("new")
    await start_and_stop(hub, {"profile": "small"})
    assert (notes.read_text(), homes.owner("alice/notes.txt")) == ("1000\n20001\n", ALICE)
    assert homes.owner("bob") == OLD

    homes.change("old")
    await plain_hub.stop()
    write_plain(plain_hub)
    await plain_hub.start()
    await start_and_stop(plain_hub)
    assert (notes.read_text(), homes.owner("alice/notes.txt")) == ("1000\n20001\n1000\n", OLD)


async def close_to_alice(hub: Hub, browser: Browser) -> None:
    """Close the old hub to alice: blocked_users refuses the login, and her removal ends the session of her browser."""
    await hub.stop()
    write_plain(hub, 'c.Authenticator.blocked_users = {"alice"}')
    await hub.start()
    assert "login" not in (await browser.get("home")).text.partition("</title>")[0].lower(), "the session goes on"
    assert (await hub.api("DELETE", "users/alice")).status == 204
    assert 'name="username"' in (await browser.get("home")).text
    again = await browser.post("login", {"username": "alice", "password": ""})
    assert again.status == 403, again.text
    await browser.close()
