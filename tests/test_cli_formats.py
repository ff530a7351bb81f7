"""What pipelines and editors read: lint as JSON, a first site.yaml, the schema of values, and a pod compared."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from embedded_cluster import cluster, create
from samples import DATA, SITE_FILE, site_with
from test_cli import Cli, cli

from jupyter_research_spawner.cli.init_command import TEMPLATE
from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.schedulers import SCHEDULERS
from jupyter_research_spawner.site import json_schema, load, values_schema

__all__ = ["cli", "cluster"]

SITE = ["--site", str(SITE_FILE)]
# A commented line of the first site that is a setting.
COMMENTED = re.compile(r"^(\s*)# {1,3}((?:climate|era5|gpu|title|like|order|groups|contact): .*)$")
TREE = Path(__file__).parents[1]


def test_lint_prints_advice_as_json(cli: Cli) -> None:
    code, out, err = cli("lint", *SITE, "--format", "json")
    found = json.loads(out)
    assert (code, err, found["valid"], found["problems"]) == (0, "", True, [])
    (numa,) = (one for one in found["advice"] if one["path"] == "profiles.a100.numa")
    assert numa["message"].startswith("works only ")
    assert numa["file"] == str(SITE_FILE)
    assert "numa:" in SITE_FILE.read_text().splitlines()[numa["line"] - 1]


def test_lint_prints_all_problems_as_json(cli: Cli, tmp_path: Path) -> None:
    settings = yaml.safe_load(SITE_FILE.read_text())
    settings["profiles"]["small"]["cpus"] = 1
    settings["queues"]["climate"]["share"] = "much"
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(settings))
    code, out, err = cli("lint", "--site", str(tmp_path / "site.yaml"), "--format", "json")
    found = json.loads(out)
    assert (code, err, found["valid"], found["advice"]) == (1, "", False, [])
    assert {one["path"] for one in found["problems"]} == {"profiles.small.cpus", "queues.climate.share"}
    assert all(one["line"] and one["message"] for one in found["problems"])


def test_the_first_site_passes_lint_without_advice(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    code, out, _ = cli("init", str(file))
    assert (code, str(file) in out) == (0, True)
    assert cli("init")[1] == file.read_text()
    assert all(kind in file.read_text() for kind in SCHEDULERS)
    code, out, err = cli("lint", "--site", str(file))
    assert (code, err) == (0, "")
    assert out.startswith("No mistakes.")
    assert out.endswith("No advice.\n")
    file.write_text("changed")
    code, _, err = cli("init", str(file))
    assert code == 1
    assert "There is a file of this name" in err
    assert file.read_text() == "changed"


def test_the_commented_settings_of_the_first_site_are_valid_too() -> None:
    text = TEMPLATE.read_text()
    lines = [COMMENTED.sub(r"\1\2", line) for line in text.replace("mounts: {}", "mounts:").splitlines()]
    changed = re.sub(r"^  (climate|era5): \{claim", r"    \1: {claim", "\n".join(lines), flags=re.MULTILINE)
    changed = re.sub(r"^  # gpu:$", "  gpu:", changed, flags=re.MULTILINE)
    changed = re.sub(
        r"^  ((?:title: One GPU|like: large|order: 30|gpu: \{|groups: \{climate).*)$",
        r"    \1",
        changed,
        flags=re.MULTILINE,
    )
    settings = yaml.safe_load(changed)
    site = load(settings)
    assert {"climate", "era5"} == set(settings["storage"]["mounts"])
    assert {"gpu"} < set(site.profiles)
    assert "climate" in site.queues
    assert settings["contact"]["text"]


def test_an_unknown_user_is_explained_by_each_source(cli: Cli, tmp_path: Path) -> None:
    settings = yaml.safe_load(SITE_FILE.read_text())
    (passwd, group) = (tmp_path / name for name in ("passwd", "group"))
    passwd.write_text("mallory:x:99:99::/home/mallory:/bin/sh\nalice:x:10001:20000::/home/alice:/bin/sh\n")
    group.write_text("mallory:x:99:\n")
    settings["identity"]["sources"] = {
        "first": {"kind": "static", "passwd": str(DATA / "people.passwd"), "group": str(DATA / "people.group")},
        "second": {
            "kind": "static",
            "passwd": str(passwd),
            "group": str(group),
            "uid_range": {"first": 200, "last": 300},
        },
        "third": {"kind": "static", "passwd": str(tmp_path / "none"), "group": str(group)},
    }
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(settings))
    code, out, err = cli("render", "--site", str(file), "--user", "mallory")
    said = " ".join(err.split())
    assert (code, out) == (1, "")
    assert "identity.sources.first (kind static) has no account 'mallory'." in said
    assert (
        "identity.sources.second (kind static) has the account 'mallory' with uid 99 and gid 99, which is ignored"
        in said
    )
    assert "identity.sources.third (kind static) could not be asked: " in said
    assert max(map(len, err.splitlines())) <= 80


async def pod_of_alice(cli: Cli, cluster: Cluster) -> dict[str, Any]:
    """Return the pod that would be created for alice.  The cluster gets what it needs."""
    for manifest in everything(site_with(), Release(), only=("priorities",)):
        if manifest["kind"] == "PriorityClass":
            await cluster.apply(manifest)
    code, out, _ = await asyncio.to_thread(cli, "render", *SITE, "--user", "alice", "-o", "json")
    assert code == 0
    return dict(json.loads(out))


@pytest.mark.embedded
async def test_a_pod_in_the_cluster_is_compared(
    cli: Cli, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))

    def diff() -> tuple[int, str, str]:
        return cli("render", *SITE, "--user", "alice", "-o", "diff")

    pod = await pod_of_alice(cli, cluster)
    name = pod["metadata"]["name"]
    code, out, err = await asyncio.to_thread(diff)
    assert (code, out) == (1, "")
    assert f"Pod {name!r} in namespace 'jhub' cannot be read" in err
    pod["spec"]["containers"][0]["image"] = "example/another:1"
    await create(cluster, pod)
    code, out, err = await asyncio.to_thread(diff)
    assert (code, err) == (1, "")
    assert "spec.containers[notebook].image\n  is 'example/another:1', not " in out
    assert max(len(line) for line in out.splitlines() if line.startswith("  ")) <= 80


@pytest.mark.embedded
async def test_a_pod_that_is_the_same_does_not_differ(
    cli: Cli, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    pod = await pod_of_alice(cli, cluster)
    await create(cluster, pod)
    code, out, err = await asyncio.to_thread(cli, "render", *SITE, "--user", "alice", "-o", "diff")
    assert (code, err) == (0, "")
    assert out.endswith("is as it would be created now.\n")


def test_a_cluster_that_is_not_configured_is_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    code, out, err = cli("render", *SITE, "--user", "alice", "-o", "diff")
    assert (code, out) == (1, "")
    assert "Set KUBECONFIG" in err


FILES = sorted((TREE / "helm-values").rglob("*.yaml"))
SCHEMA = TREE / "helm-values" / "values.schema.json"


def test_the_schema_of_values_is_up_to_date(cli: Cli) -> None:
    code, out, _ = cli("schema", "--values")
    assert code == 0
    assert out == SCHEMA.read_text(), "research-spawner schema --values > helm-values/values.schema.json"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_of_values_names_the_schema_and_is_valid(file: Path) -> None:
    first = file.read_text().partition("\n")[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == SCHEMA
    written = json.loads(json.dumps(yaml.safe_load(file.read_text()), default=str))
    validator = jsonschema.Draft202012Validator(values_schema())
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(written)] == []


def test_the_schema_of_values_refuses_what_no_site_has() -> None:
    validator = jsonschema.Draft202012Validator(values_schema())
    for wrong in ({"profiles": {"small": {"cpus": 1}}}, {"queue": {}}, {"scheduler": {"kind": "slurm"}}):
        assert list(validator.iter_errors({"custom": {"research": wrong}})), wrong
    assert not list(validator.iter_errors({"custom": {"research": {"queues": {"climate": None}}}})), "helm deletes it"
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors({"queues": {}})), "complete settings"
