"""Start the embedded cluster and the hub of a trial, and remove both at the end."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from ..chart_values import complete, look_up, object_name
from ..demo.demo_cluster import Say
from ..demo.hub import cookie_secret, free_port, hub_process, kill_marked, needs_proxy, notebook_arguments
from ..demo.state_directory import remove_abandoned, temporary_state
from ..demo.storage_layout import lay_out
from ..embedded import Cluster, NodeSpec, abilities
from ..embedded.apimachinery.api_resources import SECRET
from ..embedded.node.container_process import kill_leftovers
from ..manifests import Release, everything
from ..shape import Json
from ..site import Site, load
from ..wording import format_list
from .empty_objects import EmptyObjects
from .trial_claims import claims_of, entries
from .trial_nodes import described, nodes_for, numbered
from .trial_people import TrialUser, invented, named_groups, read_people
from .trial_settings import trial_settings

HOST = "127.0.0.1"
PACKAGE = Path(__file__).parent.parent
CONFIG = Path(__file__).parent / "trial_config.py"
_PREFIX = "research-spawner-try-"
TRIAL, CLUSTER = "trial.yaml", "cluster"
# The variable of the hub and of all its services, with the path of the file TRIAL.
_MARK = "TRIAL_FILE"


@dataclass(frozen=True)
class TrialInput:
    """What the administrator gives to `research-spawner try`.

    written: the settings as written, merged.  values: Zero to JupyterHub's values, or None if only settings are given.
    base: relative paths in the settings are relative to this directory.
    people: passwd and group files, or None to invent users.  nodes: empty to derive them from the settings.
    """

    site: Site
    written: Mapping[str, Any]
    values: Mapping[str, Any] | None
    base: Path
    config: Path | None = None
    people: tuple[Path, Path] | None = None
    nodes: Sequence[NodeSpec] = ()
    port: int = 8000


@dataclass(frozen=True)
class RunningTrial:
    """A running trial.  `login_url` has the key, without which nobody can log in."""

    site: Site
    people: list[TrialUser]
    cluster: Cluster
    url: str
    key: str
    log: Path

    @property
    def login_url(self) -> str:
        return f"{self.url}/hub/login?key={self.key}"


@contextlib.asynccontextmanager
async def running_trial(given: TrialInput, say: Say) -> AsyncIterator[RunningTrial]:
    """Run a trial in a temporary directory, which is removed at the end.  Raises CannotStart and SettingsError."""
    needs_proxy()
    for directory in remove_abandoned(_PREFIX, _end_processes):
        say(f"Removed {directory} and its processes, which a killed trial had left.")
    with temporary_state(_PREFIX) as directory:  # only this user can read it: the hub's log has the key
        async with _started(given, directory, say) as running:
            yield running


def _end_processes(state: Path) -> None:
    """End the hub, its proxy, the batch service and the pods of a trial with these files."""
    kill_marked(_MARK, str(state / TRIAL))
    kill_leftovers(state / CLUSTER)


@contextlib.asynccontextmanager
async def _started(given: TrialInput, state: Path, say: Say) -> AsyncIterator[RunningTrial]:
    # Libraries log to a file, so that their messages do not disturb the table.
    logging.basicConfig(filename=state / "try.log", filemode="w")
    port = free_port(HOST, given.port)
    url = f"http://{HOST}:{port}"
    passwd, group = given.people or _write_people(state, given.site)
    settings = trial_settings(
        given.written,
        given.site,
        passwd.absolute(),
        group.absolute(),
        f"{url}/services/batch",
        datetime.now(timezone.utc),
    )
    site = load(settings.running)
    people, problems = await read_people(site, passwd, group, given.base)
    nodes = numbered(given.nodes or nodes_for(site))
    notes = [*settings.differences, *_about_machine()]
    about_people, about_secrets = _about_people(given, site, people), _about_secrets(site)
    for sentence in (*notes, *problems, *about_people, *about_secrets, f"Nodes: {'; '.join(described(nodes))}."):
        say(sentence)
    async with _prepared_cluster(given, site, people, nodes, state, say) as cluster:
        key = secrets.token_urlsafe(16)
        trial = {
            "values": given.values,
            "config": str(given.config.absolute()) if given.config else "",
            "namespace": site.namespaces.name,
            "base": str(given.base),
            "settings": _write_yaml(state / "site.yaml", settings.running),
            "own_settings": _write_yaml(state / "own-site.yaml", settings.own),
            "users": [{"name": user.name, "groups": [*user.groups], "refusal": user.refusal} for user in people],
            "notes": notes,
            "key": key,
            "has_batch": site.batch.url is not None,
            "notebook_arguments": notebook_arguments(
                as_root=abilities().root and not abilities().namespaces, mounts=abilities().namespaces
            ),
            "url": url,
            "hub_port": free_port(HOST),
            "proxy_port": free_port(HOST),
            "proxy_pid": str(state / "proxy.pid"),
            "batch_port": free_port(HOST),
            "cookie_secret": str(cookie_secret(state)),
        }
        file = _write_yaml(state / TRIAL, trial)
        urls = [f"{url}/hub/login", *([f"{url}/services/batch/health"] if trial["has_batch"] else [])]
        environment = {_MARK: file}
        async with hub_process(CONFIG, environment, state, HOST, str(cluster.kubeconfig), urls, _MARK):
            yield RunningTrial(site, people, cluster, url, key, state / "hub.log")


@contextlib.asynccontextmanager
async def _prepared_cluster(
    given: TrialInput, site: Site, people: Sequence[TrialUser], nodes: list[NodeSpec], state: Path, say: Say
) -> AsyncIterator[Cluster]:
    """Run a cluster that has the claims, the homes, and the objects that pods of this site need."""
    shared = state / "shared"
    shared.mkdir()
    identities = [user.identity for user in people if user.identity is not None]
    lay_out(shared, entries(site, identities, owned=abilities().namespaces))
    cluster = await Cluster.start(
        state / CLUSTER,
        nodes=nodes,
        namespace=site.namespaces.name,
        claims={name: shared / name for name in claims_of(site)},
        expose=[PACKAGE.parent],
    )
    try:
        for manifest in (*everything(site, Release(), only=("priorities", "client")), *_extra_files(given, site)):
            await cluster.apply(manifest)
        empty = EmptyObjects(cluster.store, say)
        for identity in identities:
            for name, may in site.pods.allow.of_user(identity.name).secrets.items():
                if may is True:  # with "optional", pods start without it
                    empty.create(SECRET, site.namespaces.name, name)
        yield cluster
    finally:
        await cluster.stop()


def _write_people(state: Path, site: Site) -> tuple[Path, Path]:
    files = state / "people.passwd", state / "people.group"
    for file, text in zip(files, invented(site), strict=True):
        file.write_text(text)
    return files


def _write_yaml(path: Path, content: Mapping[str, Any]) -> str:
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
    return str(path)


def _about_machine() -> list[str]:
    reason = abilities().reason
    return (
        [f"{reason[:1].upper()}{reason[1:]}. Users, groups and mounts are only in the pods' definitions."]
        if reason
        else []
    )


def _about_people(given: TrialInput, site: Site, people: Sequence[TrialUser]) -> list[str]:
    if given.people is not None:
        refused = [user for user in people if user.refusal]
        what = "account is" if len(refused) == 1 else "accounts are"
        return [f"{len(refused)} {what} refused. {user.name}: {user.refusal}" for user in refused[:1]]
    groups = named_groups(site)
    return [
        f"Invented users: three members of each group that your settings name ({format_list(groups)}), and three "
        "others. Give your own users with --people."
        if groups
        else "Invented users: three. Your settings name no group. Give your own users with --people."
    ]


def _about_secrets(site: Site) -> list[str]:
    names = sorted(name for name, may in site.pods.allow.secrets.items() if may is True)
    return [f"Secrets that are empty here: {format_list(names)}."] if names else []


def _extra_files(given: TrialInput, site: Site) -> list[Json]:
    """Return the chart's Secret of singleuser.extraFiles, if there are such files."""
    namespace = site.namespaces.name
    files = look_up(given.values or {}, "singleuser.extraFiles") or {}
    if not files:
        return []
    name = object_name(complete(given.values or {}, namespace=namespace), "singleuser")
    contents = {key: _content(details) for key, details in files.items()}
    metadata = {"name": name, "namespace": namespace}
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": contents}]


def _content(file: Mapping[str, Any]) -> str:
    """Return the content of a file in extraFiles as base64."""
    if file.get("binaryData") is not None:
        return "".join(str(file["binaryData"]).split())
    text = file["stringData"] if file.get("stringData") is not None else json.dumps(file.get("data"))
    return base64.b64encode(str(text).encode()).decode()
