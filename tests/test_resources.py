"""The resources of a profile: CPU, memory, kinds and parts of GPUs, and NUMA placement."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from jupyter_research_spawner.resources import DraGpu, Gpu, KaiFraction, Resources, Sized, VolcanoVgpu


def sized(**written: Any) -> Resources:
    return Sized.model_validate({"cpu": 2, "memory": "4Gi", **written}).resources()


def refused(**written: Any) -> str:
    with pytest.raises(ValidationError) as error:
        sized(**written)
    return "\n".join(item["msg"] for item in error.value.errors())


def both(**amounts: str) -> dict[str, dict[str, str]]:
    return {"requests": amounts, "limits": amounts}


@pytest.mark.parametrize(
    ("written", "requirements"),
    [
        ({}, both(cpu="2", memory="4Gi")),
        ({"cpu": "500m", "memory": "1500Mi"}, both(cpu="500m", memory="1500Mi")),
        ({"cpu": 16, "memory": "120G"}, both(cpu="16", memory="117187500Ki")),
        ({"gpu": {"kind": "whole"}}, both(cpu="2", memory="4Gi", **{"nvidia.com/gpu": "1"})),
        ({"gpu": {"kind": "whole", "count": 4}}, both(cpu="2", memory="4Gi", **{"nvidia.com/gpu": "4"})),
        ({"gpu": {"kind": "whole", "resource": "amd.com/gpu"}}, both(cpu="2", memory="4Gi", **{"amd.com/gpu": "1"})),
        ({"gpu": {"kind": "shared"}}, both(cpu="2", memory="4Gi", **{"nvidia.com/gpu.shared": "1"})),
        (
            {"gpu": {"kind": "mig", "count": 2, "resource": "nvidia.com/mig-1g.10gb"}},
            both(cpu="2", memory="4Gi", **{"nvidia.com/mig-1g.10gb": "2"}),
        ),
        ({"gpu": {"kind": "kai-fraction", "fraction": 0.5}}, both(cpu="2", memory="4Gi")),
        (
            {"gpu": {"kind": "volcano-vgpu"}},
            both(cpu="2", memory="4Gi", **{"volcano.sh/vgpu-number": "1"}),
        ),
        (
            {"gpu": {"kind": "volcano-vgpu", "count": 2, "memory": "3Gi", "cores": 50, "mode": "hami-core"}},
            both(
                cpu="2",
                memory="4Gi",
                **{"volcano.sh/vgpu-number": "2", "volcano.sh/vgpu-memory": "3072", "volcano.sh/vgpu-cores": "50"},
            ),
        ),
        (
            {"gpu": {"kind": "hami", "memory": "8Gi", "cores": 30}},
            both(
                cpu="2",
                memory="4Gi",
                **{"nvidia.com/gpu": "1", "nvidia.com/gpumem": "8192", "nvidia.com/gpucores": "30"},
            ),
        ),
        (
            {"gpu": {"kind": "hami", "count": 2, "memory_percentage": 100}},
            both(cpu="2", memory="4Gi", **{"nvidia.com/gpu": "2", "nvidia.com/gpumem-percentage": "100"}),
        ),
        (
            {"gpu": {"kind": "dra", "device_class": "gpu.nvidia.com", "count": 2}},
            {**both(cpu="2", memory="4Gi"), "claims": [{"name": "gpu"}]},
        ),
        ({"cpu": 4, "numa": "single-node"}, both(cpu="4", memory="4Gi")),
    ],
)
def test_requests_equal_limits(written: dict[str, Any], requirements: dict[str, Any]) -> None:
    assert sized(**written).as_requirements() == requirements


KINDS = "kind of a GPU must be one of whole, mig, shared, kai-fraction, volcano-vgpu, hami, dra"


@pytest.mark.parametrize(
    ("gpu", "sentence"),
    [
        ({"kind": "mig"}, "kind mig needs the name of the slice: resource: nvidia.com/mig-1g.10gb"),
        ({"kind": "shared", "count": 2}, "kind shared requires count: 1, because"),
        ({"kind": "half"}, KINDS),
        ({}, KINDS),
        ({"kind": "whole", "count": 0}, "greater than or equal to 1"),
        ({"kind": "whole", "count": 65}, "less than or equal to 64"),
        ({"kind": "whole", "count": True}, "valid integer"),
        ({"kind": "whole", "count": "2"}, "valid integer"),
        ({"kind": "whole", "count": 1.0}, "valid integer"),
        ({"kind": "whole", "resource": "gpu"}, "should match pattern"),
        ({"kind": "whole", "resource": "nvidia.com/gpu\n"}, "should match pattern"),
        ({"kind": "whole", "resource": "cpu"}, "should match pattern"),
        ({"kind": "whole", "resource": "a/b/c"}, "should match pattern"),
        ("whole", KINDS),
        ([{"kind": "whole"}, {"kind": "shared"}], KINDS),
        ({"kind": "whole", "fraction": 0.5}, "Extra inputs are not permitted"),
        ({"kind": "kai-fraction", "fraction": 0.5, "resource": "nvidia.com/gpu"}, "Extra inputs are not permitted"),
        ({"kind": "kai-fraction"}, "either fraction or memory, for example"),
        ({"kind": "kai-fraction", "fraction": 0.5, "memory": "8Gi"}, "either fraction or memory"),
        ({"kind": "kai-fraction", "fraction": 1}, "For whole GPUs use kind: whole with a count"),
        ({"kind": "kai-fraction", "fraction": 0}, "0 is not between 0 and 1"),
        ({"kind": "kai-fraction", "fraction": 0.00}, "0.0 is not between 0 and 1"),
        ({"kind": "kai-fraction", "fraction": 0.333}, "0.333 is not a valid fraction of a GPU. Write a number with"),
        ({"kind": "kai-fraction", "fraction": -0.5}, "-0.5 is not a valid fraction of a GPU"),
        ({"kind": "kai-fraction", "fraction": True}, "true is not a valid fraction of a GPU"),
        ({"kind": "kai-fraction", "fraction": "half"}, "'half' is not a valid fraction of a GPU"),
        ({"kind": "kai-fraction", "fraction": "."}, "'.' is not a valid fraction of a GPU"),
        ({"kind": "kai-fraction", "fraction": 1e-7}, "is not a valid fraction of a GPU"),
        ({"kind": "kai-fraction", "memory": "8G"}, "7812500Ki is not a whole number of mebibytes. Write for example"),
        ({"kind": "kai-fraction", "memory": 8}, "Is the unit missing?"),
        ({"kind": "volcano-vgpu", "memory_percentage": 50}, "Extra inputs are not permitted"),
        ({"kind": "volcano-vgpu", "cores": 101}, "less than or equal to 100"),
        ({"kind": "volcano-vgpu", "cores": 0}, "greater than or equal to 1"),
        ({"kind": "volcano-vgpu", "mode": "mps"}, "Input should be 'hami-core' or 'mig'"),
        ({"kind": "volcano-vgpu", "mode": "mig", "cores": 50}, "mode mig uses slices with a fixed number of cores"),
        ({"kind": "hami", "mode": "mig"}, "Extra inputs are not permitted"),
        ({"kind": "hami", "memory_percentage": "50"}, "valid integer"),
        (
            {"kind": "hami", "memory": "1Gi", "memory_percentage": 50},
            "memory and memory_percentage cannot be used together",
        ),
        ({"kind": "dra"}, "Field required"),
        ({"kind": "dra", "device_class": "GPU"}, "should match pattern"),
        ({"kind": "dra", "device_class": "gpu.nvidia.com", "count": 33}, "less than or equal to 32"),
        ({"kind": "dra", "device_class": "gpu.nvidia.com", "selectors": [""]}, "a selector must be one line of CEL"),
        (
            {"kind": "dra", "device_class": "gpu.nvidia.com", "selectors": ["a\nb"]},
            "a selector must be one line of CEL",
        ),
        ({"kind": "dra", "device_class": "gpu.nvidia.com", "selectors": "true"}, "valid list"),
    ],
)
def test_an_invalid_gpu_is_an_error(gpu: Any, sentence: str) -> None:
    assert sentence in refused(gpu=gpu)


@pytest.mark.parametrize(
    ("cpu", "cpu_shown", "way_out"),
    [(2.5, "2500m", "cpu: 3"), ("500m", "500m", "cpu: 1"), ("3999m", "3999m", "cpu: 4")],
)
def test_numa_placement_needs_whole_cpus(cpu: Any, cpu_shown: str, way_out: str) -> None:
    message = refused(cpu=cpu, numa="single-node")
    assert f"numa: single-node needs whole CPUs, but cpu is {cpu_shown}" in message
    assert f"Write {way_out}, or leave numa out" in message
    assert sized(cpu=cpu).numa is None


@pytest.mark.parametrize("cpu", [2, "2", 2.0, "2000m"])
def test_every_notation_of_whole_cpus_is_accepted(cpu: Any) -> None:
    assert sized(cpu=cpu, numa="single-node") == Resources(Decimal(2), 4 * 2**30, numa="single-node")


@pytest.mark.parametrize("numa", ["single-numa-node", "restricted", True])
def test_an_unknown_numa_policy_is_an_error(numa: Any) -> None:
    assert "Input should be 'single-node'" in refused(numa=numa)


@pytest.mark.parametrize(
    "gpu", [{"kind": "kai-fraction", "fraction": 0.5}, {"kind": "dra", "device_class": "gpu.nvidia.com"}]
)
def test_numa_placement_is_an_error_for_gpus_that_the_kubelet_cannot_align(gpu: dict[str, Any]) -> None:
    message = refused(gpu=gpu, numa="single-node")
    assert f"numa: single-node cannot be used with a GPU of kind {gpu['kind']}" in message
    assert "Leave numa out, or use kind whole, mig or shared" in message
    for kind in ({"kind": "whole"}, {"kind": "volcano-vgpu"}, {"kind": "hami"}):
        assert sized(gpu=kind, numa="single-node").numa == "single-node"


A_GPU: TypeAdapter[Gpu] = TypeAdapter(Gpu)


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ({"kind": "whole", "count": 2}, "2 GPU (nvidia.com/gpu)"),
        ({"kind": "mig", "resource": "nvidia.com/mig-1g.10gb"}, "1 MIG slice (nvidia.com/mig-1g.10gb)"),
        ({"kind": "mig", "count": 2, "resource": "nvidia.com/mig-1g.10gb"}, "2 MIG slices (nvidia.com/mig-1g.10gb)"),
        ({"kind": "shared"}, "a share of a GPU (nvidia.com/gpu.shared)"),
        ({"kind": "kai-fraction", "fraction": 0.5}, "half a GPU"),
        ({"kind": "kai-fraction", "fraction": "0.50", "count": 2}, "half of each of 2 GPUs"),
        ({"kind": "kai-fraction", "fraction": 0.25}, "a quarter of a GPU"),
        ({"kind": "kai-fraction", "fraction": 0.75, "count": 3}, "three quarters of each of 3 GPUs"),
        ({"kind": "kai-fraction", "fraction": 0.3}, "0.3 of a GPU"),
        ({"kind": "kai-fraction", "memory": "8Gi"}, "8Gi of a GPU's memory"),
        ({"kind": "kai-fraction", "memory": "500Mi", "count": 2}, "500Mi of the memory of each of 2 GPUs"),
        ({"kind": "volcano-vgpu"}, "1 virtual GPU"),
        (
            {"kind": "volcano-vgpu", "memory": "3Gi", "cores": 50},
            "1 virtual GPU with 3Gi of memory and 50% of the cores",
        ),
        ({"kind": "volcano-vgpu", "memory": "5Gi", "mode": "mig"}, "1 virtual GPU with 5Gi of memory (mig)"),
        ({"kind": "hami", "count": 2, "memory_percentage": 30}, "2 virtual GPUs, each with 30% of the memory"),
        ({"kind": "dra", "device_class": "gpu.nvidia.com"}, "1 GPU (device class gpu.nvidia.com)"),
        (
            {"kind": "dra", "device_class": "mig.nvidia.com", "count": 2, "selectors": ["true"]},
            "2 GPU (device class mig.nvidia.com, selected)",
        ),
    ],
)
def test_a_gpu_is_shown_in_plain_words(gpu: dict[str, Any], words: str) -> None:
    assert str(A_GPU.validate_python(gpu)) == words
    assert str(sized(gpu=gpu)) == f"2 CPU, 4Gi, {words}"


A100 = "NVIDIA A100, 40 GB"


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        ({"kind": "whole", "count": 2}, f"2 {A100}"),
        ({"kind": "mig", "resource": "nvidia.com/mig-1g.5gb"}, f"1 {A100}"),
        ({"kind": "shared"}, f"a share of 1 {A100}"),
        ({"kind": "kai-fraction", "fraction": 0.5}, f"half of 1 {A100}"),
        ({"kind": "kai-fraction", "fraction": 0.25, "count": 2}, f"a quarter of each of 2 {A100}"),
        ({"kind": "kai-fraction", "memory": "8Gi"}, f"8Gi of the memory of 1 {A100}"),
        ({"kind": "volcano-vgpu", "memory": "5Gi", "mode": "mig"}, f"1 virtual {A100}, with 5Gi of memory"),
        ({"kind": "hami", "count": 2, "cores": 30}, f"2 virtual {A100}, each with 30% of the cores"),
        ({"kind": "dra", "device_class": "gpu.nvidia.com", "selectors": ["true"]}, f"1 {A100}"),
    ],
)
def test_the_title_of_a_gpu_is_shown_to_users_but_does_not_make_it_another_gpu(gpu: dict[str, Any], words: str) -> None:
    titled = {**gpu, "title": A100}
    assert sized(gpu=titled).described() == f"2 CPU, 4 GiB, {words}"
    assert str(sized(gpu=titled)) == str(sized(gpu=gpu)) == sized(gpu=gpu).described().replace("4 GiB", "4Gi")
    assert sized(gpu=titled).as_requirements() == sized(gpu=gpu).as_requirements()


def test_resources_are_shown_as_one_line() -> None:
    assert str(sized(cpu=16, memory="120Gi", gpu={"kind": "whole"}, numa="single-node")) == (
        "16 CPU, 120Gi, 1 GPU (nvidia.com/gpu), on one NUMA node"
    )
    assert str(sized(cpu="500m")) == "0.5 CPU, 4Gi"


@pytest.mark.parametrize(
    ("gpu", "annotations"),
    [
        ({"fraction": 0.5}, {"gpu-fraction": "0.5"}),
        ({"fraction": "0.10"}, {"gpu-fraction": "0.1"}),
        ({"fraction": 0.5, "count": 2}, {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "2"}),
        ({"memory": "8Gi"}, {"gpu-memory": "8192"}),
        ({"memory": 2**20, "count": 4}, {"gpu-memory": "1", "gpu-fraction-num-devices": "4"}),
    ],
)
def test_kai_annotations_have_the_fraction_or_the_memory_in_mebibytes(
    gpu: dict[str, Any], annotations: dict[str, str]
) -> None:
    assert KaiFraction(kind="kai-fraction", **gpu).annotations() == annotations


@given(st.integers(1, 99))
def test_every_fraction_is_written_exactly_into_the_kai_annotation(hundredths: int) -> None:
    written = hundredths / 100
    annotation = KaiFraction.model_validate({"kind": "kai-fraction", "fraction": written}).annotations()["gpu-fraction"]
    assert float(annotation) == written
    assert 0 < float(annotation) < 1
    assert "e" not in annotation.lower()


def test_the_volcano_mode_annotation_is_set_only_if_the_profile_has_a_mode() -> None:
    assert VolcanoVgpu(kind="volcano-vgpu", mode="mig").annotations() == {"volcano.sh/vgpu-mode": "mig"}
    assert VolcanoVgpu(kind="volcano-vgpu").annotations() == {}


def dra(**written: Any) -> DraGpu:
    return DraGpu.model_validate({"kind": "dra", "device_class": "gpu.nvidia.com", **written})


def test_a_claim_requests_the_count_and_selectors_of_the_profile() -> None:
    at_least = "device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('40Gi')) >= 0"
    assert dra(count=2, selectors=[at_least]).claim_spec() == {
        "devices": {
            "requests": [
                {
                    "name": "gpu",
                    "exactly": {
                        "deviceClassName": "gpu.nvidia.com",
                        "allocationMode": "ExactCount",
                        "count": 2,
                        "selectors": [{"cel": {"expression": at_least}}],
                    },
                }
            ]
        }
    }


def test_each_different_claim_has_a_template_name_of_its_own() -> None:
    gpus = [
        dra(),
        dra(count=2),
        dra(selectors=["true"]),
        dra(device_class="mig.nvidia.com"),
        dra(device_class="gpu-nvidia.com"),
        dra(device_class="g" * 253),
    ]
    names = {gpu.template for gpu in gpus}
    assert len(names) == len(gpus)
    assert all(re.fullmatch(r"research-[a-z0-9]([a-z0-9-]{0,52}[a-z0-9])", name) for name in names), names
    assert dra().template == dra(count=1, selectors=[]).template
    assert dra().claims() == [{"name": "gpu", "resourceClaimTemplateName": dra().template}]


parts = {
    "memory": st.none() | st.integers(1, 2**20).map(lambda size: size * 2**20),
    "cores": st.none() | st.integers(1, 100),
}
gpus = st.one_of(
    st.none(),
    st.fixed_dictionaries({"kind": st.just("whole"), "count": st.integers(1, 64)}),
    st.fixed_dictionaries(
        {"kind": st.just("mig"), "count": st.integers(1, 64), "resource": st.just("nvidia.com/mig-3g.40gb")}
    ),
    st.just({"kind": "shared"}),
    st.fixed_dictionaries({"kind": st.just("kai-fraction"), "fraction": st.integers(1, 99).map(lambda n: n / 100)}),
    st.fixed_dictionaries({"kind": st.sampled_from(["volcano-vgpu", "hami"]), "count": st.integers(1, 64), **parts}),
    st.fixed_dictionaries({"kind": st.just("dra"), "device_class": st.just("gpu.nvidia.com")}),
)
# Prefixes of resources, one for each device plugin.  A container with two of them would request GPUs twice.
PLUGIN_PREFIXES = ("nvidia.com/mig-", "nvidia.com/", "volcano.sh/")


@given(st.integers(1, 4096000), st.integers(2**20, 2**50), gpus)
def test_a_pod_is_guaranteed_and_requests_one_kind_of_gpu(millicores: int, memory: int, written: Any) -> None:
    gpu = None if written is None else A_GPU.validate_python(written)
    asked = Resources(Decimal(millicores) / 1000, memory, gpu)
    requirements = asked.as_requirements()
    assert requirements["requests"] == requirements["limits"]
    devices = requirements["limits"].keys() - {"cpu", "memory"}
    prefixes = {next(prefix for prefix in PLUGIN_PREFIXES if device.startswith(prefix)) for device in devices}
    is_annotated = gpu is not None and gpu.kind == "kai-fraction"
    assert len(prefixes) + len(asked.claims()) + is_annotated == (gpu is not None)
    assert [claim["name"] for claim in asked.claims()] == [claim["name"] for claim in requirements.get("claims", [])]
    assert Sized.model_validate({key: requirements["limits"][key] for key in ("cpu", "memory")}).resources() == (
        Resources(Decimal(millicores) / 1000, memory)
    )


@given(gpus.filter(lambda written: written is not None))
def test_a_gpu_survives_a_round_trip_through_json(written: Any) -> None:
    gpu = A_GPU.validate_python(written)
    assert A_GPU.validate_python(json.loads(gpu.model_dump_json(exclude_none=True))) == gpu
