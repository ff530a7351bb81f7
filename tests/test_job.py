"""Kind `job`: what a user may ask for, and the Job that is created."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from jupyter_research_spawner.jobs import KINDS, NAME, parse_submission
from jupyter_research_spawner.jobs.job import SLOTS
from jupyter_research_spawner.jobs.request import WORDS_LIMIT, JobRequest, new_job_id, plan_request
from jupyter_research_spawner.plan import plan
from jupyter_research_spawner.pod import check, compose, problems
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.shape import Shape
from jupyter_research_spawner.site import Site

COMMAND = {"command": ["python", "train.py"]}


def plain_site() -> Site:
    return samples.site_with({"scheduler": {"kind": "plain"}})


def composed(body: dict[str, Any], who: str = "alice", site: Site | None = None) -> dict[str, Any]:
    """The whole Job that would be sent."""
    site = site or plain_site()
    submission = parse_submission(body)
    asked = plan_request(submission.request, Shape("job", "train-x7k2p"), who)
    decided = plan(site, samples.person(who), asked, run_id=samples.RUN_ID, now=samples.NOW)
    found = compose(decided, submission.manifest(decided, site.batch), SLOTS)
    check(decided, found, SLOTS)
    return found


def refusal(body: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_submission(body)
    return caught.value


def expanded(text: str, env: dict[str, str]) -> str:
    """What the kubelet makes of it (Kubernetes, third_party/forked/golang/expansion/expand.go)."""
    found, cursor = "", 0
    while cursor < len(text):
        if text[cursor] != "$" or cursor + 1 == len(text):
            found += text[cursor]
            cursor += 1
            continue
        after = text[cursor + 1]
        end = text.find(")", cursor + 2) if after == "(" else -1
        if after == "$":
            found += "$"
        elif after == "(" and end > 0:
            name = text[cursor + 2 : end]
            found += env.get(name, f"$({name})")
            cursor = end - 1
        else:
            found += "$" + after
        cursor += 2
    return found


def started(job: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Words and environment as the kubelet hands them to the container."""
    container = job["spec"]["template"]["spec"]["containers"][0]
    env: dict[str, str] = {}
    for entry in container["env"]:
        env[entry["name"]] = expanded(entry["value"], env)
    return [expanded(word, env) for word in container["command"]], env


def test_the_whole_job(golden):
    body = {
        "name": "Train on 2025",
        "command": ["bash", "-c", "echo $HOME $(hostname) $$"],
        "profile": "small",
        "queue": "climate",
        "wall_time": "2h",
        "env": {"OMP_NUM_THREADS": "2", "PRICE": "$(HOME) costs 3$"},
        "workdir": "/project/climate/alice",
    }
    # The digest changes with every new setting; what it is made of is the settings' own test.
    told = json.dumps(composed(body)).replace(plain_site().digest, "digest-of-the-settings")
    assert json.loads(told) == golden("job/job-asked-for")


def test_the_kubelet_of_these_tests_expands_as_the_real_one():
    """The cases of expand_test.go."""
    env = {"VAR_A": "A", "VAR_B": "B"}
    for text, wanted in {
        "$(VAR_A)": "A",
        "___$(VAR_B)___": "___B___",
        "$(VAR_A)-$(VAR_B)": "A-B",
        "$$(VAR_A)": "$(VAR_A)",
        "$$$(VAR_A)": "$A",
        "$(NONE)": "$(NONE)",
        "$(VAR_A": "$(VAR_A",
        "foo$": "foo$",
        "$VAR_A": "$VAR_A",
        "$$": "$",
    }.items():
        assert expanded(text, env) == wanted, text


SAFE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TRICKS = st.lists(st.sampled_from(["$", "(", ")", "HOME", "A", "$(", "$$(", "$(A)", " "]), max_size=8).map("".join)


@given(words=st.lists(SAFE | TRICKS, max_size=4), values=st.lists(SAFE | TRICKS, max_size=3))
def test_every_word_arrives_as_it_was_typed(words, values):
    env = {f"V{index}": value for index, value in enumerate(values)}
    found, seen = started(composed({"command": ["python", *words], "env": env}))
    assert found == ["python", *words]
    assert {name: seen[name] for name in env} == env


def test_the_job_runs_once_and_again_only_when_it_lost_its_place():
    spec = composed(COMMAND)["spec"]
    assert (spec["backoffLimit"], spec["parallelism"], spec["completions"]) == (0, 1, 1)
    assert spec["podFailurePolicy"]["rules"][0] == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["ttlSecondsAfterFinished"] == 7 * 24 * 3600


def test_the_wall_time_is_the_pods_so_that_waiting_costs_nothing():
    job = composed({**COMMAND, "wall_time": "2h"})
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 7200
    assert "activeDeadlineSeconds" not in job["spec"]


