"""The settings models for GPUs and parts of GPUs.  Each model is one way to request them.

Written for NVIDIA's k8s-device-plugin 0.20, KAI 0.12, Volcano 1.14.1, HAMi 2.10 and Kubernetes 1.36.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, Union, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    StrictInt,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)

from ..prerequisite import Prerequisite
from ..settings import Bytes, Settings, Title
from ..settings.units import format_bytes
from ..shape import Json
from ..wording import quote

# The name of an extended resource, as nodes advertise it: a domain and a name.
ResourceName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", strict=True
    ),
]
# Kubernetes: a DNS subdomain (RFC 1123).
DeviceClassName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", strict=True, max_length=253)
]
NO_DEVICES = ("", "none", "void")
# Images for CUDA set this to "all", which NVIDIA's runtime obeys on every node with its devices.
NVIDIA_DEVICES = "NVIDIA_VISIBLE_DEVICES"
# Domains of extended resources and DeviceClasses whose devices are not NVIDIA's.
_OTHER_VENDORS = (
    "alibabacloud.com",
    "amd.com",
    "aws.amazon.com",
    "cambricon.com",
    "enflame.com",
    "google.com",
    "habana.ai",
    "huawei.com",
    "hygon.com",
    "iluvatar.ai",
    "iluvatar.com",
    "intel.com",
    "metax-tech.com",
    "mthreads.com",
    "qualcomm.com",
    "xilinx.com",
)
# Variables that the container runtimes of NVIDIA and Huawei obey besides those that end in _VISIBLE_DEVICES.
_RUNTIME_ENV = (
    "NVIDIA_CTK_",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_GDRCOPY",
    "NVIDIA_GDS",
    "NVIDIA_IMEX_",
    "NVIDIA_MIG_",
    "NVIDIA_MOFED",
    "NVIDIA_NVSWITCH",
    "ASCEND_RUNTIME_OPTIONS",
    "ASCEND_VNPU_SPECS",
)
# The prefix of the extended resources of DeviceClasses (KEP-5004), which nodes do not report.
_DEVICE_CLASS = "deviceclass.resource.kubernetes.io/"
Percent = Annotated[StrictInt, Field(ge=1, le=100)]
_MEBIBYTE = 2**20


def _whole_mebibytes(size: int) -> int:
    """Return `size`, a number of bytes.  Raises ValueError if `size` is not a whole number of mebibytes."""
    if size % _MEBIBYTE:
        raise ValueError(f"{format_bytes(size)} is not a whole number of mebibytes. Write for example 8Gi or 500Mi")
    return size


def gives_devices(variable: str) -> bool:
    """Return whether this variable may make a container runtime give a container devices that it does not request.

    The runtimes of NVIDIA, AMD, Habana, Huawei and others read NVIDIA_VISIBLE_DEVICES, HABANA_VISIBLE_DEVICES and so
    on.  CUDA_VISIBLE_DEVICES and similar variables only choose among the devices that the container has, but
    their names do not show this difference.
    """
    return variable.endswith("_VISIBLE_DEVICES") or variable.startswith(_RUNTIME_ENV)


def may_be_nvidia(resource: str) -> bool:
    """Return whether an extended resource or a DeviceClass may be a device of NVIDIA.

    The result is False only for the known domains of other vendors.  Administrators choose the names of DeviceClasses,
    and device plugins for parts of NVIDIA's GPUs have other domains than NVIDIA.
    """
    name = resource.removeprefix(_DEVICE_CLASS)
    domain = f".{name.partition('/')[0]}"
    return not domain.endswith(tuple(f".{vendor}" for vendor in _OTHER_VENDORS))


GpuMemory = Annotated[Bytes, AfterValidator(_whole_mebibytes)]


def _parse_fraction(written: Any) -> Decimal:
    """Parse a fraction of a GPU between 0 and 1 with at most two decimal places.  Raises ValueError.

    Source: KAI counts hundredths of a GPU (gpu_resource_requirment.go).
    """
    number = isinstance(written, (int, float, str, Decimal)) and not isinstance(written, bool)
    text = str(written)
    if not number or not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text.partition(".")[2]) > 2:
        raise ValueError(
            f"{quote(written)} is not a valid fraction of a GPU. "
            "Write a number with at most two decimal places: 0.5 or 0.25"
        )
    fraction = Decimal(text)
    if not 0 < fraction < 1:
        raise ValueError(f"{text} is not between 0 and 1. For whole GPUs use kind: whole with a count")
    return fraction


Fraction = Annotated[
    Decimal,
    BeforeValidator(_parse_fraction),
    PlainSerializer(float, return_type=float),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]


class _Gpu(Settings):
    # Whether the kubelet's topology manager aligns the device.  In 1.36 it supports device plugins, but not DRA.
    is_aligned: ClassVar[bool] = True
    # A sentence about what the device plugin needs to align the device.  `lint` prints this sentence.
    alignment_advice: ClassVar[str] = ""

    kind: str
    count: StrictInt = Field(1, title="Number of GPUs", ge=1, le=64)
    title: Title | None = Field(
        None,
        title="Name of the device that users see",
        description="Without a number: pages write `1 NVIDIA A100, 40 GB`. Default: the name of the resource.",
        examples=["NVIDIA A100, 40 GB"],
    )

    def in_words(self, device: str | None) -> str:
        """Return the number of devices, or the part of a device, as words.  `device` is its name; None: by resource."""
        raise NotImplementedError

    def described(self) -> str:
        """Return what users read about it on pages, with the title of the device."""
        return self.in_words(self.title)

    def __str__(self) -> str:
        """Return it without the title, because a changed title must not look like another device."""
        return self.in_words(None)

    def amounts(self) -> dict[str, str]:
        """Return the extended resources that the main container requests, with their amounts."""
        return {}

    def claims(self) -> list[Json]:
        """Return the pod's `resourceClaims`, all of which the main container uses."""
        return []

    @property
    def is_in_allocatable(self) -> bool:
        """Return whether nodes report the devices as one number in `allocatable`, and nothing else decides."""
        return False

    @property
    def may_be_nvidia(self) -> bool:
        """Return whether a device plugin, the scheduler or a driver may set NVIDIA_VISIBLE_DEVICES for this device."""
        return all(map(may_be_nvidia, self.amounts()))


