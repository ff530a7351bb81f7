"""Validate Jobs, with the API server's messages (pkg/apis/batch/validation, compared with 1.36.3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from ..apimachinery.api_errors import Fault
from ..apimachinery.field_rules import LABEL, duplicate, immutable, labels_faults, required, unsupported, wrong_value
from ..apimachinery.object_fields import Json
from .pod_validation import spec_faults

_COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_MOST_INDEXES_AT_ONCE = _MOST_FAILED_INDEXES = _MANY_COMPLETIONS = 100_000
_LIMIT_WITH_MANY_COMPLETIONS = 10_000
_REPLACEMENT_POLICIES = ["Failed", "TerminatingOrFailed"]
_ACTIONS = ["Count", "FailIndex", "FailJob", "Ignore"]
_IMMUTABLE = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
# Fields that can change while the Job is suspended and has never started.
_SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates", "affinity")
_OWN_LABELS = ("controller-uid", "job-name")


def job_faults(new: Json, old: Json | None) -> Iterator[Fault]:
    spec = new["spec"]
    yield from own_label_faults(new)
    for field in _COUNTS:
        value = spec.get(field)
        if value is not None and value < 0:
            yield wrong_value(f"spec.{field}", value, "must be greater than or equal to 0")
    yield from completion_mode_faults(spec)
    if not old:
        yield from host_name_faults(new)
    template: Json = spec.get("template") or {}
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or []):
        yield from rule_faults(rule, f"spec.podFailurePolicy.rules[{index}]", spec)
    policies = ["Failed"] if spec.get("podFailurePolicy") else _REPLACEMENT_POLICIES
    if spec["podReplacementPolicy"] not in policies:
        yield unsupported("spec.podReplacementPolicy", spec["podReplacementPolicy"], policies)
    yield from labels_faults((template.get("metadata") or {}).get("labels"), "spec.template.labels")
    yield from spec_faults(template.get("spec") or {}, "spec.template.spec")
    yield from restart_faults(spec, template.get("spec") or {})
    if old:
        yield from update_faults(spec, old)


def completion_mode_faults(spec: Json) -> Iterator[Fault]:
    """Yield faults of the completion mode, and of fields that only the mode Indexed supports."""
    mode, most_failed = spec["completionMode"], spec.get("maxFailedIndexes")
    per_index = ("backoffLimitPerIndex", "maxFailedIndexes")
    if most_failed is not None and spec.get("backoffLimitPerIndex") is None:
        yield required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if mode == "Indexed":
        yield from index_limit_faults(spec)
    elif mode == "NonIndexed":
        for field in per_index:
            if spec.get(field) is not None:
                yield wrong_value(f"spec.{field}", spec[field], "requires indexed completion mode")
    else:
        yield unsupported("spec.completionMode", mode, ["NonIndexed", "Indexed"])


def index_limit_faults(spec: Json) -> Iterator[Fault]:
    """Yield faults of the counts of an Indexed Job.  Kubernetes limits these to limit the size of the status."""
    completions, most_failed = spec.get("completions"), spec.get("maxFailedIndexes")
    if completions is None:
        yield required("spec.completions", "when completion mode is Indexed")
    limits: list[tuple[str, int | None, str]] = [
        ("parallelism", _MOST_INDEXES_AT_ONCE, f"{_MOST_INDEXES_AT_ONCE} when completion mode is Indexed"),
        ("maxFailedIndexes", completions, "completions"),
        ("maxFailedIndexes", _MOST_FAILED_INDEXES, str(_MOST_FAILED_INDEXES)),
    ]
    if (completions or 0) > _MANY_COMPLETIONS and spec.get("backoffLimitPerIndex") is not None:
        if most_failed is None:
            rule = f"must be specified when completions is above {_MANY_COMPLETIONS}"
            yield required("spec.maxFailedIndexes", rule)
        rule = (
            f"{_LIMIT_WITH_MANY_COMPLETIONS} when completions are above {_MANY_COMPLETIONS} "
            "and used with backoff limit per index"
        )
        limits += [(field, _LIMIT_WITH_MANY_COMPLETIONS, rule) for field in ("parallelism", "maxFailedIndexes")]
    for field, most, rule in limits:
        if most is not None and (spec.get(field) or 0) > most:
            yield wrong_value(f"spec.{field}", spec[field], f"must be less than or equal to {rule}")


def host_name_faults(job: Json) -> Iterator[Fault]:
    """Yield a fault if NAME-INDEX, the host name of an Indexed Job's pod, would be invalid."""
    spec, name = job["spec"], job["metadata"].get("name") or ""
    if spec["completionMode"] == "Indexed" and (spec.get("completions") or 0) > 0:
        longest = f"{name}-{spec['completions'] - 1}"
        if not LABEL.fullmatch(longest) or len(longest) > 63:
            yield wrong_value("metadata.name", name, f"will not able to create pod with invalid DNS label: {longest}")


