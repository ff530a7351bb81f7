"""The parts of `research-spawner try` that need no hub: users, nodes, settings, storage, and the table."""

from __future__ import annotations

import argparse
import asyncio
import copy
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub import SITE
from traitlets.config import Config

from jupyter_research_spawner.cli import try_command
from jupyter_research_spawner.cli.main import _parser, main
from jupyter_research_spawner.demo.storage_layout import lay_out
from jupyter_research_spawner.embedded import NodeSpec
from jupyter_research_spawner.embedded.apimachinery.api_resources import CONFIG_MAP, POD, SECRET
from jupyter_research_spawner.embedded.objectstore.object_store import Store
from jupyter_research_spawner.plan import offers
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.site import Site, load
from jupyter_research_spawner.trial.empty_objects import EmptyObjects
from jupyter_research_spawner.trial.hub_traits import remove_replaced
from jupyter_research_spawner.trial.trial_check import Outcome, starts_of, table
from jupyter_research_spawner.trial.trial_claims import claims_of, entries
from jupyter_research_spawner.trial.trial_login import ChosenUser
from jupyter_research_spawner.trial.trial_nodes import nodes_for, parse_nodes
from jupyter_research_spawner.trial.trial_people import invented, named_groups, one_of_each_group, read_people
from jupyter_research_spawner.trial.trial_pod_page import differences
from jupyter_research_spawner.trial.trial_settings import trial_settings

NOW = datetime(2026, 10, 1, 12, tzinfo=timezone.utc)
CLASS: dict[str, Any] = {
    "like": "small",
    "queue": "teaching",
    "roster": {"group": "stats101"},
    "staff": {"group": "stats101-staff"},
    "until": "2026-12-20",
}


def with_class(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SITE), "classes": {"stats-101": {**CLASS, **more}}}


def written(site: Site, directory: Path) -> tuple[Path, Path]:
    files = directory / "people.passwd", directory / "people.group"
    for file, text in zip(files, invented(site), strict=True):
        file.write_text(text)
    return files


def trial(raw: dict[str, Any], people: tuple[Path, Path]) -> Any:
    return trial_settings(raw, load(raw), *people, "http://127.0.0.1:8000/services/batch", NOW)


async def test_each_group_of_the_settings_gets_three_members_whom_the_checks_accept(tmp_path: Path) -> None:
    raw = with_class()
    raw["identity"]["checks"] = {"minimum_uid": 50000, "reserved_uids": {"few": {"first": 50000, "last": 50001}}}
    site = load(raw)
    assert named_groups(site) == ["climate", "stats101", "stats101-staff"]
    files = written(site, tmp_path)
    people, problems = await read_people(load(trial(raw, files).running), *files, tmp_path)
    assert problems == []
    assert [user.refusal for user in people if user.identity is None] == []
    assert [user.name for user in people] == [
        f"{stem}-{number}" for stem in (*named_groups(site), "user") for number in (1, 2, 3)
    ]
    uids = [user.identity.uid for user in people if user.identity]
    assert len(set(uids)) == 12
    assert min(uids) == 50002
    chosen = one_of_each_group(site, people)
    assert [user.name for user in chosen] == ["climate-1", "stats101-1", "stats101-staff-1", "user-1"]


async def test_names_of_users_are_valid_for_any_name_of_a_group(tmp_path: Path) -> None:
    groups = ["2026 Students", "DOMAIN\\Physics", "x" * 60, "x" * 59 + "y", "user"]
    raw = {**copy.deepcopy(SITE)}
    raw["profiles"]["large"]["groups"] = dict.fromkeys(groups, True)
    site = load(raw)
    names = [line.split(":")[0] for line in invented(site)[0].splitlines()]
    assert len(names) == len(set(names)) == 3 * (len(groups) + 2)
    files = written(site, tmp_path)
    people, _ = await read_people(load(trial(raw, files).running), *files, tmp_path)
    assert {user.refusal for user in people} == {""}


