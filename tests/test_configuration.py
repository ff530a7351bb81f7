"""configure(c, site): what it adds to a hub's configuration, what it never replaces, and what it refuses."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupyterhub
import pytest
from samples import SITE_FILE, raw_site, site_with
from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from jupyter_research_spawner import configure, web
from jupyter_research_spawner.configuration import conflicts
from jupyter_research_spawner.configuration.traits import items, plain
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.spawner import ResearchSpawner
from jupyter_research_spawner.spawner.process_state import registered_state

ACCESS = "access:services!service=batch"
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
    assert registered_state(spawner.pop("installation")).site == site
    assert spawner == {
        "namespace": "jhub",
        "k8s_api_request_timeout": 10,
        **({"consecutive_failure_limit": 0} if version.startswith("5") else {}),
    }
    assert settled(c)["JupyterHub"] == {
        "spawner_class": "jupyter_research_spawner.spawner.ResearchSpawner",
        "concurrent_spawn_limit": 0,
        "template_paths": [str(web.HUB_TEMPLATES)],
    }


@pytest.mark.parametrize("prepare", [lambda c: None, lambda c: c.JupyterHub.services.append(dict(BATCH))])
@pytest.mark.parametrize("managed", [False, True])
def test_twice_is_no_more_than_once(version: str, managed: bool, prepare: Callable[[Config], None]) -> None:
    c = Config()
    prepare(c)
    configure(c, SITE_FILE, managed_batch=managed)
    once = copy.deepcopy(settled(c))
    configure(c, SITE_FILE, managed_batch=managed)
    assert settled(c) == once


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
    assert hub["services"] == [{"name": "culler"}, {**BATCH, "oauth_no_confirm": True}]
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
        ("uid", 1000, "c.KubeSpawner.uid: is 1000, but identity in the settings determines the uid of each pod."),
        ("uid", 0, "c.KubeSpawner.uid: is 0, but identity"),
        ("gid", 100, "c.KubeSpawner.gid: is 100, but identity"),
        ("fs_gid", 100, "singleuser.fsGid: null"),
        ("supplemental_gids", [5], "c.KubeSpawner.supplemental_gids: is set, but identity"),
        ("namespace", "other", "c.KubeSpawner.namespace: is 'other', but namespaces.name in the settings is 'jhub'"),
        ("scheduler_name", "jhub-user-scheduler", "scheduling.userScheduler.enabled: false"),
        ("profile_list", [{"display_name": "x"}], "users choose from the profiles in the settings"),
        ("profile_list", {"x": {"display_name": "x"}}, "users choose from the profiles in the settings"),
        ("enable_user_namespaces", True, "user namespaces would change the uids on shared storage"),
    ],
)
def test_what_says_something_else_is_named_with_both_places(trait: str, value: Any, says: str) -> None:
    c = Config()
    c.KubeSpawner[trait] = value
    with pytest.raises(SettingsError) as caught:
        configure(c, SITE_FILE)
    assert says in str(caught.value)
    assert "installation" not in c.ResearchSpawner


def test_what_says_nothing_or_the_same_is_no_conflict() -> None:
    c = Config()
    c.KubeSpawner.update({"uid": None, "profile_list": [], "namespace": "jhub", "enable_user_namespaces": False})
    configure(c, SITE_FILE)


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
    with pytest.raises(SettingsError, match=r"c.JupyterHub.internal_ssl: is True.*pods.allow"):
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
    configure(c, SITE_FILE)
    assert c.JupyterHub.spawner_class is Ours


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
        ("KubeSpawner", "extra_annotations", {"a": '{"user": "x"}'}, "has an invalid brace"),
        ("KubeSpawner", "storage_pvc_ensure", True, "homes are on home (storage.homes)"),
    ],
)
def test_what_is_known_to_go_wrong_is_warned_of(section: str, trait: str, value: Any, says: str) -> None:
    c = Config()
    c[section][trait] = value
    (warning,) = conflicts.warnings(c, site_with())
    assert says in warning
    assert f"c.{section}.{trait}" in warning


def test_a_map_that_hides_another_is_warned_of() -> None:
    c = Config()
    c.KubeSpawner.environment = {"A": "1"}
    c.ResearchSpawner.environment = {"B": "2"}
    (warning,) = conflicts.warnings(c, site_with())
    assert "c.ResearchSpawner.environment replaces all of c.KubeSpawner.environment" in warning


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
