"""The command line as an admin uses it: output that reads at 80 columns, every error a sentence, never a traceback."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import samples
import yaml
from samples import NOW, SITE_FILE, site_with

from jupyter_research_spawner.cli import lint, main
from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.jobs import job
from jupyter_research_spawner.manifests import PARTS
from jupyter_research_spawner.pod import check
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.site import Site, load

VALUES = Path(__file__).parents[1] / "helm-values"
SITE = ["--site", str(SITE_FILE)]
ALICE = [*SITE, "--user", "alice"]
# Of a run, or of a version.
CHANGING = re.compile(r'("run_id": )"[0-9a-f]{32}"|(-version: ).*|(research-spawner/site: ).*')


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, stdout and stderr of one command."""

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return run


Cli = Callable[..., tuple[int, str, str]]


def comments(text: str) -> str:
    return "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))


def test_render_prints_the_pod_that_would_be_sent(cli: Cli, golden: Callable[[str], Any]) -> None:
    code, out, err = cli("render", *ALICE, "--profile", "a100")
    assert (code, err) == (0, "")
    pod = yaml.safe_load(CHANGING.sub(r"\1\2\3...", out))
    (notebook,) = pod["spec"]["containers"]
    # What each version of the hub tells its servers is the hub's.
    notebook["env"] = [entry for entry in notebook["env"] if not entry["name"].startswith(("JUPYTERHUB_", "JPY_"))]
    assert pod == golden("cli/notebook")
    assert "research-spawner/passwd: |\n" in out, "text of several lines is a block"


def test_render_prints_the_job_that_would_be_sent(cli: Cli, site: Site, alice: PosixIdentity) -> None:
    words = ["python", "train.py", "--why", "$(HOME)", "--", "ü"]
    code, out, err = cli("render", *ALICE, "--job", "--queue", "backfill", "--wall-time", "2h", "--", *words)
    assert (code, err) == (0, "")
    manifest = yaml.safe_load(out)
    name = manifest["metadata"]["name"]
    run_id = json.loads(manifest["metadata"]["annotations"]["research-spawner/plan"])["run_id"]
    decided = samples.decide(site, alice, "job", name=name, queue="backfill", wall_time=timedelta(hours=2))
    check(replace(decided, run_id=run_id), manifest, job.SLOTS)
    command = manifest["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command == ["python", "train.py", "--why", "$$(HOME)", "--", "ü"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("notebook-by-default", ALICE),
        ("notebook-asked-for", [*ALICE, "--profile", "a100", "--queue", "climate", "--wall-time", "2h"]),
        ("notebook-of-a-class", [*SITE, "--user", "bob", "--class", "stats-101"]),
        ("job", [*SITE, "--user", "carol", "--job", "--queue", "backfill"]),
    ],
)
def test_why_names_the_setting_behind_each_thing(
    cli: Cli, golden: Callable[[str], Any], name: str, arguments: list[str], tmp_path: Path
) -> None:
    still_held = tmp_path / "still-held.yaml"
    still_held.write_text("classes: {stats-101: {until: 2099-12-20}}")
    code, out, err = cli("render", *arguments, "--site", str(still_held), "--why")
    assert (code, err) == (0, "")
    assert comments(out) == golden(f"cli/why-{name}")
    assert max(map(len, comments(out).splitlines())) <= 80
    assert yaml.safe_load(out)["metadata"]["namespace"] == "jhub"


def test_why_beside_json_goes_to_stderr(cli: Cli) -> None:
    code, out, err = cli("render", *ALICE, "--why", "--output", "json")
    assert code == 0
    assert json.loads(out)["kind"] == "Pod"
    assert "The notebook that would be created for alice in namespace jhub" in err