async def test_people_of_files_with_the_domain_that_the_hub_requires(tmp_path: Path) -> None:
    raw = copy.deepcopy(SITE)
    raw["identity"]["username"] = {"strip_domain": "example.edu", "require_domain": True}
    files = tmp_path / "p", tmp_path / "g"
    files[0].write_text("alice:x:20001:20001::/home/alice:/bin/bash\nbob:x:5:20002::/home/bob:/bin/bash\n")
    files[1].write_text("alice:x:20001:\nbob:x:20002:\nclimate:x:20500:alice\n")
    people, _ = await read_people(load(trial(raw, files).running), *files, tmp_path)
    assert [(user.name, user.groups, user.identity is None) for user in people] == [
        ("alice@example.edu", ("climate",), False),
        ("bob@example.edu", (), True),
    ]
    with pytest.raises(SettingsError, match="cannot be read"):
        await read_people(load(trial(raw, files).running), tmp_path / "none", files[1], tmp_path)


def test_nodes_of_the_command_line() -> None:
    node = NodeSpec("", "64", "512Gi", {"example.edu/pool": "a"}, {"nvidia.com/gpu": "4", "amd.com/gpu": "1"})
    text = "cpu=64,memory=512Gi,gpu=4,count=3,label:example.edu/pool=a,resource:amd.com/gpu=1"
    assert parse_nodes(text) == [node] * 3


@pytest.mark.parametrize("text", ["cpu", "cpu=many", "cores=4", "count=0", "count=1e9", "label:=x", "memory=-1Gi"])
def test_wrong_nodes_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_nodes(text)


def test_nodes_for_every_profile_of_the_settings() -> None:
    raw = copy.deepcopy(SITE)
    small, gpu = raw["profiles"]["small"], {"kind": "whole", "count": 2}
    raw["profiles"]["gpu"] = {**small, "gpu": gpu, "memory": "102912Mi", "pod": {"nodeSelector": {"pool": "gpu"}}}
    assert nodes_for(load(raw)) == [
        NodeSpec("", "64", "64Gi", {}, {}),
        NodeSpec("", "16", "101Gi", {"pool": "gpu"}, {"nvidia.com/gpu": "2"}),
    ]


def test_another_scheduler_is_replaced_and_the_pod_of_the_site_keeps_it(tmp_path: Path) -> None:
    files = tmp_path / "p", tmp_path / "g"
    raw = {**copy.deepcopy(SITE), "scheduler": {"kind": "kueue"}, "batch": {"url": "http://research-batch:8080/b"}}
    changed = trial(raw, files)
    assert (changed.running["scheduler"], changed.own["scheduler"]) == ({"kind": "plain"}, {"kind": "kueue"})
    assert changed.differences[0].startswith("Your scheduler is kueue, but the embedded cluster schedules as plain")
    assert [settings["batch"]["url"].split("/")[2] for settings in (changed.running, changed.own)] == [
        "127.0.0.1:8000",
        "research-batch:8080",
    ]
    assert [list(settings["identity"]["sources"]) for settings in (changed.running, changed.own)] == [["try"]] * 2
    assert trial(SITE, files).differences == []


def test_a_class_can_be_tried_before_it_begins(tmp_path: Path) -> None:
    files = tmp_path / "p", tmp_path / "g"
    future = trial(with_class(since="2026-10-15"), files)
    assert "since" not in future.running["classes"]["stats-101"]
    assert future.differences == ["The class stats-101 begins on 2026-10-15. Here it has begun already."]
    over = trial(with_class(until="2026-09-30"), files)
    assert over.differences == ["The class stats-101 ended on 2026-09-30, so only its staff are offered it."]


def test_a_null_still_deletes_a_key_that_like_copies(tmp_path: Path) -> None:
    raw = copy.deepcopy(SITE)
    raw["profiles"]["open"] = {"like": "large", "title": "Open", "groups": None}
    assert load(trial(raw, (tmp_path / "p", tmp_path / "g")).running).profiles["open"].groups == {}


