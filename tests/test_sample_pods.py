"""All problems of a hub's configuration at once: a pod of every profile is composed and checked for an example user."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from samples import SITE_FILE, decide, person, raw_site, site_with
from test_traps import PLAIN, spawner_of_alice
from traitlets.config import Config

from jupyter_research_spawner import configure
from jupyter_research_spawner.cli import main
from jupyter_research_spawner.configuration.whole_check import Checked, check_configuration, trait_in
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.spawner import ResearchSpawner

# Homes at /home in the claim `home`.  Without NUMA, which requires limits of all containers.
SITE = site_with(PLAIN, {"profiles": {"a100": {"numa": None}}})
METADATA = {
    "name": "block-cloud-metadata",
    "image": "k8s-network-tools:4.4.0",
    "command": ["iptables", "--append", "OUTPUT"],
    "securityContext": {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}},
}
CHOWN = {"name": "own-the-home", "image": "busybox:1.36", "securityContext": {"runAsUser": 0}}


def checked(c: Config, *, runs_hooks: bool = False, site: Any = SITE) -> Checked:
    return check_configuration(c, site, SITE_FILE.parent, runs_hooks=runs_hooks)


def config(**traits: Any) -> Config:
    return Config({"KubeSpawner": traits})


def test_a_configuration_without_problems_has_none() -> None:
    found = checked(config(cmd="jupyterhub-singleuser", environment={"A": '{"b": 1}'}, node_selector={"pool": "users"}))
    assert found == Checked([], [])


@pytest.mark.parametrize(
    ("traits", "path", "words"),
    [
        (
            {"init_containers": [METADATA]},
            "c.KubeSpawner.init_containers",
            ["'block-cloud-metadata' is a privileged root container", "cloudMetadata.blockWithIptables: false in the"],
        ),
        (
            {"init_containers": {"a": CHOWN}},
            "c.KubeSpawner.init_containers",
            ["container 'own-the-home': securityContext.runAsUser is 0, but it must be the user's own",
             "singleuser.initContainers"],
        ),
        ({"service_account": "cloud"}, "c.KubeSpawner.service_account", ["singleuser.serviceAccountName"]),
        (
            {"automount_service_account_token": True},
            "c.KubeSpawner.automount_service_account_token",
            ["no service account token"],
        ),
        ({"allow_privilege_escalation": True}, "c.KubeSpawner.allow_privilege_escalation", ["setuid"]),
        (
            {"extra_container_config": {"envFrom": [{"secretRef": {"name": "x"}}]}},
            "c.KubeSpawner.extra_container_config",
            ["envFrom must not be set: its variables cannot be checked"],
        ),
        (
            {"container_security_context": {"runAsUser": 0}},
            "c.KubeSpawner.container_security_context",
            ["securityContext.runAsUser is 0"],
        ),
        (
            {"pod_security_context": {"fsGroup": 100}},
            "c.KubeSpawner.pod_security_context",
            ["securityContext.fsGroup must not be set"],
        ),
        (
            {"extra_pod_config": {"hostNetwork": True}},
            "c.KubeSpawner.extra_pod_config",
            ["hostNetwork must be false", "singleuser.extraPodConfig"],
        ),
        (
            {"extra_containers": [{"name": "sync", "image": "x", "securityContext": {"privileged": True}}]},
            "c.KubeSpawner.extra_containers",
            ["container 'sync': securityContext.privileged must not be set", "singleuser.extraContainers"],
        ),
        (
            {"environment": {"LD_PRELOAD": "/x.so"}},
            "c.KubeSpawner.environment",
            ["variable 'LD_PRELOAD'", "singleuser.extraEnv"],
        ),
        (
            {"volumes": [{"name": "files", "secret": {"secretName": "singleuser"}}]},
            "c.KubeSpawner.volumes",
            ["volume 'files' is the secret 'singleuser'", "singleuser.extraFiles"],
        ),
        (
            {"volumes": [{"name": "cvmfs", "csi": {"driver": "cvmfs.csi.cern.ch"}}]},
            "c.KubeSpawner.volumes",
            ["To allow it for all users, set pods.allow.csi. Or remove it",
             "(in the chart: singleuser.storage.extraVolumes)"],
        ),
        (
            {"working_dir": "/srv/work"},
            "c.KubeSpawner.working_dir",
            ["the program is not known", "Set c.KubeSpawner.cmd (in the chart: singleuser.cmd)"],
        ),
        ({"extra_labels": {"research-spawner/other": "x"}}, "c.KubeSpawner.extra_labels", ["must not be set"]),
    ],
)  # fmt: skip
def test_what_would_end_every_start_is_named_with_its_trait_and_the_charts_key(
    traits: dict[str, Any], path: str, words: list[str]
) -> None:
    (problem,) = checked(config(**traits)).problems
    assert problem.path == path
    for word in words:
        assert word in problem.message, problem
    assert "65533" not in problem.message and " in profile" not in problem.message


STATIC = {
    "volumes": {"home": {"name": "home", "persistentVolumeClaim": {"claimName": "home-nfs"}}},
    "volume_mounts": {"home": {"name": "home", "mountPath": "/home/jovyan", "subPath": "home/{username}"}},
}
DYNAMIC = {
    "storage_pvc_ensure": True,
    "volumes": {"volume-{user_server}": {"name": "volume-{user_server}",
                                         "persistentVolumeClaim": {"claimName": "{pvc_name}"}}},
    "volume_mounts": {"volume-{user_server}": {"name": "volume-{user_server}", "mountPath": "/home/jovyan"}},
}  # fmt: skip
# A home that is mounted by an administrator's own volume.
OWN = {
    "volumes": [{"name": "nfs", "persistentVolumeClaim": {"claimName": "everybody"}}],
    "volume_mounts": [{"name": "nfs", "mountPath": "/data", "subPath": "{username}"}],
}
OTHER_HOMES = {
    "volumes": [{"name": "old", "persistentVolumeClaim": {"claimName": "home-old"}}],
    "volume_mounts": [{"name": "old", "mountPath": "/old"}],
}


@pytest.mark.parametrize("traits", [STATIC, DYNAMIC, OWN, OTHER_HOMES])
def test_nobody_is_advised_to_allow_the_claim_with_all_homes(traits: dict[str, Any]) -> None:
    site = site_with(PLAIN, {"storage": {"homes": {"old": {"claim": "home-old", "root": "/z/home"}}}})
    found = checked(config(**traits), site=site).problems
    assert found
    for problem in found:
        assert "pods.allow" not in problem.message
    of_volume = next(problem for problem in found if problem.path == "c.KubeSpawner.volumes")
    assert "storage.homes" in of_volume.message


def test_all_problems_are_said_at_once_each_once_and_configure_says_the_same() -> None:
    c = config(init_containers=[METADATA, CHOWN], service_account="cloud", environment={"A": "{usernam}"}, **STATIC)
    c.KubeSpawner.environment["LD_PRELOAD"] = "/x.so"
    found = checked(c).problems
    assert sorted(problem.path for problem in found) == [
        "c.KubeSpawner.environment",
        "c.KubeSpawner.environment['A']",
        "c.KubeSpawner.init_containers",
        "c.KubeSpawner.init_containers",
        "c.KubeSpawner.service_account",
        "c.KubeSpawner.volume_mounts",
        "c.KubeSpawner.volumes",
    ]
    with pytest.raises(SettingsError) as caught:
        configure(c, SITE, base=SITE_FILE.parent)
    assert caught.value.problems == found


def test_values_that_kubespawner_cannot_use_are_named_and_hide_nothing() -> None:
    """KubeSpawner's own errors are warnings at configure, because it may be the configuration of the hub alone."""
    c = config(
        init_containers="chown",
        volume_mounts=[{"name": "x"}],
        extra_pod_config={"noSuchField": 1},
        extra_container_config={"envFrom": []},
        modify_pod_hook=lambda spawner, pod: pod,
    )
    for runs_hooks in (False, True):
        found = checked(c, runs_hooks=runs_hooks)
        # A hook is set, which configure does not run.
        *broken, of_pod = found.problems if runs_hooks else found.advice
        assert [problem.path for problem in broken] == [
            "c.KubeSpawner.extra_pod_config['noSuchField']",
            "c.KubeSpawner.init_containers",
            "c.KubeSpawner.volume_mounts",
        ]
        # Without the value, which may be a secret.
        assert broken[1].message.endswith("expected a list or a dict")
        assert all(problem.message.startswith("makes every start fail: KubeSpawner raised ") for problem in broken)
        assert "envFrom must not be set" in of_pod.message
    configure(config(init_containers="chown"), SITE, base=SITE_FILE.parent)


