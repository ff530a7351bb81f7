"""The watches of a hub when kube-apiserver restarts, a connection is half-open, a right is missing, a token is renewed.

tests/test_watch_faults.py tests more faults with the embedded API server.
"""

from __future__ import annotations

import asyncio
import datetime
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from api_proxy import Proxy, proxied
from followed import FOO, FOOS, config_map, following, said, shorten_pauses
from ground import JOB, Ground, ground
from kubernetes_asyncio.config import incluster_config
from patience import eventually
from real_hub import RealHub, run_hub
from rig import processes
from rig.api import Api, Json, Refused, until
from rig.cluster import Cluster
from rig.node import Node

from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect
from jupyter_research_spawner.watch.follow import SILENCE_SECONDS

NAMESPACE = "faults"
ACCOUNT = {"kind": "ServiceAccount", "name": "hub", "namespace": NAMESPACE}
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
# Of a node on which profile `later` can run.
LATER = "example.com/later"
# The role of the hub in the chart Zero to JupyterHub.
CHART = [
    {
        "apiGroups": [""],
        "resources": ["pods", "persistentvolumeclaims", "secrets", "services"],
        "verbs": ["get", "watch", "list", "create", "delete"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "watch", "list"]},
]
# A hub as in a pod: with the token and the certificate of its service account in files. It reads the token for each
# request, and not once a minute.
IN_CLUSTER = """
import datetime, os
from kubernetes_asyncio.config import incluster_config
from jupyter_research_spawner.watch import follow
del os.environ["KUBECONFIG"]
os.environ.update(KUBERNETES_SERVICE_HOST="{host}", KUBERNETES_SERVICE_PORT="{port}")
incluster_config.SERVICE_TOKEN_FILENAME = "{files}/token"
incluster_config.SERVICE_CERT_FILENAME = "{files}/ca.crt"
incluster_config.TOKEN_REFRESH_PERIOD = datetime.timedelta(0)
follow.FIRST_PAUSE_SECONDS, follow.LONGEST_PAUSE_SECONDS = 0.1, 1.0
follow.SILENCE_SECONDS = {silence_seconds}
c.KubeSpawner.cmd = ["python3", *c.KubeSpawner.cmd[1:]]
"""


