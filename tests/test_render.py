"""The notebook's pod without a hub: which KubeSpawner settings and hooks can change it; and starts with a fake API."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import aiohttp
import pytest
from jupyterhub.utils import maybe_future
from kubernetes_asyncio.client import ApiException, V1Pod
from kubespawner import KubeSpawner
from samples import DATA, decide, person, site_with
from tornado.web import HTTPError
from traitlets import Unicode
from traitlets.config import Config

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.spawner import HookError, ResearchSpawner, render_base_pod, render_notebook, research
from jupyter_research_spawner.spawner.hub_errors import HubRefusal
from jupyter_research_spawner.spawner.offline_render import _spawner, _without_kubeconfig
from jupyter_research_spawner.spawner.pod_creation import refusal_of

Json = dict[str, Any]
PLAIN = {"scheduler": {"kind": "plain"}}


async def rendered(site: Site | None = None, options: Any = None, server: str = "", **kubespawner: Any) -> Json:
    config = Config({"KubeSpawner": kubespawner})
    options = options or {"profile": "small"}
    site = site or site_with(PLAIN)
    _, manifest = await render_notebook(site, "alice", options, config, server, identity=person("alice"))
    return manifest


async def refused(**kubespawner: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await rendered(**kubespawner)
    assert caught.value.status == 503
    return caught.value


async def test_rendering_resolves_the_user_and_names_the_server() -> None:
    site = site_with(PLAIN, {"identity": {"sources": {"local": None}}})
    decided, manifest = await render_notebook(site, "Alice@example.edu", {"profile": "small"}, server="exp", base=DATA)
    assert decided.identity == person("alice")
    assert decided.request.server == "exp"
    assert manifest["metadata"]["labels"]["hub.jupyter.org/servername"] == "exp"
    assert manifest["metadata"]["name"] == decided.shape.name
    assert decided.shape.name.startswith("jupyter-") and decided.shape.name.endswith("--exp")


@pytest.mark.parametrize(
    ("configured", "working_dir", "program"),
    [
        ({"notebook_dir": "/home/{username}/work"}, "/home/alice", ["jupyterhub-singleuser"]),
        ({"working_dir": "/home/{username}"}, "/home/alice", ["jupyterhub-singleuser"]),
        ({"working_dir": "/project/climate"}, "/project/climate", ["jupyterhub-singleuser"]),
        ({"working_dir": "/home/{username}/work"}, "/home/alice", ["/home/alice/work", "jupyterhub-singleuser"]),
        ({"working_dir": "/srv/work"}, "/home/alice", ["/srv/work", "jupyterhub-singleuser"]),
    ],
)
async def test_notebooks_start_in_the_home_or_at_a_mount_and_change_to_other_directories_themselves(
    configured: Json, working_dir: str, program: list[str]
) -> None:
    # As in the Zero to JupyterHub chart. By default KubeSpawner leaves the command to the image.
    (container,) = (await rendered(cmd="jupyterhub-singleuser", **configured))["spec"]["containers"]
    assert container["workingDir"] == working_dir
    assert "command" not in container  # the image's entrypoint
    enters = len(program) > 1
    assert container["args"][:2] == (["/bin/sh", "-c"] if enters else program)
    assert container["args"][4 if enters else 0 :] == program


async def test_a_working_directory_needs_the_program_of_the_notebook() -> None:
    refusal = await refused(working_dir="/home/alice/work")
    assert "the program is not known" in refusal.message


@pytest.mark.parametrize(
    ("api_server", "configured", "listens"),
    [
        ("10.96.0.1", {}, "http://0.0.0.0:8888/"),
        ("fd00:10:96::1", {}, "http://[::]:8888/"),
        ("fd00:10:96::1", {"ip": "0.0.0.0"}, "http://0.0.0.0:8888/"),
    ],
)
async def test_notebooks_listen_at_the_addresses_of_the_clusters_family(
    monkeypatch: pytest.MonkeyPatch, api_server: str, configured: Json, listens: str
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", api_server)
    env = (await rendered(**configured))["spec"]["containers"][0]["env"]
    (found,) = (entry["value"] for entry in env if entry["name"] == "JUPYTERHUB_SERVICE_URL")
    assert found.startswith(listens)


async def test_the_base_pod_is_kubespawners_with_the_plans_identity() -> None:
    site = site_with(PLAIN)
    decided = decide(site, person("alice"), profile="small")
    base = await render_base_pod(site, decided, Config({"KubeSpawner": {"extra_labels": {"team": "x"}}}))
    (container,) = base["spec"]["containers"]
    assert container["securityContext"]["runAsUser"] == 20001
    assert base["spec"]["securityContext"] == {"supplementalGroups": list(person("alice").supplementary_gids)}
    assert base["metadata"]["labels"]["team"] == "x"
    assert "research-spawner/uid" not in base["metadata"]["labels"]


async def test_the_environment_has_image_and_limits() -> None:
    manifest = await rendered()
    env = {entry["name"]: entry.get("value") for entry in manifest["spec"]["containers"][0]["env"]}
    image = manifest["spec"]["containers"][0]["image"]
    assert env["JUPYTER_IMAGE_SPEC"] == env["JUPYTER_IMAGE"] == image != "jupyterhub/singleuser:latest"
    assert (env["MEM_LIMIT"], env["CPU_LIMIT"]) == (str(4 * 2**30), "2.0")


async def test_numbers_and_booleans_in_variables_become_text() -> None:
    """Charts' users write `OMP_NUM_THREADS: 2`.  KubeSpawner's own start fails for it, and Kubernetes refuses it."""
    more = [{"name": "A", "value": 8080}, {"name": "B", "value": False}, {"name": "C", "value": 0.5}]
    manifest = await rendered(
        environment={"N": 2, "ZERO": 0, "YES": True, "HALF": 0.5, "LIKE": 1.0, "MAP": {"value": 3}, "EMPTY": None},
        init_containers=[{"name": "first", "image": "x", "env": more}],
        extra_containers=[{"name": "beside", "image": "x", "env": more}],
    )
    spec = manifest["spec"]
    env = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
    wanted = {"N": "2", "ZERO": "0", "YES": "true", "HALF": "0.5", "LIKE": "1", "MAP": "3", "EMPTY": None}
    assert {name: env[name] for name in wanted} == wanted
    for container in (spec["initContainers"][1], spec["containers"][1]):
        assert [entry["value"] for entry in container["env"]][:3] == ["8080", "false", "0.5"]


async def test_all_servers_of_a_process_share_one_resolver() -> None:
    site = site_with(PLAIN)
    with _without_kubeconfig():
        first, second = (_spawner(site, name, Config(), "", DATA) for name in ("alice", "bob"))
        other = _spawner(site_with(PLAIN, {"hub": {"concurrent_starts": 3}}), "alice", Config(), "", DATA)
    assert first.shared.resolver is second.shared.resolver
    assert first.shared is not other.shared


async def test_json_in_an_annotation_is_not_formatted() -> None:
    manifest = await rendered(site_with({"scheduler": {"kind": "yunikorn"}}))
    assert '{"user"' in manifest["metadata"]["annotations"]["yunikorn.apache.org/user.info"].replace(" ", "")


async def test_a_setting_that_replaces_resources_does_not_change_them() -> None:
    whole = await rendered()
    replaced = await rendered(extra_container_config={"resources": {"claims": [{"name": "device"}]}})
    assert replaced["spec"]["containers"][0]["resources"] == whole["spec"]["containers"][0]["resources"]


async def test_a_setting_that_replaces_the_security_context_does_not_change_the_identity() -> None:
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
async def test_a_setting_that_changes_the_identity_is_refused(setting: str, value: Any, path: str) -> None:
    refusal = await refused(**{setting: value})
    assert refusal.field == path
    assert "Ask your administrators" in refusal.hint


async def test_a_hook_that_changes_the_identity_is_refused_with_its_path() -> None:
    def hook(spawner: Any, pod: Any) -> Any:
        pod.spec.containers[0].security_context["runAsUser"] = 0
        return pod

    assert (await refused(modify_pod_hook=hook)).field == "spec.containers[0].securityContext.runAsUser"


async def test_an_async_hook_can_add_a_label() -> None:
    async def hook(spawner: Any, pod: Any) -> Any:
        pod.metadata.labels["cost-centre"] = "42"
        return pod

    assert (await rendered(modify_pod_hook=hook))["metadata"]["labels"]["cost-centre"] == "42"


async def test_sidecars_and_init_containers_run_with_the_users_identity() -> None:
    manifest = await rendered(
        init_containers=[{"name": "first", "image": "x", "command": ["true"]}],
        extra_containers=[{"name": "beside", "image": "x", "command": ["sleep", "1d"]}],
    )
    containers = [*manifest["spec"]["initContainers"], *manifest["spec"]["containers"]]
    assert [container["name"] for container in containers] == ["research-home", "first", "notebook", "beside"]
    for container in containers:
        assert container["securityContext"]["runAsUser"] == 20001
        assert container["securityContext"]["runAsGroup"] == 20001


async def test_extra_labels_do_not_replace_the_plans_labels() -> None:
    labels = {"hub.jupyter.org/username": "bob", "research-spawner/user": "bob", "research-spawner/uid": "0"}
    found = (await rendered(extra_labels=labels))["metadata"]["labels"]
    assert (found["research-spawner/user"], found["research-spawner/uid"]) == ("alice", "20001")


async def test_a_profile_changes_nothing_for_the_next_start() -> None:
    site = site_with(PLAIN, {"profiles": {"small": {"images": None}, "a100": {"images": {"default": "example/gpu:1"}}}})
    with _without_kubeconfig():
        spawner = _spawner(site, "alice", Config({"KubeSpawner": {"image": "example/own:1"}}), "", Path())
        pods = []
        for profile in ("small", "a100", "small"):
            decided = decide(site, person("alice"), profile=profile)
            spawner.apply_plan(decided)
            pods.append(spawner.finished_manifest(decided, await spawner.get_pod_manifest()))
    assert pods[1]["spec"]["containers"][0]["image"] == "example/gpu:1"
    assert pods[2] == pods[0]


async def test_the_plan_replaces_group_overrides() -> None:
    """JupyterHub applies group overrides before the options, and the plan replaces them."""
    site = site_with(PLAIN)
    with _without_kubeconfig():
        spawner = _spawner(site, "alice", Config(), "", Path())
        spawner.mem_limit, spawner.uid, spawner.namespace = "64G", 0, "kube-system"
        decided = decide(site, person("alice"), profile="small")
        spawner.apply_plan(decided)
        manifest = spawner.finished_manifest(decided, await spawner.get_pod_manifest())
    assert manifest == await _like(manifest, site)


async def _like(manifest: Json, site: Site) -> Json:
    """Return the pod without any overrides."""
    with _without_kubeconfig():
        spawner = _spawner(site, "alice", Config(), "", Path())
        decided = decide(site, person("alice"), profile="small")
        spawner.apply_plan(decided)
        found: Json = spawner.finished_manifest(decided, await spawner.get_pod_manifest())
    return found


async def test_a_second_start_on_one_instance_shows_no_events_of_the_first() -> None:
    site = site_with(PLAIN)

    class Reflector:
        def of(self, pod: str) -> list[Json]:
            return [{"metadata": {"uid": uid}} for uid in ("first", "second")]

    with _without_kubeconfig():
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


async def test_start_timeout_covers_queue_limit_and_boot_limit() -> None:
    """The hub reads start_timeout right after start() returns."""
    site = site_with(PLAIN, {"hub": {"queue_limit": "2h", "boot_limit": "5m", "stop_limit": "90s"}})
    with _without_kubeconfig():
        spawner = _spawner(site, "alice", Config(), "exp", Path())
        future = spawner.start()
        assert spawner.start_timeout == 2 * 3600 + 5 * 60 + 60
        state = spawner.orm_spawner.state["research_spawner"]
        assert (state["starting"], state["options"], state["user"]) == (True, None, "alice")
        assert spawner.orm_spawner.state["pod_name"] == spawner.pod_name
        with pytest.raises(Exception, match="This start has no plan"):
            await future


def starting(monkeypatch: pytest.MonkeyPatch) -> ResearchSpawner:
    """Return a spawner with a prepared start, whose prerequisites all exist."""
    site = site_with(PLAIN)
    with _without_kubeconfig():
        spawner = _spawner(site, "alice", Config({"KubeSpawner": {"k8s_api_request_retry_timeout": 1}}), "", Path())
    decided = decide(site, person("alice"), profile="small")
    spawner.apply_plan(decided)
    spawner.prepare_start(decided)

    async def require(*_: Any) -> None: ...

    monkeypatch.setattr(spawner.shared.prerequisites(spawner.api.api_client), "require", require)
    return spawner


async def test_a_start_requires_the_secrets_of_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_with(PLAIN, {"pods": {"allow": {"secrets": {"ticket-{user}": True}}}})
    volume = {"name": "ticket", "secret": {"secretName": "ticket-{username}"}}
    config = Config({"KubeSpawner": {"volumes": [volume]}})
    with _without_kubeconfig():
        spawner = _spawner(site, "alice", config, "", Path())
    spawner.apply_plan(decide(site, person("alice"), profile="small"))
    spawner.prepare_start(decide(site, person("alice"), profile="small"))
    required: list[str] = []

    async def require(prerequisites: Any) -> None:
        required.extend(map(str, prerequisites))
        raise Refusal("missing-in-cluster", "missing")

    monkeypatch.setattr(spawner.shared.prerequisites(spawner.api.api_client), "require", require)
    with pytest.raises(Refusal, match="missing"):
        await spawner._make_create_pod_request(await spawner.get_pod_manifest(), 1)
    assert "Secret 'ticket-alice' in namespace 'jhub'" in required


@dataclass
class Answer:
    """The API server's response to a create request."""

    status: int
    body: Json = field(default_factory=dict)
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def read(self) -> bytes:
        return json.dumps(self.body).encode()