def own_label_faults(job: Json) -> Iterator[Fault]:
    """Yield a fault for each label that the API server sets and the client sent with another value."""
    if job["spec"].get("manualSelector"):
        return
    labels = job["spec"]["template"]["metadata"]["labels"]
    expected = {"controller-uid": job["metadata"]["uid"], "job-name": job["metadata"].get("name") or ""}
    for prefix in ("", "batch.kubernetes.io/"):
        for name in _OWN_LABELS:
            found = labels[prefix + name]
            if found != expected[name]:
                rule = f"must be '{expected[name]}'"
                yield wrong_value(f"spec.template.metadata.labels[{prefix + name}]", found, rule)


def restart_faults(spec: Json, pod: Json) -> Iterator[Fault]:
    path, policy = "spec.template.spec.restartPolicy", pod.get("restartPolicy")
    if policy == "Always":
        yield required(path, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield unsupported(path, policy, ["OnFailure", "Never"])
    elif spec.get("podFailurePolicy") and policy != "Never":
        yield wrong_value(path, policy, 'only "Never" is supported when podFailurePolicy is specified')


def rule_faults(rule: Json, path: str, spec: Json) -> Iterator[Fault]:
    """Yield faults of one rule of a Job's podFailurePolicy.  `spec` is the Job's spec."""
    action = rule.get("action") or ""
    if not action:
        yield required(f"{path}.action", 'valid values: ["Count" "FailIndex" "FailJob" "Ignore"]')
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        yield wrong_value(f"{path}.action", action, "requires the backoffLimitPerIndex to be set")
    elif action not in _ACTIONS:
        yield unsupported(f"{path}.action", action, _ACTIONS)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
    if codes is not None:
        yield from exit_code_faults(codes, f"{path}.onExitCodes", (spec.get("template") or {}).get("spec") or {})
    if codes is not None and conditions:
        yield Fault(path, "Invalid value: specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        yield Fault(path, "Invalid value: specifying one of OnExitCodes and OnPodConditions is required")


def exit_code_faults(codes: Json, path: str, pod: Json) -> Iterator[Fault]:
    names = [container.get("name") for part in ("containers", "initContainers") for container in pod.get(part) or []]
    operator, values = codes.get("operator") or "", codes.get("values") or []
    if not operator:
        yield required(f"{path}.operator", 'valid values: ["In" "NotIn"]')
    elif operator not in ("In", "NotIn"):
        yield unsupported(f"{path}.operator", operator, ["In", "NotIn"])
    if codes.get("containerName") not in (None, *names):
        rule = "must be one of the container or initContainer names in the pod template"
        yield wrong_value(f"{path}.containerName", codes["containerName"], rule)
    if not values:
        yield wrong_value(f"{path}.values", values, "at least one value is required")
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield wrong_value(f"{path}.values[{index}]", value, "must not be 0 for the In operator")
        if value in values[:index]:
            yield duplicate(f"{path}.values[{index}]", value)
    if values != sorted(values):
        yield wrong_value(f"{path}.values", values, "must be ordered")


def update_faults(spec: Json, old: Json) -> Iterator[Fault]:
    before = old["spec"]
    has_not_begun = before.get("suspend") and not (old.get("status") or {}).get("startTime")
    if spec.get("completions") != before.get("completions"):
        if spec["completionMode"] != "Indexed":
            yield immutable("spec.completions", spec.get("completions"))
        elif spec.get("completions") not in (None, spec["parallelism"]):
            rule = "can only be modified in tandem with spec.parallelism"
            yield wrong_value("spec.completions", spec["completions"], rule)
    for field in _IMMUTABLE:
        if _plain(spec.get(field)) != _plain(before.get(field)):
            yield immutable(f"spec.{field}", spec.get(field))
    new_template, old_template = spec.get("template") or {}, before.get("template") or {}
    if has_not_begun:
        new_template, old_template = _fixed(new_template), _fixed(old_template)
    if _plain(new_template) != _plain(old_template):
        yield immutable("spec.template", spec.get("template"))


def _fixed(template: Json) -> Json:
    """Return the part of a pod template that cannot change even while the Job is suspended."""
    fixed = copy.deepcopy(template)
    for field in ("labels", "annotations"):
        (fixed.get("metadata") or {}).pop(field, None)
    pod = fixed.get("spec") or {}
    for field in _SCHEDULING:
        pod.pop(field, None)
    for container in [*(pod.get("containers") or []), *(pod.get("initContainers") or [])]:
        container.pop("resources", None)
    return fixed


def _plain(value: Any) -> Any:
    """Return the value without null and empty fields, because the API server treats these like missing fields."""
    if isinstance(value, dict):
        plain = {key: _plain(item) for key, item in value.items()}
        return {key: item for key, item in plain.items() if item not in (None, {}, [], "")}
    return [_plain(item) for item in value] if isinstance(value, list) else value
