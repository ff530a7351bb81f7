"""The site, the users, the placements and the base manifests that tests use."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.identity.checks import Checks, check
from jupyter_research_spawner.identity.passwd import parse
from jupyter_research_spawner.plan import Plan, Request, plan
from jupyter_research_spawner.resources import Resources
from jupyter_research_spawner.schedulers import SCHEDULERS, Placement
from jupyter_research_spawner.settings import read
from jupyter_research_spawner.shape import NOTEBOOK_KIND, Shape
from jupyter_research_spawner.site import Site, load

DATA = Path(__file__).parent / "data"
SITE_FILE = DATA / "site.yaml"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
RUN_ID = "r-0123456789"
IMAGE = "quay.io/jupyter/scipy-notebook:2026-10-01"

Json = dict[str, Any]


def site_with(*more: Mapping[str, Any]) -> Site:
    """Return the sample settings with `more` merged over them, like further settings files."""
    return load(SITE_FILE, *more)


def raw_site() -> Json:
    """Return the sample settings as plain data, for tests that change them."""
    return dict(read(SITE_FILE))


def person(name: str) -> PosixIdentity:
    """Return the identity of a user in people.passwd, as the source `static` and the checks make it."""
    passwd, group = DATA / "people.passwd", DATA / "people.group"
    directory = parse({str(passwd): passwd.read_bytes()}, {str(group): group.read_bytes()})
    account = directory.account(name)
    assert account is not None, f"{name} is not in {passwd}"
    return check(Checks(), "people", name, account)


def request(who: PosixIdentity, kind: str = NOTEBOOK_KIND, name: str | None = None, **wishes: Any) -> Request:
    """Return a request for a notebook, or for a job of kind `kind` named `name`."""
    shape = Shape(kind, name or (f"jupyter-{who.name}" if kind == NOTEBOOK_KIND else "train-x7k2p"))
    return Request(shape=shape, hub_user=who.name, **wishes)


def decide(
    site: Site, who: PosixIdentity, kind: str = NOTEBOOK_KIND, *, name: str | None = None, **wishes: Any
) -> Plan:
    """Return the plan at a fixed time with a fixed run id."""
    return plan(site, who, request(who, kind, name, **wishes), run_id=RUN_ID, now=NOW)


NOTEBOOK = Shape(NOTEBOOK_KIND, "jupyter-alice")
JOB = Shape("job", "train-x7k2p")
# For schedulers that require scheduler.name; this is the name in the chart of scheduler-plugins.
SCHEDULER_NAME = "scheduler-plugins-scheduler"


def placement(kind: str, shape: Shape = NOTEBOOK, options: Json | None = None, **changes: Any) -> Placement:
    """Return a placement of alice in queue climate with priority normal, for one second more than 24 h."""
    whole = Placement(
        identity=person("alice"),
        queue="climate",
        options=SCHEDULERS[kind].QueueOptions.model_validate(options or {}),
        scheduler_name=None,
        priority_class="research-normal",
        priority_value=0,
        preemptible=False,
        wall_time_hard=timedelta(hours=24, seconds=1),
        resources=Resources(Decimal(2), 4 * 2**30),
        shape=shape,
        run_id=RUN_ID,
        namespace="jhub",
    )
    if _requires_name(kind, whole):
        whole = replace(whole, scheduler_name=SCHEDULER_NAME)
    return replace(whole, **changes)


def scheduler(kind: str) -> Json:
    """Return settings that choose this scheduler, with `scheduler.name` if it requires one."""
    name = placement(kind).scheduler_name
    return {"scheduler": {"kind": kind} if name is None else {"kind": kind, "name": name}}


def _requires_name(kind: str, nameless: Placement) -> bool:
    refusal = SCHEDULERS[kind].refuses(nameless)
    return refusal is not None and refusal.field == "scheduler.name"


_NOTEBOOK_POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "jupyter-alice",
        "labels": {"app": "jupyterhub", "component": "singleuser-server", "hub.jupyter.org/username": "alice"},
        "annotations": {"hub.jupyter.org/username": "alice"},
    },
    "spec": {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "notebook",
                "image": IMAGE,
                "env": [
                    {"name": "JUPYTERHUB_API_TOKEN", "value": "a-token"},
                    {"name": "JUPYTERHUB_USER", "value": "alice"},
                    {"name": "JUPYTER_IMAGE_SPEC", "value": IMAGE},
                ],
                "lifecycle": {},
                "ports": [{"containerPort": 8888, "name": "notebook-port"}],
                "resources": {"limits": {}, "requests": {}},
                "securityContext": {"runAsUser": 20001, "runAsGroup": 20001, "allowPrivilegeEscalation": False},
                "volumeMounts": [],
            }
        ],
        "imagePullSecrets": [],
        "restartPolicy": "OnFailure",
        "securityContext": {"supplementalGroups": [20500, 20602]},
        "volumes": [],
    },
}


def notebook_pod() -> Json:
    """Return the pod that KubeSpawner 7.1 makes with the uid, gid and supplemental_gids of alice."""
    return copy.deepcopy(_NOTEBOOK_POD)