def test_settings_that_need_the_own_scheduler_are_named(tmp_path: Path) -> None:
    raw = {**copy.deepcopy(SITE), "scheduler": {"kind": "kai"}}
    raw["profiles"]["small"]["gpu"] = {"kind": "kai-fraction", "fraction": "0.5"}
    with pytest.raises(
        SettingsError, match=r"profiles\.small\.gpu\.kind: cannot be tried, because the embedded cluster"
    ):
        trial(raw, (tmp_path / "p", tmp_path / "g"))


async def test_storage_has_homes_and_directories_of_groups(tmp_path: Path) -> None:
    raw = copy.deepcopy(SITE)
    raw["storage"]["mounts"]["course"] = {"claim": "courses", "path": "/course", "sub_path": "a/b", "read_only": True}
    raw["pods"] = {"allow": {"claims": {"software": "ro", "own-{user}": "rw"}}}
    files = written(load(raw), tmp_path)
    site = load(trial(raw, files).running)
    people, _ = await read_people(site, *files, tmp_path)
    assert claims_of(site) == ["courses", "home", "project-climate", "software"]
    shared = tmp_path / "shared"
    shared.mkdir()
    identities = [user.identity for user in people if user.identity]
    lay_out(shared, entries(site, identities, owned=False))
    assert sorted(path.name for path in (shared / "home").iterdir()) == sorted(user.name for user in people)
    assert (shared / "home" / "climate-1").stat().st_mode & 0o777 == 0o700
    assert (shared / "project-climate").stat().st_mode & 0o7777 == 0o2770
    assert (shared / "courses" / "a" / "b").is_dir()
    owners = {entry["path"]: (entry["uid"], entry["gid"]) for entry in entries(site, identities, owned=True)}
    climate = next(user.identity for user in people if user.identity and user.name == "climate-1")
    assert owners["home/climate-1"] == (climate.uid, climate.gid)
    assert owners["project-climate"] == (0, {group.name: group.gid for group in climate.groups}["climate"])


def test_what_leads_out_of_this_machine_is_removed_from_the_configuration() -> None:
    c = Config()
    c.JupyterHub.update({"ip": "0.0.0.0", "ssl_key": "/key", "db_url": "postgres://db", "allow_named_servers": True})
    c.JupyterHub.services = [{"name": "culler", "command": ["culler"]}]
    c.JupyterHub.load_roles = [
        {"name": "culler", "services": ["culler"], "scopes": ["admin:servers"]},
        {"name": "teachers", "users": ["alice", "climate-1"], "scopes": ["list:users"]},
    ]
    c.GenericOAuthenticator.client_secret = "secret"
    c.Authenticator.auto_login = True
    c.KubeSpawner.update({"k8s_api_host": "https://cluster.example.edu", "hub_connect_url": "http://hub:8081"})
    c.KubeSpawner.environment = {"A": "1"}
    remove_replaced(c, {"climate-1"})
    assert {section: traits for section, traits in c.items() if traits} == {
        "JupyterHub": {
            "allow_named_servers": True,
            "load_roles": [
                {"name": "culler", "services": [], "users": [], "scopes": ["admin:servers"]},
                {"name": "teachers", "services": [], "users": ["climate-1"], "scopes": ["list:users"]},
            ],
        },
        "KubeSpawner": {"environment": {"A": "1"}},
    }


async def test_nobody_logs_in_without_the_key() -> None:
    login = ChosenUser(users=["climate-1"], key="right")
    for name, key, expected in (
        ("climate-1", "right", "climate-1"),
        ("climate-1", "wrong", None),
        ("climate-1", "", None),
        ("alice", "right", None),
    ):
        assert await login.authenticate(None, {"username": name, "password": key}) == expected
    assert await ChosenUser(users=["climate-1"]).authenticate(None, {"username": "climate-1", "password": ""}) is None


def test_the_table_fits_a_terminal_and_shows_each_reason() -> None:
    why = "0/2 nodes are available: 2 Insufficient cpu. " * 4
    text = table([Outcome("climate-1", "large", "climate", "starts"), Outcome("user-1", "a", "b", "refused", why)])
    assert text.splitlines()[:3] == [
        "user       offer  queue    result",
        "climate-1  large  climate  starts",
        "user-1     a      b        refused",
    ]
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(line.strip() for line in text.splitlines()[3:]) == why.strip()