def test_render_shows_what_kubespawners_own_settings_add(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "jupyterhub_config.py"
    config.write_text("c.KubeSpawner.extra_labels = {'team': 'ocean'}\nc.KubeSpawner.default_url = '/lab'\n")
    code, out, _ = cli("render", *ALICE, "--config", str(config))
    assert code == 0
    assert yaml.safe_load(out)["metadata"]["labels"]["team"] == "ocean"


def test_lint_says_what_it_understood(golden: Callable[[str], Any], site: Site) -> None:
    text = lint.report(site, lint.checked(site, NOW, base=samples.DATA))
    assert text == golden("cli/lint")
    assert max(map(len, text.splitlines())) <= 80


def test_lint_reads_helm_values(cli: Cli, tmp_path: Path) -> None:
    values, more = tmp_path / "values.yaml", tmp_path / "more.yaml"
    values.write_text(yaml.safe_dump({"proxy": {}, "custom": {"research": samples.raw_site()}}))
    more.write_text(yaml.safe_dump({"custom": {"research": {"profiles": {"small": {"title": "Tiny"}}}}}))
    code, out, _ = cli("lint", "--site", str(values), "--site", str(more))
    assert code == 0
    assert "Tiny: 2 CPU" in out


def test_lint_names_every_mistake_on_its_line(cli: Cli, tmp_path: Path) -> None:
    spoiled = tmp_path / "site.yaml"
    raw = samples.raw_site()
    raw["profiles"]["small"]["memory"] = "4 GB"
    raw["queues"]["climate"]["prioriti"] = "low"
    raw["scheduler"] = {"kind": "slurm"}
    spoiled.write_text(yaml.safe_dump(raw))
    code, out, err = cli("lint", "--site", str(spoiled))
    assert (code, out) == (1, "")
    lines = spoiled.read_text().splitlines()
    places = [line.split(": ")[:2] for line in err.splitlines()]
    assert sorted(places) == sorted(
        [f"{spoiled}:{lines.index(text) + 1}", path]
        for text, path in (
            ("    memory: 4 GB", "profiles.small.memory"),
            ("    prioriti: low", "queues.climate.prioriti"),
            ("  kind: slurm", "scheduler.kind"),
        )
    )


def test_lint_names_limits_of_jobs_without_effect() -> None:
    def found(*more: dict[str, object]) -> list[str]:
        return [
            str(problem) for problem in lint.advice(samples.site_with(*more), samples.NOW) if "effect" in str(problem)
        ]

    of_profile = {"profiles": {"small": {"jobs": {"wall_time_hard": "2d"}}}}
    of_class = {"classes": {"stats-101": {"jobs": {"wall_time_hard": "3d"}}}}
    assert found(of_profile) == found(of_class) == []
    assert found(of_profile, of_class) == [
        "classes.stats-101.jobs.wall_time_hard: has no effect, because profiles.small.jobs.wall_time_hard is 2d"
    ]
    assert found(of_profile, of_class, {"batch": {"wall_time_hard": "1d"}}) == [
        f"{path}.jobs.wall_time_hard: has no effect, because batch.wall_time_hard is 1d"
        for path in ("profiles.small", "profiles.a100", "classes.stats-101")
    ]


def test_command_accepts_the_files_of_helm(cli: Cli, tmp_path: Path) -> None:
    """Complete values, with custom.research in any of them, beside other keys of `custom`."""
    base, course, other = tmp_path / "base.yaml", tmp_path / "class.yaml", tmp_path / "other.yaml"
    raw = samples.raw_site()
    raw["identity"]["sources"] = {"local": {"kind": "nss"}}
    base.write_text(yaml.safe_dump({"proxy": {"db": {"pvc": None}}, "custom": {"color": 1, "research": raw}}))
    course.write_text("custom: {research: {profiles: {small: {title: Tiny, description: null}}}}\n")
    other.write_text("custom: {motd: hello, 1: 2}\nprePuller: {extraFiles: {a: {mode: 0644}}}\n")
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    files = [word for file in (other, base, empty, course) for word in ("-f", str(file))]
    code, out, err = cli("lint", *files)
    assert (code, err) == (0, "")
    assert "Tiny: 2 CPU" in out
    assert cli("manifests", "--only", "priorities", *files)[0] == 0
    assert cli("lint", "-f", str(other), "--values", str(empty)) == (
        1,
        "",
        f"custom.research: is missing in the helm values {other} and {empty}\n",
    )
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("custom:\n  research: [a]\n")
    assert cli("lint", "-f", str(wrong)) == (1, "", f"{wrong}:2: custom.research: must be a map, not a list\n")
    wrong.write_text("custom: text\n")
    assert cli("lint", "-f", str(wrong)) == (1, "", f"{wrong}:1: custom: must be a map, not text\n")
    assert "not allowed with argument" in cli("lint", "-f", str(base), "--site", str(base))[2]


@pytest.mark.parametrize(
    ("more", "path", "words"),
    [
        ({"queues": {"old": {"groups": {"climate": False}}}}, "queues.old", "closed to all users"),
        (
            {
                "queues": {"new": {}},
                "profiles": {"small": {"queues": {"teaching": True}}},
            },
            "queues.new",
            "no profile allows it",
        ),
        ({"profiles": {"a100": {"groups": {"climate": False}}}}, "profiles.a100", "closed to all users"),
        (
            {"profiles": {"a100": {"queues": {"climate": False}}}},
            "profiles.a100",
            "all queues that it allows are closed",
        ),
        (
            {"profiles": {"a100": {"queues": {"climate": False, "backfill": True}}}},
            "profiles.a100",
            "all of its queues are preemptible",
        ),
        ({}, "profiles", "a user who is in no group of these settings has no default profile"),
        ({"classes": {"stats-101": {"until": "2026-11-22"}}}, "classes.stats-101", "ended on 2026-11-22"),
        ({}, "profiles.a100.numa", "single-numa-node"),
        ({}, "batch.url", "is missing"),
        ({}, "identity.sources.people", "relative paths"),
        (
            {"profiles": {"small": {"images": {"r": "quay.io:443/jupyter/r-notebook"}}}},
            "profiles.small.images.r",
            "can change over time",
        ),
        ({"batch": {"images": {"r": "r:latest"}}}, "batch.images.r", "can change over time"),
    ],
)
def test_lint_advises(more: dict[str, Any], path: str, words: str) -> None:
    site = site_with(more)
    assert [advice for advice in lint.advice(site, NOW) if advice.path == path and words in advice.message]
    assert f"- {path}: " in " ".join(lint.report(site, lint.checked(site, NOW)).split())


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"queues": {"everyone": {"order": 9}}}, "profiles"),
        ({"classes": {"stats-101": {"until": "2026-11-23"}}}, "classes.stats-101"),
        ({"batch": {"url": "http://research-batch:8080/services/batch"}}, "batch.url"),
        ({"profiles": {"small": {"images": {"r": "r@sha256:" + 64 * "0"}}}}, "profiles.small.images.r"),
    ],
)
def test_lint_is_silent_where_all_is_well(more: dict[str, Any], path: str) -> None:
    assert path not in {advice.path for advice in lint.advice(site_with(more), NOW)}


