"""normalize: the copy is what the Kubernetes client would send as JSON, in plain types, or there is a Refusal."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timezone
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kubernetes_asyncio.client import V1Container, V1ObjectMeta, V1Pod, V1PodSpec
from samples import Json, notebook_pod

from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.pod.normalize import _SPEC, normalize
from jupyter_research_spawner.refusal import Refusal


class Policy(str, Enum):
    STRICT = "Strict"


class Uid(IntEnum):
    ROOT = 0


class Gid(int):
    pass


class Name(str):
    """Text that another text is equal to, and whose str() is another text."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("name")

    def __str__(self) -> str:
        return "another"


class Settings(dict[str, Any]):
    pass


TEXT = st.text(max_size=3) | st.sampled_from(["name", "é", "\ud800", "a\nnull", Policy.STRICT, Name("x")])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers() | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30, Uid.ROOT, Gid(7)]),
    st.floats(),
    TEXT,
    st.sampled_from([b"x", datetime(2026, 11, 23, tzinfo=timezone.utc), {1, 2}, object(), V1Container(name="x")]),
)
KEYS = TEXT | st.none() | st.booleans() | st.integers(0, 2) | st.floats(0, 1) | st.just((1,))
VALUES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.lists(below, max_size=3).map(tuple),
        st.dictionaries(KEYS, below, max_size=3),
        st.dictionaries(TEXT, below, max_size=3).map(OrderedDict),
        st.dictionaries(TEXT, below, max_size=3).map(Settings),
    ),
    max_leaves=8,
)


def sent(value: Any) -> Any:
    """Return what the API server reads after the Kubernetes client has sent `value`.  Raises if it is not JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return json.loads(text.encode())


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(below) for key, below in value.items() if below is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal and have the same types at every place."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(type(key) is str and same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def mutable_parts(value: Any) -> Iterator[int]:
    if isinstance(value, (dict, list, tuple)):
        if not isinstance(value, tuple):
            yield id(value)
        for below in value.values() if isinstance(value, dict) else value:
            yield from mutable_parts(below)


@settings(max_examples=500)
@given(value=VALUES)
@example(value={"1": "a", 1: "b"})
@example(value={"a": [None, {"b": None}]})
@example(value=Settings(a=None))
@example(value={Name("x"): 1, "name": 2})
def test_a_copy_is_what_would_be_sent_in_plain_types(value: Any) -> None:
    try:
        wanted = without_nulls(sent({"field": value}))
    except (TypeError, ValueError):
        with pytest.raises(Refusal, match="is not valid JSON"):
            normalize({"spec": {"field": value}}, SLOTS)
    else:
        copied = normalize({"spec": {"field": value}}, SLOTS)
        assert same(copied, {"spec": wanted, "metadata": {"labels": {}, "annotations": {}}})


@given(value=VALUES)
def test_a_copy_shares_nothing_that_can_change(value: Any) -> None:
    manifest = {"spec": {"one": value, "other": value, "list": [value, value]}}
    try:
        copied = normalize(manifest, SLOTS)
    except Refusal:
        return
    parts = list(mutable_parts(copied))
    assert len(parts) == len(set(parts))
    assert not {*parts} & {*mutable_parts(manifest)}


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        {"a": {b"x"}},
        [float("nan")],
        {"a": float("inf")},
        {"a": float("-inf")},
        "\ud800",
        {"\ud800": 1},
        {"a": ["\udfff"]},
        {(1, 2): "a"},
        datetime(2026, 11, 23, tzinfo=timezone.utc),
        V1Container(name="x"),
        {"a": [V1Container(name="x")]},
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    pod: Json = notebook_pod()
    pod["spec"]["field"] = value
    with pytest.raises(Refusal, match=r"the pod's manifest is not valid JSON: ."):
        normalize(pod, SLOTS)


def test_an_object_of_the_client_is_refused_as_a_whole() -> None:
    pod = V1Pod(metadata=V1ObjectMeta(name="x"), spec=V1PodSpec(containers=[V1Container(name="notebook")]))
    with pytest.raises(Refusal, match="V1Pod is not JSON serializable"):
        normalize(pod, SLOTS)


def test_the_type_of_a_field_is_checked_after_the_copy() -> None:
    pod: Json = notebook_pod()
    pod["spec"]["containers"] = tuple(pod["spec"]["containers"])
    pod["spec"]["containers"][0]["name"] = Name("notebook")
    copied = normalize(pod, SLOTS)
    assert type(copied["spec"]["containers"]) is list
    assert type(copied["spec"]["containers"][0]["name"]) is str
    pod["spec"]["containers"][0]["name"] = Gid(7)
    with pytest.raises(Refusal, match=r"spec\.containers\[0\]\.name is a number, not text"):
        normalize(pod, SLOTS)


def typed_fields(wanted: Any, path: str = "spec") -> Iterator[tuple[str, Any]]:
    """Yield the path and the type of each field that the type check knows, with the first item of each list."""
    yield path, wanted
    if isinstance(wanted, dict):
        for key, below in wanted.items():
            yield from typed_fields(below, f"{path}.{key}")
    elif isinstance(wanted, list):
        yield from typed_fields(wanted[0], f"{path}[0]")


def manifest_with(path: str, value: Any) -> Json:
    """Return a pod with this value at this path, and with a name in each map above it."""
    steps = re.findall(r"\w+|\[0\]", path)
    for step in reversed(steps):
        value = [value] if step == "[0]" else {step: value}
        if isinstance(value, dict) and step != "spec":
            value.setdefault("name", "x")
    return dict(value)


@pytest.mark.parametrize(("path", "wanted"), list(typed_fields(_SPEC)))
def test_a_field_with_another_type_is_refused_at_its_path(path: str, wanted: Any) -> None:
    right = wanted if isinstance(wanted, type) else type(wanted)
    for value in ("x", 1, True, 1.5, ["x"], {"name": "x"}):
        if type(value) is not right:
            with pytest.raises(Refusal) as caught:
                normalize(manifest_with(path, value), SLOTS)
            assert caught.value.field == path
