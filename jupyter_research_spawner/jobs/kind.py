"""The interface of a kind of job, which is a module of pure functions.

Code outside these modules never tests which kind a job has."""

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
    """The API resource in which jobs of a kind are stored, for example `jobs` in `batch/v1`."""

    api_version: str
    plural: str

    @property
    def group(self) -> str:
        """Return the API group; "" for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str) -> str:
        """Return the URL path of this resource in a namespace."""
        root = "/apis" if self.group else "/api"
        return f"{root}/{self.api_version}/namespaces/{namespace}/{self.plural}"


@dataclass(frozen=True)
class Result:
    """The result that a job's controller reports.  `finished` is an RFC 3339 time."""

    succeeded: bool
    message: str = ""
    finished: str | None = None


class JobKind(Protocol):
    """The members of a kind of job, which the batch service and the command line use.

    A request is an instance of REQUEST.  A job is the stored object that the API server returns.
    """

    @property
    def KIND(self) -> str:
        """The kind's name, in requests and in the label research-spawner/kind."""

    @property
    def SLOTS(self) -> Slots:
        """The paths of the pod templates in the manifest.  All templates have the same name for the main container."""

    @property
    def RESOURCE(self) -> Resource: ...

    @property
    def POD_LABEL(self) -> str:
        """The label on pods whose value is the name of the job.  The kind's controller sets it."""

    @property
    def PREREQUISITES(self) -> tuple[Prerequisite, ...]:
        """Cluster-scoped objects that every job of this kind needs, such as a CustomResourceDefinition.

        The service's role allows it to read them.  `selected_by` is "kind", so that a refusal names that field.
        """

    @property
    def RULES(self) -> tuple[Json, ...]:
        """Additional RBAC rules that the batch service needs for this kind in the pods' namespace.

        Declare a rule even if another kind declares it too.
        """

    @property
    def REQUEST(self) -> type[JobRequest]:
        """The pydantic model of the fields that a user may send.  Its HINTS have a hint for each field."""

    @property
    def pod_count(self) -> Callable[[Any], int]:
        """Return the maximum number of pods that the requested job runs at the same time."""

    @property
    def gang(self) -> Callable[[Any], int]:
        """Return how many pods of the requested job must start together; 1 without gang scheduling."""

    @property
    def manifest(self) -> Callable[[Plan, Any, Batch], Json]:
        """Return the object before `compose` completes it.  The last argument is `batch` of the site's settings.

        Raises Refusal with the invalid field.
        """

    @property
    def request_fields(self) -> Callable[[Json], Json]:
        """Return the fields of the request from which `manifest` made a stored job, so that it can be recreated.

        The inverse of `manifest`, without the fields that `jobs.stored_request` writes for all kinds: profile, queue,
        wall_time, image, workdir and inherited.  A field that was not requested is left out.
        """

    @property
    def command(self) -> Callable[[Json], Sequence[str]]:
        """Return the user's command in a stored job, with `literal` still applied to each word."""

    @property
    def answer_fields(self) -> Callable[[Json], Json]:
        """Return the fields that the service's response has only for jobs of this kind."""

    @property
    def result(self) -> Callable[[Json], Result | None]:
        """Return the result that the job's controller reports; None if the job has not ended."""

    @property
    def pod_decides(self) -> Callable[[Json, bool], bool]:
        """Return whether the end of a pod ends the job or index, so that the controller creates no other pod for it.

        The second argument is whether the pod succeeded.
        """

    @property
    def is_suspended(self) -> Callable[[Json], bool]:
        """Return whether a job is suspended, so that it has no pods until its queue admits it."""

    @property
    def SUSPENSION(self) -> Json:
        """The patch (RFC 7396) of a job that suspends it: its pods are deleted, and none is created."""

    @property
    def active_pod_count(self) -> Callable[[Json], int]:
        """Return the maximum number of pods that an unfinished job can still have at the same time."""

    @property
    def indexes(self) -> Callable[[Json], Sequence[int]]:
        """Return the indexes of an array, in ascending order; () for a job that is not an array."""

    @property
    def index_of(self) -> Callable[[Json, str], int | None]:
        """Return the index that the pod with this name runs; None if it has none."""

    @property
    def index_results(self) -> Callable[[Json], Mapping[int, bool]]:
        """Return the indexes that have ended, with True for those that succeeded."""