def fails(spawner: Any) -> None:
    raise RuntimeError("no token")


@pytest.mark.parametrize(
    ("more", "hidden"),
    [({}, []), ({"pre_spawn_hook": fails}, ["c.KubeSpawner.pre_spawn_hook"])],
    ids=["fields alone", "fields behind a hook that fails"],
)
def test_fields_that_kubernetes_does_not_have_hide_no_other_problem(more: dict[str, Any], hidden: list[str]) -> None:
    found = checked(
        config(extra_pod_config={"noSuchField": 1, "hostPID": True, "norThis": {}}, **more), runs_hooks=True
    )
    assert [problem.path for problem in found.problems] == [
        *hidden,
        "c.KubeSpawner.extra_pod_config['noSuchField']",
        "c.KubeSpawner.extra_pod_config['norThis']",
        "c.KubeSpawner.extra_pod_config",
    ]
    assert "hostPID must be false" in found.problems[-1].message


def test_a_container_in_extra_pod_config_is_named_with_its_trait() -> None:
    (problem,) = checked(config(extra_pod_config={"initContainers": [CHOWN]})).problems
    assert problem.path == "c.KubeSpawner.extra_pod_config"
    assert "container 'own-the-home': securityContext.runAsUser is 0" in problem.message
    assert problem.message.endswith("(in the chart: singleuser.extraPodConfig)")


