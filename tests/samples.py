"""The one site, the people and the base manifests that tests speak of."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.identity.checks import Checks, check
from jupyter_research_spawner.identity.passwd import parse
from jupyter_research_spawner.plan import Plan, Request, plan
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
    """The sample settings with `more` merged over them, as further settings files would be."""
    return load(SITE_FILE, *more)


def raw_site() -> Json:
    """The sample settings as plain data, to spoil."""
    return dict(read(SITE_FILE))


def person(name: str) -> PosixIdentity:
    """Somebody of people.passwd, by the way of the source `static` and the checks."""
    passwd, group = DATA / "people.passwd", DATA / "people.group"
    directory = parse({str(passwd): passwd.read_bytes()}, {str(group): group.read_bytes()})
    account = directory.account(name)
    assert account is not None, f"{name} is not in {passwd}"
    return check(Checks(), "people", name, account)


def request(who: PosixIdentity, kind: str = NOTEBOOK_KIND, name: str | None = None, **wishes: Any) -> Request:
    """A request for a notebook, or for a `kind` of job named `name`."""
    shape = Shape(kind, name or (f"jupyter-{who.name}" if kind == NOTEBOOK_KIND else "train-x7k2p"))
    return Request(shape=shape, hub_user=who.name, **wishes)


def decide(
    site: Site, who: PosixIdentity, kind: str = NOTEBOOK_KIND, *, name: str | None = None, **wishes: Any
) -> Plan:
    """`plan` at a fixed time with a fixed run id."""
    return plan(site, who, request(who, kind, name, **wishes), run_id=RUN_ID, now=NOW)


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
    """What KubeSpawner 7.1 makes once its uid, gid and supplemental_gids are alice's."""
    return copy.deepcopy(_NOTEBOOK_POD)
