"""The protocol of a kind of job: one module of pure functions over plain data.  Nobody else branches on its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..plan import Plan
from ..prerequisite import Prerequisite
from ..shape import Json, Slots
from ..site import Batch
from .request import JobRequest


@dataclass(frozen=True)
class Resource:
    """The API resource that one job of a kind is stored as, for example `batch/v1`, `jobs`."""

    api_version: str
    plural: str

    @property
    def group(self) -> str:
        """Return the API group, "" for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str) -> str:
        """Return the URL path of all objects of this resource in a namespace."""
        root = "/apis" if self.group else "/api"
        return f"{root}/{self.api_version}/namespaces/{namespace}/{self.plural}"


@dataclass(frozen=True)
class Result:
    """How a job ended, as its controller says.  `finished` is a time as Kubernetes writes it."""

    succeeded: bool
    message: str = ""
    finished: str | None = None


R = TypeVar("R", bound=JobRequest)


class JobKind(Protocol[R]):
    """What the batch service and the command line ask of a kind of job.  `R` is its request model.

    `job` is always the stored object, `pod` one of its pods, both as the API server returns them.
    """

    @property
    def KIND(self) -> str:
        """The kind's name, in requests and in the label research-spawner/kind."""

    @property
    def MAIN(self) -> str:
        """The container that runs the user's command, in each pod of the kind."""

    @property
    def SLOTS(self) -> Slots:
        """Where the manifest has its pod templates."""

    @property
    def RESOURCE(self) -> Resource: ...

    @property
    def POD_LABEL(self) -> str:
        """The label that the kind's controller writes on pods, with the job's object name as its value."""

    @property
    def PREREQUISITES(self) -> tuple[Prerequisite, ...]:
        """Objects without which no job of this kind can run, for example a CustomResourceDefinition."""

    @property
    def RULES(self) -> tuple[Json, ...]:
        """RBAC rules that the batch service needs in the namespace of the pods, besides those for every kind."""

    @property
    def REQUEST(self) -> type[R]: ...

    @property
    def pod_count(self) -> Callable[[R], int]:
        """The largest number of pods of this request that run at once."""

    @property
    def manifest(self) -> Callable[[Plan, R, Batch], Json]:
        """The object without anything that compose writes.  Raises Refusal with the field that is at fault."""

    @property
    def command(self) -> Callable[[Json], Sequence[str]]:
        """The user's command in a stored job, each word as the manifest has it."""

    @property
    def answer_fields(self) -> Callable[[Json], Json]:
        """The fields of the service's answer that only jobs of this kind have."""

    @property
    def result(self) -> Callable[[Json], Result | None]:
        """How a job ended, None if it has not ended."""

    @property
    def is_suspended(self) -> Callable[[Json], bool]:
        """Whether a queue holds a job back, so that it has no pods."""

    @property
    def active_pod_count(self) -> Callable[[Json], int]:
        """The largest number of pods that a job which has not ended may have from now on."""

    @property
    def indexes(self) -> Callable[[Json], Sequence[int]]:
        """The indexes of an array, in order.  Empty for a job that is not an array."""

    @property
    def index_of(self) -> Callable[[Json, str], int | None]:
        """The index that the pod of this name runs.  None if it has none."""

    @property
    def index_results(self) -> Callable[[Json], Mapping[int, bool]]:
        """The indexes that have ended, with True for those that succeeded."""
