"""configure(c, site): what it adds to a hub's configuration, what it never replaces, and what it refuses."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupyterhub
import pytest
from kubespawner import KubeSpawner
from samples import SITE_FILE, raw_site, site_with
from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from jupyter_research_spawner import configure, web
from jupyter_research_spawner.chart_values import complete
from jupyter_research_spawner.chart_values.hub_programs import z2jh_module
from jupyter_research_spawner.configuration import conflicts, kubespawner_traits
from jupyter_research_spawner.configuration.traits import items, plain
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.spawner import (
    ResearchSpawner,
    configured_class,
    end_pages,
    pod_page,
    server_actions,
    server_rows,
    static_pages,
    wall_time_pages,
)
from jupyter_research_spawner.spawner.process_state import registered_state

ACCESS = "access:services!service=batch"
HANDLERS = [
    *end_pages.HANDLERS,
    *wall_time_pages.HANDLERS,
    *static_pages.HANDLERS,
    *pod_page.HANDLERS,
    *server_actions.HANDLERS,
]
BATCH = {"name": "batch", "url": "http://batch:8080", "api_token": "secret"}


def settled(c: Config) -> dict[str, Any]:
    """The configuration as plain data, lists that were only added to among it."""
    return {
        name: {trait: plain(value) if isinstance(value, LazyConfigValue) else value for trait, value in section.items()}
        for name, section in c.items()
    }


@pytest.fixture(params=["5.5.4", "6.1.1"])
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(jupyterhub, "__version__", request.param)
    return str(request.param)


def test_what_is_set_for_a_bare_hub(version: str) -> None:
    c = Config()
    site = configure(c, SITE_FILE)
    assert site == site_with()
    spawner = dict(c.ResearchSpawner)
    installation = spawner.pop("installation")
    assert registered_state(installation).site == site
    assert spawner == {
        "namespace": "jhub",
        "k8s_api_request_timeout": 10,
        **({"consecutive_failure_limit": 0} if version.startswith("5") else {}),
    }
    assert settled(c)["JupyterHub"] == {
        "spawner_class": "jupyter_research_spawner.spawner.ResearchSpawner",
        "concurrent_spawn_limit": 0,
        "template_paths": [str(web.HUB_TEMPLATES)],
        "template_vars": {
            "research_ends": end_pages.TemplateEnds("UTC"),
            "research_deadlines": wall_time_pages.TemplateDeadlines("UTC"),
            "research_servers": server_rows.TemplateServers(installation),
            "research_static": web.static_paths(),
            "research_service": "batch",
            **web.hub_variables(),
        },
        "extra_handlers": HANDLERS,
    }


def test_a_site_s_own_pages_and_variables_of_templates_stay(version: str) -> None:
    c = Config()
    c.JupyterHub.template_vars = {"announcement": "Maintenance"}
    c.JupyterHub.extra_handlers = [("/other", object)]
    configure(c, SITE_FILE)
    ours = {
        "research_ends",
        "research_deadlines",
        "research_servers",
        "research_static",
        "research_service",
        *web.hub_variables(),
    }
    assert c.JupyterHub.template_vars.keys() == {"announcement", *ours}
    assert c.JupyterHub.extra_handlers == [("/other", object), *HANDLERS]


@pytest.mark.parametrize("prepare", [lambda c: None, lambda c: c.JupyterHub.services.append(dict(BATCH))])
@pytest.mark.parametrize("managed", [False, True])
def test_twice_is_no_more_than_once(version: str, managed: bool, prepare: Callable[[Config], None]) -> None:
    c = Config()
    prepare(c)
    configure(c, SITE_FILE, managed_batch=managed)
    once = copy.deepcopy(settled(c))
    configure(c, SITE_FILE, managed_batch=managed)
    assert settled(c) == once


def chart(**values: Any) -> types.ModuleType:
    """The chart's module `z2jh` with these values below `singleuser`."""
    found = complete({"singleuser": values, "fullnameOverride": "hub-a"})
    return z2jh_module(found)


