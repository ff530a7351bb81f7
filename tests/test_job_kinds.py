"""What every kind of job must keep to: `jobs.KINDS` is the only list of them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import retry_kind
import samples
from conformance import check_all_registered, check_guide_names, check_module, members

from jupyter_research_spawner import jobs
from jupyter_research_spawner.batch.answer import answer
from jupyter_research_spawner.batch.job_store import ALL
from jupyter_research_spawner.cli import main
from jupyter_research_spawner.jobs import _MODULES, KINDS, JobKind, Submission, indexed, kind_of, parse_submission
from jupyter_research_spawner.jobs.request import JobRequest
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.plan import Plan, plan
from jupyter_research_spawner.pod import check, compose, problems
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import SCHEDULERS

COMMAND = ["python", "train.py", "$(HOME) $$"]
SITE = samples.site_with({"scheduler": {"kind": "plain"}})
# The keywords of JSON Schema with which pydantic writes a limit of a field.
LIMITS = {"maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum", "enum", "const", "$ref"}
every_kind = pytest.mark.parametrize("name", sorted(KINDS))


def fields(name: str) -> dict[str, Any]:
    """Return a request of this kind, with the examples of the fields that it must have."""
    found: dict[str, Any] = {"kind": name, "command": COMMAND}
    for field, described in KINDS[name].REQUEST.model_fields.items():
        if described.is_required() and field != "command":
            assert described.examples, f"{name}: the field {field} needs an example"
            found[field] = described.examples[0]
    return found


def decided(name: str, **more: Any) -> tuple[Submission, Plan]:
    submission = parse_submission({**fields(name), **more})
    asked = submission.plan_request("alice")
    return submission, plan(SITE, samples.person("alice"), asked, run_id=samples.RUN_ID, now=samples.NOW)


def sent(name: str, **more: Any) -> dict[str, Any]:
    """Return a job as the API server would get it."""
    submission, made = decided(name, **more)
    return compose(made, submission.manifest(made, SITE.batch), submission.kind.SLOTS)


@every_kind
def test_the_whole_object(name, golden):
    job = sent(name)
    text = json.dumps(job).replace(job["metadata"]["name"], "python-x7k2p")
    assert json.loads(text.replace(SITE.digest, "digest-of-the-settings")) == golden(f"job/{name}")


@every_kind
def test_module_has_every_member_and_its_file_is_named_after_its_kind(name):
    check_module(KINDS[name], name, JobKind)


def test_every_module_of_the_package_is_registered():
    check_all_registered(jobs, _MODULES)


@pytest.mark.parametrize("member", members(JobKind))
def test_contributing_guide_names_every_member(member):
    check_guide_names(member, "How to add a kind of job")


@every_kind
def test_every_pod_runs_as_the_user(name):
    for _, pod in KINDS[name].SLOTS.pods(sent(name)):
        assert pod["spec"]["securityContext"]["runAsUser"] == 20001


@every_kind
def test_composing_twice_changes_nothing(name):
    submission, made = decided(name)
    slots = submission.kind.SLOTS
    once = compose(made, submission.manifest(made, SITE.batch), slots)
    check(made, once, slots)
    assert compose(made, copy.deepcopy(once), slots) == once
    assert problems(made, once, slots) == []


@every_kind
def test_its_module_and_its_manifest_agree(name):
    kind, job = KINDS[name], sent(name)
    assert name == kind.KIND
    assert job["apiVersion"] == kind.RESOURCE.api_version
    assert kind_of(job) is kind
    assert issubclass(kind.REQUEST, JobRequest)
    templates = kind.SLOTS.pods(job)
    assert templates
    assert {template.main for template in kind.SLOTS.templates} == {kind.SLOTS.main}
    for _, pod in templates:
        assert kind.SLOTS.main in [container["name"] for container in pod["spec"]["containers"]]
    assert f"{name}" in ALL


@every_kind
def test_no_manifest_names_a_scheduler(name):
    submission, made = decided(name)
    written = str(submission.manifest(made, SITE.batch))
    for scheduler in SCHEDULERS.values():
        assert not [key for key in scheduler.RESERVED if key in written]
    assert "schedulerName" not in written


@every_kind
def test_a_new_job_waits_and_shows_its_command_as_it_was_typed(name):
    found = answer({**sent(name), "status": {}}, [])
    assert (found["kind"], found["state"], found["exit_code"]) == (name, "queued", None)
    assert found["command"] == COMMAND
    assert found["image"]


@every_kind
def test_an_unknown_field_is_refused_by_name(name):
    with pytest.raises(Refusal) as caught:
        parse_submission({**fields(name), "quue": "climate"})
    assert (caught.value.field, caught.value.status) == ("quue", 400)
    assert "queue" in caught.value.hint


@every_kind
def test_the_service_gets_its_rights_from_the_registry(name):
    rules = [rule for made in everything(SITE, Release(batch_image="i")) for rule in made.get("rules", [])]
    resource = KINDS[name].RESOURCE
    jobs = [rule for rule in rules if resource.group in rule["apiGroups"] and resource.plural in rule["resources"]]
    assert {"create", "delete", "get", "list", "patch", "watch"} <= {verb for rule in jobs for verb in rule["verbs"]}
    for rule in KINDS[name].RULES:
        assert rule in rules, f"{name}: the roles lack {rule}"
    for prerequisite in KINDS[name].PREREQUISITES:
        assert (prerequisite.namespace, prerequisite.selected_by) == (None, "kind")


@every_kind
def test_render_prints_it(name, capsys):
    asked = {key: value for key, value in fields(name).items() if key not in ("kind", "command")}
    more = [f"--field={key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in asked.items()]
    assert main(["render", "--site", str(samples.DATA / "site.yaml"), "--user", "alice", "--job", name, *more]) == 0
    assert f"research-spawner/kind: {name}" in capsys.readouterr().out


@every_kind
def test_a_kind_with_indexes_obeys_their_limit_and_may_delete_the_pod_of_one(name):
    size = len(KINDS[name].indexes(sent(name)))
    if size:
        assert indexed.RULES[0] in KINDS[name].RULES, f"{name}: assign indexed.RULES, or add them to yours"
        submission, made = decided(name)
        with pytest.raises(Refusal, match=f"{size} indexes; the limit is {size - 1}"):
            submission.manifest(made, SITE.batch.model_copy(update={"max_array_size": size - 1}))


@every_kind
def test_as_many_pods_as_the_job_may_have_count_against_the_limit_of_the_user(name):
    """batch.max_jobs is compared with pod_count before the job exists, and with active_pod_count afterwards."""
    submission, _ = decided(name)
    counted = KINDS[name].active_pod_count(sent(name))
    assert submission.pod_count == counted, f"{name}: pod_count and active_pod_count of a new job differ"


@every_kind
def test_a_job_whose_pods_have_indexes_shows_them(name):
    job, kind = sent(name), KINDS[name]
    spec = job["spec"]
    if spec.get("completionMode") != "Indexed":
        assert kind.indexes(job) == (), f"{name}: only an Indexed Job has indexes"
        return
    why = f"{name}: assign the defaults of jobs/indexed.py"
    size = spec["completions"]
    assert len(kind.indexes(job)) == size, why
    for number, index in enumerate(kind.indexes(job)):
        assert kind.index_of(job, f"{job['metadata']['name']}-{number}-abcde") == index, why
    done = {**job, "status": {"completedIndexes": f"0-{size - 1}" if size > 1 else "0"}}
    assert kind.index_results(done) == dict.fromkeys(kind.indexes(job), True), why
    assert kind.active_pod_count(done) == 0, why
    for succeeded in (True, False):
        assert kind.pod_decides(job, succeeded) == indexed.pod_decides(job, succeeded), why


@every_kind
def test_each_own_field_has_a_title_a_hint_and_a_limit(name):
    model = KINDS[name].REQUEST
    schema = model.model_json_schema()["properties"]
    for field in model.model_fields.keys() - JobRequest.model_fields.keys():
        assert model.model_fields[field].title, f"{name}: the field {field} needs a title"
        assert field in model.HINTS, f"{name}: HINTS needs a hint for the field {field}"
        assert LIMITS & schema[field].keys(), f"{name}: limit the field {field}, for example with max_length"


def test_an_unknown_kind_is_refused_with_the_names_of_those_that_exist():
    with pytest.raises(Refusal) as caught:
        parse_submission({"kind": "arry", "command": COMMAND})
    assert caught.value.field == "kind"
    for name in KINDS:
        assert name in caught.value.hint


def a_pod(phase: str, exit_code: int) -> dict[str, Any]:
    ended = {"startedAt": "2026-11-23T12:00:01Z", "finishedAt": "2026-11-23T12:00:05Z", "exitCode": exit_code}
    containers = [{"name": "job", "state": {"terminated": ended}}]
    return {
        "metadata": {"name": "pod-0-abcde", "creationTimestamp": "2026-11-23T12:00:00Z"},
        "status": {"phase": phase, "containerStatuses": containers},
    }


@pytest.fixture
def retry(monkeypatch):
    """Add the made-up kind to the registry."""
    monkeypatch.setitem(KINDS, retry_kind.KIND, retry_kind)
    return retry_kind.KIND


RETRY_ENDED = {"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}


def test_a_failed_pod_without_a_verdict_is_not_an_end(retry):
    pod = a_pod("Failed", 3)
    found = answer({**sent(retry), "status": {}}, [pod])
    assert (found["state"], found["finished"], found["exit_code"]) == ("queued", None, None)
    assert found["message"] == "Container job ended with exit code 3. It waits to run again from the start."
    assert found["attempts"][0]["exit_code"] == 3
    over = answer({**sent(retry), "status": {"conditions": [RETRY_ENDED]}}, [pod])
    assert (over["state"], over["exit_code"]) == ("failed", 3)


def test_a_pod_that_succeeded_is_not_the_end_of_a_job_with_more_of_them(retry):
    job = sent(retry)
    assert answer({**job, "status": {}}, [a_pod("Succeeded", 0)])["state"] == "succeeded"
    job["spec"]["completions"] = 2
    assert answer({**job, "status": {}}, [a_pod("Succeeded", 0)])["state"] == "running"


@every_kind
@pytest.mark.parametrize(("phase", "exit_code"), [("Failed", 3), ("Succeeded", 0)])
def test_a_pod_is_an_end_only_if_the_kind_says_so(name, phase, exit_code, monkeypatch):
    job = {**sent(name), "status": {}}
    monkeypatch.setattr(KINDS[name], "pod_decides", lambda job, succeeded: False)
    found = answer(job, [a_pod(phase, exit_code)])
    states = {found["state"], *(index["state"] for index in found.get("indexes", []))}
    assert states <= {"queued", "running"}
    assert (found["finished"], found["exit_code"]) == (None, None)


def test_a_kind_has_hints_of_its_own(retry):
    with pytest.raises(Refusal) as caught:
        parse_submission({"kind": retry, "command": COMMAND, "retries": "3"})
    assert (caught.value.field, caught.value.hint) == ("retries", "Send a number from 1 to 10.")


def test_render_reads_a_field_that_is_not_a_text_as_json(retry, capsys):
    asked = ["render", "--site", str(samples.DATA / "site.yaml"), "--user", "alice", "--job", retry]
    assert main([*asked, "--field", "retries=4", "--field", 'env={"A": "1"}', "--field", "name=7"]) == 0
    printed = capsys.readouterr().out
    assert "backoffLimit: 4" in printed
    assert "research-spawner/job-name: '7'" in printed
    assert main([*asked, "--field", "retries=four"]) != 0
    error = capsys.readouterr().err
    assert "retries: 'four' is not valid JSON, and this field is not a string." in error
    assert "--field retries=3" in error


def test_the_service_may_look_for_what_a_kind_requires(retry):
    objects = everything(SITE, Release(batch_image="i"))
    rules = [rule for made in objects if made["kind"] == "ClusterRole" for rule in made["rules"]]
    assert {
        "apiGroups": ["apiextensions.k8s.io"],
        "resources": ["customresourcedefinitions"],
        "verbs": ["get"],
    } in rules
    (batch,) = (made for made in objects if made["kind"] == "Role" and made["metadata"]["name"] == "research-batch")
    assert retry_kind.RULES[0] in batch["rules"]


def test_a_rule_that_two_kinds_declare_is_in_the_role_once(retry, monkeypatch):
    monkeypatch.setattr(retry_kind, "RULES", indexed.RULES)
    rules = [rule for made in everything(SITE, Release(batch_image="i")) for rule in made.get("rules", [])]
    assert rules.count(indexed.RULES[0]) == 1


def test_a_gang_of_a_kind_reaches_the_scheduler(retry, monkeypatch):
    monkeypatch.setattr(retry_kind, "gang", lambda request: 4)
    with pytest.raises(Refusal) as caught:
        decided(retry)
    assert caught.value.code == "gang-unsupported"
