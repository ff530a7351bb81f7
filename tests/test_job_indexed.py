"""Defaults of the kinds of job that are stored as an Indexed Job."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from jupyter_research_spawner.jobs import indexed
from jupyter_research_spawner.refusal import Refusal

BATCH = samples.site_with({"scheduler": {"kind": "plain"}, "batch": {"max_array_size": 5}}).batch


def a_job(size: int = 5, parallelism: int = 2, status: Any = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {**indexed.job_spec(size, parallelism, BATCH, "values"), **spec}, "status": status or {}}


def test_indexes_count_from_zero():
    assert list(indexed.indexes(a_job())) == [0, 1, 2, 3, 4]
    assert list(indexed.indexes({"spec": {}})) == []


@pytest.mark.parametrize(
    ("name", "index"), [("a-1-2-4-abcde", 4), ("train-0-abcde", 0), ("train-5-abcde", None), ("train-abcde", None)]
)
def test_a_pod_runs_the_completion_index_in_its_name(name, index):
    assert indexed.index_of(a_job(), name) == index


def test_fewer_pods_can_be_active_when_indexes_have_ended():
    assert (indexed.index_results(a_job()), indexed.active_pod_count(a_job())) == ({}, 2)
    job = a_job(status={"completedIndexes": "0,2-3", "failedIndexes": "1"})
    assert indexed.index_results(job) == {0: True, 2: True, 3: True, 1: False}
    assert indexed.active_pod_count(job) == 1
    assert len(indexed.index_results(a_job(status={"completedIndexes": "0-999999999"}))) == 5


@pytest.mark.parametrize(
    ("spec", "decides"),
    [
        ({}, True),
        ({"backoffLimitPerIndex": 2}, False),
        ({"backoffLimitPerIndex": 2, "backoffLimit": 0}, True),
        ({"backoffLimitPerIndex": None, "backoffLimit": 6}, False),
    ],
)
def test_a_failed_pod_ends_its_index_only_without_retries(spec, decides):
    assert indexed.pod_decides(a_job(**spec), False) is decides
    assert indexed.pod_decides(a_job(**spec), True) is True


def test_more_indexes_than_the_site_allows_are_refused_with_the_field_of_the_kind():
    with pytest.raises(Refusal) as caught:
        indexed.job_spec(6, 1, BATCH, "values")
    assert (caught.value.code, caught.value.field, caught.value.status) == ("array-too-large", "values", 400)