async def test_a_create_request_that_the_api_server_refuses_raises_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    spawner = starting(monkeypatch)

    async def refuse(*_: Any, **__: Any) -> Answer:
        return Answer(403, {"kind": "Status", "message": "exceeded quota: pods"})

    monkeypatch.setattr(spawner.api, "create_namespaced_pod", refuse)
    with pytest.raises(ApiException) as caught:
        await spawner._make_create_pod_request(await spawner.get_pod_manifest(), 1)
    assert refusal_of(caught.value).message == "The cluster did not accept the pod: exceeded quota: pods"


async def test_a_create_request_without_an_answer_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    spawner = starting(monkeypatch)
    answers = [aiohttp.ClientConnectionError("connection refused"), Answer(201)]

    async def create(*_: Any, **options: Any) -> Answer:
        assert options == {"field_validation": "Strict", "_preload_content": False}
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(spawner.api, "create_namespaced_pod", create)
    pod = await spawner.get_pod_manifest()
    assert [await spawner._make_create_pod_request(pod, 1) for _ in range(2)] == [False, True]


async def test_an_unreachable_api_server_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other errors count as failed starts, and the hub exits after several in a row."""
    spawner = starting(monkeypatch)

    async def refuse_to_connect(*_: Any) -> None:
        raise aiohttp.ClientConnectionError("10.0.0.1:443 refused")

    monkeypatch.setattr(KubeSpawner, "_start", refuse_to_connect)
    with pytest.raises(HubRefusal) as caught:
        await spawner._start()
    assert caught.value.refusal.code == "cluster-down"
    assert "10.0.0.1" not in caught.value.jupyterhub_message

    async def messages() -> list[Json]:
        return [message async for message in spawner.progress()]

    spawner.events_enabled = False
    assert await asyncio.wait_for(messages(), 5) == []  # The stream ends with the start.


async def test_hooks_run_in_the_hubs_order_and_ask_the_user_as_in_the_hub() -> None:
    """`render` and `lint` run what the hub runs: auth_state_hook, group_overrides, pre_spawn_hook, modify_pod_hook."""
    order = []

    async def auth(spawner: Any, state: Any) -> None:
        order.append(("auth_state", state, await spawner.user.get_auth_state()))

    def pre_spawn(spawner: Any) -> None:
        user = spawner.user
        order.append(("pre_spawn", spawner.uid))
        spawner.environment["IS_ADMIN"] = str(user.admin)
        spawner.environment["TEAMS"] = ",".join(sorted(group.name for group in user.groups))
        spawner.environment["WHO"] = f"{user.name} {user.id} {user.escaped_name} {user.url} {spawner.server.base_url}"
        spawner.environment["HUB"] = f"{spawner.hub.api_url} {spawner.authenticator.admin_users}"
        spawner.environment["ASKED"] = str(spawner.handler.get_argument("x", "nothing"))
        spawner.environment["OPTIONS"] = str(spawner.user_options["profile"])
        spawner.log.info("hello")
        assert user.spawner is spawner and spawner.orm_spawner.user is user.orm_user

    def modify(spawner: Any, pod: V1Pod) -> V1Pod:
        order.append(("modify_pod",))
        return pod

    config = Config(
        {
            "KubeSpawner": {
                "auth_state_hook": auth,
                "pre_spawn_hook": pre_spawn,
                "modify_pod_hook": modify,
                "environment": {"BY_FUNCTION": lambda spawner: spawner.user.name.upper()},
                "group_overrides": {"x": {"groups": ["team"], "spawner_override": {"default_url": "/lab"}}},
            },
            "JupyterHub": {"load_groups": {"team": {"users": ["alice"]}, "others": ["bob"]}},
            "Authenticator": {"admin_users": {"alice"}},
        }
    )
    _, pod = await render_notebook(site_with(PLAIN), "alice", {"profile": "small"}, config, identity=person("alice"))
    env = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert (env["IS_ADMIN"], env["TEAMS"], env["BY_FUNCTION"]) == ("True", "team", "ALICE")
    assert env["WHO"] == "alice 1 alice /user/alice/ /user/alice/"
    assert env["HUB"] == "http://hub:8081/hub/api {'alice'}"
    assert (env["ASKED"], env["OPTIONS"], env["JUPYTERHUB_DEFAULT_URL"]) == ("nothing", "small", "/lab")
    assert order == [("auth_state", None, None), ("pre_spawn", 20001), ("modify_pod",)]


class OurSpawner(ResearchSpawner):
    """A site's own class, with a trait and a method of its own."""

    team = Unicode("none").tag(config=True)

    def get_env(self) -> Json:
        return {**super().get_env(), "TEAM": self.team}