FILES = {"motd": {"mountPath": "/etc/motd", "stringData": "Hello"}}


def test_the_chart_s_secret_of_extra_files_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z2jh", chart(extraFiles=FILES))
    site = site_with()
    before = site.digest
    c = Config()
    changed = configure(c, site)
    assert changed.pods.allow.secrets == {"hub-a-singleuser": True}
    assert registered_state(c.ResearchSpawner.installation).site.pods.allow.secrets == {"hub-a-singleuser": True}
    assert (site.pods.allow.secrets, changed.digest == before) == ({}, False)
    # Twice, and with a value in the settings.
    assert configure(c, site).pods.allow.secrets == {"hub-a-singleuser": True}
    denied = site_with({"pods": {"allow": {"secrets": {"hub-a-singleuser": False}}}})
    assert configure(Config(), denied).pods.allow.secrets == {"hub-a-singleuser": False}


@pytest.mark.parametrize(
    "module", [None, chart(), chart(extraFiles={}), types.ModuleType("z2jh")], ids=["none", "no", "empty", "another"]
)
def test_without_extra_files_no_secret_is_allowed(
    module: types.ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "z2jh", module)  # type: ignore[arg-type]
    assert configure(Config(), site_with()).pods.allow.secrets == {}


def test_several_settings_merge_and_a_site_is_taken_as_it_is() -> None:
    c = Config()
    assert configure(c, [SITE_FILE, {"hub": {"concurrent_starts": 7}}]).hub.concurrent_starts == 7
    site = site_with()
    assert configure(Config(), site) is site
    assert configure(Config(), raw_site()) == site


def test_relative_files_start_beside_the_settings(tmp_path: Path) -> None:
    for name in ("site.yaml", "people.passwd", "people.group"):
        (tmp_path / name).write_bytes((SITE_FILE.parent / name).read_bytes())
    c, other = Config(), Config()
    configure(c, tmp_path / "site.yaml")
    configure(other, SITE_FILE)
    assert c.ResearchSpawner.installation != other.ResearchSpawner.installation


def test_what_the_chart_set_stays(version: str) -> None:
    c = Config()
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.template_paths = ["/etc/jupyterhub/templates"]
    c.JupyterHub.services = [{"name": "culler"}, dict(BATCH)]
    c.JupyterHub.load_roles = [
        {"name": "user", "scopes": ["self", "list:users"]},
        {"name": "culler", "services": ["culler"]},
    ]
    c.KubeSpawner.namespace = "jhub"
    c.KubeSpawner.environment = {"A": "1"}
    c.KubeSpawner.server_token_scopes = ["users:activity!user", "access:servers!server", "read:users!user"]
    c.KubeSpawner.k8s_api_request_timeout = 30
    configure(c, site_with({"batch": {"url": "http://proxy-public/services/batch"}}))
    hub = settled(c)["JupyterHub"]
    assert hub["template_paths"] == ["/etc/jupyterhub/templates", str(web.HUB_TEMPLATES)]
    added = {"oauth_no_confirm": True, "oauth_client_allowed_scopes": ["read:servers!user"]}
    assert hub["services"] == [{"name": "culler"}, {**BATCH, **added}]
    assert hub["load_roles"][:2] == [
        {"name": "user", "scopes": ["self", "list:users", ACCESS]},
        {"name": "culler", "services": ["culler"]},
    ]
    assert [role["name"] for role in hub["load_roles"]] == ["user", "culler", "research-batch"]
    assert "extra_user_scopes" not in hub
    assert c.KubeSpawner == {**c.KubeSpawner, "namespace": "jhub", "environment": {"A": "1"}}
    assert c.ResearchSpawner.server_token_scopes == [*c.KubeSpawner.server_token_scopes, ACCESS]
    assert c.ResearchSpawner.k8s_api_request_timeout == 30


