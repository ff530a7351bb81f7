"""Known pitfalls of KubeSpawner that no other test covers.  Each docstring says what would go wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import SITE_FILE, decide, person, site_with
from traitlets.config import Config

from jupyter_research_spawner.identity import Group
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.site import Site, load
from jupyter_research_spawner.spawner import ResearchSpawner, render_notebook
from jupyter_research_spawner.spawner.offline_render import _spawner, _without_kubeconfig

Json = dict[str, Any]
PLAIN = {"scheduler": {"kind": "plain"}}


async def rendered(site: Site, hub_user: str = "alice", server: str = "") -> Json:
    _, pod = await render_notebook(site, hub_user, {"profile": "small"}, Config(), server, identity=person("alice"))
    return pod


@contextlib.contextmanager
def spawner_of_alice(site: Site, server: str = "") -> Iterator[ResearchSpawner]:
    with _without_kubeconfig():
        yield _spawner(site, "alice", Config(), server, Path())


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"uid": 0}, "profiles.small.uid"),
        ({"mem_limitt": "1G"}, "profiles.small.mem_limitt"),
        ({"kubespawner_override": {"uid": 0}}, "profiles.small.kubespawner_override"),
        ({"pod": {"securityContext": {"runAsUser": 0}}}, "profiles.small.pod.securityContext"),
        ({"pod": {"env": {"NB_UID": "0"}}}, "profiles.small.pod.env.NB_UID"),
    ],
)
def test_a_profile_cannot_say_who_runs_nor_what_nobody_reads(said: Json, path: str) -> None:
    """KubeSpawner applies every override of a profile, including uid 0 and misspelt names."""
    only_small = {"profiles": {"a100": None, "small": said}}
    with pytest.raises(SettingsError) as refused:
        load(SITE_FILE, only_small)
    assert [problem.path for problem in refused.value.problems] == [path]


async def test_braces_in_the_settings_arrive_as_they_are() -> None:
    """KubeSpawner formats all strings of its settings, so JSON in one of them raises KeyError at each start."""
    braces = '{"user": "{username}", "x": {}}'
    base = {"annotations": {"example.org/why": braces}, "env": {"WHY": braces}, "nodeSelector": {"example.org/a": "b"}}
    pod = await rendered(site_with(PLAIN, {"pods": {"base": base}}))
    env = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert (pod["metadata"]["annotations"]["example.org/why"], env["WHY"]) == (braces, braces)


async def test_devices_and_nodes_of_one_profile_are_not_left_to_the_next() -> None:
    """KubeSpawner changes the instance's maps in place, so a CPU profile would keep the GPU of an earlier profile."""
    a100 = {"pod": {"nodeSelector": {"gpu": "a100"}, "tolerations": [{"key": "gpu"}], "labels": {"gpu": "yes"}}}
    site = site_with(PLAIN, {"profiles": {"a100": a100}})
    pods = []
    with spawner_of_alice(site) as spawner:
        for profile in ("small", "a100", "small"):
            decided = decide(site, person("alice"), profile=profile)
            spawner.apply_plan(decided)
            pods.append(spawner.finished_manifest(decided, await spawner.get_pod_manifest()))
    small, large, again = pods
    assert large["spec"]["nodeSelector"] == {"gpu": "a100"}
    assert large["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert again == small


@pytest.mark.parametrize("hub_user", ["Alice@example.edu", "3fold", "a{0}b"])
@pytest.mark.parametrize("server", ["", "exp", "a b/../{uid}"])
async def test_where_files_are_comes_from_the_account_and_never_from_names_of_the_hub(
    hub_user: str, server: str
) -> None:
    """The hub escapes user names for Kubernetes, so a home of that name would be empty or belong to another user."""
    pod = await rendered(site_with(PLAIN), hub_user, server)
    container = pod["spec"]["containers"][0]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    (home,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/home"]
    assert home == {"name": "research-claim-home", "mountPath": "/home"}
    assert (env["HOME"], env["USER"]) == ("/home/alice", "alice")
    assert pod["metadata"]["labels"]["research-spawner/user"] == "alice"
    assert pod["metadata"]["annotations"]["research-spawner/user-name"] == hub_user


async def test_a_second_start_does_not_look_for_the_last_event_of_the_first() -> None:
    with spawner_of_alice(site_with(PLAIN), "exp") as spawner:
        spawner._last_event = "of the first start"
        future = spawner.start()
        assert spawner._last_event is None
        with pytest.raises(Exception, match="This start has no plan"):
            await future


async def test_options_are_handled_so_that_no_start_warns_of_them(caplog: pytest.LogCaptureFixture) -> None:
    """JupyterHub 5.3 and later warn about each option if the spawner has no apply_user_options."""
    site = site_with(PLAIN)

    class Decided(ResearchSpawner):
        async def decide_plan(self, user_options: Any) -> Any:
            return decide(site, person("alice"), **user_options)

    with spawner_of_alice(site) as spawner:
        spawner.__class__ = Decided
        await spawner._run_apply_user_options({"profile": "small"})
    assert spawner.current_start is not None and spawner.current_start.plan.profile == "small"
    assert caplog.records == []


async def test_what_the_plan_warns_of_is_told_while_one_waits_even_without_events() -> None:
    """KubeSpawner shows no messages if events_enabled is False."""
    many = tuple(Group(30_000 + number, f"project-{number}") for number in range(17))
    alice = replace(person("alice"), groups=(*person("alice").groups, *many))
    site = site_with(PLAIN)
    with spawner_of_alice(site) as spawner:
        spawner.events_enabled = False
        decided = decide(site, alice, profile="small")
        spawner.apply_plan(decided)
        spawner.prepare_start(decided)
        spawner.current_start.is_over = True
        told = [event["message"] async for event in spawner.progress() if event.get("note")]
    assert told == list(decided.warnings)
    assert "NFS with AUTH_SYS sends only 16" in told[0]
