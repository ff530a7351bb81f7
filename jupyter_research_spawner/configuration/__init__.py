"""`configure(c, site)`, the only call that jupyterhub_config.py requires for this spawner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jupyterhub
from traitlets.config import Config
from traitlets.log import get_logger

from .. import web
from ..chart_values import extra_files_secret
from ..settings import SettingsError
from ..site import Site, load
from ..spawner import (
    ResearchSpawner,
    end_pages,
    pod_page,
    server_actions,
    server_rows,
    static_pages,
    wall_time_pages,
)
from ..spawner.configured_class import OWN, configured_class, sections_of
from ..spawner.process_state import register_site
from . import batch_service
from .traits import add_items, items, value_of
from .whole_check import check_configuration

# An admission webhook may take 10 s (the default of timeoutSeconds); KubeSpawner's limit for a create is 3 s.
REQUEST_SECONDS = 10

SiteLike = Site | Mapping[str, Any] | str | Path
Part = Mapping[str, Any] | str | Path


def configure(
    c: Config,
    site: SiteLike | Sequence[Part],
    *,
    base: str | Path | None = None,
    managed_batch: bool | Mapping[str, Any] = False,
) -> Site:
    """Configure JupyterHub (`c`) for a site, which is a Site, a map, a YAML file, or several maps and files to merge.

    Call this function last in jupyterhub_config.py.  A second call changes nothing.  It sets:

    * spawner_class, namespace, template_paths, template_vars and extra_handlers;
    * concurrent_spawn_limit to 0, because `hub.concurrent_starts` in the settings replaces it;
    * k8s_api_request_timeout to at least 10 s;
    * the role of the batch service, and the scopes of users and of their notebooks;
    * on JupyterHub 5, consecutive_failure_limit to 0, because JupyterHub 5 counts each refusal as a failure, and five
      failures would stop the hub.

    base: relative paths in the settings are relative to this directory; default: the directory of the first file, or
    the working directory.
    managed_batch: True makes the hub run the batch service as a managed service, for a demo; a map does the same, and
    is merged over the service's entry in `c.JupyterHub.services`.

    A notebook's pod of each profile is composed and checked, without running hooks.  Raises SettingsError with all
    problems of the settings, or else with all values in `c` that contradict them or that make every start fail.  If a
    hook can change the pod, problems of the composed pod are only warnings.
    """
    parts = _parts(site)
    settings = with_extra_files(parts if isinstance(parts, Site) else load(*parts))
    found = check_configuration(c, settings, _base(base, parts), runs_hooks=False)
    if found.problems:
        raise SettingsError(found.problems)
    spawner_class = configured_class(c)
    sections = sections_of(spawner_class)
    log = get_logger()
    for warning in found.advice:
        log.warning("%s", warning)
    if spawner_class is ResearchSpawner:
        c.JupyterHub.spawner_class = OWN
    # The most specific section, because that of a subclass replaces the values of ResearchSpawner's.
    own = c[sections[0]]
    own.installation = register_site(settings, _base(base, parts))
    settings.pages.use_language(_base(base, parts))
    own.namespace = settings.namespaces.name
    own.k8s_api_request_timeout = max(REQUEST_SECONDS, value_of(c, "k8s_api_request_timeout", sections) or 0)
    _set_limits(c, own, log)
    # Set the whole list, because a path that is appended to an unset list comes after the hub's own templates.
    templates = [path for path in items(c.JupyterHub, "template_paths") if path != str(web.HUB_TEMPLATES)]
    c.JupyterHub.template_paths = [*templates, str(web.HUB_TEMPLATES)]
    c.JupyterHub.template_vars = {
        **(value_of(c, "template_vars", ("JupyterHub",)) or {}),
        "research_ends": end_pages.TemplateEnds(settings.time_zone),
        "research_deadlines": wall_time_pages.TemplateDeadlines(settings.time_zone),
        "research_servers": server_rows.TemplateServers(own.installation),
        "research_static": web.static_paths(),
        "research_service": batch_service.SERVICE,
        **web.hub_variables(),
    }
    handlers = (
        *end_pages.HANDLERS,
        *wall_time_pages.HANDLERS,
        *static_pages.HANDLERS,
        *pod_page.HANDLERS,
        *server_actions.HANDLERS,
    )
    add_items(c.JupyterHub, "extra_handlers", handlers)
    managed = batch_service.managed(parts, _base(base, parts), managed_batch) if managed_batch else None
    batch_service.configure(c, settings, managed, sections)
    return settings


def with_extra_files(site: Site) -> Site:
    """Return the site with the chart's Secret of singleuser.extraFiles in pods.allow.secrets, if there is one.

    Every user reads these files anyway.  A value in the settings, also false, comes first.
    """
    secret = extra_files_secret()
    if secret is None or secret in site.pods.allow.secrets:
        return site
    allow = site.pods.allow.model_copy(update={"secrets": {**site.pods.allow.secrets, secret: True}})
    changed = site.model_copy(update={"pods": site.pods.model_copy(update={"allow": allow})})
    changed.__dict__.pop("digest", None)  # cached
    return changed


def _parts(site: SiteLike | Sequence[Part]) -> Site | tuple[Part, ...]:
    if isinstance(site, Site):
        return site
    if isinstance(site, (Mapping, str, Path)):
        return (site,)
    return tuple(site)


def _base(base: str | Path | None, parts: Site | tuple[Part, ...]) -> Path:
    if base is not None:
        return Path(base)
    files = [Path(part) for part in parts if isinstance(part, (str, Path))] if isinstance(parts, tuple) else []
    return files[0].parent if files else Path()


def _set_limits(c: Config, own: Config, log: Any) -> None:
    limit = c.JupyterHub.get("concurrent_spawn_limit")
    if limit:
        log.info(
            "c.JupyterHub.concurrent_spawn_limit was %s and is now 0: hub.concurrent_starts in the settings limits "
            "the starts instead, and does not count servers that wait in a queue",
            limit,
        )
    c.JupyterHub.concurrent_spawn_limit = 0
    if int(jupyterhub.__version__.split(".")[0]) < 6:
        own.consecutive_failure_limit = 0
        log.info(
            "consecutive_failure_limit of the spawner is now 0: JupyterHub %s counts a refused request as a failed "
            "spawn, so a few refused requests would stop the hub",
            jupyterhub.__version__,
        )
