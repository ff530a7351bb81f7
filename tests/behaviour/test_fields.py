"""Field validation (KEP-2885), and the normal form in which values are stored."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from kube import APPLY, JSON_PATCH, MERGE, STRATEGIC, Answer, Json, Kube, config_map, job, pod

HANDLED = 'Pod in version "v1" cannot be handled as a Pod: '


def misspelled() -> Json:
    body = pod("p", nodename="n1")
    body["spec"]["containers"][0]["imagee"] = "example/image:1"
    return body


UNKNOWN = ['unknown field "spec.containers[0].imagee"', 'unknown field "spec.nodename"']


def sentences(answer: Answer) -> list[str]:
    """Return the messages of the Warning headers."""
    return sorted(json.loads(found.removeprefix("299 - ")) for found in answer.headers.getall("Warning", []))


async def sent_as_text(kube: Kube, text: str, **query: str) -> Answer:
    async with kube.session.post(
        f"{kube.here}/pods", data=text, params=query, headers={"Content-Type": "application/json"}
    ) as response:
        return Answer(response.status, await response.json(), response.headers)


async def test_strict_refuses_unknown_fields_by_name(kube: Kube) -> None:
    answer = await kube.create("pods", misspelled(), fieldValidation="Strict")
    assert answer.said == (400, "BadRequest")
    said = answer.body["message"].removeprefix(f"{HANDLED}strict decoding error: ")
    assert sorted(said.split(", ")) == UNKNOWN
    assert (await kube.get("pods/p")).status == 404


@pytest.mark.parametrize("validation", ["Warn", ""])
async def test_else_they_are_dropped_and_warned_of(kube: Kube, validation: str) -> None:
    answer = await kube.create("pods", misspelled(), fieldValidation=validation)
    assert (answer.status, sentences(answer)) == (201, UNKNOWN)
    assert "nodename" not in answer.body["spec"]
    assert "imagee" not in answer.body["spec"]["containers"][0]


async def test_or_dropped_in_silence(kube: Kube) -> None:
    answer = await kube.create("pods", misspelled(), fieldValidation="Ignore")
    assert (answer.status, sentences(answer)) == (201, [])
    assert "nodename" not in answer.body["spec"]


async def test_fields_of_a_template_are_known_too(kube: Kube) -> None:
    body = job("j", suspend=True)
    body["spec"]["template"]["spec"]["containers"][0]["comand"] = ["true"]
    answer = await kube.call("POST", kube.jobs, body)
    assert answer.said == (400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.template.spec.containers[0].comand"' in answer.body["message"]


async def test_a_field_given_twice_is_refused_or_warned_of(kube: Kube) -> None:
    text = json.dumps(pod("p", {"a": "1"})).replace('"a": "1"', '"a": "1", "a": "2"')
    text = text.replace('"image":', '"image": "other", "image":')
    doubled = ['duplicate field "metadata.labels.a"', 'duplicate field "spec.containers[0].image"']
    strict = await sent_as_text(kube, text, fieldValidation="Strict")
    assert strict.said == (400, "BadRequest")
    assert strict.body["message"] == f"{HANDLED}strict decoding error: {', '.join(doubled)}"
    answer = await sent_as_text(kube, text)
    assert (answer.status, sentences(answer)) == (201, doubled)
    assert answer.body["metadata"]["labels"] == {"a": "2"}


async def test_another_validation_is_422(kube: Kube) -> None:
    answer = await kube.create("pods", pod(), fieldValidation="Severe")
    assert answer.said == (422, "Invalid")
    supported = 'Unsupported value: "Severe": supported values: "", "Ignore", "Strict", "Warn"'
    assert answer.body["message"] == f'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: {supported}'


PATCHES = {
    "merge": (MERGE, {"datum": {"a": "b"}}),
    "strategic": (STRATEGIC, {"datum": {"a": "b"}}),
    "json": (JSON_PATCH, [{"op": "add", "path": "/datum", "value": {"a": "b"}}]),
}


@pytest.mark.parametrize(("content_type", "body"), PATCHES.values(), ids=PATCHES)
async def test_a_patch_may_not_add_unknown_fields(kube: Kube, content_type: str, body: Any) -> None:
    await kube.made("configmaps", config_map("c"))
    answer = await kube.patch("configmaps/c", body, content_type)
    assert answer.said == (422, "Invalid")
    assert answer.body["message"].endswith('strict decoding error: unknown field "datum"')
    warned = await kube.call("PATCH", f"{kube.here}/configmaps/c", body, content_type, fieldValidation="Warn")
    assert (warned.status, sentences(warned)) == (200, ['unknown field "datum"'])
    assert "datum" not in (await kube.get("configmaps/c")).body


async def test_nor_may_apply_whatever_the_validation(kube: Kube) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "datum": {"a": "b"}}
    query = {"fieldManager": "test", "fieldValidation": "Ignore"}
    answer = await kube.call("PATCH", f"{kube.here}/configmaps/c", body, APPLY, **query)
    assert answer.status == 500
    assert "failed to create typed patch object" in answer.body["message"]


def with_spec(**spec: Any) -> Json:
    return pod("p", **spec)


def with_container(**changes: Any) -> Json:
    body = pod("p")
    body["spec"]["containers"][0] |= changes
    return body


UNFIT = "json: cannot unmarshal {} into Go struct field {} of type {}"
WRONG_TYPES = {
    "text for a number": (
        with_spec(securityContext={"runAsUser": "alice"}),
        UNFIT.format("string", "PodSecurityContext.spec.securityContext.runAsUser", "int64"),
    ),
    "half a number": (
        with_spec(securityContext={"runAsUser": 1.5}),
        UNFIT.format("number 1.5", "PodSecurityContext.spec.securityContext.runAsUser", "int64"),
    ),
    "too big a number": (
        with_spec(terminationGracePeriodSeconds=2**70),
        UNFIT.format(f"number {2**70}", "PodSpec.spec.terminationGracePeriodSeconds", "int64"),
    ),
    "text for a truth": (with_spec(hostNetwork="yes"), UNFIT.format("string", "PodSpec.spec.hostNetwork", "bool")),
    "text for a list": (
        with_container(command="true"),
        UNFIT.format("string", "Container.spec.containers.command", "[]string"),
    ),
    "a number in a list of text": (
        with_container(command=[1]),
        UNFIT.format("number", "Container.spec.containers.command", "string"),
    ),
    "a number in an environment": (
        with_container(env=[{"name": "A", "value": 1}]),
        UNFIT.format("number", "EnvVar.spec.containers.env.value", "string"),
    ),
    "a number as a label": (pod("p", {"a": 1}), UNFIT.format("number", "ObjectMeta.metadata.labels", "string")),  # type: ignore[dict-item]
    "a list for a spec": ({**pod("p"), "spec": []}, UNFIT.format("array", "Pod.spec", "v1.PodSpec")),
    "text for metadata": ({**pod("p"), "metadata": "p"}, UNFIT.format("string", "Pod.metadata", "v1.ObjectMeta")),
    "no time": (
        {**pod("p"), "metadata": {"name": "p", "creationTimestamp": "yesterday"}},
        'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
    ),
    "no amount": (
        with_container(resources={"limits": {"cpu": "much"}}),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
}


@pytest.mark.parametrize(("body", "sentence"), WRONG_TYPES.values(), ids=WRONG_TYPES)
async def test_a_wrong_type_is_400(kube: Kube, body: Json, sentence: str) -> None:
    for validation in ("Strict", "Ignore"):
        answer = await kube.create("pods", copy.deepcopy(body), fieldValidation=validation)
        assert answer.said == (400, "BadRequest")
        assert answer.body["message"] == HANDLED + sentence


async def test_a_wrong_type_in_a_patch_is_422(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c"))
    answer = await kube.patch("configmaps/c", {"data": {"a": 1}}, MERGE)
    assert answer.said == (422, "Invalid")
    assert answer.body["message"].endswith(UNFIT.format("number", "ConfigMap.data", "string"))


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"kind": "Job"}, 'Job in version "v1" cannot be handled as a Pod: '),
        ({"apiVersion": "v2"}, 'Pod in version "v2" cannot be handled as a Pod: '),
        ({"apiVersion": "batch/v1", "kind": "Job"}, 'Job in version "v1" cannot be handled as a Pod: '),
    ],
)
async def test_another_kind_is_400(kube: Kube, named: Json, said: str) -> None:
    answer = await kube.create("pods", {**pod("p"), **named})
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"].startswith(said)


async def test_a_secret_is_base64(kube: Kube) -> None:
    answer = await kube.create("secrets", {**config_map("s"), "data": {"a": "%%"}})
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"].endswith("illegal base64 data at input byte 0")


async def test_a_body_of_another_media_type_is_415(kube: Kube) -> None:
    answer = await kube.call("POST", f"{kube.here}/pods", pod(), "text/plain")
    assert answer.said == (415, "UnsupportedMediaType")


async def test_what_is_empty_is_absent_unless_it_is_a_part(kube: Kube) -> None:
    body = pod("p", volumes=[{"name": "v", "emptyDir": {}}], nodeSelector={}, tolerations=None)
    made = await kube.made("pods", body)
    assert "labels" not in made["metadata"]
    assert "nodeSelector" not in made["spec"]
    assert made["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert made["spec"]["containers"][0]["resources"] == {}


AMOUNTS = {
    "1000m": "1",
    "0.5": "500m",
    "1.50": "1500m",
    "2": "2",
    "1024Mi": "1Gi",
    "1.5Gi": "1536Mi",
    "512Ki": "512Ki",
    "1000Ki": "1000Ki",
    "1000000000": "1G",
    "1e3": "1e3",
}


async def test_amounts_are_kept_in_one_way_of_writing(kube: Kube) -> None:
    most = {f"example.com/{number}": amount for number, amount in enumerate(AMOUNTS)}
    body = {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Pod", "max": {**most, "cpu": 2}}]}}
    kept = (await kube.made("limitranges", body))["spec"]["limits"][0]["max"]
    assert kept == {**{name: AMOUNTS[amount] for name, amount in most.items()}, "cpu": "2"}