class _Counted(_Gpu):
    """GPUs that are requested as one extended resource, which all schedulers support."""

    @property
    def resource_name(self) -> str:
        raise NotImplementedError

    @property
    def is_in_allocatable(self) -> bool:
        return not self.resource_name.startswith(_DEVICE_CLASS)

    def amounts(self) -> dict[str, str]:
        return {self.resource_name: str(self.count)}

    def in_words(self, device: str | None) -> str:
        return f"{self.count} {device or f'GPU ({self.resource_name})'}"


class WholeGpu(_Counted):
    """Whole GPUs, requested as an extended resource."""

    kind: Literal["whole"] = Field(title="Whole devices")
    resource: ResourceName = Field(
        "nvidia.com/gpu",
        title="Extended resource to request",
        description="From Kubernetes 1.36 on, the extended resource of a DeviceClass is also possible: "
        "deviceclass.resource.kubernetes.io/<class>.",
        examples=["amd.com/gpu"],
    )

    @property
    def resource_name(self) -> str:
        return self.resource


class MigGpu(_Counted):
    """MIG slices that an administrator created with the MIG strategy `mixed`."""

    model_config = ConfigDict(json_schema_extra={"required": ["kind", "resource"]})

    kind: Literal["mig"] = Field(title="MIG slices")
    resource: ResourceName | None = Field(
        None, title="Extended resource of the slice (required)", examples=["nvidia.com/mig-1g.10gb"]
    )

    @model_validator(mode="after")
    def _is_named(self) -> MigGpu:
        if self.resource is None:
            raise ValueError("kind mig needs the name of the slice: resource: nvidia.com/mig-1g.10gb")
        return self

    @property
    def resource_name(self) -> str:
        assert self.resource is not None
        return self.resource

    def in_words(self, device: str | None) -> str:
        slices = "MIG slice" if self.count == 1 else "MIG slices"
        return f"{self.count} {device or f'{slices} ({self.resource_name})'}"