async def test_each_further_queue_is_tried_once_with_the_first_offer_that_lists_it(tmp_path: Path) -> None:
    raw = copy.deepcopy(SITE)
    raw["queues"] = {name: {"order": order} for order, name in enumerate(("general", "climate", "backfill", "night"))}
    raw["profiles"]["large"]["groups"] = {}
    raw["profiles"]["small"]["queues"] = {"general": True, "climate": True, "backfill": True}
    raw["profiles"]["large"]["queues"] = {"climate": True, "backfill": True, "night": True}
    site = load(raw)
    files = written(site, tmp_path)
    people, _ = await read_people(load(trial(raw, files).running), *files, tmp_path)
    starts = starts_of("user-1", offers(site, people[-1].identity, NOW))
    assert [(start.offer.name, start.queue) for start in starts] == [
        ("small", "general"),
        ("small", "backfill"),
        ("large", "climate"),
        ("large", "night"),
        ("huge", "general"),
    ]


def test_both_pods_are_compared_line_by_line() -> None:
    assert differences("a: 1\nscheduler: own\nz: 1", "a: 1\nscheduler: plain\nz: 1").splitlines() == [
        " a: 1",
        "-scheduler: own",
        "+scheduler: plain",
        " z: 1",
    ]


async def test_secrets_and_config_maps_get_the_keys_that_pods_need_and_existing_ones_stay() -> None:
    store, said = Store(), []
    empty = EmptyObjects(store, said.append)
    store.create(SECRET, "default", {"metadata": {"name": "full"}, "data": {"a": "QQ=="}})
    for name in ("full", "tokens"):
        empty.create(SECRET, "default", name)
    sources = [
        {"secret": {"name": "full", "items": [{"key": "b", "path": "b"}]}},
        {"configMap": {"name": "look", "items": [{"key": "color", "path": "c"}]}},
        {"configMap": {"name": "optional", "optional": True}},
    ]
    mount = {"name": "style", "mountPath": "/style.css", "subPath": "style.css"}
    reference = {"secretKeyRef": {"name": "tokens", "key": "token"}}
    container = {"image": "example/image:1", "env": [{"name": "TOKEN", "valueFrom": reference}]}
    spec = {
        "volumes": [
            {"name": "all", "projected": {"sources": sources}},
            {"name": "style", "configMap": {"name": "look"}},
        ],
        "initContainers": [{**container, "name": "first"}],
        "containers": [{**container, "name": "main", "volumeMounts": [mount]}],
    }
    store.create(POD, "default", {"metadata": {"name": "notebook"}, "spec": spec})
    await asyncio.sleep(0)
    objects = {found["metadata"]["name"]: found.get("data") for found in store.list(SECRET) + store.list(CONFIG_MAP)}
    assert objects == {"full": {"a": "QQ=="}, "tokens": {"token": ""}, "look": {"color": "", "style.css": ""}}
    assert said == ["A pod names the ConfigMap look, which is empty here."]


PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "try-your-site.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_workflow_of_the_page_is_yaml_whose_command_is_valid() -> None:
    [text] = blocks("yaml")
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["try"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    assert workflow["permissions"] == {"contents": "read"}
    command = steps[-1]["run"].split()
    assert command[:2] == ["research-spawner", "try"]
    assert _parser().parse_args(command[1:]).check


def test_every_command_of_the_page_is_valid() -> None:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [line.split() for line in lines if line.startswith("research-spawner ")]
    assert len(commands) >= 5
    for command in commands:
        for nodes in _parser().parse_args(command[1:]).nodes:
            assert parse_nodes(nodes)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "long"])
def test_a_wrong_limit_of_a_start_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["try", "--site", "site.yaml", "--check", f"--wait={text}"])
    assert f"--wait: '{text}' is not a number of seconds above 0" in " ".join(capsys.readouterr().err.split())


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(try_command, "find_spec", lambda name: None if name == "jupyterlab" else True)
    assert main(["try", "--site", "site.yaml"]) == 1
    assert capsys.readouterr().err.startswith("jupyterlab is not installed. Install it: pip install")
