"""Defaults for the kinds of job that are stored as a batch/v1 Job.  Checked with Kubernetes 1.36.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..api_object import annotations_of, condition
from ..plan import Plan
from ..pod.overlay import literal, typed
from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..shape import OUR_PREFIX, Json, Slots, Template
from ..site import Batch
from .kind import Resource, Result
from .request import JobRequest, display_name, program_name
from .signal_forwarding import forwarding_words
from .stored_request import variables

SLOTS = Slots((Template(("spec", "template"), "job"),))
RESOURCE = Resource("batch/v1", "jobs")
POD_LABEL = "batch.kubernetes.io/job-name"
PREREQUISITES: tuple[Prerequisite, ...] = ()
RULES: tuple[Json, ...] = ()
SUSPENSION: Json = {"spec": {"suspend": True}}
# The name that the user chose.  The Job's name is derived from it.
NAME = OUR_PREFIX + "job-name"


def job_manifest(
    plan: Plan, request: JobRequest, batch_settings: Batch, spec: Json, env: Mapping[str, str], words: Sequence[str]
) -> Json:
    """Return a Job with `spec` and the fields that all kinds of job have.

    `env` has variables of the kind, in addition to the user's variables.  `words` is the command of a kind that
    runs the user's command as its arguments, else ().  This function applies `literal` to all words and values, so that
    the kubelet does not expand them.  Raises Refusal if two of the user, the site and the kind set the same variable.
    """
    _refuse_taken_names(plan, request, env)
    container: dict[str, Any] = {
        "name": SLOTS.main,
        "command": [literal(word) for word in request.command],
        "env": [{"name": name, "value": literal(value)} for name, value in {**env, **request.env}.items()],
    }
    directories = [plan.identity.home, *(mount.path for mount in plan.mounts)]
    if before := [*words, *forwarding_words(request.command, directories)]:
        container |= {"command": [literal(word) for word in before], "args": container["command"]}
    return {
        "apiVersion": RESOURCE.api_version,
        "kind": "Job",
        "metadata": {"name": plan.shape.name, "annotations": {NAME: display_name(request)}},
        "spec": {
            # A preempted or evicted pod does not count as a failure, and the Job creates another pod.  This rule must
            # come first, because Kubernetes applies the first rule that matches.
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            # Create another pod only when the last pod has ended, so that two pods never write the same file.
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": int(batch_settings.keep.total_seconds()),
            "template": {
                "metadata": {},
                "spec": {"restartPolicy": "Never", "enableServiceLinks": False, "containers": [container]},
            },
            **spec,
        },
    }


def _refuse_taken_names(plan: Plan, request: JobRequest, env: Mapping[str, str]) -> None:
    """Raise Refusal if two of the user, the site and the kind set the same variable, so that no value is lost."""
    for name in sorted(env.keys() & plan.env.keys()):
        raise Refusal(
            "env-taken",
            f"The site's settings set the variable {name}, which every job of kind {plan.shape.kind} sets itself.",
            field="kind",
            hint=f"Ask your administrators to remove {name} from env in the profile's pod or in pods.base.",
            status=503,
        )
    for names, who in ((plan.env, "by this site for every job"), (env, f"for every job of kind {plan.shape.kind}")):
        for name in request.env:
            if name in names:
                raise Refusal(
                    "env-taken",
                    f"env: {name} is set {who}.",
                    field="env",
                    hint="Remove the variable from the request, or set the variable in the command.",
                )


def pod_count(request: JobRequest) -> int:
    return 1


def gang(request: JobRequest) -> int:
    return 1


def active_pod_count(job: Json) -> int:
    return int(job["spec"].get("parallelism") or 0)


def answer_fields(job: Json) -> Json:
    return {}


def indexes(job: Json) -> tuple[int, ...]:
    return ()


def index_of(job: Json, pod_name: str) -> int | None:
    return None


def index_results(job: Json) -> Mapping[int, bool]:
    return {}


def command(job: Json) -> list[str]:
    """Return the user's command in the stored job: `args` if the kind has its own command, else `command`."""
    container = _main(job)
    return list(container.get("args") or container.get("command") or [])


def request_fields(job: Json) -> Json:
    """Return the command, the user's variables, and the name if the user chose one."""
    names = variables(job)
    words = [typed(word) for word in command(job)]
    env = {entry["name"]: typed(entry.get("value") or "") for entry in _main(job).get("env") or []}
    found: Json = {"command": words, "env": {name: env[name] for name in names if name in env}}
    name = annotations_of(job).get(NAME)
    return found if name in (None, program_name(words)) else {**found, "name": name}


def _main(job: Json) -> Json:
    containers = job["spec"]["template"]["spec"].get("containers") or []
    return next((container for container in containers if container.get("name") == SLOTS.main), {})


def result(job: Json) -> Result | None:
    """Return the result of a Job.  SuccessCriteriaMet and FailureTarget are set before Complete and Failed."""
    if _true_condition(job, "Complete") or _true_condition(job, "SuccessCriteriaMet"):
        return Result(True, finished=_finished(job))
    if failed := _true_condition(job, "Failed") or _true_condition(job, "FailureTarget"):
        return Result(False, str(failed.get("message") or failed.get("reason") or ""), _finished(job))
    return None


def _finished(job: Json) -> str | None:
    found: str | None = (_true_condition(job, "Complete") or _true_condition(job, "Failed")).get("lastTransitionTime")
    return found


def pod_decides(job: Json, succeeded: bool) -> bool:
    """Return whether a pod that succeeded (`completions` 1) or failed (`backoffLimit` 0) is the Job's last pod."""
    field, last = ("completions", 1) if succeeded else ("backoffLimit", 0)
    return bool(job["spec"].get(field) == last)


def is_suspended(job: Json) -> bool:
    return bool(_true_condition(job, "Suspended"))


def _true_condition(job: Json, kind: str) -> Json:
    """Return the Job's condition of type `kind` if its status is True, else {}."""
    found = condition(job, kind)
    return found if found.get("status") == "True" else {}