def test_a_job_has_no_token_and_is_no_server_of_the_hub():
    job = composed(COMMAND)
    pod = job["spec"]["template"]
    assert not [entry for entry in pod["spec"]["containers"][0]["env"] if "JUPYTERHUB" in entry["name"]]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not {"component", "app", "hub.jupyter.org/username"} & set(pod["metadata"]["labels"])
    assert "research-client" not in json.dumps(pod)


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("train", "train-"),
        ("Train on 2025!", "train-on-2025-"),
        ("../../etc", "etc-"),
        ("2025", "job-2025-"),
        ("研究", "job-"),
        ("x" * 120, "x" * 46 + "-"),
        (None, "python3-11-"),
    ],
)
def test_ids_are_short_and_readable(name, begins):
    job = JobRequest(name=name, command=["/usr/bin/python3.11", "a.py"])
    found = new_job_id(job)
    assert found.startswith(begins)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", found)
    assert len(found) <= 52


@given(name=SAFE.filter(lambda text: text.isprintable() and text.strip()))
def test_any_name_gives_an_id(name):
    assert re.fullmatch(
        r"[a-z][a-z0-9-]{0,50}[a-z0-9]", new_job_id(parse_submission({**COMMAND, "name": name}).request)
    )


def test_the_persons_name_is_kept_as_it_is():
    assert composed({**COMMAND, "name": "Größe <b>"})["metadata"]["annotations"][NAME] == "Größe <b>"


@pytest.mark.parametrize("field", ["uid", "gid", "groups", "user", "username", "runAsUser", "run_as_group"])
def test_who_you_are_is_not_yours_to_say(field):
    found = refusal({**COMMAND, field: 0})
    assert found.field == field
    assert "the hub determines your identity" in found.message
    assert found.status == 400


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({}, "command", "is missing"),
        ({"command": []}, "command", "command: must have at least 1 entry, not 0."),
        ({"command": ["a"] * 10_001}, "command", "command: must have at most 10000 entries, not 10001."),
        ({"command": "python train.py"}, "command", "list"),
        ({"command": [""]}, "command", "empty"),
        ({"command": ["a", 1]}, "command", "must be text"),
        ({"command": ["a", None]}, "command", "must be text"),
        ({"command": ["a\0b"]}, "command", "cannot be passed"),
        ({"command": ["a\ud800"]}, "command", "cannot be passed"),
        ({**COMMAND, "quue": "climate"}, "quue", "no field"),
        ({**COMMAND, "memory": ["4Gi"]}, "memory", "no field"),
        ({**COMMAND, "name": "two\nlines"}, "name", "one line"),
        ({**COMMAND, "name": " "}, "name", "name: must not be empty."),
        ({**COMMAND, "image": ""}, "image", "image: must not be empty."),
        ({**COMMAND, "name": "x" * 121}, "name", "name: must have at most 120 characters, not 121."),
        ({**COMMAND, "queue": "x" * 600}, "queue", "queue: must have at most 512 characters, not 600."),
        (
            {**COMMAND, "env": {f"A{n}": "" for n in range(1001)}},
            "env",
            "env: must have at most 1000 entries, not 1001.",
        ),
        ({**COMMAND, "profile": ["small"]}, "profile", "must be text"),
        ({**COMMAND, "queue": "a\nb"}, "queue", "one line"),
        ({**COMMAND, "wall_time": 8.5}, "wall_time", "(90m, 8h, 1h30m, 2d)"),
        ({**COMMAND, "wall_time": "8 hours"}, "wall_time", "(90m, 8h, 1h30m, 2d)"),
        ({**COMMAND, "env": ["A=b"]}, "env", "env: must be a map (key: value), for example"),
        ({**COMMAND, "env": {"A": 1}}, "env", "env.A: must be text, not a number. Quote it"),
        ({**COMMAND, "env": {"A\n": 1}}, "env", "env: must be text"),
        ({"command": ["a", 1]}, "command", "command.1: must be text"),
        ({**COMMAND, "env": {"A": {"B": ["\0"]}}}, "env", "cannot be passed"),
        ({**COMMAND, "env": {"A-B": ""}}, "env", "A-B"),
        ({**COMMAND, "env": {"1A": ""}}, "env", "no digit at the beginning"),
        ({**COMMAND, "env": {"A": "\0"}}, "env", "cannot be passed"),
        ({**COMMAND, "env": {"\udfff": ""}}, "env", "cannot be passed"),
        ({**COMMAND, "workdir": "results"}, "workdir", "absolute"),
        ({**COMMAND, "workdir": "~/../bob"}, "workdir", "absolute"),
        ({**COMMAND, "workdir": "~bob"}, "workdir", "absolute"),
        ({**COMMAND, "workdir": "/home/alice/../bob"}, "workdir", "absolute"),
        ({**COMMAND, "workdir": "/home/alice/"}, "workdir", "absolute"),
        ({**COMMAND, "workdir": "/home/alice/a\nb"}, "workdir", "has characters that cannot be printed"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(body, field, told):
    found = refusal(body)
    assert (found.status, found.field) == (400, field)
    assert told in found.message


@pytest.mark.parametrize(
    "name",
    [
        "JUPYTERHUB_API_TOKEN",
        "RESEARCH_QUEUE",
        "NVIDIA_VISIBLE_DEVICES",
        "AMD_VISIBLE_DEVICES",
        "HABANA_VISIBLE_DEVICES",
        "ASCEND_VISIBLE_DEVICES",
        "CUDA_VISIBLE_DEVICES",
        "NVIDIA_MIG_CONFIG_DEVICES",
        "ASCEND_RUNTIME_OPTIONS",
        "KUBERNETES_SERVICE_HOST",
        "LD_PRELOAD",
        "LD_AUDIT",
        "NSS_WRAPPER_PASSWD",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "NB_UID",
        "NB_UMASK",
    ],
)
def test_some_names_of_variables_are_not_yours(name):
    found = refusal({**COMMAND, "env": {name: "x"}})
    assert found.field == "env"
    assert name in found.message


def test_path_is_yours():
    assert started(composed({**COMMAND, "env": {"PATH": "/home/alice/bin:/usr/bin"}}))[1]["PATH"].startswith("/home")


def test_what_the_site_sets_is_said_and_not_silently_lost():
    site = samples.site_with({"scheduler": {"kind": "plain"}, "pods": {"base": {"env": {"HTTPS_PROXY": "http://p"}}}})
    with pytest.raises(Refusal) as caught:
        composed({**COMMAND, "env": {"HTTPS_PROXY": "http://mine"}}, site=site)
    assert (caught.value.field, caught.value.status) == ("env", 400)


@pytest.mark.parametrize("body", [None, True, 3, 2.5, "text", [], [COMMAND]])
def test_a_body_that_is_no_object_is_refused(body):
    assert "JSON object" in refusal(body).message


def test_too_many_bytes_are_refused_however_they_are_spread():
    assert refusal({"command": ["a", "x" * WORDS_LIMIT]}).code == "too-long"
    assert refusal({**COMMAND, "env": {f"V{n}": "x" * 1000 for n in range(300)}}).code == "too-long"


LONG = "Z" * 5000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [LONG, [LONG], {LONG: LONG}, {LONG: 1}, {"a": LONG}, [[LONG]], 10**400])
def test_refusal_repeats_at_most_200_characters_of_a_value(kind, value):
    fields = (*KINDS[kind].REQUEST.model_fields, "kind", LONG)
    refusals = [refusal_of({"kind": kind, "command": ["a"], field: value}) for field in fields]
    written = [json.dumps(refusal.as_dict()) for refusal in refusals if refusal]
    assert len(written) > 5
    assert max(len(repeated) for text in written for repeated in re.findall(r"Z+|0+", text)) <= 200


