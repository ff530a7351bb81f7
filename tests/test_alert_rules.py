"""The alert rules and the dashboard, with promtool of the real Prometheus and without a hub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_server import needs_prometheus

import jupyter_research_spawner
from jupyter_research_spawner import metrics

MONITORING = Path(jupyter_research_spawner.__file__).parent / "monitoring"
ALERTS = MONITORING / "alerts.yaml"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "monitoring.md"


def promtool(directory: Path, *arguments: str) -> str:
    ended = subprocess.run(["promtool", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@needs_prometheus
def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).parent / "data" / "alert_tests.yaml", tmp_path)
    assert "SUCCESS" in promtool(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")
    promtool(tmp_path, "test", "rules", "alert_tests.yaml")


def test_each_alert_has_tests_and_a_section_in_the_documentation() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = {rule["alert"] for rule in group["rules"]}
    tests = yaml.safe_load((Path(__file__).parent / "data" / "alert_tests.yaml").read_text())["tests"]
    tested = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert tested == alerts
    assert set(re.findall(r"^### (ResearchSpawner\w+)$", PAGE.read_text(), re.MULTILINE)) == alerts


def described() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return type and labels of our metrics by the name that Prometheus shows."""
    found = {}
    for metric in vars(metrics).values():
        if hasattr(metric, "describe") and metric in REGISTRY._collector_to_names:
            (family,) = metric.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = (family.type, tuple(metric._labelnames))
    return found


def used_in(text: str) -> set[str]:
    return {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"\bresearch_spawner_[a-z_]+", text)}


@pytest.mark.parametrize("path", [ALERTS, MONITORING / "dashboard.json"], ids=lambda path: path.name)
def test_only_metrics_that_exist_are_used(path: Path) -> None:
    assert used_in(path.read_text()) - set(described()) == set()


def test_the_reference_has_each_metric_with_its_type_and_labels() -> None:
    reference = PAGE.parents[1] / "reference" / "metrics.md"
    rows = re.findall(
        r"^\| `(research_spawner_\w+)` \| (\w+) \|([^|]*)\| \S.* \|$", reference.read_text(), re.MULTILINE
    )
    documented = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]
    assert sorted(documented) == sorted((name, *found) for name, found in described().items())
    named = set(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", reference.read_text(), re.MULTILINE))
    labels = {label for _, found in described().values() for label in found}
    assert {label for cell in named for label in re.findall(r"`(\w+)`", cell)} - set(described()) == labels


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_descriptions() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or (panel["description"] and panel["targets"])
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