@pytest.mark.parametrize("chosen", [OurSpawner, f"{__name__}.OurSpawner"])
async def test_the_class_of_the_configuration_and_its_section_are_used(chosen: Any) -> None:
    config = Config({"JupyterHub": {"spawner_class": chosen}, "OurSpawner": {"team": "climate", "default_url": "/lab"}})
    _, pod = await render_notebook(site_with(PLAIN), "alice", {"profile": "small"}, config, identity=person("alice"))
    env = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert (env["TEAM"], env["JUPYTERHUB_DEFAULT_URL"]) == ("climate", "/lab")


def needs_login(spawner: Any, auth_state: Any = None) -> None:
    spawner.environment["TOKEN"] = auth_state["access_token"]


async def asks_login(spawner: Any) -> None:
    spawner.environment["TOKEN"] = (await spawner.user.get_auth_state())["access_token"]


@pytest.mark.parametrize(
    ("trait", "hook", "asks"),
    [
        ("auth_state_hook", needs_login, True),
        ("pre_spawn_hook", asks_login, True),
        ("pre_spawn_hook", lambda spawner: spawner.no_such_thing, False),
        ("modify_pod_hook", lambda spawner, pod: pod.no_such_thing, False),
        ("environment", {"X": lambda spawner: spawner.no_such_thing}, False),
    ],
)
async def test_a_hook_that_fails_offline_is_named_with_its_line(trait: str, hook: Any, asks: bool) -> None:
    with pytest.raises(HookError) as caught:
        await rendered(**{trait: hook})
    assert caught.value.place == f"c.KubeSpawner.{trait}"
    assert f"({__file__}, line " in str(caught.value)
    assert caught.value.needs_hub is asks
    assert ("which only a user's login gives" in str(caught.value)) is asks