def refusal_of(body):
    try:
        parse_submission(body)
    except Refusal as refusal:
        return refusal
    return None


def test_null_is_as_good_as_absent():
    everything = dict.fromkeys(("name", "image", "profile", "queue", "workdir", "kind"))
    assert parse_submission({**COMMAND, **everything}) == parse_submission(COMMAND)


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(ANY_TEXT, below, max_size=3),
    max_leaves=6,
)
LIKELY = (
    st.lists(ANY_TEXT, max_size=3)
    | st.sampled_from(
        ["small", "a100", "climate", "backfill", "8h", "0s", "99999999d", "/home/alice", "/etc", "default"]
    )
    | st.dictionaries(st.sampled_from(["A", "HOME", "PATH", "A B"]), ANY_TEXT, max_size=2)
)
BODIES = JSON | st.dictionaries(st.sampled_from([*JobRequest.model_fields, "uid"]), LIKELY | JSON)


@given(
    body=BODIES
    | st.builds(
        lambda more: {**COMMAND, **more},
        st.dictionaries(
            st.sampled_from(["name", "profile", "queue", "wall_time", "image", "env", "workdir"]), LIKELY, max_size=3
        ),
    )
)
def test_any_body_is_a_job_that_passes_or_a_refusal(body):
    try:
        found = composed(body)
    except Refusal as refused:
        assert refused.status in (400, 403)
        json.dumps(refused.as_dict()).encode()
    else:
        assert found["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 20001
        assert len(json.dumps(found)) < 1_000_000


def test_composing_twice_changes_nothing():
    site = plain_site()
    submission = parse_submission(COMMAND)
    asked = submission.plan_request("alice")
    decided = plan(site, samples.person("alice"), asked, run_id="r-1", now=samples.NOW)
    once = compose(decided, submission.manifest(decided, site.batch), SLOTS)
    assert compose(decided, once, SLOTS) == once
    assert problems(decided, once, SLOTS) == []