def test_people_and_notebooks_may_reach_the_batch_service_and_it_reads_names_alone(version: str) -> None:
    c = Config()
    configure(c, SITE_FILE, managed_batch={"url": "http://127.0.0.1:9999"})
    hub = settled(c)["JupyterHub"]
    (service,) = hub["services"]
    assert (service["name"], service["url"], service["oauth_no_confirm"]) == ("batch", "http://127.0.0.1:9999", True)
    assert service["oauth_client_allowed_scopes"] == ["read:servers!user"]
    (role,) = [role for role in hub["load_roles"] if role["name"] == "research-batch"]
    assert (role["services"], role["scopes"]) == (["batch"], ["list:users", "read:users:name", "read:users:groups"])
    if version.startswith("6"):
        assert hub["extra_user_scopes"] == {ACCESS}
    else:
        assert {"name": "user", "scopes": ["self", ACCESS]} in hub["load_roles"]
    assert c.ResearchSpawner.server_token_scopes == ["users:activity!user", "access:servers!server", ACCESS]


def test_a_managed_service_reads_the_same_files_and_needs_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/run/kubeconfig")
    c = Config()
    configure(c, SITE_FILE, managed_batch={"environment": {"A": "1"}})
    (service,) = settled(c)["JupyterHub"]["services"]
    assert service["command"][1:] == ["-m", "jupyter_research_spawner.batch", "--site", str(SITE_FILE)]
    assert service["cwd"] == str(SITE_FILE.parent)
    assert service["environment"] == {"KUBECONFIG": "/run/kubeconfig", "A": "1"}
    for settings in (site_with(), raw_site(), [SITE_FILE, {"batch": {"keep": "2d"}}]):
        with pytest.raises(SettingsError, match="managed_batch: requires settings in YAML files"):
            configure(Config(), settings, managed_batch=True)


async def test_a_function_for_the_scopes_is_asked_and_ours_added() -> None:
    c = Config()

    async def scopes(spawner: Any) -> list[str]:
        return ["users:activity!user"]

    c.Spawner.server_token_scopes = scopes
    configure(c, SITE_FILE, managed_batch=True)
    configure(c, SITE_FILE, managed_batch=True)
    assert await copy.deepcopy(c.ResearchSpawner.server_token_scopes)(None) == ["users:activity!user", ACCESS]


def test_a_url_without_a_service_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"has no service named 'batch', but batch.url in the settings is http"):
        configure(Config(), site_with({"batch": {"url": "http://proxy-public/services/batch"}}))


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("uid", 1001, "c.KubeSpawner.uid: is 1001, but identity in the settings determines the uid of each pod."),
        ("uid", 0, "c.KubeSpawner.uid: is 0, but identity"),
        ("uid", lambda spawner: 1000, "c.KubeSpawner.uid: is set, but identity"),
        ("singleuser_uid", 0, "c.KubeSpawner.singleuser_uid: is 0, but identity"),
        ("gid", 100, "c.KubeSpawner.gid: is 100, but identity"),
        ("fs_gid", 101, "singleuser.fsGid: null"),
        ("service_account", "notebook", "c.KubeSpawner.service_account: is 'notebook', but it would give every user"),
        ("service_account", "notebook", "Remove it (in the chart: singleuser.serviceAccountName)"),
        ("automount_service_account_token", True, "users get no service account token"),
        ("allow_privilege_escalation", True, "singleuser.allowPrivilegeEscalation: false"),
        ("privileged", True, "could become any user on the node"),
        ("apply_user_options", lambda spawner, options: None, "so this function would never run"),
        ("supplemental_gids", [5], "c.KubeSpawner.supplemental_gids: is set, but identity"),
        ("namespace", "other", "c.KubeSpawner.namespace: is 'other', but namespaces.name in the settings is the"),
        ("profile_list", [{"display_name": "x"}], "users choose from the profiles in the settings"),
        ("profile_list", {"x": {"display_name": "x"}}, "users choose from the profiles in the settings"),
        ("enable_user_namespaces", True, "all pods of the site are in the namespace"),
    ],
)
def test_what_says_something_else_is_named_with_both_places(trait: str, value: Any, says: str) -> None:
    c = Config()
    c.KubeSpawner[trait] = value
    with pytest.raises(SettingsError) as caught:
        configure(c, SITE_FILE)
    assert says in str(caught.value)
    assert "installation" not in c.ResearchSpawner