def test_a_value_that_json_does_not_have_is_named() -> None:
    (warning,) = checked(config(extra_annotations={"a": {1, 2}})).advice
    assert warning.path == "c.KubeSpawner.extra_annotations['a']"
    assert "makes every start fail: KubeSpawner raised AttributeError" in warning.message

    def adds_a_set(spawner: Any, pod: Any) -> Any:
        pod.metadata.annotations = {"a": {1, 2}}
        return pod

    (problem,) = checked(config(modify_pod_hook=adds_a_set), runs_hooks=True).problems
    assert problem.path == "c.KubeSpawner.modify_pod_hook"


def test_a_hook_that_returns_nothing_is_named() -> None:
    (problem,) = checked(config(modify_pod_hook=lambda spawner, pod: None), runs_hooks=True).problems
    assert str(problem) == "c.KubeSpawner.modify_pod_hook: raised TypeError: it returned nothing instead of the pod"


async def test_configure_checks_the_pods_inside_a_running_event_loop_and_runs_no_hook() -> None:
    ran: list[str] = []

    def hook(*_: Any) -> None:
        ran.append("a hook")

    c = config(
        pre_spawn_hook=hook,
        modify_pod_hook=hook,
        auth_state_hook=hook,
        environment={"A": hook},
        container_security_context=hook,
        group_overrides=hook,
    )
    loop = asyncio.get_running_loop()
    configure(c, SITE, base=SITE_FILE.parent)
    assert asyncio.get_running_loop() is loop
    assert ran == []


def _repair(spawner: Any, pod: Any) -> Any:
    pod.spec.init_containers = []
    return pod


def _repair_traits(spawner: Any, *_: Any) -> None:
    spawner.init_containers = []


