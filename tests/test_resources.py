"""How large a pod is: CPU, memory, kinds of GPU, one NUMA node."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyter_research_spawner.resources import Gpu, Resources, Sized


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
        ({"cpu": 4, "numa": "single-node"}, both(cpu="4", memory="4Gi")),
    ],
)
def test_what_is_requested_is_the_limit_too(written: dict[str, Any], requirements: dict[str, Any]) -> None:
    assert sized(**written).as_requirements() == requirements


@pytest.mark.parametrize(
    ("gpu", "sentence"),
    [
        ({"kind": "mig"}, "kind mig needs the name of the slice: resource: nvidia.com/mig-1g.10gb"),
        ({"kind": "shared", "count": 2}, "kind shared gives a share of one device: count must be 1"),
        ({"kind": "half"}, "Input should be 'whole', 'mig' or 'shared'"),
        ({}, "Field required"),
        ({"kind": "whole", "count": 0}, "greater than or equal to 1"),
        ({"kind": "whole", "count": 65}, "less than or equal to 64"),
        ({"kind": "whole", "count": True}, "valid integer"),
        ({"kind": "whole", "count": "2"}, "valid integer"),
        ({"kind": "whole", "count": 1.0}, "valid integer"),
        ({"kind": "whole", "resource": "gpu"}, "should match pattern"),
        ({"kind": "whole", "resource": "nvidia.com/gpu\n"}, "should match pattern"),
        ({"kind": "whole", "resource": "cpu"}, "should match pattern"),
        ({"kind": "whole", "resource": "a/b/c"}, "should match pattern"),
        ("whole", "valid dictionary"),
        ([{"kind": "whole"}, {"kind": "shared"}], "valid dictionary"),
    ],
)
def test_a_gpu_that_cannot_be_is_an_error(gpu: Any, sentence: str) -> None:
    assert sentence in refused(gpu=gpu)


@pytest.mark.parametrize(
    ("cpu", "cpu_shown", "way_out"),
    [(2.5, "2500m", "cpu: 3"), ("500m", "500m", "cpu: 1"), ("3999m", "3999m", "cpu: 4")],
)
def test_one_numa_node_needs_whole_cpus(cpu: Any, cpu_shown: str, way_out: str) -> None:
    message = refused(cpu=cpu, numa="single-node")
    assert f"numa: single-node needs whole CPUs, but cpu is {cpu_shown}" in message
    assert f"Write {way_out}, or leave numa out" in message
    assert sized(cpu=cpu).numa is None


@pytest.mark.parametrize("cpu", [2, "2", 2.0, "2000m"])
def test_whole_cpus_are_whole_however_they_are_written(cpu: Any) -> None:
    assert sized(cpu=cpu, numa="single-node") == Resources(Decimal(2), 4 * 2**30, numa="single-node")


@pytest.mark.parametrize("numa", ["single-numa-node", "restricted", True])
def test_a_numa_policy_that_is_not_ours_is_an_error(numa: Any) -> None:
    assert "Input should be 'single-node'" in refused(numa=numa)


def test_resources_are_told_in_a_line() -> None:
    assert str(sized(cpu=16, memory="120Gi", gpu={"kind": "whole"}, numa="single-node")) == (
        "16 CPU, 120Gi, 1 GPU (nvidia.com/gpu), on one NUMA node"
    )
    assert str(sized(cpu="500m")) == "0.5 CPU, 4Gi"


gpus = st.one_of(
    st.none(),
    st.builds(Gpu, kind=st.just("whole"), count=st.integers(1, 64)),
    st.builds(Gpu, kind=st.just("mig"), count=st.integers(1, 64), resource=st.just("nvidia.com/mig-3g.40gb")),
    st.builds(Gpu, kind=st.just("shared")),
)


@given(st.integers(1, 4096000), st.integers(2**20, 2**50), gpus)
def test_a_pod_is_guaranteed_and_asks_for_one_kind_of_gpu(millicores: int, memory: int, gpu: Gpu | None) -> None:
    requirements = Resources(Decimal(millicores) / 1000, memory, gpu).as_requirements()
    assert requirements["requests"] == requirements["limits"]
    assert len(requirements["limits"].keys() - {"cpu", "memory"}) == (0 if gpu is None else 1)
    assert Sized.model_validate({key: requirements["limits"][key] for key in ("cpu", "memory")}).resources() == (
        Resources(Decimal(millicores) / 1000, memory)
    )