def test_what_says_nothing_or_the_same_is_no_conflict(caplog: pytest.LogCaptureFixture) -> None:
    c = Config()
    c.KubeSpawner.update({"uid": None, "profile_list": [], "namespace": "jhub", "enable_user_namespaces": False})
    configure(c, SITE_FILE)
    assert conflicts.warnings(c, site_with()) == []


# What the chart's own values.yaml sets, for a release in the namespace jhub.
CHART_DEFAULTS: dict[str, Any] = {
    "uid": 1000,
    "fs_gid": 100,
    "allow_privilege_escalation": False,
    "mem_guarantee": "1G",
    "start_timeout": 300,
    "scheduler_name": "hub-user-scheduler",
    "profile_list": [],
}


def test_the_charts_defaults_do_not_stop_the_hub_and_are_named_in_one_sentence() -> None:
    c = Config()
    c.KubeSpawner.update(CHART_DEFAULTS)
    assert conflicts.problems(c, site_with()) == []
    assert conflicts.warnings(c, site_with()) == []
    sentence = conflicts.defaults(c, site_with())
    for place in (
        "c.KubeSpawner.uid (singleuser.uid)",
        "c.KubeSpawner.fs_gid (singleuser.fsGid)",
        "c.KubeSpawner.mem_guarantee (singleuser.memory.guarantee)",
        "c.KubeSpawner.start_timeout (singleuser.startTimeout)",
        "c.KubeSpawner.scheduler_name (scheduling.userScheduler.enabled)",
    ):
        assert place in sentence
    assert sentence.startswith("These defaults of the chart have no effect, because the settings of the site decide")
    assert conflicts.defaults(Config(), site_with()) == ""


@pytest.mark.parametrize(
    ("trait", "value", "instead"),
    [
        ("cpu_limit", 2, "profiles.NAME.cpu"),
        ("cpu_guarantee", 0.5, "profiles.NAME.cpu"),
        ("mem_limit", "4G", "profiles.NAME.memory"),
        ("mem_guarantee", "2G", "profiles.NAME.memory"),
        ("extra_resource_limits", {"nvidia.com/gpu": "1"}, "profiles.NAME.gpu"),
        ("extra_resource_guarantees", {"nvidia.com/gpu": "1"}, "profiles.NAME.gpu"),
        ("priority_class_name", "hub-default-priority", "queues.NAME.priority"),
        ("options_form", "<input>", "profiles"),
        ("profile_form_template", "<p>", "profiles"),
        ("start_timeout", 900, "hub.queue_limit and hub.boot_limit"),
        ("scheduler_name", "my-scheduler", "scheduler"),
    ],
)
def test_what_the_site_decides_is_named_with_the_setting_that_replaces_it(trait: str, value: Any, instead: str) -> None:
    c = Config()
    c.Spawner[trait] = value
    assert conflicts.problems(c, site_with()) == []
    (warning,) = conflicts.warnings(c, site_with())
    assert warning.path == f"c.Spawner.{trait}"
    assert "which has no effect" in warning.message
    assert f"Set {instead} in the settings instead, and remove this value" in warning.message
    assert kubespawner_traits.TRAITS[trait].chart[:1] == () or kubespawner_traits.TRAITS[trait].chart[0] in str(warning)


