"""The pod over KubeSpawner's own: what KubeSpawner's settings and hooks can do to it, and what they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import DATA, decide, person, site_with
from traitlets.config import Config

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.spawner import base_manifest, render
from jupyter_research_spawner.spawner.render import _no_cluster, _spawner

Json = dict[str, Any]
PLAIN = {"scheduler": {"kind": "plain"}}


async def rendered(site: Site | None = None, options: Any = None, server: str = "", **kubespawner: Any) -> Json:
    config = Config({"KubeSpawner": kubespawner})
    options = options or {"profile": "small"}
    site = site or site_with(PLAIN)
    _, manifest = await render(site, "alice", options, config, server, identity=person("alice"))
    return manifest


async def refused(**kubespawner: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await rendered(**kubespawner)
    assert caught.value.status == 503
    return caught.value


async def test_render_asks_the_sources_and_names_the_server() -> None:
    site = site_with(PLAIN, {"identity": {"sources": {"local": None}}})
    decided, manifest = await render(site, "Alice@example.edu", {"profile": "small"}, server="exp", base=DATA)
    assert decided.identity == person("alice")
    assert decided.request.server == "exp"
    assert manifest["metadata"]["labels"]["hub.jupyter.org/servername"] == "exp"
    assert manifest["metadata"]["name"] == decided.shape.name
    assert decided.shape.name.startswith("jupyter-") and decided.shape.name.endswith("--exp")


async def test_the_base_is_kubespawners_own_and_agrees_with_the_plan() -> None:
    site = site_with(PLAIN)
    decided = decide(site, person("alice"), profile="small")
    base = await base_manifest(site, decided, Config({"KubeSpawner": {"extra_labels": {"team": "x"}}}))
    (container,) = base["spec"]["containers"]
    assert container["securityContext"]["runAsUser"] == 20001
    assert base["spec"]["securityContext"] == {"supplementalGroups": list(person("alice").supplementary_gids)}
    assert base["metadata"]["labels"]["team"] == "x"
    assert "research-spawner/uid" not in base["metadata"]["labels"]


async def test_what_programs_in_the_notebook_are_told() -> None:
    manifest = await rendered()
    env = {entry["name"]: entry.get("value") for entry in manifest["spec"]["containers"][0]["env"]}
    image = manifest["spec"]["containers"][0]["image"]
    assert env["JUPYTER_IMAGE_SPEC"] == env["JUPYTER_IMAGE"] == image != "jupyterhub/singleuser:latest"
    assert (env["MEM_LIMIT"], env["CPU_LIMIT"]) == (str(4 * 2**30), "2.0")


async def test_all_servers_of_a_process_share_one_resolver() -> None:
    site = site_with(PLAIN)
    with _no_cluster():
        first, second = (_spawner(site, name, Config(), "", DATA) for name in ("alice", "bob"))
        other = _spawner(site_with(PLAIN, {"hub": {"concurrent_starts": 3}}), "alice", Config(), "", DATA)
    assert first.research.resolver is second.research.resolver
    assert first.research is not other.research


async def test_json_in_an_annotation_is_not_formatted() -> None:
    manifest = await rendered(site_with({"scheduler": {"kind": "yunikorn"}}))
    assert '{"user"' in manifest["metadata"]["annotations"]["yunikorn.apache.org/user.info"].replace(" ", "")


async def test_resources_stay_when_a_setting_replaces_the_block() -> None:
    whole = await rendered()
    replaced = await rendered(extra_container_config={"resources": {"claims": [{"name": "device"}]}})
    assert replaced["spec"]["containers"][0]["resources"] == whole["spec"]["containers"][0]["resources"]


async def test_the_identity_stays_when_a_setting_replaces_the_security_context() -> None:
    whole = await rendered()
    replaced = await rendered(extra_pod_config={"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}})
    assert replaced["spec"]["securityContext"] == whole["spec"]["securityContext"]
    assert (
        await refused(extra_pod_config={"securityContext": {"fsGroup": 100}})
    ).field == "spec.securityContext.fsGroup"


@pytest.mark.parametrize(
    ("setting", "value", "path"),
    [
        ("container_security_context", {"runAsUser": 0}, "spec.containers[0].securityContext.runAsUser"),
        ("pod_security_context", {"runAsUser": 0}, "spec.securityContext.runAsUser"),
        ("privileged", True, "spec.containers[0].securityContext.privileged"),
        ("service_account", "admin", "spec.serviceAccountName"),
        ("init_containers", [{"name": "chown", "image": "x", "securityContext": {"runAsUser": 0}}],
         "spec.initContainers[0].securityContext.runAsUser"),
        ("volumes", [{"name": "root", "hostPath": {"path": "/"}}], "spec.volumes[root].hostPath"),
    ],
)  # fmt: skip
async def test_a_setting_that_changes_who_runs_is_refused_with_its_path(setting: str, value: Any, path: str) -> None:
    refusal = await refused(**{setting: value})
    assert refusal.field == path
    assert "people who run this hub" in refusal.hint


async def test_the_admins_hook_loses_and_learns_where() -> None:
    def hook(spawner: Any, pod: Any) -> Any:
        pod.spec.containers[0].security_context["runAsUser"] = 0
        return pod

    assert (await refused(modify_pod_hook=hook)).field == "spec.containers[0].securityContext.runAsUser"


async def test_a_typed_hook_that_only_adds_is_welcome() -> None:
    async def hook(spawner: Any, pod: Any) -> Any:
        pod.metadata.labels["cost-centre"] = "42"
        return pod

    assert (await rendered(modify_pod_hook=hook))["metadata"]["labels"]["cost-centre"] == "42"


async def test_sidecars_and_init_containers_run_as_the_person_too() -> None:
    manifest = await rendered(
        init_containers=[{"name": "first", "image": "x", "command": ["true"]}],
        extra_containers=[{"name": "beside", "image": "x", "command": ["sleep", "1d"]}],
    )
    containers = [*manifest["spec"]["initContainers"], *manifest["spec"]["containers"]]
    assert [container["name"] for container in containers] == ["first", "notebook", "beside"]
    for container in containers:
        assert container["securityContext"]["runAsUser"] == 20001
        assert container["securityContext"]["runAsGroup"] == 20001


async def test_our_labels_are_the_last_word() -> None:
    labels = {"hub.jupyter.org/username": "bob", "research-spawner/user": "bob", "research-spawner/uid": "0"}
    found = (await rendered(extra_labels=labels))["metadata"]["labels"]
    assert (found["research-spawner/user"], found["research-spawner/uid"]) == ("alice", "20001")


async def test_nothing_of_a_profile_stays_on_the_instance_for_the_next_start() -> None:
    site = site_with(PLAIN, {"profiles": {"small": {"images": None}, "a100": {"images": {"default": "example/gpu:1"}}}})
    with _no_cluster():
        spawner = _spawner(site, "alice", Config({"KubeSpawner": {"image": "example/own:1"}}), "", Path())
        pods = []
        for profile in ("small", "a100", "small"):
            spawner._use(decide(site, person("alice"), profile=profile))
            pods.append(spawner.finished(await spawner.get_pod_manifest()))
    assert pods[1]["spec"]["containers"][0]["image"] == "example/gpu:1"
    assert pods[2] == pods[0]


async def test_what_group_overrides_set_is_overruled() -> None:
    """JupyterHub applies them before the options, so the plan has the last word."""
    site = site_with(PLAIN)
    with _no_cluster():
        spawner = _spawner(site, "alice", Config(), "", Path())
        spawner.mem_limit, spawner.uid, spawner.namespace = "64G", 0, "kube-system"
        spawner._use(decide(site, person("alice"), profile="small"))
        manifest = spawner.finished(await spawner.get_pod_manifest())
    assert manifest == await _like(manifest, site)


async def _like(manifest: Json, site: Site) -> Json:
    """The pod without any overrides, of the same run."""
    with _no_cluster():
        spawner = _spawner(site, "alice", Config(), "", Path())
        spawner._use(decide(site, person("alice"), profile="small"))
        found: Json = spawner.finished(await spawner.get_pod_manifest())
    return found


async def test_a_second_start_on_one_instance_shows_no_events_of_the_first() -> None:
    site = site_with(PLAIN)

    class Reflector:
        def of(self, pod: str) -> list[Json]:
            return [{"metadata": {"uid": uid}} for uid in ("first", "second")]

    with _no_cluster():
        spawner = _spawner(site, "alice", Config(), "", Path())
        spawner.namespace = "jhub"
        type(spawner).reflectors[("events", "jhub")] = Reflector()
        try:
            spawner._last_event = "first"
            assert [event["metadata"]["uid"] for event in spawner.events] == ["second"]
            spawner._last_event = "expired long ago"
            assert len(spawner.events) == 2
        finally:
            type(spawner).reflectors.clear()


async def test_the_hub_is_told_the_whole_wait_and_nobody_else() -> None:
    """A profile's time limit comes too late in KubeSpawner; here the hub reads queue and boot limit together."""
    site = site_with(PLAIN, {"hub": {"queue_limit": "2h", "boot_limit": "5m", "stop_limit": "90s"}})
    with _no_cluster():
        spawner = _spawner(site, "alice", Config(), "exp", Path())
        future = spawner.start()
        assert spawner.start_timeout == 2 * 3600 + 5 * 60 + 60
        assert spawner.orm_spawner.state["research_spawner"] == {"starting": True, "options": None}
        assert spawner.orm_spawner.state["pod_name"] == spawner.pod_name
        # Whoever calls start without having decided anything gets nothing.
        with pytest.raises(Exception, match="Nothing was decided"):
            await future


class _Api:
    """As much of CoreV1Api as a start uses; `fails` are raised by one create after the other."""

    def __init__(self, *fails: Exception) -> None:
        self.fails = list(fails)
        self.created: list[Json] = []
        self.api_client = _Client()

    async def create_namespaced_pod(self, _namespace: str, manifest: Json) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.created.append(manifest)


class _Client:
    def sanitize_for_serialization(self, found: Any) -> Any:
        return ApiClient.sanitize_for_serialization(self, found)


@contextmanager
def _starting(*fails: Exception) -> Iterator[tuple[ResearchSpawner, _Api]]:
    """A spawner that has decided, before its create request."""
    site = site_with(PLAIN)
    with _no_cluster():
        spawner = _spawner(site, "alice", Config(), "", Path())
        spawner._use(decide(site, person("alice"), profile="small"))
        spawner._wait = Wait(spawner._plan, site.hub, "notebook")
        yield spawner, spawner.api