class Account:
    """The hub's service account, with the files that the kubelet gives to its pod."""

    def __init__(self, cluster: Cluster, files: Path) -> None:
        self._cluster = cluster
        self.files = files
        files.mkdir()
        shutil.copy(cluster.authority.certificate, files / "ca.crt")
        self.token = ""
        self._secret: Json = {}
        self.renew()

    def renew(self) -> None:
        """Write a new token into the file. The API server accepts it while the Secret exists to which it is bound."""
        metadata = {"generateName": "bound-", "namespace": NAMESPACE}
        self._secret = self._cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        name, uid = self._secret["metadata"]["name"], self._secret["metadata"]["uid"]
        bound = {"apiVersion": "v1", "kind": "Secret", "name": name, "uid": uid}
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 600, "boundObjectRef": bound},
        }
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/hub/token"
        self.token = self._cluster.api.call("POST", path, asked)["status"]["token"]
        new = self.files / "token.new"
        new.write_text(self.token)
        new.replace(self.files / "token")

    def renew_and_revoke(self) -> None:
        """Renew the token, and wait until the API server does not accept the old one any more."""
        old, secret = self.token, self._secret
        self.renew()
        self._cluster.api.delete({"apiVersion": "v1", "kind": "Secret", **secret})
        user = Api(self._cluster.plane.url, str(self._cluster.authority.certificate), token=old)

        def is_refused() -> bool:
            try:
                user.probe("/version")
            except Refused as refused:
                return refused.status == 401
            return False

        # The API server remembers for some seconds that a token is valid.
        until(is_refused, "the old token is refused")

    def grant(self, name: str, *rules: Json) -> None:
        """Give the account these rights in its namespace, instead of those with the same name."""
        rbac, where = "rbac.authorization.k8s.io", {"name": name, "namespace": NAMESPACE}
        role = {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": where, "rules": [*rules]}
        binding = {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": where,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [ACCOUNT],
        }
        self._cluster.api.apply(role, binding)


def settings(here: Ground) -> Json:
    """SITE with small pods, and a profile whose pods wait until a node has the label LATER."""
    site = here.site()
    small = site["profiles"]["small"]
    small |= {"cpu": "100m", "memory": "64Mi", "images": {"default": JOB}, "pod": {"terminationGracePeriodSeconds": 1}}
    later = {"nodeSelector": {LATER: "yes"}, **small["pod"]}
    site["profiles"]["later"] = {**small, "title": "Later", "order": 60, "pod": later}
    return site


def rights(here: Ground) -> tuple[list[Json], list[Json]]:
    """Return what `research-spawner manifests` prints: the rights to read nodes, and the other objects."""
    found = everything(Site.model_validate(settings(here)), Release(), only=["rbac"])
    of_nodes = [obj for obj in found if obj["metadata"]["name"] == f"research-nodes-{NAMESPACE}"]
    return of_nodes, [obj for obj in found if obj not in of_nodes]


@pytest.fixture(scope="module")
def module_here(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(cluster, NAMESPACE, tmp_path_factory.mktemp(NAMESPACE) / "storage", leave=True) as found:
        metadata = {"name": "hub", "namespace": NAMESPACE}
        cluster.api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        cluster.api.apply(*rights(found)[1])
        yield found


@pytest.fixture
def here(module_here: Ground, node: Node) -> Iterator[Ground]:
    yield module_here
    label(module_here, node, None)
    module_here.clean()


@pytest.fixture
def account(here: Ground, tmp_path: Path) -> Account:
    found = Account(here.cluster, tmp_path / "account")
    found.grant("hub", *CHART)
    return found


@pytest_asyncio.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    pair = cluster.authority.pair("watch-faults-proxy", hosts=["127.0.0.1"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate, pair.key)
    async with proxied(cluster.plane.url, cluster.authority.certificate, tls) as found:
        yield found


@pytest_asyncio.fixture
async def server(proxy: Proxy, account: Account, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """A client of our own with the account, as the batch service has it."""
    shorten_pauses(monkeypatch)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(proxy.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(account.files / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(account.files / "ca.crt"))
    monkeypatch.setattr(incluster_config, "TOKEN_REFRESH_PERIOD", datetime.timedelta(0))
    async with await connect() as client:
        yield ApiServer(client)


@asynccontextmanager
async def started_hub(
    here: Ground, account: Account, where: Path, url: str, *, silence_seconds: float = 75.0
) -> AsyncIterator[RealHub]:
    """Run a hub that has the account and talks to the API server at that URL, with users alice and bob."""
    host, port = url.removeprefix("https://").split(":")
    extra = IN_CLUSTER.format(host=host, port=port, files=account.files, silence_seconds=silence_seconds)
    async with run_hub(6, where / "hub", here, settings(here), extra) as hub:
        for name in ("alice", "bob"):
            await hub.person(name)
        yield hub


async def start(hub: RealHub, name: str, profile: str, server: str = "") -> None:
    answer = await hub.start_server(name, {"profile": profile}, server)
    assert answer.status in (201, 202), answer.text


def uids(hub: RealHub) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in hub.pods()}


async def waits(hub: RealHub, pod: str) -> None:
    """Wait until kube-scheduler has said that no node is suitable for the pod."""

    def is_unschedulable() -> bool:
        found = hub.ground.cluster.api.find("v1", "Pod", pod, NAMESPACE)
        conditions = (found or {}).get("status", {}).get("conditions", [])
        return any(condition.get("reason") == "Unschedulable" for condition in conditions)

    await eventually(is_unschedulable, every=0.1, otherwise=lambda: hub.recent_log)


def label(here: Ground, node: Node, value: str | None) -> None:
    """Give the node the label LATER, or remove it."""
    found = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name}}
    here.cluster.api.patch(found, {"metadata": {"labels": {LATER: value}}})


async def test_servers_survive_a_restart_of_the_api_server(
    here: Ground, account: Account, node: Node, tmp_path: Path
) -> None:
    cluster = here.cluster
    async with started_hub(here, account, tmp_path, cluster.plane.url) as hub:
        await start(hub, "alice", "small")
        await start(hub, "alice", "small", "gone")
        await start(hub, "bob", "later")
        await hub.ready("alice")
        await hub.ready("alice", "gone")
        await waits(hub, "jupyter-bob")
        before = uids(hub)
        assert len(before) == 3

        process = cluster.plane._processes["kube-apiserver"]
        process.kill()
        process.wait()
        await eventually(lambda: f"The watch of {PODS} failed" in hub.log, otherwise=lambda: hub.recent_log)
        assert hub.process is not None
        hub.process.send_signal(signal.SIGSTOP)  # so that it does not see the deletion in a watch
        try:
            again = processes.start(cluster.state, "kube-apiserver", process.args)
            cluster.plane._processes["kube-apiserver"] = again
            processes.ready(cluster.state, "kube-apiserver", again, cluster.api.is_healthy)
            cluster.api.delete(_pod("jupyter-alice--gone"), gracePeriodSeconds=0)
        finally:
            hub.process.send_signal(signal.SIGCONT)

        await hub.stopped("alice", "gone")
        await hub.one_end("alice", "deleted")
        await waits(hub, "jupyter-bob")
        label(here, node, "yes")
        await hub.ready("bob")
        await hub.ready("alice")
        assert uids(hub) == {name: uid for name, uid in before.items() if name != "jupyter-alice--gone"}
        # Each is known to the hub by its watch, not only by what it knew before.
        cluster.api.delete(_pod("jupyter-alice"))
        await hub.stopped("alice")
        assert hub.is_alive
        failures = [line for line in hub.log.splitlines() if f"The watch of {PODS} failed" in line]
        assert len(failures) == 1


async def test_a_half_open_connection_is_replaced(here: Ground, account: Account, proxy: Proxy, tmp_path: Path) -> None:
    async with started_hub(here, account, tmp_path, proxy.own_url, silence_seconds=2) as hub:
        await start(hub, "alice", "small")
        await hub.ready("alice")
        await eventually(lambda: proxy.watches("/pods") == 1)
        lists = proxy.count("list", "/pods")
        proxy.silence()
        here.cluster.api.delete(_pod("jupyter-alice"), gracePeriodSeconds=0)
        await hub.stopped("alice")
        await start(hub, "bob", "small")
        await hub.ready("bob")
        # The new watch begins at the last resourceVersion.
        assert proxy.count("list", "/pods") == lists


@pytest.mark.thorough
async def test_a_quiet_watch_gets_a_bookmark_before_it_counts_as_half_open(
    here: Ground, account: Account, server: ApiServer
) -> None:
    account.grant("config-maps", {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]})
    listed = await server.ask("GET", CONFIG_MAPS)
    version = listed["metadata"]["resourceVersion"]
    query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
    async with aclosing(server.watch_events(CONFIG_MAPS, query, silence_seconds=SILENCE_SECONDS)) as events:
        async for event in events:
            assert event["type"] == "BOOKMARK"
            return
    pytest.fail(f"nothing came within {SILENCE_SECONDS:.0f} s")


async def test_a_missing_right_to_nodes_is_said_once_and_servers_start(
    here: Ground, account: Account, proxy: Proxy, node: Node, tmp_path: Path
) -> None:
    async with started_hub(here, account, tmp_path, proxy.own_url) as hub:
        await start(hub, "bob", "later")
        await waits(hub, "jupyter-bob")
        await eventually(lambda: proxy.count("list", "/nodes") > 5, otherwise=lambda: hub.recent_log)
        missing = f'User "system:serviceaccount:{NAMESPACE}:hub" cannot list resource "nodes" in API group ""'
        assert hub.log.count(f"The watch of /api/v1/nodes failed: nodes is forbidden: {missing}") == 1
        assert hub.log.count("Add this right to a ClusterRole of the account") == 2  # nodes and DaemonSets
        label(here, node, "yes")
        await hub.ready("bob")
        nodes, _ = rights(here)
        here.cluster.api.apply(*nodes)
        try:
            lists = proxy.count("list", "/nodes")
            await eventually(lambda: proxy.watches("/nodes") == 1 and proxy.count("list", "/nodes") > lists)
            label(here, node, None)  # the first event of the new watch
            await eventually(lambda: "The watch of /api/v1/nodes works again" in hub.log)
        finally:
            here.cluster.api.remove(*nodes)


async def test_a_right_to_list_alone_keeps_the_objects_known(
    here: Ground, account: Account, server: ApiServer, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    maps: Json = {"apiGroups": [""], "resources": ["configmaps"]}
    account.grant("config-maps", {**maps, "verbs": ["list"]})
    async with following(server, CONFIG_MAPS) as found:
        await eventually(lambda: proxy.count("watch", "/configmaps") > 3)
        _create(here, config_map("listed"))
        await found.knows("listed")
        assert said(caplog, "forbidden").count('cannot watch resource "configmaps"') == 1
        assert "lost" not in found.kinds
        account.grant("config-maps", {**maps, "verbs": ["list", "watch"]})
        await eventually(lambda: proxy.watches("/configmaps") == 1)
        lists = proxy.count("list", "/configmaps")
        _create(here, config_map("watched"))
        await found.knows("watched")
        assert proxy.count("list", "/configmaps") == lists


async def test_watches_and_starts_go_on_with_a_renewed_token(
    here: Ground, account: Account, server: ApiServer, proxy: Proxy, tmp_path: Path
) -> None:
    account.grant("config-maps", {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]})
    old = account.token
    async with (
        started_hub(here, account, tmp_path, proxy.own_url) as hub,
        following(server, CONFIG_MAPS) as found,
    ):
        await start(hub, "alice", "small")
        await hub.ready("alice")
        await eventually(lambda: proxy.watches("/pods") == 1 and proxy.watches("/configmaps") == 1)
        assert {*proxy.tokens} == {old}
        # In a thread, so that the proxy answers meanwhile what was sent with the old token.
        await asyncio.to_thread(account.renew_and_revoke)
        begun = len(proxy.tokens)
        proxy.cut()
        # The watch of the batch service's client.
        _create(here, config_map("with-the-new-token"))
        await found.knows("with-the-new-token")
        assert "lost" not in found.kinds
        # The hub's watch, and the requests of KubeSpawner's client that create and delete pods.
        here.cluster.api.delete(_pod("jupyter-alice"), gracePeriodSeconds=0)
        await hub.stopped("alice")
        await start(hub, "bob", "small")
        await hub.ready("bob")
        await hub.api("DELETE", "users/bob/server")
        await hub.stopped("bob")
        assert {*proxy.tokens[begun:]} == {account.token}
        assert "HTTP 401" not in hub.log


async def test_a_kind_that_is_installed_later_is_followed(
    here: Ground, account: Account, server: ApiServer, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    account.grant("foos", {"apiGroups": ["example.com"], "resources": ["foos"], "verbs": ["list", "watch"]})
    async with following(server, f"/apis/example.com/v1/namespaces/{NAMESPACE}/foos") as found:
        await eventually(lambda: proxy.count("list", "/foos") > 5)
        assert found.kinds == ["lost"]
        assert said(caplog, "foos").count("the API server does not have this resource (yet)") == 1
        here.cluster.api.apply(FOOS)
        try:
            await eventually(lambda: proxy.watches("/foos") == 1, otherwise=lambda: said(caplog, ""))
            _create(here, FOO)
            await found.knows("a")
        finally:
            here.cluster.api.remove(FOOS)


def _pod(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}}


def _create(here: Ground, obj: Json) -> None:
    here.cluster.api.create({**obj, "metadata": {**obj["metadata"], "namespace": NAMESPACE}})
