"""helm-values/ with a copy of the real chart (CHART=DIRECTORY): what Helm renders, and what its hub makes of it.

`helm` of PATH, or HELM=PROGRAM.  The chart's own values.schema.json is made from values.schema.yaml, as its maintainers
make it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_files import BASE, CHART, CLASSES, IDENTITY, OTHERS, SCHEDULERS, STORAGE, VALUES, name_of
from helm_files import complete as values
from kubernetes_asyncio.client import ApiClient, V1Container
from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

from jupyter_research_spawner import chart_values
from jupyter_research_spawner.settings import merge

HELM = os.environ.get("HELM", "helm")
VERSION = "4.4.0"
CLASS = VALUES / "classes" / "stats-101.yaml"

# Values that set each trait which the chart sets, beside those of base.yaml.
BUSY: dict[str, Any] = {
    "fullnameOverride": "hub-a",
    "imagePullSecret": {"create": True},
    "imagePullSecrets": ["common"],
    "hub": {
        "activeServerLimit": 9,
        "namedServerLimitPerUser": 2,
        "allowNamedServers": True,
        "templatePaths": ["/a"],
        "templateVars": {"a": 1},
        "loadRoles": {"more": {"scopes": ["list:users"]}},
        "extraConfig": {"z-research": None, "20": "c.KubeSpawner.environment.update(A=get_name('hub'))", "10": "a = 1"},
    },
    "cull": {"users": True, "adminUsers": False, "removeNamedServers": True, "maxAge": 100},
    "debug": {"enabled": True},
    "scheduling": {
        "userScheduler": {"enabled": True},
        "podPriority": {"enabled": True},
        "userPods": {"nodeAffinity": {"matchNodePurpose": "require"}},
    },
    "singleuser": {
        "podNameTemplate": "jupyter-{username}",
        "uid": 1000,
        "fsGid": 100,
        "startTimeout": 900,
        "allowPrivilegeEscalation": None,
        "serviceAccountName": "cloud",
        "extraTolerations": [{"key": "a", "operator": "Exists"}],
        "nodeSelector": {"pool": "users"},
        "extraNodeAffinity": {"preferred": [{"weight": 1, "preference": {"matchExpressions": []}}]},
        "extraPodAffinity": {"required": [{"topologyKey": "zone"}]},
        "extraPodAntiAffinity": {"preferred": [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}]},
        "cloudMetadata": {"blockWithIptables": True},
        "networkTools": {"resources": {"limits": {"cpu": 1}}},
        "extraLabels": {"a": "b"},
        "extraAnnotations": {"a": "b"},
        "extraEnv": {"OMP_NUM_THREADS": 2, "NODE": {"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}},
        "extraFiles": {
            "a": {"mountPath": "/etc/a.json", "data": {"a": 1}, "mode": 420},
            "b": {"mountPath": "/etc/b", "stringData": "b"},
        },
        "lifecycleHooks": {"preStop": {"exec": {"command": ["true"]}}},
        "initContainers": [{"name": "a", "image": "b"}],
        "extraContainers": [{"name": "c", "image": "d"}],
        "cpu": {"limit": 2, "guarantee": 0.5},
        "memory": {"limit": "4G"},
        "extraResource": {"limits": {"nvidia.com/gpu": "1"}, "guarantees": {"nvidia.com/gpu": "1"}},
        "image": {"pullPolicy": "Always", "pullSecrets": ["own"]},
        "cmd": None,
        "defaultUrl": "/lab",
        "extraPodConfig": {"hostname": "a"},
        "profileList": [{"display_name": "a"}],
        "storage": {
            "type": "dynamic",
            "capacity": "2Gi",
            "extraLabels": {"a": "b"},
            "dynamic": {"storageClass": "fast", "pvcNameTemplate": "claim-{username}"},
            "extraVolumes": [{"name": "v", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w"}],
        },
    },
}
STATIC = {
    "fullnameOverride": None,
    "hub": {"db": {"type": "mysql", "url": "mysql://db"}, "extraConfig": {"z-research": None}},
    "singleuser": {
        "storage": {
            "type": "static",
            "static": {"pvcName": "homes", "subPath": "home/{username}"},
            "extraVolumes": {"v": {"name": "v", "emptyDir": {}}},
            "extraVolumeMounts": {"v": {"name": "v", "mountPath": "/v"}},
        }
    },
}


def charts_config(found: dict[str, Any]) -> Config:
    """Return the configuration that the chart's own program makes of complete values.  Call it in `hub_pod`."""
    theirs = Config()
    program = Path(CHART or "", "files", "hub", "jupyterhub_config.py")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("tornado.httpclient.AsyncHTTPClient.configure", lambda *_: None)
        exec(compile(program.read_text(), program, "exec"), {"get_config": lambda: theirs, "__file__": "/nowhere/c.py"})
    # Sections that no spawner reads, and secrets.
    for section, trait in (
        ("JupyterHub", "cookie_secret"),
        ("CryptKeeper", "keys"),
        ("ConfigurableHTTPProxy", "api_url"),
    ):
        theirs[section].pop(trait)
    return theirs


