"""Where the pods in a manifest are: through keys, maps and lists."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_research_spawner.shape import EACH, Slots, Template, TemplateMissing

POD = {"spec": {"containers": [{"name": "main"}]}}
JOBSET = Template(("spec", "replicatedJobs", EACH, "template", "spec", "template"), "main")
MPI_JOB = Template(("spec", "mpiReplicaSpecs", EACH, "template"), "main")


def replicated(*pods: Any) -> dict[str, Any]:
    return {"spec": {"replicatedJobs": [{"template": {"spec": {"template": pod}}} for pod in pods]}}


def test_a_pod_is_its_own_template() -> None:
    template = Template((), "main")
    assert template.is_object
    assert template.find(POD) == [POD]


def test_each_item_of_a_list_has_a_pod() -> None:
    first, second = {"spec": {"nodeName": "a"}}, {"spec": {"nodeName": "b"}}
    assert not JOBSET.is_object
    assert JOBSET.find(replicated(first, second)) == [first, second]


def test_each_value_of_a_map_has_a_pod() -> None:
    manifest = {"spec": {"mpiReplicaSpecs": {"Launcher": {"template": POD}, "Worker": {"template": POD}}}}
    slots = Slots((MPI_JOB,))
    assert slots.pods(manifest) == [(MPI_JOB, POD), (MPI_JOB, POD)]
    assert slots.pods(manifest)[1][1] is manifest["spec"]["mpiReplicaSpecs"]["Worker"]["template"]


@pytest.mark.parametrize(
    ("template", "manifest", "path", "value"),
    [
        (JOBSET, {}, "spec", None),
        (JOBSET, {"spec": {}}, "spec.replicatedJobs", None),
        (JOBSET, {"spec": {"replicatedJobs": []}}, "spec.replicatedJobs", []),
        (JOBSET, {"spec": {"replicatedJobs": "two"}}, "spec.replicatedJobs", "two"),
        (JOBSET, replicated(POD, None), "spec.replicatedJobs[1].template.spec.template", None),
        (JOBSET, replicated(POD, [POD]), "spec.replicatedJobs[1].template.spec.template", [POD]),
        (MPI_JOB, {"spec": {"mpiReplicaSpecs": {}}}, "spec.mpiReplicaSpecs", {}),
        (MPI_JOB, {"spec": {"mpiReplicaSpecs": {"Worker": 1}}}, "spec.mpiReplicaSpecs.Worker", 1),
    ],
)
def test_a_missing_template_is_named_with_its_path(template: Template, manifest: Any, path: str, value: Any) -> None:
    with pytest.raises(TemplateMissing) as missing:
        template.find(manifest)
    assert (missing.value.path, missing.value.value) == (path, value)
