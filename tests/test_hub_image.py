"""The image of the hub in helm values: `lint` says if it lacks this package, and `manifests` does not use it then."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_files import BASE, OWN_IMAGE, VALUES

from jupyter_research_spawner.chart_values import chart_defaults, missing_package
from jupyter_research_spawner.cli import main
from jupyter_research_spawner.settings import merge, read

BATCH = VALUES / "batch.yaml"
OF_CHART = chart_defaults()["hub"]["image"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command with base.yaml, batch.yaml and these values; return its exit code and what it prints."""

    def run(command: str, more: dict[str, Any]) -> tuple[int, str, str]:
        own = tmp_path / "site.yaml"
        own.write_text(yaml.safe_dump(more))
        code = main([command, *(word for file in (BASE, BATCH, own) for word in ("-f", str(file)))])
        return code, *capsys.readouterr()

    return run


def test_the_chart_own_image_is_a_problem_that_says_what_to_do(run: Run) -> None:
    code, _, err = run("lint", {})
    assert (code, err.count("\n")) == (1, 1)
    assert (
        "hub.image: has no name, so the hub runs quay.io/jupyterhub/k8s-hub:4.4.0, the chart's own image, which does "
        "not contain this package. The hub would end with ModuleNotFoundError. Build an image with this package "
        "(containers/hub.Containerfile), and set hub.image: {name: YOUR-REGISTRY/research-hub, "
        f'tag: "{version("jupyter-research-spawner")}"}}'
    ) in err


def test_the_chart_own_image_is_a_problem_by_its_name_and_beside_others(run: Run) -> None:
    named = {"hub": {"image": {**OF_CHART, "tag": "4.3.0"}}, "singleuser": {"uid": 0}}
    _, _, err = run("lint", named)
    assert "site.yaml:2: hub.image: is quay.io/jupyterhub/k8s-hub:4.3.0, the chart's own image" in err
    assert ": singleuser.uid: " in err
    _, _, err = run("lint", {"custom": {"research": {"queus": {}}}})
    assert ": queus: " in err and ": hub.image: " in err


@pytest.mark.parametrize(
    "more",
    [
        OWN_IMAGE,
        # The tag of another file or of `--set` is not known here.
        {"hub": {"image": {"name": "registry.example.edu/research-hub"}}},
        {"hub": {"command": ["sh", "-c", "pip install jupyter-research-spawner && exec jupyterhub"]}},
        {"hub": {"extraConfig": {"00": "import subprocess; subprocess.run(['pip', 'install', 'x'])"}}},
        {"hub": {"extraConfig": {"00": "import sys; sys.path.append('/packages')"}}},
        {"hub": {"extraEnv": {"PYTHONPATH": "/packages"}}},
        {"hub": {"extraEnv": [{"name": "PYTHONPATH", "value": "/packages"}]}},
        {"hub": {"extraVolumeMounts": [{"name": "a", "mountPath": "/usr/local/lib/python3.12/site-packages/x"}]}},
        {"hub": {"extraFiles": {"a": {"mountPath": "/usr/lib/python3/dist-packages/a.pth", "stringData": "/p"}}}},
    ],
)
def test_an_image_or_values_that_can_provide_the_package_are_no_problem(more: dict[str, Any]) -> None:
    assert missing_package(merge(read(BASE), more)) is None


@pytest.mark.parametrize(
    "hub", [{"image": "a:1"}, {"extraEnv": 1, "extraVolumeMounts": 1, "extraFiles": {"a": 1}}, "a"]
)
def test_values_of_another_form_are_left_to_the_other_checks(hub: Any) -> None:
    found = missing_package(merge(read(BASE), {"hub": hub}))
    assert (found is None) == (not isinstance(hub, dict) or "image" in hub)


def test_manifests_use_an_image_of_the_site_alone(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "image: registry.example.edu/research-hub:0.1.0" in run("manifests", OWN_IMAGE)[1]
    for image in ({}, OF_CHART, {"tag": "0.1.0"}, {"name": "registry.example.edu/research-hub"}):
        with pytest.raises(SystemExit):
            run("manifests", {"hub": {"image": image}})
        assert "the batch service needs --batch-image" in capsys.readouterr().err


def test_manifests_without_the_service_need_no_image(run: Run) -> None:
    without = {"custom": {"research": {"batch": {"url": None}}}}
    code, out, _ = run("manifests", {**without, "hub": {"image": OF_CHART}})
    assert code == 0
    assert "kind: Deployment" not in out
