"""What programs print in the documentation is what they print: each block of output is compared."""

from __future__ import annotations

import re
import shlex
from inspect import getsource
from pathlib import Path

import pytest
import samples
from doc_pages import DOCS, TREE, Block, blocks
from helm_files import BASE
from test_end_notices import PAGE, deadline_file, terminal

from jupyter_research_spawner.cli import main
from jupyter_research_spawner.jobs.request import JobRequest, new_job_id
from jupyter_research_spawner.schedulers.queue_sentence import describe_largest
from jupyter_research_spawner.schedulers.queue_status import LargestNode, Limit
from jupyter_research_spawner.spawner.start_recorder import describe_start, text_line
from jupyter_research_spawner.trial.trial_check import Outcome, check, table

BUSY = samples.DATA / "chart" / "busy-hub.yaml"
# Commands that need no cluster.
OFFLINE = {"init", "lint", "manifests", "render", "schema"}


def output_of(block: Block) -> str:
    """Return what the block shows as output, without the commands of a console."""
    return "\n".join(line for line in block.text.splitlines() if not line.startswith("$ "))


BLOCKS = {block.id.partition(":")[0] + ":" + output_of(block).strip()[:14]: block for block in blocks()}
OUTPUT = {name: block for name, block in BLOCKS.items() if block.language in ("", "text", "console")}
CONSOLES = [block for block in OUTPUT.values() if block.language == "console"]


def shown(page: str, beginning: str) -> str:
    """Return the output on a page, by its first words."""
    [found] = [block for name, block in OUTPUT.items() if f"docs/{page}:{beginning}".startswith(name)]
    return output_of(found)


def words(text: str) -> str:
    """Return text in one line."""
    return " ".join(text.split())


# Compared below, or in a test of the console of the page.
COMPARED = {
    "docs/how-to/check-values.md:hub.yaml:14: s": "lint",
    "docs/how-to/check-values.md:There is no ac": "a console with commands that need no cluster",
    "docs/how-to/monitoring.md:event=start ru": "a start's line in the log",
    "docs/how-to/try-your-site.md:The hub runs a": "try",
    "docs/how-to/try-your-site.md:1 of 12: stats": "try --check",
    "docs/how-to/wall-time.md:This server en": "a terminal",
    "docs/tutorial/first-site.md:python3-x7k2p": "job submit",
}
# Needs a cluster with the chart.
ON_A_CLUSTER = {"docs/tutorial/class-on-a-test-cluster.md:uid=20002(bob)"}


def test_every_output_is_compared() -> None:
    assert OUTPUT.keys() == COMPARED.keys() | ON_A_CLUSTER


@pytest.mark.parametrize("block", [pytest.param(block, id=block.id) for block in CONSOLES])
def test_a_command_that_needs_no_cluster_prints_what_the_page_shows(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [settings] = [block.text for block in blocks([DOCS / "tutorial" / "first-site.md"]) if block.language == "yaml"]
    (tmp_path / "site.yaml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, said = part.partition("\n")
        program, *arguments = shlex.split(command)
        if program == "research-spawner" and arguments[0] in OFFLINE:
            main(arguments)
            printed = capsys.readouterr()
            assert printed.out + printed.err == said


def test_a_console_has_a_command_that_needs_no_cluster() -> None:
    assert any(f"$ research-spawner {command}" in block.text for block in CONSOLES for command in OFFLINE)


def test_lint_prints_the_problems_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    main(["lint", "-f", str(BASE), "-f", str(BUSY)])
    printed = capsys.readouterr().err.replace(str(BUSY), "hub.yaml").splitlines()
    problems = re.split(r"\n(?=\S)", shown("how-to/check-values.md", "hub.yaml:14: s"))
    starts = [words(problem).removesuffix("...").rstrip() for problem in problems]
    found = [start for line in printed for start in starts if line.startswith(start)]
    assert (found, len(starts)) == (starts, 2)


def test_the_line_about_a_start_has_these_fields() -> None:
    [line] = shown("how-to/monitoring.md", "event=start ru").splitlines()
    fields = dict(part.split("=", 1) for part in line.split(" "))
    real = describe_start("alice", "", None, None, None, "ready", "")
    assert list(fields) == list(real)
    assert text_line(fields) == line, "its values need no quotes"


def test_try_prints_the_table_of_the_page() -> None:
    progress, _, rows = shown("how-to/try-your-site.md", "1 of 12: stats").partition("\n\n")
    why = describe_largest(LargestNode((Limit("cpu", "16", "8"),)))
    outcomes = [
        *(Outcome("climate-1", "small", queue, "starts") for queue in ("climate", "general", "backfill")),
        Outcome("climate-1", "large", "climate", "fits on no node", why),
        Outcome("stats101-f26-1", "stats-101", "teaching", "starts"),
    ]
    assert rows == f"{table(outcomes)}\n..."
    told = [f"{one.user}, {one.offer} in {one.queue}: {one.result}" for one in outcomes]
    assert [line.removeprefix(f"{number} of 12: ") for number, line in enumerate(progress.splitlines(), 1)] == [
        told[-1],
        told[0],
        "...",
    ]
    assert "{ended} of {total}: {outcome.user}, {outcome.offer} in {outcome.queue}: {outcome.result}" in getsource(
        check
    )


def test_try_prints_the_sentence_of_the_page() -> None:
    first, *_, address = shown("how-to/try-your-site.md", "The hub runs a").splitlines()
    source = (TREE / "jupyter_research_spawner" / "cli" / "try_run.py").read_text()
    assert first.replace("12 s", "{time.monotonic() - began:.0f} s") in source
    assert re.fullmatch(r"    http://127\.0\.0\.1:8000/hub/login\?key=\S{22}", address)


def test_a_terminal_prints_what_the_page_shows(tmp_path: Path) -> None:
    printed = terminal(deadline_file(tmp_path, 28190, extend_path=PAGE), "bash", "--norc", "-ic")
    of_page = shown("how-to/wall-time.md", "This server en")
    day = re.compile(r"on \w{3} \d\d \w{3} \d\d:\d\d UTC,")
    assert day.sub("on DAY,", of_page).splitlines() == day.sub("on DAY,", printed).splitlines()[:2]
    assert len(day.findall(of_page)) == 1


def test_a_job_has_an_id_of_this_form() -> None:
    def form(job: str) -> tuple[str, int]:
        name, _, random = job.rpartition("-")
        return name, len(random)

    of_page = shown("tutorial/first-site.md", "python3-x7k2p").strip()
    assert form(of_page) == form(new_job_id(JobRequest(command=["python3", "train.py"])))
