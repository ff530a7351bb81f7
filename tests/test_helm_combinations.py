"""helm-values/: every file is valid for the chart, and every combination merges to values that pass lint."""

from __future__ import annotations

import json
import os
from itertools import combinations, product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import samples
import yaml
from helm_files import (
    ALL,
    ALTERNATIVES,
    BASE,
    CLASSES,
    IDENTITY,
    OTHERS,
    OWN_IMAGE,
    SCHEDULERS,
    STORAGE,
    VALUES,
    lists,
    name_of,
)
from helm_files import complete as values

from jupyter_research_spawner.cli import main
from jupyter_research_spawner.cli.chart_lint import check_chart
from jupyter_research_spawner.cli.lint import checked
from jupyter_research_spawner.schedulers import SCHEDULERS as KINDS
from jupyter_research_spawner.settings import merge, merge_values, read
from jupyter_research_spawner.site import Site, load

# Another version of the chart's: Z2JH_SCHEMA=FILE.
SCHEMA = Path(os.environ.get("Z2JH_SCHEMA", samples.DATA / "z2jh-values.schema.json"))
VALIDATOR = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))


READ = {file: read(file) for file in ALL}


def wrong(found: dict[str, Any]) -> list[str]:
    # As helm does it, which writes JSON: a date has become text.
    written = json.loads(json.dumps(found))
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(written)]


def linted(*files: Path) -> Site:
    """Return the settings of these files.  They must have no problems, neither as values nor as settings."""
    found = merge_values(*(READ[file] for file in files))
    of_hub = check_chart(found, samples.NOW, VALUES)
    assert [str(problem) for problem in of_hub.problems] == []
    site = load(merge(found)["custom"]["research"])
    checked(site, samples.NOW, VALUES)
    # Programs that could not run, or values without an effect, would be advice.
    assert [str(problem) for problem in of_hub.advice] == []
    return site


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_a_file_is_valid_for_the_chart(file: Path) -> None:
    found = values(BASE, file)
    del found["Chart"], found["Release"]
    assert wrong(found) == []
    assert wrong(merge(found, {"singleuser": {"gid": 1}})), "the schema refuses nothing"
    # Nulls reach the chart with which its own values are merged, so a file must also be valid on its own.
    without_custom = {key: value for key, value in READ[file].items() if key != "custom"}
    assert [problem for problem in wrong(merge(found, without_custom)) if "custom" not in problem] == []


def test_every_scheduler_has_a_file_of_its_name() -> None:
    chosen = {file.stem: READ[file]["custom"]["research"]["scheduler"]["kind"] for file in SCHEDULERS}
    assert chosen == {kind: kind for kind in KINDS}


def test_no_list_of_a_file_is_replaced_by_another_file() -> None:
    """Only files of which a site chooses one may have the same list; base.yaml has the one of its own choice."""
    for one, other in combinations([file for file in ALL if file != BASE], 2):
        if not any(one in choice and other in choice for choice in ALTERNATIVES):
            assert set(lists(READ[one])) & set(lists(READ[other])) == set(), f"{name_of(one)} and {name_of(other)}"
    identity = {path for file in IDENTITY for path in lists(READ[file])}
    for file in [file for file in ALL if file not in IDENTITY and file != BASE]:
        assert set(lists(READ[file])) & set(lists(READ[BASE])) == set(), name_of(file)
    assert set(lists(READ[BASE])) == identity


def test_files_other_than_choices_merge_in_any_order() -> None:
    """Two files that set one key to two values would depend on the order."""

    def leaves(value: Any, path: str = "") -> dict[str, Any]:
        if isinstance(value, dict):
            return {key: v for name, below in value.items() for key, v in leaves(below, f"{path}.{name}").items()}
        return {path: value}

    files = [file for file in ALL if file != BASE and not any(file in choice for choice in ALTERNATIVES)]
    for one, other in combinations(files, 2):
        mine, theirs = leaves(READ[one]), leaves(READ[other])
        different = {path for path in mine.keys() & theirs.keys() if mine[path] != theirs[path]}
        assert different == set(), f"{name_of(one)} and {name_of(other)}"


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=name_of)
def test_every_combination_passes_lint(scheduler: Path) -> None:
    for storage, course in product(STORAGE, CLASSES):
        site = linted(BASE, scheduler, storage, course)
        assert site.scheduler.kind == scheduler.stem
        assert len(site.classes) == 1
        assert set(site.storage.mounts) >= set(READ[storage]["custom"]["research"]["storage"]["mounts"])


@pytest.mark.parametrize("file", [BASE, *IDENTITY, *OTHERS], ids=name_of)
def test_a_file_passes_lint_with_the_base_alone(file: Path) -> None:
    linted(BASE, file)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=name_of)
def test_all_files_together_pass_lint(scheduler: Path) -> None:
    site = linted(BASE, *OTHERS, *STORAGE, *CLASSES, scheduler)
    assert set(site.classes) == {"stats-101", "deep-learning-lab", "workshop"}
    assert set(site.storage.mounts) >= {"projects", "scratch", "data"}
    with_gpu = {name for name in site.profiles if name.startswith("gpu-")}
    assert with_gpu >= {"gpu-whole", "gpu-numa"}


@pytest.mark.parametrize("identity", IDENTITY, ids=name_of)
def test_an_identity_source_replaces_that_of_the_base(identity: Path) -> None:
    (source,) = linted(BASE, identity).identity.sources.values()
    assert source.kind == identity.stem
    (volume,), (mount,) = (values(BASE, identity)["hub"][key] for key in ("extraVolumes", "extraVolumeMounts"))
    assert volume["name"] == mount["name"]
    # The batch service gets these volumes by their names.
    assert volume["name"].startswith("research-")


def test_the_command_accepts_them_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "site.yaml"
    own.write_text(yaml.safe_dump(OWN_IMAGE))
    files = [BASE, *OTHERS, CLASSES[0], own]
    assert main(["lint", *(word for file in files for word in ("-f", str(file)))]) == 0
    out = capsys.readouterr().out
    assert "gpu-whole" in out and CLASSES[0].stem in out