def assert_same_configuration(found: dict[str, Any]) -> Config:
    """Compare the translation of complete values with what the chart's own program does with them."""
    with chart_values.hub_pod(found):
        translated = chart_values.build(found)
        assert (translated.problems, translated.refused, translated.not_run) == ([], [], [])
        ours, wanted = _plain(translated.config), _plain(charts_config(found))
    assert ours.keys() == wanted.keys()
    for section in wanted:
        for trait in ours[section].keys() | wanted[section].keys():
            assert ours[section].get(trait) == wanted[section].get(trait), (section, trait)
    return translated.config


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the chart with a version and a JSON schema, as a release has them."""
    copy = tmp_path_factory.mktemp("chart") / "jupyterhub"
    shutil.copytree(CHART or "", copy)
    about = yaml.safe_load((copy / "Chart.yaml").read_text())
    (copy / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": VERSION}))
    if not (copy / "values.schema.json").exists():
        (copy / "values.schema.json").write_text(json.dumps(yaml.safe_load((copy / "values.schema.yaml").read_text())))
    return copy


def rendered(chart: Path, *files: Path, more: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the objects of `helm template`, which validates the values with the chart's schema."""
    words = [word for file in files for word in ("-f", str(file))]
    command = [HELM, "template", "jhub", str(chart), "--namespace", "jhub", "--kube-version", "1.34.0", *words, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def values_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the values that the hub reads: the key of the chart's Secret."""
    (secret,) = (one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Secret", "hub"))
    found: dict[str, Any] = yaml.safe_load(base64.b64decode(secret["data"]["values.yaml"]))
    return found


if CHART is not None:  # in CI, a test that skips is a failure

    @pytest.mark.parametrize("more", [{}, BUSY, STATIC], ids=["base", "busy", "static"])
    def test_the_charts_own_program_gives_the_same_configuration(more: dict[str, Any]) -> None:
        assert_same_configuration(merge(values(BASE, CLASS), more))

    @pytest.mark.parametrize("scheduler", SCHEDULERS, ids=name_of)
    def test_helm_renders_every_combination(chart: Path, scheduler: Path) -> None:
        for storage, course in product(STORAGE, CLASSES):
            found = values_of(rendered(chart, BASE, scheduler, storage, course))
            c = assert_same_configuration(found)
            assert c.JupyterHub.spawner_class == "jupyter_research_spawner.spawner.ResearchSpawner"
            assert c.ResearchSpawner.installation

    @pytest.mark.parametrize("file", [*IDENTITY, *OTHERS], ids=name_of)
    def test_helm_renders_every_file(chart: Path, file: Path) -> None:
        assert_same_configuration(values_of(rendered(chart, BASE, file)))

    def test_the_chart_refuses_what_its_schema_does_not_have(chart: Path) -> None:
        with pytest.raises(AssertionError, match="gid"):
            rendered(chart, BASE, more=("--set", "singleuser.gid=1"))

    def test_the_hub_has_image_volumes_and_tokens(chart: Path) -> None:
        image = ("--set-string", "hub.image.name=images/hub,hub.image.tag=1")
        objects = rendered(chart, BASE, *OTHERS, *STORAGE, *CLASSES, more=image)
        (hub,) = (one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Deployment", "hub"))
        pod = hub["spec"]["template"]["spec"]
        assert {"name": "research-people", "configMap": {"name": "research-people"}} in pod["volumes"]
        assert [container["image"] for container in pod["containers"]] == ["images/hub:1"]
        (secret,) = (one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Secret", "hub"))
        # The Deployment of `manifests` reads the first one.
        assert {f"hub.services.{name}.apiToken" for name in ("batch", "prometheus")} <= secret["data"].keys()
        pulled = {
            container["image"]
            for one in objects
            if (one["kind"], one["metadata"]["name"]) == ("DaemonSet", "continuous-image-puller")
            for container in one["spec"]["template"]["spec"]["initContainers"]
        }
        assert {f"quay.io/jupyter/{name}-notebook" for name in ("r", "scipy", "pytorch")} <= {
            image.partition(":")[0] for image in pulled
        }
        # No placeholder pods and no second scheduler.
        names = {one["metadata"]["name"] for one in objects}
        assert not {name for name in names if "user-scheduler" in name or "placeholder" in name}


def _plain(value: Any) -> Any:
    """Return a configuration without empty sections, and with Kubernetes' models as maps."""
    if isinstance(value, Config):
        return {key: _plain(below) for key, below in value.items() if below or not isinstance(below, Config)}
    if isinstance(value, dict):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, LazyConfigValue):
        return _plain(value.to_dict())
    if isinstance(value, V1Container):
        return ApiClient.sanitize_for_serialization(ApiClient.__new__(ApiClient), value)
    return value
