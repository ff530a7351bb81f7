"""Kind `job`: one command, in one pod, once.  Contract: Kubernetes batch/v1 Job with a podFailurePolicy (1.31)."""

from __future__ import annotations

import posixpath
import re
import secrets
from datetime import timedelta

from ..plan import Plan, Request
from ..pod.ours import literal
from ..refusal import Refusal
from ..shape import OUR_PREFIX, Json, Shape, Slots, Template
from .request import JobRequest

KIND = "job"
MAIN = "job"
SLOTS = Slots((Template(("spec", "template"), MAIN),))
# The name that the person gave; the object's own is made from it.
NAME = OUR_PREFIX + "job-name"

# Pods are named after their Job with a suffix, and a pod's name is its host name: 63 characters in all.
_SLUG_LIMIT = 46
# Kubernetes' own alphabet for suffixes: no vowels, so no words.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def name_of(job: JobRequest) -> str:
    """What the person called it, or the program's name."""
    return job.name or posixpath.basename(job.command[0])[:120] or KIND


def new_id(job: JobRequest) -> str:
    """A name for the object, as in `train-x7k2p`: at most 52 characters, not taken by chance once in 14 million."""
    slug = re.sub(r"[^a-z0-9]+", "-", name_of(job).lower())[:_SLUG_LIMIT].strip("-")
    # A label value, and some schedulers' objects, must begin with a letter.
    slug = slug if slug[:1].isalpha() else f"{KIND}-{slug}".rstrip("-")[:_SLUG_LIMIT].rstrip("-")
    return f"{slug}-{''.join(secrets.choice(_ALPHABET) for _ in range(5))}"


def wishes(job: JobRequest, hub_user: str, job_id: str) -> Request:
    """What `plan` is asked, as the hub user whom the hub named."""
    return Request(
        shape=Shape(KIND, job_id),
        hub_user=hub_user,
        profile=job.profile,
        queue=job.queue,
        wall_time=job.wall_time,
        image=job.image,
        workdir=job.workdir,
    )


def manifest(plan: Plan, job: JobRequest, keep: timedelta) -> Json:
    """The Job that compose writes the plan into.  It stays for `keep` after its end.

    Raises Refusal where the request meets what is decided already.  None of the notebook's environment comes in, so
    none of its tokens does.
    """
    _free_names(plan, job)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": plan.shape.name, "annotations": {NAME: name_of(job)}},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            # A command that failed would fail again, or worse: half of its work is done.
            "backoffLimit": 0,
            # The first rule that matches decides, so whatever is added comes after it: a pod that lost its place is
            # no failure, and the Job makes another.
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            # Only when the last one has ended: never two writers of one file.
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": int(keep.total_seconds()),
            "template": {
                "metadata": {},
                "spec": {
                    "restartPolicy": "Never",
                    "enableServiceLinks": False,
                    "containers": [
                        {
                            "name": MAIN,
                            "command": [literal(word) for word in job.command],
                            "env": [{"name": name, "value": literal(value)} for name, value in job.env.items()],
                        }
                    ],
                },
            },
        },
    }


def _free_names(plan: Plan, job: JobRequest) -> None:
    """The site's own environment wins over the person's, so it is better said than done in silence."""
    for name in job.env:
        if name in plan.env:
            raise Refusal(
                "env-taken",
                f"env: {name} is set by this site for every job.",
                field="env",
                hint="Leave it out, or set it in the command itself.",
            )