class SharedGpu(_Counted):
    """A share of one GPU, with time-slicing or MPS of NVIDIA's device plugin."""

    kind: Literal["shared"] = Field(title="A share of one device, by time-slicing or MPS")
    count: StrictInt = Field(1, title="Always 1", ge=1, le=64, json_schema_extra={"maximum": 1})
    resource: ResourceName = Field(
        "nvidia.com/gpu.shared", title="Extended resource to request", examples=["nvidia.com/gpu.shared"]
    )

    @model_validator(mode="after")
    def _is_one(self) -> SharedGpu:
        if self.count != 1:
            raise ValueError(
                "kind shared requires count: 1, because a higher count does not give a larger share of the device"
            )
        return self

    @property
    def resource_name(self) -> str:
        return self.resource

    def in_words(self, device: str | None) -> str:
        return f"a share of {f'1 {device}' if device else f'a GPU ({self.resource_name})'}"


class KaiFraction(_Gpu):
    """A fraction of a GPU that KAI reserves.  KAI does not enforce the limit on GPU memory."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["fraction"]}, {"required": ["memory"]}]})

    # KAI selects the device with an environment variable, so the kubelet does not know the device and cannot align it.
    is_aligned: ClassVar[bool] = False

    kind: Literal["kai-fraction"] = Field(title="A fraction of a device, with KAI")
    count: StrictInt = Field(1, title="Number of devices; fraction or memory applies to each of them", ge=1, le=64)
    fraction: Fraction | None = Field(
        None,
        title="Fraction of a device",
        description="At most two decimal places. Set either fraction or memory.",
        examples=[0.5],
    )
    memory: GpuMemory | None = Field(
        None, title="Memory of a device", description="Set either memory or fraction.", examples=["8Gi"]
    )

    @model_validator(mode="after")
    def _either(self) -> KaiFraction:
        if (self.fraction is None) == (self.memory is None):
            raise ValueError(
                "kind kai-fraction needs either fraction or memory, for example 'fraction: 0.5' or 'memory: 8Gi'"
            )
        return self

    def annotations(self) -> dict[str, str]:
        """Return the pod's annotations for KAI.  KAI rejects a pod that also requests an extended resource."""
        devices = {"gpu-fraction-num-devices": str(self.count)} if self.count > 1 else {}
        if self.memory is not None:
            return {"gpu-memory": str(self.memory // _MEBIBYTE), **devices}
        assert self.fraction is not None
        return {"gpu-fraction": f"{self.fraction.normalize():f}", **devices}

    def in_words(self, device: str | None) -> str:
        if self.count == 1:
            of_what = f"1 {device}" if device else "a GPU"
        else:
            of_what = f"each of {self.count} {device or 'GPUs'}"
        if self.memory is not None:
            own = "'s memory" if self.count == 1 and not device else ""
            of_each = "" if own else "the memory of "
            return f"{format_bytes(self.memory)} of {of_each}{of_what}{own}"
        assert self.fraction is not None
        word = {Decimal("0.5"): "half", Decimal("0.25"): "a quarter of", Decimal("0.75"): "three quarters of"}.get(
            self.fraction, f"{self.fraction.normalize():f} of"
        )
        return f"{word}{' of' if word == 'half' and of_what != 'a GPU' else ''} {of_what}"


class _Virtual(_Gpu):
    """Virtual GPUs.  A library in the container limits their memory and cores."""

    alignment_advice: ClassVar[str] = (
        "is on the same NUMA node as the CPUs only if the device plugin reports NUMA nodes to the kubelet "
        "(HAMi: enableNumaTopology)"
    )

    memory: GpuMemory | None = Field(
        None,
        title="Memory of each virtual GPU",
        description="By default all memory of the device. The request is in mebibytes, so keep the memory factor of "
        "the device plugin at 1.",
        examples=["8Gi"],
    )
    cores: Percent | None = Field(
        None,
        title="Cores of each virtual GPU, in percent",
        description="By default the cores are not limited. At 100, no other container shares the device.",
        examples=[30],
    )

    def _amounts(self, count: str, memory: str, cores: str) -> dict[str, str]:
        asked = {
            count: self.count,
            memory: None if self.memory is None else self.memory // _MEBIBYTE,
            cores: self.cores,
        }
        return {name: str(amount) for name, amount in asked.items() if amount is not None}

    def _memory(self) -> str | None:
        return None if self.memory is None else f"{format_bytes(self.memory)} of memory"

    def _parts(self) -> Iterator[str]:
        if (memory := self._memory()) is not None:
            yield memory
        if self.cores is not None:
            yield f"{self.cores}% of the cores"

    def in_words(self, device: str | None) -> str:
        parts = " and ".join(self._parts())
        if self.count == 1:
            return f"1 virtual {device or 'GPU'}{',' if device and parts else ''}{f' with {parts}' if parts else ''}"
        return f"{self.count} virtual {device or 'GPUs'}{f', each with {parts}' if parts else ''}"


class VolcanoVgpu(_Virtual):
    """Virtual GPUs of Volcano's plugin deviceshare.

    A percentage of memory cannot be requested.  Volcano 1.14.1 has volcano.sh/vgpu-memory-percentage, but its device
    plugin does not advertise that resource, so the pod would never start.
    """

    kind: Literal["volcano-vgpu"] = Field(title="Virtual GPUs, with Volcano")
    # Volcano 1.14.1 also accepts `mps`, but treats every node as either `mig` or `hami-core`, so the pod never starts.
    mode: Literal["hami-core", "mig"] | None = Field(
        None,
        title="How nodes must divide their devices",
        description="hami-core divides devices in software. mig divides them in hardware, where the requested memory "
        "selects the slice. By default both are accepted.",
    )

    @model_validator(mode="after")
    def _mig_has_slices(self) -> VolcanoVgpu:
        if self.mode == "mig" and self.cores is not None:
            raise ValueError(
                "mode mig uses slices with a fixed number of cores. Leave cores out, or use mode hami-core"
            )
        return self

    def amounts(self) -> dict[str, str]:
        return self._amounts(*(f"volcano.sh/vgpu-{name}" for name in ("number", "memory", "cores")))

    def annotations(self) -> dict[str, str]:
        """Return the pod's annotations for Volcano."""
        return {} if self.mode is None else {"volcano.sh/vgpu-mode": self.mode}

    def in_words(self, device: str | None) -> str:
        return super().in_words(device) + (f" ({self.mode})" if self.mode is not None and not device else "")


class HamiGpu(_Virtual):
    """Virtual GPUs of the HAMi scheduler."""

    kind: Literal["hami"] = Field(title="Virtual GPUs, with HAMi")
    memory_percentage: Percent | None = Field(
        None,
        title="Memory of each virtual GPU, in percent",
        description="Set either memory_percentage or memory.",
        examples=[50],
    )

    @model_validator(mode="after")
    def _one_memory(self) -> HamiGpu:
        if self.memory is not None and self.memory_percentage is not None:
            raise ValueError("memory and memory_percentage cannot be used together. Leave one of them out")
        return self

    def amounts(self) -> dict[str, str]:
        found = self._amounts(*(f"nvidia.com/{name}" for name in ("gpu", "gpumem", "gpucores")))
        if self.memory_percentage is not None:
            found["nvidia.com/gpumem-percentage"] = str(self.memory_percentage)
        return found

    def _memory(self) -> str | None:
        percentage = self.memory_percentage
        return super()._memory() if percentage is None else f"{percentage}% of the memory"


# The name of the pod's resource claim, and of the request in the claim.
CLAIM = "gpu"


def _one_expression(text: str) -> str:
    """Return `text`.  Raises ValueError if it is empty or has more than one line."""
    if not text.strip() or not text.isprintable():
        raise ValueError(
            "a selector must be one line of CEL, for example device.attributes['gpu.nvidia.com'].type == 'gpu'"
        )
    return text


class DraGpu(_Gpu):
    """Devices that are requested with dynamic resource allocation (DRA).

    `research-spawner manifests` prints the ResourceClaimTemplate that the pods need.
    """

    is_aligned: ClassVar[bool] = False

    kind: Literal["dra"] = Field(title="Devices of a DeviceClass (Kubernetes 1.34 and later)")
    count: StrictInt = Field(1, title="Number of devices", ge=1, le=32)
    device_class: DeviceClassName = Field(title="DeviceClass", examples=["gpu.nvidia.com"])
    selectors: list[Annotated[str, StringConstraints(max_length=2048), AfterValidator(_one_expression)]] = Field(
        default_factory=list,
        title="CEL expressions that must be true for each device",
        max_length=32,
        examples=[["device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('40Gi')) >= 0"]],
    )

    def claim_spec(self) -> Json:
        """Return the ResourceClaimSpec (resource.k8s.io/v1)."""
        exactly: Json = {"deviceClassName": self.device_class, "allocationMode": "ExactCount", "count": self.count}
        if self.selectors:
            exactly["selectors"] = [{"cel": {"expression": text}} for text in self.selectors]
        return {"devices": {"requests": [{"name": CLAIM, "exactly": exactly}]}}

    @property
    def template(self) -> str:
        """Return the name of the ResourceClaimTemplate, which contains a hash of the template.

        Templates are immutable, so changed settings need another name.  Pending pods keep the old template.
        """
        written = json.dumps(self.claim_spec(), sort_keys=True)
        readable = self.device_class.replace(".", "-")[:40].rstrip("-")
        return f"research-{readable}-{hashlib.sha256(written.encode()).hexdigest()[:10]}"

    def claims(self) -> list[Json]:
        return [{"name": CLAIM, "resourceClaimTemplateName": self.template}]

    @property
    def may_be_nvidia(self) -> bool:
        return may_be_nvidia(self.device_class)

    def in_words(self, device: str | None) -> str:
        chosen = ", selected" if self.selectors else ""
        return f"{self.count} {device or f'GPU (device class {self.device_class}{chosen})'}"


# The API version of DeviceClass, ResourceClaim and ResourceClaimTemplate.
DRA_API = "resource.k8s.io/v1"

KINDS = (WholeGpu, MigGpu, SharedGpu, KaiFraction, VolcanoVgpu, HamiGpu, DraGpu)


def _kind(written: Any) -> str:
    return str(written.get("kind") if isinstance(written, dict) else getattr(written, "kind", None))


def _tag(model: type[_Gpu]) -> str:
    return str(get_args(model.model_fields["kind"].annotation)[0])


if TYPE_CHECKING:
    Gpu: TypeAlias = WholeGpu | MigGpu | SharedGpu | KaiFraction | VolcanoVgpu | HamiGpu | DraGpu
else:
    # With `discriminator="kind"`, the error message for a missing kind would be hard to understand.
    Gpu = Annotated[
        Union[tuple(Annotated[model, Tag(_tag(model))] for model in KINDS)],  # noqa: UP007
        Discriminator(
            _kind,
            custom_error_type="unknown_kind",
            custom_error_message=f"kind of a GPU must be one of {', '.join(_tag(model) for model in KINDS)}",
        ),
    ]


def gpu_prerequisites(gpu: Gpu | None, namespace: str) -> tuple[Prerequisite, ...]:
    """Return the cluster objects that pods with this GPU need: DeviceClass and ResourceClaimTemplate for `dra`."""
    if not isinstance(gpu, DraGpu):
        return ()
    return (
        Prerequisite(DRA_API, "DeviceClass", gpu.device_class, selected_by="profile"),
        Prerequisite(DRA_API, "ResourceClaimTemplate", gpu.template, namespace, selected_by="profile"),
    )
