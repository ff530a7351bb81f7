"""What a user requested is found again on the stored job, for every kind, so that the job can be recreated."""

from __future__ import annotations

import json
from typing import Any

import pytest
import retry_kind
import samples
from hypothesis import given
from hypothesis import strategies as st
from test_job_kinds import SITE, fields

from jupyter_research_spawner.jobs import KINDS, Submission, parse_submission, stored_submission
from jupyter_research_spawner.jobs.request import JobRequest
from jupyter_research_spawner.jobs.stored_request import ASKED, is_complete
from jupyter_research_spawner.plan import granted_by, plan
from jupyter_research_spawner.pod import compose
from jupyter_research_spawner.refusal import Refusal

every_kind = pytest.mark.parametrize("name", [*sorted(KINDS), retry_kind.KIND])
# All that JSON can carry and a program can be passed; `$` and parentheses more often, because the kubelet expands them.
words = st.text(st.one_of(st.sampled_from("$()"), st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
names = st.from_regex(r"\A[A-Z_]{1,8}\Z").filter(lambda name: not name.startswith(("RESEARCH_", "NB_", "LD_")))
arrays = st.sampled_from(["0-9%3", "1,3,5", "0-20:5", "7"])
choices = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.sampled_from(["small", "a100"]),
        "queue": st.just("climate"),
        "wall_time": st.sampled_from(["90s", "8h", "2d"]),
        "image": st.sampled_from(["default", samples.IMAGE]),
        "workdir": st.sampled_from(["~", "~/a b", "/home/alice", "/project/climate"]),
        "name": st.sampled_from(["train", "Été 1", "$(HOME)"]),
        "inherited": st.sampled_from([{"queue": "climate", "workdir": ["/tmp", "/home/alice"]}, {"image": "old:1"}]),
    },
)


def stored(submission: Submission) -> dict[str, Any]:
    """Return the job as the API server returns it."""
    decided = plan(
        SITE, samples.person("alice"), submission.plan_request("alice"), run_id=samples.RUN_ID, now=samples.NOW
    )
    sent = compose(decided, submission.manifest(decided, SITE.batch), submission.kind.SLOTS)
    return dict(json.loads(json.dumps({**sent, "status": {}})))


@pytest.fixture(autouse=True, scope="module")
def retry():
    """Add the made-up kind to the registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, retry_kind.KIND, retry_kind)
        yield


@every_kind
@given(
    asked=choices,
    command=st.lists(words, min_size=1, max_size=4),
    env=st.dictionaries(names, words, max_size=4),
    array=arrays,
)
def test_the_request_is_found_again_on_the_stored_job(name, asked, command, env, array):
    body = {**_with_examples(name), **asked, "command": [command[0] or "true", *command[1:]], "env": env}
    if "array" in body:
        body["array"] = array
    try:
        submission = parse_submission(body)
        job = stored(submission)
    except Refusal:  # a variable or a program that is not allowed
        return
    found = _found(name, job)
    assert found.kind is submission.kind
    # A name that is the program's name is the same as none.
    assert {**found.request.model_dump(), "name": 0} == {**submission.request.model_dump(), "name": 0}
    assert is_complete(job)
    again = found.plan_request("alice")
    first = submission.plan_request("alice")
    assert (again.profile, again.queue, again.wall_time, again.image, again.workdir) == (
        first.profile,
        first.queue,
        first.wall_time,
        first.image,
        first.workdir,
    )
    assert _without_name(stored(found)) == _without_name(job)


def _found(name: str, job: dict[str, Any]) -> Submission:
    try:
        return stored_submission(job)
    except Refusal as refusal:
        pytest.fail(f"request_fields of kind {name} does not return what its REQUEST needs: {refusal}")


def _with_examples(name: str) -> dict[str, Any]:
    """Return a request with all fields that only this kind has, because request_fields must find each of them."""
    own = KINDS[name].REQUEST.model_fields.keys() - JobRequest.model_fields.keys()
    found: dict[str, Any] = {"kind": name}
    for field in sorted(own):
        examples = KINDS[name].REQUEST.model_fields[field].examples
        assert examples, f"{name}: the field {field} needs an example"
        found[field] = examples[0]
    return found


def _without_name(job: dict[str, Any]) -> Any:
    return json.loads(json.dumps(job).replace(job["metadata"]["name"], "the-job"))


@every_kind
def test_a_default_is_not_stored_as_a_choice(name):
    job = stored(parse_submission(fields(name)))
    assert json.loads(job["metadata"]["annotations"][ASKED]) == {"env": []}


@every_kind
def test_a_job_of_an_older_version_is_decided_by_its_plan_and_is_not_made_anew(name):
    job = stored(parse_submission({**fields(name), "profile": "a100", "wall_time": "2h", "env": {"A": "1"}}))
    before = granted_by(_plan_of(job))
    del job["metadata"]["annotations"][ASKED]
    request = stored_submission(job).plan_request("alice")
    assert (request.profile, request.queue, str(request.wall_time)) == ("a100", "climate", "2:00:00")
    assert not is_complete(job)
    assert granted_by(_plan_of(job)) == before


def _plan_of(job: dict[str, Any]) -> Any:
    request = stored_submission(job).plan_request("alice")
    return plan(SITE, samples.person("alice"), request, run_id=samples.RUN_ID, now=samples.NOW)


def test_a_stored_request_that_is_no_longer_valid_is_refused():
    job = stored(parse_submission({"command": ["true"], "env": {"MINE": "1"}}))
    asked = json.loads(job["metadata"]["annotations"][ASKED])
    job["metadata"]["annotations"][ASKED] = json.dumps({**asked, "profile": 3})
    with pytest.raises(Refusal) as refused:
        stored_submission(job)
    assert refused.value.field == "profile"


@pytest.mark.parametrize("written", ["[]", "not JSON", '{"env": 3}', "{}"])
def test_an_annotation_that_somebody_changed_is_no_error(written):
    job = stored(parse_submission({"command": ["true"], "env": {"MINE": "1"}}))
    job["metadata"]["annotations"][ASKED] = written
    assert stored_submission(job).request == JobRequest(command=["true"])


def test_the_names_of_variables_are_bounded():
    env = {f"{'A' * 120}{number}": "" for number in range(200)}
    with pytest.raises(Refusal, match=r"names of the variables are [0-9]+ bytes long"):
        parse_submission({"command": ["true"], "env": env})
