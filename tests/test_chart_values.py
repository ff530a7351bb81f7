"""chart_values/: values of Zero to JupyterHub become the configuration that its hub would have."""

from __future__ import annotations

import datetime
import os
import sys
from typing import Any

import pytest

from jupyter_research_spawner.chart_values import HubConfig, build, complete, hub_pod, object_name


def built(**values: Any) -> HubConfig:
    found = complete(values)
    with hub_pod(found):
        return build(found)


def extra(**programs: str) -> HubConfig:
    return built(hub={"extraConfig": programs})


def test_programs_share_their_names_and_run_in_the_order_of_their_keys() -> None:
    result = extra(b="c.KubeSpawner.image = name", a="name = get_config('singleuser.image.name') + z2jh_is_no_name")
    assert [str(problem) for problem in result.problems] == [
        "hub.extraConfig.a: ends in line 1 with NameError: name 'z2jh_is_no_name' is not defined. "
        "The hub would not start",
        "hub.extraConfig.b: ends in line 1 with NameError: name 'name' is not defined. The hub would not start",
    ]
    result = extra(b="c.KubeSpawner.image = name", a="import z2jh\nname = z2jh.get_config('singleuser.image.name')")
    assert result.config.KubeSpawner.image == "quay.io/jupyterhub/k8s-singleuser-sample"
    assert result.problems == result.not_run == []


def test_a_program_that_needs_the_hubs_pod_is_not_a_mistake(capfd: pytest.CaptureFixture[str]) -> None:
    result = extra(
        a="import a_package_of_the_hub",
        b="print('hello')\nopen('/etc/a-file-of-the-hub')",
        c="import os; os.environ['ONLY_IN_THE_POD']",
        d="c.KubeSpawner.image = 'also-run'",
    )
    assert result.problems == []
    assert [problem.path for problem in result.not_run] == [f"hub.extraConfig.{key}" for key in "abc"]
    assert "line 2 with FileNotFoundError" in result.not_run[1].message
    assert result.config.KubeSpawner.image == "also-run"
    assert capfd.readouterr().out == "", "the output of lint would have the words of programs"


def test_mistakes_in_programs_are_named_with_their_line() -> None:
    result = extra(a="x = 1\nif x\n  pass", b="\n\nc.KubeSpawner.image.append(1)", c="import sys; sys.exit('no')")
    assert [problem.message.partition(":")[0] for problem in result.problems] == [
        "ends in line 2 with SyntaxError",
        "ends in line 3 with AttributeError",
        "ends in line 1 with SystemExit",
    ]


def test_what_only_the_hubs_pod_has_is_there_while_programs_run_and_not_afterwards() -> None:
    before, modules = dict(os.environ), set(sys.modules)
    result = built(
        hub={
            "extraEnv": {"OF_THE_HUB": "yes", "SECRET": {"valueFrom": {}}, "LONG": {"value": "form"}, "A=B": "1"},
            "extraFiles": {
                "module": {"mountPath": "/usr/local/etc/jupyterhub/of_the_site.py", "stringData": "IMAGE = 'a'"},
                "late": {
                    "mountPath": "/usr/local/etc/jupyterhub/jupyterhub_config.d/20.py",
                    "stringData": "c.KubeSpawner.image += 'c'",
                },
                "early": {
                    "mountPath": "/usr/local/etc/jupyterhub/jupyterhub_config.d/10.py",
                    "stringData": "import of_the_site; c.KubeSpawner.image = of_the_site.IMAGE + 'b'",
                },
                "page": {"mountPath": "/etc/page.html", "stringData": "<p>"},
            },
            "extraConfig": {
                "a": "import os; c.KubeSpawner.image += os.environ['OF_THE_HUB'] + os.environ['LONG']",
                "b": "c.KubeSpawner.image += get_name_env('proxy-api', '_SERVICE_PORT') + os.environ['POD_NAMESPACE']",
            },
        }
    )
    assert result.problems == result.not_run == []
    assert result.config.KubeSpawner.image == "abcyesform8001default"
    assert (dict(os.environ), "of_the_site" in sys.modules, "z2jh" in sys.modules) == (before, False, "z2jh" in modules)


def test_each_trait_knows_the_keys_that_have_set_it() -> None:
    result = built(
        singleuser={"extraEnv": {"A": "b"}, "cpu": {"limit": 2}},
        hub={
            "config": {"KubeSpawner": {"cpu_limit": 3}, "JupyterHub": {"authenticator_class": "dummy"}},
            "extraConfig": {
                "10": "c.KubeSpawner.environment = {'C': 'd'}",
                "20": "c.KubeSpawner.environment['E'] = 'f'",
            },
        },
    )
    keys = {trait: [one.key for one in settings] for (_, trait), settings in result.origins.items()}
    assert keys["environment"] == ["singleuser.extraEnv", "hub.extraConfig.10", "hub.extraConfig.20"]
    assert keys["cpu_limit"] == ["singleuser.cpu.limit", "hub.config.KubeSpawner.cpu_limit"]
    assert keys["scheduler_name"] == ["scheduling.userScheduler.enabled"]
    assert keys["init_containers"][-1] == "singleuser.cloudMetadata.blockWithIptables"
    assert result.config.KubeSpawner.environment == {"C": "d", "E": "f"}
    result.unset("KubeSpawner", "environment")
    assert result.config.KubeSpawner.environment == {"C": "d"}
    result.unset("KubeSpawner", "environment")
    assert result.config.KubeSpawner.environment == {"A": "b"}
    result.unset("KubeSpawner", "environment")
    assert "environment" not in result.config.KubeSpawner


def test_a_section_that_is_no_class_ends_the_hub() -> None:
    (problem,) = built(hub={"config": {"loadRoles": {}}}).problems
    assert problem.path == "hub.config.loadRoles"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, {"hub": "hub", "user-scheduler": "jhub-user-scheduler", "singleuser": "singleuser"}),
        ({"fullnameOverride": "a"}, {"hub": "a-hub", "user-scheduler": "a-user-scheduler", "priority": "a"}),
        ({"fullnameOverride": None}, {"singleuser": "jhub-jupyterhub-singleuser"}),
        ({"fullnameOverride": None, "nameOverride": "hub"}, {"singleuser": "jhub-singleuser"}),
        ({"hub": {"existingSecret": "own"}}, {"hub-existing-secret-or-default": "own", "hub-pvc": "hub-db-dir"}),
    ],
)
def test_names_of_objects(values: dict[str, Any], names: dict[str, str]) -> None:
    found = complete(values)
    assert {name: object_name(found, name) for name in names} == names


def test_values_are_what_helm_passes_on() -> None:
    found = complete({"custom": {"day": datetime.date(2026, 9, 1), "n": 2.0, 1: True}, "singleuser": {"uid": None}})
    assert found["custom"] == {"day": "2026-09-01", "n": 2, "1": True}
    assert type(found["custom"]["n"]) is int
    assert "uid" not in found["singleuser"]
