"""Kind `array`: indexes in the syntax of sbatch, and the Indexed Job that runs them."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from jupyter_research_spawner.jobs import array, parse_submission
from jupyter_research_spawner.jobs.array import LARGEST_SIZE, SCRIPT, Indexes, parse_indexes
from jupyter_research_spawner.jobs.request import plan_request
from jupyter_research_spawner.plan import plan
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.shape import Shape
from jupyter_research_spawner.site import Site

COMMAND = {"kind": "array", "command": ["python", "train.py", "$SLURM_ARRAY_TASK_ID"]}


def plain_site(**batch: Any) -> Site:
    return samples.site_with({"scheduler": {"kind": "plain"}, "batch": batch})


def composed(indexes: str, site: Site | None = None, **fields: Any) -> dict[str, Any]:
    """Return the whole Job that would be sent."""
    site = site or plain_site()
    submission = parse_submission({**COMMAND, "array": indexes, **fields})
    asked = plan_request(submission.request, Shape("array", "train-x7k2p", submission.pod_count), "alice")
    decided = plan(site, samples.person("alice"), asked, run_id=samples.RUN_ID, now=samples.NOW)
    found = compose(decided, submission.manifest(decided, site.batch), array.SLOTS)
    check(decided, found, array.SLOTS)
    return found


def refusal(**fields: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_submission({**COMMAND, **fields})
    return caught.value


def test_the_whole_job(golden):
    told = json.dumps(composed("1-9:4%2", name="Sweep")).replace(plain_site().digest, "digest-of-the-settings")
    assert json.loads(told) == golden("job/array-asked-for")


@pytest.mark.parametrize(
    ("text", "values", "throttle"),
    [
        # The examples of sbatch(1).
        ("0-15", tuple(range(16)), None),
        ("0,6,16-18", (0, 6, 16, 17, 18), None),
        ("0-15:4", (0, 4, 8, 12), None),
        ("0-15%4", tuple(range(16)), 4),
        ("1,3,5,7", (1, 3, 5, 7), None),
        ("1-7:2,20", (1, 3, 5, 7, 20), None),
        ("7", (7,), None),
        ("5,1-3,2", (1, 2, 3, 5), None),
        ("0-9%100", tuple(range(10)), 100),
    ],
)
def test_indexes_are_read_as_sbatch_reads_them(text, values, throttle):
    assert parse_indexes(text) == Indexes(values, throttle)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not an index"),
        ("a", "'a' is not an index"),
        ("-3", "'-3' is not an index"),
        ("0-9%0", "'0' after % is not a number"),
        ("0-9%", "'' after % is not a number"),
        ("0-9%3%3", "'3%3' after % is not a number"),
        ("9-0", "The last index of the range 9-0 is lower than its first index"),
        ("0-9:0", "The step of the range 0-9:0 must be at least 1"),
        ("1:2", "'1:2' is not an index"),
        ("0, 1", "' 1' is not an index"),
        ("٣", "is not an index"),
        ("1000000", "'1000000' is not an index"),
        ("0-999999", f"at most {LARGEST_SIZE} indexes"),
        ("0-9999,20000", f"at most {LARGEST_SIZE} indexes"),
    ],
)
def test_what_is_not_a_list_of_indexes_is_refused(text, message):
    found = refusal(array=text)
    assert (found.status, found.field) == (400, "array")
    assert message in found.message


@given(st.text(st.sampled_from("0123456789-,:%"), max_size=30))
def test_any_text_is_a_bounded_array_or_a_refusal(text):
    try:
        found = parse_indexes(text)
    except ValueError:
        return
    assert 1 <= len(found.values) <= LARGEST_SIZE
    assert list(found.values) == sorted(set(found.values))
    assert 1 <= found.at_once <= len(found.values)


def test_an_index_that_fails_does_not_end_the_others_and_a_preempted_one_runs_again():
    spec = composed("0-9%3")["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 10, 3)
    assert spec["backoffLimitPerIndex"] == 0
    assert "backoffLimit" not in spec
    assert spec["podFailurePolicy"]["rules"][0]["action"] == "Ignore"


def run(job: dict[str, Any], number: int) -> dict[str, str]:
    """Run the container's command for one completion index, as the kubelet does, and return what `env -0` prints."""
    container = job["spec"]["template"]["spec"]["containers"][0]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    found = subprocess.run(
        [word.replace("$$", "$") for word in (*container["command"], *container["args"])],
        env={**env, "PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": str(number)},
        capture_output=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in found.stdout.decode().split("\0") if "=" in line)