@pytest.mark.parametrize("how", ["file", "environment"])
def test_the_namespace_of_the_release_is_right_although_notebooks_are_in_another(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chart always sets c.KubeSpawner.namespace to the hub's own namespace."""
    c = Config()
    c.KubeSpawner.namespace = "release"
    elsewhere = site_with({"namespaces": {"name": "notebooks"}})
    assert [problem.path for problem in conflicts.problems(c, elsewhere)] == ["c.KubeSpawner.namespace"]
    if how == "file":
        (tmp_path / "namespace").write_text("release\n")
        monkeypatch.setattr(conflicts, "OWN_NAMESPACE", tmp_path / "namespace")
    else:
        monkeypatch.setenv("POD_NAMESPACE", "release")
    assert conflicts.problems(c, elsewhere) == []
    configure(c, elsewhere)
    assert c.ResearchSpawner.namespace == "notebooks"


def test_every_trait_of_the_installed_kubespawner_is_in_the_table() -> None:
    """A new version of KubeSpawner or JupyterHub cannot add a trait of which nobody decides what it does here."""
    installed = set(KubeSpawner.class_traits(config=True))
    assert sorted(installed - set(kubespawner_traits.TRAITS)) == []
    # All supported versions have the same traits: setup.cfg allows JupyterHub 5.3 to 6 and kubespawner 7.1.
    assert sorted(set(kubespawner_traits.TRAITS) - installed) == []


def test_the_table_says_why_and_its_chart_keys_exist() -> None:
    schema = json.loads((SITE_FILE.parent / "z2jh-values.schema.json").read_text())
    for name, trait in kubespawner_traits.TRAITS.items():
        if trait.verdict != "kept":
            assert trait.why and not trait.why.endswith("."), name
        for key in trait.chart:
            assert _is_in(schema, key.rstrip(".").split(".")), key
    assert kubespawner_traits.chart_key("mem_limit") == "singleuser.memory.limit"


def _is_in(schema: Any, parts: list[str]) -> bool:
    for part in parts:
        schema = schema.get("properties", {}).get(part)
        if schema is None:
            return False
    return True


@pytest.mark.parametrize("how", ["set", "append", "prepend"])
def test_the_sites_own_templates_come_before_ours_and_the_hubs_after(how: str) -> None:
    c = Config()
    if how == "set":
        c.JupyterHub.template_paths = ["/etc/templates"]
    else:
        getattr(c.JupyterHub.template_paths, how)("/etc/templates" if how == "append" else ["/etc/templates"])
    configure(c, SITE_FILE)
    # JupyterHub appends its own directory to a list that has not got it.
    assert c.JupyterHub.template_paths == ["/etc/templates", str(web.HUB_TEMPLATES)]


def test_internal_ssl_and_a_foreign_spawner_are_errors() -> None:
    c = Config()
    c.JupyterHub.internal_ssl = True
    with pytest.raises(SettingsError, match=r"c.JupyterHub.internal_ssl: is true.*pods.allow"):
        configure(c, SITE_FILE)
    c = Config()
    c.JupyterHub.spawner_class = "wrapspawner.WrapSpawner"
    with pytest.raises(SettingsError, match=r"spawner_class: is 'wrapspawner.WrapSpawner'"):
        configure(c, SITE_FILE)


def test_a_sites_own_subclass_stays() -> None:
    class Ours(ResearchSpawner):
        pass

    c = Config()
    c.JupyterHub.spawner_class = Ours
    c.Ours.namespace = "elsewhere"
    with pytest.raises(SettingsError, match=r"c.Ours.namespace: is 'elsewhere'"):
        configure(c, SITE_FILE)
    del c.Ours["namespace"]
    c.Ours.server_token_scopes = ["users:activity!user"]
    configure(c, SITE_FILE, managed_batch=True)
    assert c.JupyterHub.spawner_class is Ours
    assert (c.Ours.namespace, c.Ours.server_token_scopes) == ("jhub", ["users:activity!user", ACCESS])


@pytest.mark.parametrize("how", ["path", "entry point"])
def test_a_sites_own_subclass_may_be_named_by_path_or_entry_point(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("ours_of_a_site")
    module.Ours = type("Ours", (ResearchSpawner,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ours_of_a_site", module)
    entry = importlib.metadata.EntryPoint("Our-Spawner", "ours_of_a_site:Ours", "jupyterhub.spawners")
    monkeypatch.setattr(configured_class, "entry_points", lambda group: [entry])
    c = Config()
    c.JupyterHub.spawner_class = "ours_of_a_site.Ours" if how == "path" else "our-spawner"
    before = str(c.JupyterHub.spawner_class)
    configure(c, SITE_FILE)
    assert c.JupyterHub.spawner_class == before
    assert c.Ours.namespace == "jhub"


class Resolver:
    def uid(self, spawner: Any) -> int:
        return 0


@pytest.mark.parametrize(
    ("section", "trait", "value", "says"),
    [
        ("KubeSpawner", "lifecycle_hooks", Resolver().uid, "is a method of an object"),
        ("KubeSpawner", "volume_mounts", [{"subPath": "{username}"}], "can differ from the POSIX user name"),
        (
            "KubeSpawner",
            "volume_mounts",
            {"a": {"subPath": "{unescaped_username}"}},
            "can differ from the POSIX user name",
        ),
        ("KubeSpawner", "storage_pvc_ensure", True, "homes are on home (storage.homes)"),
    ],
)
def test_what_is_known_to_go_wrong_is_warned_of(section: str, trait: str, value: Any, says: str) -> None:
    c = Config()
    c[section][trait] = value
    (warning,) = conflicts.warnings(c, site_with())
    assert says in str(warning)
    assert warning.path == f"c.{section}.{trait}"


@pytest.mark.parametrize(
    ("trait", "value", "place", "says"),
    [
        ("environment", {"A": "{usernam}"}, "environment['A']", "has {usernam}, which is not one of KubeSpawner's"),
        ("environment", {"A": "{usernam}"}, "environment['A']", "If it is part of the text, write {{usernam}}"),
        ("extra_labels", {"team": "{team}"}, "extra_labels['team']", "write {{team}}"),
        (
            "extra_containers",
            [{"name": "sync", "args": ["sync", "{repo}"]}],
            "extra_containers[0]['args'][1]",
            "has {repo}, which is not one",
        ),
        ("volume_mounts", [{"mountPath": "/x", "subPath": "${USER}"}], "volume_mounts[0]['subPath']", "has {USER}"),
        (
            "volume_mounts",
            {"a": {"mountPath": "/x", "subPath": "a/{"}},
            "volume_mounts['a']['subPath']",
            "single brace",
        ),
        ("volume_mounts", [{"mountPath": "/x", "subPath": "{username"}], "volume_mounts[0]['subPath']", "{username}"),
        ("pod_name_template", "jupyter-{user}", "pod_name_template", "has {user}, which is not one"),
        ("default_url", "/lab/{userid}", "default_url", "fields (base_url, username)"),
        ("notebook_dir", "/home/{user}", "notebook_dir", "fields (base_url, username)"),
    ],
)
def test_a_text_that_no_start_can_expand_is_named_with_its_place(trait: str, value: Any, place: str, says: str) -> None:
    c = Config()
    c.KubeSpawner[trait] = value
    (problem,) = conflicts.problems(c, site_with())
    assert problem.path == f"c.KubeSpawner.{place}"
    assert says in problem.message


def test_a_value_with_a_wrong_field_is_not_repeated_as_a_whole() -> None:
    c = Config()
    c.KubeSpawner.environment = {"PASSWORD": "correct-horse-{batery}"}
    (problem,) = conflicts.problems(c, site_with())
    assert "{batery}" in problem.message and "horse" not in problem.message


def test_a_map_that_hides_another_is_warned_of() -> None:
    c = Config()
    c.KubeSpawner.environment = {"A": "1"}
    c.ResearchSpawner.environment = {"B": "2"}
    (warning,) = conflicts.warnings(c, site_with())
    assert "c.ResearchSpawner.environment: replaces all of c.KubeSpawner.environment" in str(warning)


def test_a_list_that_was_only_added_to_is_read_without_settling_it() -> None:
    c = Config()
    c.JupyterHub.services.append({"name": "culler"})
    assert items(c.JupyterHub, "services") == [{"name": "culler"}]
    c.JupyterHub.services.append({"name": "other"})
    assert c.JupyterHub.services.get_value([]) == [{"name": "culler"}, {"name": "other"}]


def test_importing_the_package_is_cheap() -> None:
    heavy = "{'jupyterhub', 'pydantic', 'kubernetes_asyncio'}"
    code = f"import sys, jupyter_research_spawner; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