@pytest.mark.parametrize(
    ("section", "trait", "hook"),
    [
        ("KubeSpawner", "modify_pod_hook", _repair),
        ("Spawner", "pre_spawn_hook", _repair_traits),
        ("KubeSpawner", "auth_state_hook", _repair_traits),
        ("KubeSpawner", "group_overrides", lambda spawner: {}),
    ],
)
def test_configure_only_warns_of_a_pod_that_a_hook_can_change(
    section: str, trait: str, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Configure runs no hook, so it does not know the pod of a start, which is checked at each start."""
    c = config(init_containers=[CHOWN])
    c[section][trait] = hook
    found = checked(c)
    assert found.problems == []
    (warning,) = found.advice
    assert warning.path == "c.KubeSpawner.init_containers"
    assert "container 'own-the-home': securityContext.runAsUser is 0" in warning.message
    assert warning.message.endswith(f". Every start with it fails, unless c.{section}.{trait} changes it")
    configure(c, SITE, base=SITE_FILE.parent)
    assert str(warning) in caplog.messages


def test_lint_runs_the_hooks_and_so_knows_whether_they_make_the_pod_right() -> None:
    right = config(init_containers=[CHOWN], modify_pod_hook=_repair)
    assert checked(right, runs_hooks=True) == Checked([], [])
    wrong = config(init_containers=[CHOWN], modify_pod_hook=lambda spawner, pod: pod)
    (problem,) = checked(wrong, runs_hooks=True).problems
    assert problem.path == "c.KubeSpawner.init_containers"


@pytest.mark.parametrize(
    "traits",
    [
        {"init_containers": [CHOWN], "environment": {"A": _repair}},  # changes only its variable
        {"init_containers": [CHOWN], "group_overrides": {}},  # a map, with which the pod is composed
        {"init_containers": [CHOWN], "after_pod_created_hook": _repair},
        {"service_account": "cloud", "modify_pod_hook": _repair},  # a trait that is refused in itself
    ],
)
def test_configure_refuses_what_no_hook_can_change(traits: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        configure(config(**traits), SITE, base=SITE_FILE.parent)


def test_what_a_file_appends_after_configure_still_counts() -> None:
    """traitlets computes the value of an appended list for the first spawner, and keeps it for all others."""
    c = Config()
    c.KubeSpawner.extra_containers.append({"name": "first", "image": "x"})
    configure(c, SITE, base=SITE_FILE.parent)
    c.KubeSpawner.extra_containers.append({"name": "second", "image": "x"})
    found = c.KubeSpawner.extra_containers.get_value([])  # as traitlets reads it for a spawner
    assert [container["name"] for container in found] == ["first", "second"]


def test_a_problem_of_one_profile_names_it() -> None:
    numa = {"profiles": {"a100": {"numa": "single-node", "cpu": 4}}}
    c = config(extra_containers=[{"name": "sync", "image": "x"}])
    (problem,) = checked(c, site=site_with(PLAIN, numa)).problems
    assert problem.message.startswith("in profile a100: container 'sync': resources has no limit")


def test_a_hook_that_breaks_the_pod_is_named_by_lint_and_one_that_needs_a_login_is_only_advice() -> None:
    def root(spawner: Any, pod: Any) -> Any:
        pod.spec.service_account_name = "cloud"
        return pod

    async def asks(spawner: Any) -> None:
        spawner.environment["TOKEN"] = (await spawner.user.get_auth_state())["token"]

    (problem,) = checked(config(modify_pod_hook=root), runs_hooks=True).problems
    assert problem.path == "c.KubeSpawner.modify_pod_hook"
    assert "spec.serviceAccountName" in problem.message
    found = checked(config(pre_spawn_hook=asks), runs_hooks=True)
    assert found.problems == []
    (advice,) = found.advice
    assert advice.path == "c.KubeSpawner.pre_spawn_hook"
    assert f"in asks ({__file__}, line " in advice.message and "only a user's login gives" in advice.message
    (problem,) = checked(config(pre_spawn_hook=lambda spawner: spawner.no_such), runs_hooks=True).problems
    assert "raised AttributeError in <lambda>" in problem.message


def test_hooks_that_fail_hide_no_problems_of_the_pod() -> None:
    def asks_another_server(spawner: Any) -> None:
        raise ConnectionError("no such server")

    traits = {"pre_spawn_hook": asks_another_server, "modify_pod_hook": lambda spawner, pod: pod.no_such}
    found = checked(config(**traits, extra_pod_config={"hostNetwork": True}), runs_hooks=True)
    assert [problem.path for problem in found.problems] == [
        "c.KubeSpawner.modify_pod_hook",
        "c.KubeSpawner.extra_pod_config",
    ]
    (advice,) = found.advice
    assert advice.path == "c.KubeSpawner.pre_spawn_hook"
    assert "what it does after this line was not checked" in advice.message


def test_an_exception_of_the_sites_own_class_is_a_warning_and_the_hub_starts() -> None:
    class Broken(ResearchSpawner):
        def get_env(self) -> Any:
            raise RuntimeError("only in the hub")

    c = Config({"JupyterHub": {"spawner_class": Broken}})
    found = checked(c)
    assert found.problems == []
    assert "RuntimeError" in str(found.advice[0]) and "only in the hub" in str(found.advice[0])
    configure(c, SITE, base=SITE_FILE.parent)


@pytest.mark.parametrize(
    ("trait", "value", "kept", "is_named"),
    [
        ("working_dir", "/home/jovyan", None, True),
        ("notebook_dir", "/home/jovyan/work", "", True),
        ("working_dir", "/home/alice/work", "/home/alice/work", True),  # for the other users
        ("notebook_dir", "/home/{username}/work", "/home/{username}/work", False),
        ("notebook_dir", "~/work", "~/work", False),
        ("notebook_dir", "/", "/", False),
        ("notebook_dir", "/home", "/home", False),
        ("working_dir", "/project/climate", "/project/climate", False),
        ("working_dir", "/srv/course", "/srv/course", False),
    ],
)
async def test_a_directory_below_the_homes_that_is_nobodys_home_has_no_effect(
    trait: str, value: str, kept: Any, is_named: bool
) -> None:
    with spawner_of_alice(SITE) as spawner:
        spawner._configured[trait] = value
        for _ in range(2):
            spawner.apply_plan(decide(SITE, person("alice"), profile="small"))
            assert getattr(spawner, trait) == kept
    found = checked(config(cmd="x", **{trait: value}))
    assert found.problems == []
    assert [problem.path for problem in found.advice] == ([f"c.KubeSpawner.{trait}"] if is_named else [])


async def test_a_profile_list_of_a_hook_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with spawner_of_alice(SITE) as spawner:
        await spawner.load_user_options()
        assert caplog.messages == []
        spawner.profile_list = [{"display_name": "Large"}]
        await spawner.load_user_options()
    assert "profile_list of alice was set by a hook, and has no effect" in caplog.text


CONFIG = """
from jupyter_research_spawner import configure
class Ours: pass
c.KubeSpawner.init_containers = [{"name": "chown", "image": "x", "securityContext": {"runAsUser": 0}}]
c.KubeSpawner.service_account = "cloud"
c.KubeSpawner.mem_limit = "4G"
def pre_spawn(spawner):
    spawner.environment["IS_ADMIN"] = str(spawner.user.admin)
    spawner.environment["TEAMS"] = ",".join(group.name for group in spawner.user.groups)
c.KubeSpawner.pre_spawn_hook = pre_spawn
"""


@pytest.mark.parametrize("configures", [True, False])
def test_lint_says_all_problems_of_a_file_in_one_run_also_if_configure_ends_it(
    configures: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "jupyterhub_config.py"
    file.write_text(CONFIG + (f"configure(c, {str(SITE_FILE)!r})\n" if configures else ""))
    assert main(["lint", "--site", str(SITE_FILE), "--config", str(file)]) == 1
    said = capsys.readouterr().err
    assert said.count("c.KubeSpawner.service_account") == 1
    assert said.count("container 'chown': securityContext") == 1
    assert "Traceback" not in said
    right = '"resources": {"limits": {"cpu": 1, "memory": "1G"}}'
    file.write_text(CONFIG.replace('"securityContext": {"runAsUser": 0}', right).replace('"cloud"', "None"))
    assert main(["lint", "--site", str(SITE_FILE), "--config", str(file)]) == 0
    said = capsys.readouterr().out
    assert "No mistakes." in said and "c.KubeSpawner.mem_limit: is '4G', which has no effect" in said
    assert main(["render", "--site", str(SITE_FILE), "--config", str(file), "--user", "alice"]) == 0
    assert "IS_ADMIN" in capsys.readouterr().out


def test_a_wrong_class_hides_no_other_problem() -> None:
    c = config(service_account="cloud")
    c.JupyterHub.spawner_class = "no.such.Class"
    assert [problem.path for problem in checked(c).problems] == [
        "c.JupyterHub.spawner_class",
        "c.KubeSpawner.service_account",
    ]
    with pytest.raises(SettingsError, match=r"(?s)cannot be imported.*c\.KubeSpawner\.service_account"):
        configure(c, SITE, base=SITE_FILE.parent)
    assert c.JupyterHub.spawner_class == "no.such.Class"


def test_the_trait_of_a_problem_can_be_read_from_its_path() -> None:
    assert trait_in("c.Ours.init_containers[0]['args'][1]") == "init_containers"
    assert trait_in("c.JupyterHub.services") == trait_in("profiles.small") == ""
    assert raw_site()
