"""Apply an administrator's hub configuration to the hub of a trial, without what leads out of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup
from traitlets.config import Config

from ..chart_values import build, complete, hub_pod
from ..configuration import configure
from ..configuration.traits import items, plain, value_of
from ..site import load
from ..spawner.configured_class import configured_class, sections_of
from ..spawner.process_state import register_site
from ..wording import format_list
from . import trial_login, trial_pod_page

TEMPLATES = Path(__file__).parent / "templates"
# All other traits of JupyterHub are about addresses, logins, databases and services, which a trial has of its own.
KEPT_HUB_TRAITS = (
    "active_server_limit",
    "allow_named_servers",
    "custom_scopes",
    "default_server_name",
    "extra_handlers",
    "extra_user_scopes",
    "implicit_spawn_seconds",
    "load_roles",
    "log_level",
    "named_server_limit_per_user",
    "redirect_to_server",
    "shutdown_on_logout",
    "spawner_class",
    "template_paths",
    "template_vars",
)
# Traits of the spawner that name an API server, or an address of the hub.
_ADDRESS_TRAITS = (
    "hub_connect_ip",
    "hub_connect_port",
    "hub_connect_url",
    "k8s_api_host",
    "k8s_api_ssl_ca_cert",
)
# Containers whose programs are in images, so not on this machine.  A command of the notebook can be too.
_CONTAINER_TRAITS = ("init_containers", "extra_containers")
_OWN_VARIABLES = ("PATH", "HOME", "TMPDIR", "TRIAL_FILE")
NOTEBOOK_COMMAND = "jupyterhub-singleuser"
BATCH = "batch"
# Open as long as the hub runs: hooks of the chart's programs need its module `z2jh` and the variables of hub.extraEnv.
_HUB_POD = ExitStack()


def apply_trial(c: Config, file: str, load_subconfig: Callable[..., Any]) -> None:
    """Configure the hub (`c`) for the trial in `file`.

    load_subconfig: runs another configuration file, as traitlets offers it to configuration files.
    """
    trial = yaml.safe_load(Path(file).read_text())
    environment = dict(os.environ)
    try:
        if trial["values"] is not None:
            values = complete(trial["values"], namespace=trial["namespace"])
            _HUB_POD.enter_context(hub_pod(values))
            build(values, c)
        elif trial["config"]:
            load_subconfig(Path(trial["config"]).name, path=str(Path(trial["config"]).parent))
    finally:
        _restore(environment)
    remove_replaced(c, {user["name"] for user in trial["users"]})
    sections = sections_of(configured_class(c))
    trial_pod_page.SITE_TRAITS.update(_replace_programs(c, sections, trial["notebook_arguments"]))
    _set_addresses(c, trial)
    managed = {
        "url": f"http://127.0.0.1:{trial['batch_port']}",
        "environment": {
            name: os.environ[name] for name in ("KUBECONFIG", "TRIAL_FILE", "HOME", "TMPDIR") if name in os.environ
        },
    }
    site = configure(c, trial["settings"], base=trial["base"], managed_batch=managed if trial["has_batch"] else False)
    own = load(trial["own_settings"])
    if own.scheduler.kind != site.scheduler.kind or trial_pod_page.SITE_TRAITS:
        trial_pod_page.SITE_TRAITS["installation"] = register_site(own, Path(trial["base"]))
    trial_pod_page.SCHEDULERS.extend([own.scheduler.kind, site.scheduler.kind])
    c.JupyterHub.template_paths = [str(TEMPLATES), *items(c.JupyterHub, "template_paths")]
    c.JupyterHub.extra_handlers = [*trial_pod_page.HANDLERS, *items(c.JupyterHub, "extra_handlers")]
    notes = [*trial["notes"], *about_containers(trial_pod_page.SITE_TRAITS)]
    announcement = Markup("<br>").join([Markup("<strong>A trial of your settings.</strong>"), *notes])
    c.JupyterHub.template_vars.update(announcement=str(announcement), trial_users=trial["users"])
    trial_login.configure(c, trial["users"], trial["key"])


def _restore(environment: dict[str, str]) -> None:
    """Undo changes of the variables that decide which cluster and which proxies are used."""
    for name in {*os.environ, *environment}:
        if name in _OWN_VARIABLES or name.startswith("KUBE") or name.lower().endswith("_proxy"):
            os.environ.pop(name, None)
            if name in environment:
                os.environ[name] = environment[name]


def remove_replaced(c: Config, users: set[str]) -> None:
    """Remove what a trial replaces, from the configuration that the administrator's files have made."""
    hub = c.JupyterHub
    for trait in [trait for trait in hub if trait not in KEPT_HUB_TRAITS]:
        del hub[trait]
    roles = []
    for role in items(hub, "load_roles"):
        kept = {**role, "services": [BATCH] if BATCH in role.get("services", ()) else []}
        kept["users"] = [user for user in role.get("users", ()) if user in users]
        roles.append(kept)
    hub.load_roles = roles
    for section in [name for name in c if "Authenticator" in name or "Proxy" in name or name == "CryptKeeper"]:
        del c[section]
    for section in sections_of(configured_class(c)):
        for trait in _ADDRESS_TRAITS:
            c[section].pop(trait, None)


def _replace_programs(c: Config, sections: tuple[str, ...], arguments: list[str]) -> dict[str, Any]:
    """Leave out programs that are not on this machine, and return the replaced traits of the spawner."""
    replaced: dict[str, Any] = {}
    for trait in _CONTAINER_TRAITS:
        if value := plain(value_of(c, trait, sections)):
            replaced[trait] = value
            c[sections[0]][trait] = []
    command = plain(value_of(c, "cmd", sections))
    words = shlex.split(command) if isinstance(command, str) else list(command or [])
    if words and shutil.which(words[0]) is None:
        replaced["cmd"] = words
        c[sections[0]].cmd = [NOTEBOOK_COMMAND]
    if arguments:
        c[sections[0]].args = [*(plain(value_of(c, "args", sections)) or []), *arguments]
    return replaced


def about_containers(replaced: Mapping[str, Any]) -> list[str]:
    """Return a sentence about the containers that a trial does not run."""
    names = [
        str(container.get("name")) for trait in _CONTAINER_TRAITS for container in _as_list(replaced.get(trait, []))
    ]
    return [f"These containers of your hub's configuration do not run here: {format_list(names)}."] if names else []


def _as_list(containers: Any) -> list[Any]:
    """Return the containers of a trait of KubeSpawner, which can be a list or a map."""
    return [*containers.values()] if isinstance(containers, Mapping) else [*containers]


def _set_addresses(c: Config, trial: dict[str, Any]) -> None:
    hub = c.JupyterHub
    hub.bind_url = trial["url"]
    hub.hub_bind_url = f"http://127.0.0.1:{trial['hub_port']}"
    hub.db_url = "sqlite:///:memory:"
    hub.cookie_secret_file = trial["cookie_secret"]
    hub.services = []
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{trial['proxy_port']}"
    c.ConfigurableHTTPProxy.pid_file = trial["proxy_pid"]