def test_lint_tries_what_people_would_ask_for() -> None:
    nobody_can = site_with(
        {
            "scheduler": {"kind": "slurm-bridge"},
            "profiles": {"a100": {"gpu": {"kind": "mig", "resource": "nvidia.com/mig-1g.10gb"}}},
        }
    )
    with pytest.raises(SettingsError) as error:
        lint.checked(nobody_can, NOW)
    assert str(error.value).startswith(
        "profiles.a100: cannot run as a notebook in queue 'climate': slurm-bridge passes only"
    )


def test_lint_finds_jobs_without_an_image() -> None:
    with pytest.raises(
        SettingsError, match="cannot run as a job in queue 'climate': Profile 'small' has no allowed image"
    ):
        lint.checked(site_with({"batch": {"url": "http://b:1/x"}, "profiles": {"small": {"images": None}}}), NOW)


def test_manifests_are_a_stream_that_kubectl_reads(cli: Cli) -> None:
    code, out, err = cli("manifests", *SITE, "--batch-image", "hub:1", "--job-network", "10.20.0.0/16")
    assert (code, err) == (0, "")
    documents = list(yaml.safe_load_all(out))
    assert {found["kind"] for found in documents} >= {"PriorityClass", "Deployment", "NetworkPolicy", "ConfigMap"}
    code, out, _ = cli("manifests", *SITE, "--batch-image", "hub:1", "--job-network", "10.20.0.0/16", "--output=json")
    assert json.loads(out) == {"apiVersion": "v1", "kind": "List", "items": documents}


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("batch", "devices", "queues")])
def test_manifests_of_one_part_need_no_image(cli: Cli, part: str) -> None:
    code, out, err = cli("manifests", *SITE, "--only", part)
    assert (code, err) == (0, "")
    assert list(yaml.safe_load_all(out))


