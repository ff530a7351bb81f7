"""The protocol of a kind of job: one module of pure functions over plain data.  Nobody else branches on its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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


class JobKind(Protocol):
    """What the batch service and the command line ask of a kind of job.

    A request is an instance of REQUEST.  A job is always the stored object, as the API server returns it.
    """

    @property
    def KIND(self) -> str:
        """The kind's name, in requests and in the label research-spawner/kind."""

    @property
    def SLOTS(self) -> Slots:
        """Where the manifest has its pod templates.  The main container has the same name in all of them."""

    @property
    def RESOURCE(self) -> Resource: ...

    @property
    def POD_LABEL(self) -> str:
        """The label that the kind's controller writes on pods, with the job's object name as its value."""

    @property
    def PREREQUISITES(self) -> tuple[Prerequisite, ...]:
        """Cluster-scoped objects without which no job of this kind can run, such as a CustomResourceDefinition.

        The service's right to read them follows.
        """

    @property
    def RULES(self) -> tuple[Json, ...]:
        """RBAC rules that the batch service needs in the namespace of the pods, besides those for every kind."""

    @property
    def REQUEST(self) -> type[JobRequest]:
        """The fields that a user may send, with HINTS for the fields of this kind."""

    @property
    def pod_count(self) -> Callable[[Any], int]:
        """The largest number of pods of this request that run at once."""

    @property
    def gang(self) -> Callable[[Any], int]:
        """How many pods of this request must start together; 1 if each starts alone."""

    @property
    def manifest(self) -> Callable[[Plan, Any, Batch], Json]:
        """The object without anything that compose writes, from plan, request and the settings `batch`.

        Raises Refusal with the field that is at fault.
        """

    @property
    def command(self) -> Callable[[Json], Sequence[str]]:
        """The user's command in a stored job, each word as the manifest has it."""

    @property
    def answer_fields(self) -> Callable[[Json], Json]:
        """The fields of the service's answer that only jobs of this kind have."""

    @property
    def result(self) -> Callable[[Json], Result | None]:
        """How a job ended according to its controller, None if it has not ended."""

    @property
    def pod_decides(self) -> Callable[[Json, bool], bool]:
        """Whether a pod that ended by itself ends the job, or its index, before the controller says so.

        The second argument is whether the pod succeeded.  False while the controller may create another pod.
        """

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