def test_each_index_sees_what_slurm_would_tell_it():
    job = composed("1-9:4%2", command=["env", "-0"])
    seen = [run(job, number) for number in range(3)]
    assert [env["SLURM_ARRAY_TASK_ID"] for env in seen] == ["1", "5", "9"]
    assert [env["RESEARCH_ARRAY_INDEX"] for env in seen] == ["1", "5", "9"]
    wanted = {"COUNT": "3", "MIN": "1", "MAX": "9", "STEP": "4"}
    assert {key: seen[0][f"SLURM_ARRAY_TASK_{key}"] for key in wanted} == wanted
    assert seen[0]["SLURM_ARRAY_JOB_ID"] == "train-x7k2p"
    # Programs that see it would call srun.
    assert "SLURM_JOB_ID" not in seen[0]


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0$"), max_size=12) | st.sampled_from(
    ["'; exit 9; '", '"', "`id`", "a b", "*", "\n", "-c", "--"]
)


@given(st.lists(WORDS, max_size=4))
def test_no_shell_reads_the_words_of_the_user(words):
    command = ["/bin/sh", "-c", SCRIPT, "array", "printf", "%s\\0", *words, "end"]
    env = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": "1", "RESEARCH_ARRAY_INDEXES": "4 7"}
    found = subprocess.run(command, env=env, capture_output=True, check=True)
    assert found.stdout.decode() == "".join(f"{word}\0" for word in [*words, "end"])


def test_the_script_changes_no_variable_of_the_user():
    env = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": "1", "RESEARCH_ARRAY_INDEXES": "4 7", "n": "a", "i": "b"}
    found = subprocess.run(["/bin/sh", "-c", SCRIPT, "array", "env"], env=env, capture_output=True, check=True)
    after = dict(line.partition("=")[::2] for line in found.stdout.decode().splitlines())
    added = {name: value for name, value in after.items() if env.get(name) != value}
    assert {name: value for name, value in added.items() if name not in ("PWD", "_", "SHLVL", "OLDPWD")} == {
        "RESEARCH_ARRAY_INDEX": "7",
        "SLURM_ARRAY_TASK_ID": "7",
    }


def test_a_variable_of_the_site_that_the_array_sets_is_no_silent_loss():
    site = samples.site_with({"profiles": {"small": {"pod": {"env": {"SLURM_ARRAY_TASK_COUNT": "x"}}}}})
    with pytest.raises(Refusal) as caught:
        composed("0-3", site=site)
    assert (caught.value.code, caught.value.status) == ("env-taken", 503)
    assert "SLURM_ARRAY_TASK_COUNT" in caught.value.message


def test_a_pod_without_its_index_runs_nothing():
    env = {"PATH": os.environ["PATH"], "JOB_COMPLETION_INDEX": "2", "RESEARCH_ARRAY_INDEXES": "4 7"}
    command = ["/bin/sh", "-c", SCRIPT, "array", "echo", "ran"]
    found = subprocess.run(command, env=env, capture_output=True, check=False)
    assert (found.returncode, found.stdout) == (1, b"")
    assert b"no index number 2" in found.stderr


@pytest.mark.parametrize("name", ["JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "RESEARCH_ARRAY_INDEXES"])
def test_the_variables_of_an_array_are_not_yours(name):
    assert refusal(array="0-3", env={name: "0"}).field == "env"


def test_an_array_is_no_larger_than_the_site_allows():
    with pytest.raises(Refusal) as caught:
        composed("0-10", site=plain_site(max_array_size=10))
    assert (caught.value.field, caught.value.status) == ("array", 400)
    assert "11 indexes; the limit is 10" in caught.value.message
    assert composed("0-9", site=plain_site(max_array_size=10))["spec"]["completions"] == 10


def a_job(indexes: str, **status: str) -> dict[str, Any]:
    spec = {"parallelism": 2, "completions": len(parse_indexes(indexes).values)}
    return {"metadata": {"annotations": {array.ARRAY: indexes}}, "spec": spec, "status": status}


def test_what_the_controller_counts_are_the_indexes_that_were_asked_for():
    job = a_job("10-18:2%2", completedIndexes="0,2-3", failedIndexes="1")
    assert array.index_results(job) == {10: True, 14: True, 16: True, 12: False}
    assert array.active_pod_count(job) == 1
    # Whatever somebody wrote into the status, an index that was not asked for is none.
    assert array.index_results(a_job("5-6", completedIndexes="0-999999999")) == {5: True, 6: True}


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("train-x7k2p-0-abcde", 10),
        ("train-x7k2p-4-abcde", 18),
        ("a-1-2-1-abcde", 12),
        ("train-x7k2p-9-abcde", None),
        ("train", None),
    ],
)
def test_a_pod_runs_the_index_in_its_name(name, index):
    assert array.index_of(a_job("10-18:2"), name) == index


@pytest.mark.parametrize("annotation", ["no indexes", "5-6"])
def test_without_a_valid_annotation_the_controllers_numbers_are_the_indexes(annotation):
    job = a_job("5-7", completedIndexes="2")
    job["metadata"]["annotations"][array.ARRAY] = annotation
    assert list(array.indexes(job)) == [0, 1, 2]
    assert (array.index_of(job, "train-x7k2p-2-abcde"), array.index_results(job)) == (2, {2: True})