def test_what_administrators_decide_about_queues_is_a_comment(cli: Cli) -> None:
    code, out, _ = cli("manifests", *SITE, "--only", "queues")
    assert code == 0
    assert out.startswith("# Queue climate needs LocalQueue climate in namespace jhub.")
    assert list(yaml.safe_load_all(out)) == []
    assert "#" not in cli("manifests", *SITE, "--only", "priorities")[1]


def test_the_service_sees_the_files_that_settings_name(cli: Cli) -> None:
    _, out, _ = cli(
        "manifests", *SITE, "--only", "batch", "--batch-image", "hub:1", "--batch-config-map", "people=/etc/people"
    )
    (pod,) = (o["spec"]["template"]["spec"] for o in yaml.safe_load_all(out) if o["kind"] == "Deployment")
    (volume,) = (volume for volume in pod["volumes"] if volume.get("configMap") == {"name": "people"})
    mount = {"name": volume["name"], "mountPath": "/etc/people", "readOnly": True}
    assert mount in pod["containers"][0]["volumeMounts"]


def test_the_batch_service_is_that_of_the_helm_values(cli: Cli, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    hub = {
        "baseUrl": "/jupyter/",
        "image": {"name": "images/hub", "tag": "1", "pullSecrets": ["own"]},
        "extraVolumes": [
            {"name": "research-people", "persistentVolumeClaim": {"claimName": "people"}},
            {"name": "certificate", "secret": {"secretName": "of-the-hub"}},
        ],
        "extraVolumeMounts": [
            {"name": "research-people", "mountPath": "/etc/research-people"},
            {"name": "certificate", "mountPath": "/etc/certificate"},
        ],
    }
    site.write_text(yaml.safe_dump({"hub": hub, "imagePullSecrets": [{"name": "common"}]}))
    files = [word for file in (VALUES / "base.yaml", VALUES / "batch.yaml", site) for word in ("-f", str(file))]
    code, out, _ = cli("manifests", *files)
    assert code == 0
    (pod,) = (o["spec"]["template"]["spec"] for o in yaml.safe_load_all(out) if o["kind"] == "Deployment")
    (container,) = pod["containers"]
    assert container["image"] == "images/hub:1"
    assert pod["imagePullSecrets"] == [{"name": "common"}, {"name": "own"}]
    assert {"name": "research-people", "mountPath": "/etc/research-people", "readOnly": True} in container[
        "volumeMounts"
    ]
    assert hub["extraVolumes"][0] in pod["volumes"]
    assert "of-the-hub" not in out, "the service has no other volume of the hub"
    assert {"name": "JUPYTERHUB_BASE_URL", "value": "/jupyter/"} in container["env"]


def test_manifests_of_settings_without_the_service_need_no_image(cli: Cli) -> None:
    code, out, _ = cli("manifests", "-f", str(VALUES / "base.yaml"))
    kinds = {found["kind"] for found in yaml.safe_load_all(out)}
    assert code == 0
    assert {"PriorityClass", "Role", "NetworkPolicy"} < kinds and "Deployment" not in kinds


def test_schema_accepts_the_sample_site(cli: Cli) -> None:
    code, out, _ = cli("schema")
    assert code == 0
    schema = json.loads(out)
    jsonschema.validate(_as_json(samples.raw_site()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_as_json({**samples.raw_site(), "queus": {}}), schema)


def _as_json(raw: dict[str, Any]) -> Any:
    return json.loads(json.dumps(raw, default=str))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "required: COMMAND"),
        (["rendr"], 2, "invalid choice: 'rendr'"),
        (["render", *SITE], 2, "required: --user"),
        (["lint"], 2, "one of the arguments --site -f/--values is required"),
        (["render", *ALICE, "--", "id"], 2, "a command after -- is only possible with `render --job`"),
        (["lint", *SITE, "--", "id"], 2, "a command after -- is only possible with `render --job`"),
        (["render", *ALICE, "--job", "--class", "stats-101"], 2, "--class is for notebooks"),
        (["render", *ALICE, "--job", "--server", "second"], 2, "--server is for notebooks"),
        (["manifests", *SITE, "--only", "rbac,batch"], 2, "needs --batch-image"),
        (["manifests", "-f", str(VALUES / "base.yaml"), "-f", str(VALUES / "batch.yaml")], 2, "needs --batch-image"),
        (["manifests", *SITE, "--only", "priority"], 2, "'priority' is not one of priorities"),
        (["manifests", *SITE, "--only", "network", "--job-network", "ten"], 2, "'ten' is not a valid network"),
        (["manifests", *SITE, "--batch-image", "i", "--batch-config-map", "people"], 2, "is not NAME=/PATH"),
        (["lint", "--site", "nowhere.yaml"], 1, "nowhere.yaml: cannot be read: No such file"),
        (["lint", "--site", "/"], 1, "/: cannot be read: Is a directory"),
        (["render", *SITE, "--user", "mallory"], 1, "There is no account named 'mallory'"),
        (["render", *SITE, "--user", "Alice Smith"], 1, "Alice Smith"),
        (
            ["render", *ALICE, "--profile", "a1oo"],
            1,
            "There is no profile 'a1oo'. Your profiles: small (Small) and a100 (A100, one NUMA node).",
        ),
        (
            ["render", *SITE, "--user", "bob", "--profile", "a100"],
            1,
            "requires membership in group climate; your groups are",
        ),
        (["render", *ALICE, "--queue", "teaching"], 1, "Queue 'teaching' requires membership in group stats101-f26"),
        (["render", *ALICE, "--wall-time", "2 days"], 1, "wall_time: '2 days' is not a valid wall time"),
        (["render", *ALICE, "--class", "stats-102"], 1, "You are not on the roster of a class named 'stats-102'"),
        (
            ["render", *ALICE, "--job", "--wall-time", "30d"],
            1,
            "longer than 8h, the maximum for jobs in profile 'small'",
        ),
        (["render", *ALICE, "--job", "--image", "evil:1"], 1, "Image 'evil:1' is not allowed"),
        (["render", *ALICE, "--config", "nowhere.py"], 1, "nowhere.py: is not a file"),
    ],
)
def test_every_error_is_a_sentence(cli: Cli, arguments: list[str], code: int, words: str) -> None:
    got, out, err = cli(*arguments)
    assert (got, out) == (code, "")
    assert words in " ".join(err.split())
    assert "Traceback" not in err
    assert all(len(line) <= 80 for line in err.splitlines())