SECRET = "token-42"


def fail(*_: Any) -> Any:
    raise ValueError(f"cannot use {SECRET}")


async def fail_later(*_: Any) -> Any:
    raise aiohttp.ClientConnectionError(f"no answer to {SECRET}")


@pytest.mark.parametrize("broken", [fail, fail_later])
@pytest.mark.parametrize("hook", ["pre_spawn_hook", "auth_state_hook", "group_overrides", "modify_pod_hook"])
async def test_an_exception_of_a_hook_is_a_sentence_with_an_id_that_is_in_the_log(
    hook: str, broken: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spawner = starting(monkeypatch)
    setattr(spawner, hook, broken)
    caplog.clear()

    async def start_of_kubespawner(self: Any) -> None:
        await maybe_future(self.modify_pod_hook(self, None))

    monkeypatch.setattr(KubeSpawner, "_start", start_of_kubespawner)
    runs = {
        "pre_spawn_hook": spawner.run_pre_spawn_hook,
        "auth_state_hook": lambda: spawner.run_auth_state_hook(None),
        "group_overrides": spawner.apply_group_overrides,
        "modify_pod_hook": spawner._start,
    }
    with pytest.raises(HubRefusal) as caught:
        await runs[hook]()
    message = caught.value.jupyterhub_message
    assert SECRET not in message
    assert caught.value.status_code == 500
    (number,) = set(re.findall("id ([0-9a-f]{8})", message))
    (record,) = [record for record in caplog.records if number in record.getMessage()]
    assert f"in {broken.__name__} ({__file__}, line " in record.getMessage()
    assert record.exc_info and SECRET in str(record.exc_info[1])


@pytest.mark.parametrize(
    "error", [HTTPError(403, "Not you."), type("Own", (Exception,), {"jupyterhub_message": "No"})()]
)
async def test_what_a_hook_tells_the_user_as_jupyterhub_documents_is_passed_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = starting(monkeypatch)

    def refuse(_: Any) -> None:
        raise error

    spawner.pre_spawn_hook = refuse
    with pytest.raises(type(error)) as caught:
        await spawner.run_pre_spawn_hook()
    assert caught.value is error


@pytest.mark.parametrize("broken", [ApiException(500), asyncio.TimeoutError(), aiohttp.ClientConnectionError()])
async def test_the_reason_of_a_failed_start_is_kept_if_its_pod_cannot_be_deleted(
    broken: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = starting(monkeypatch)

    async def fail(*_: Any) -> None:
        failed = {"metadata": {}, "status": {"phase": "Failed", "reason": "Evicted", "message": "Low on memory."}}
        spawner.current_start.wait.observe(failed)

    async def stop(*_: Any) -> None:
        raise broken

    monkeypatch.setattr(KubeSpawner, "_start", fail)
    monkeypatch.setattr(KubeSpawner, "stop", stop)
    with pytest.raises(HubRefusal, match="Low on memory"):
        await spawner._start()


async def test_a_pod_that_the_reflector_never_showed_is_deleted_and_the_reflector_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spawner = starting(monkeypatch)
    done = []

    async def never_seen(*_: Any) -> None:
        now = [0.0]
        spawner.current_start.wait.clock = lambda: now[0]
        spawner.current_start.wait.observe(None)
        now[0] = 1000.0
        spawner.current_start.wait.observe(None)

    async def watch(*_: Any, replace: bool = False) -> None:
        done.append(("watch", replace))

    async def stop(*_: Any) -> None:
        done.append(("stop", True))

    monkeypatch.setattr(KubeSpawner, "_start", never_seen)
    monkeypatch.setattr(ResearchSpawner, "_start_watching_pods", watch)
    monkeypatch.setattr(KubeSpawner, "stop", stop)
    with pytest.raises(HubRefusal) as caught:
        await spawner._start()
    assert caught.value.refusal.code == "pod-unseen"
    assert done == [("watch", True), ("stop", True)]


class _Found:
    """An aiohttp response with a pod."""

    status = 200

    def __init__(self, pod: Json) -> None:
        self.pod = pod
        self.is_released = False

    async def json(self) -> Json:
        return self.pod

    async def __aenter__(self) -> _Found:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_released = True


def taken(monkeypatch: pytest.MonkeyPatch, spawner: ResearchSpawner, found: Any) -> list[str]:
    """Make create requests answer 409, with the pod `found` under that name. Return the list of deleted pods."""
    deleted = []

    async def conflict(*_: Any, **__: Any) -> None:
        raise ApiException(409)

    async def read(*_: Any, **limits: Any) -> Any:
        assert limits["_request_timeout"] > 0
        if isinstance(found, Exception):
            raise found
        return found

    async def stop(*_: Any) -> None:
        deleted.append(spawner.pod_name)

    monkeypatch.setattr(spawner.api, "create_namespaced_pod", conflict)
    monkeypatch.setattr(spawner.api, "read_namespaced_pod", read)
    monkeypatch.setattr(KubeSpawner, "stop", stop)
    return deleted


@contextmanager
def watched(spawner: ResearchSpawner, monkeypatch: pytest.MonkeyPatch, pod: Json) -> Iterator[None]:
    """Make the reflector show `pod` as the server's pod."""

    class Reflector:
        pods: ClassVar[Json] = {f"{spawner.namespace}/{spawner.pod_name}": pod}

        def begin(self) -> None: ...

        async def require_list(self, _: float | None) -> None: ...

    type(spawner).reflectors[("pods", spawner.namespace)] = Reflector()
    try:
        yield
    finally:
        type(spawner).reflectors.clear()


@pytest.mark.parametrize(("blocked", "resumes"), [(set(), True), ({"alice"}, False)])
async def test_an_interrupted_start_of_a_blocked_user_is_not_resumed(
    blocked: set[str], resumes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub must stop its pod."""
    spawner = starting(monkeypatch)
    resumed = []
    monkeypatch.setattr(research, "schedule_resume", lambda spawner, shared: resumed.append(spawner))
    spawner.authenticator = SimpleNamespace(blocked_users=blocked)
    spawner.load_state({"research_spawner": {"starting": True}})
    with watched(spawner, monkeypatch, {"metadata": {}, "status": {"phase": "Pending"}}):
        assert await spawner.poll() == (0 if resumes else None)
    assert bool(resumed) is resumes


async def test_another_users_pod_is_neither_adopted_nor_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """This happens if pod_name_template gives two users the same name."""
    spawner = starting(monkeypatch)
    found = _Found({"metadata": {"annotations": {"research-spawner/user-name": "bob"}}, "spec": {}})
    deleted = taken(monkeypatch, spawner, found)
    with pytest.raises(Refusal, match="another user's server has that name"):
        await spawner._make_create_pod_request(await spawner.get_pod_manifest(), 1)
    # After a failed start the hub stops a server that poll reports as running.
    with watched(spawner, monkeypatch, {"metadata": {}, "status": {"phase": "Running"}}):
        assert await spawner.poll() == 0
    assert deleted == []


async def test_an_old_pod_of_the_user_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    spawner = starting(monkeypatch)
    found = _Found({"metadata": {"annotations": {"research-spawner/user-name": "alice"}}, "spec": {}})
    deleted = taken(monkeypatch, spawner, found)
    assert not await spawner._make_create_pod_request(await spawner.get_pod_manifest(), 1)
    assert deleted == [spawner.pod_name]
    assert found.is_released


@pytest.mark.parametrize("broken", [asyncio.TimeoutError(), aiohttp.ClientConnectionError()])
async def test_a_read_request_without_an_answer_leaves_the_pod_alone(
    broken: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = starting(monkeypatch)
    deleted = taken(monkeypatch, spawner, broken)
    assert not await spawner._make_create_pod_request(await spawner.get_pod_manifest(), 1)
    assert deleted == []


@pytest.mark.parametrize(("trait", "value"), [("namespace", "other"), ("pod_name", "jupyter-bob")])
async def test_hook_cannot_move_a_server_to_another_namespace_or_name(trait: str, value: str) -> None:
    site = site_with(PLAIN)
    with _without_kubeconfig():
        spawner = _spawner(site, "alice", Config(), "", DATA)
    decided = decide(site, person("alice"), profile="small", name=spawner.pod_name)
    spawner.apply_plan(decided)
    setattr(spawner, trait, value)
    with pytest.raises(Refusal) as refused:
        spawner.finished_manifest(decided, V1Pod())
    assert (refused.value.field, refused.value.status) == (f"spawner.{trait}", 503)
    assert f"a hook has set spawner.{trait} to '{value}'" in refused.value.message