def test_the_help_has_each_command_beside_its_purpose(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli("--help")
    lines = [line.split()[0] for line in out.splitlines() if re.match("    [a-z]+.*  [a-z]", line)]
    assert (code, lines) == (0, ["render", "lint", "manifests", "accept-uid", "try", "schema", "init"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_this_name\n", "1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("\nc.KubeSpawner.x =\n", "2: SyntaxError"),
        ("def f():\n    raise ValueError('no')\nf()\n", "2: ValueError: no"),
        ("raise SystemExit(3)\n", "1: SystemExit: 3"),
    ],
)
def test_a_broken_jupyterhub_config_is_named_with_its_line(cli: Cli, tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "jupyterhub_config.py"
    config.write_text(text)
    for command in (["render", *ALICE], ["lint", *ALICE[:2]]):
        code, out, err = cli(*command, "--config", str(config))
        assert (code, out) == (1, "")
        assert err.startswith(f"{config}:{words}")


def test_settings_without_people_files_say_which_is_missing(cli: Cli, tmp_path: Path) -> None:
    alone = tmp_path / "site.yaml"
    alone.write_text(SITE_FILE.read_text())
    code, _, err = cli("render", "--site", str(alone), "--user", "alice")
    assert code == 1
    assert "A directory service with user accounts does not answer" in err


def test_the_console_script_ends_quietly_when_its_reader_does() -> None:
    command = [sys.executable, "-c", "import sys; from jupyter_research_spawner.cli import main; sys.exit(main())"]
    arguments = ["manifests", *SITE, "--only", "client"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.read(3) == b"---"
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(20) == 0


def test_version_prints_the_installed_version(cli: Cli) -> None:
    version = importlib.metadata.version("jupyter-research-spawner")
    assert cli("--version") == (0, f"research-spawner {version}\n", "")


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("research-spawner")
    done = subprocess.run([script, "lint", *SITE], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No mistakes.\n")
    assert load(SITE_FILE)
