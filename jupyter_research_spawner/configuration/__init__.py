"""`configure(c, site)`, the only call that jupyterhub_config.py requires for this spawner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jupyterhub
from traitlets.config import Config
from traitlets.log import get_logger

from .. import web
from ..settings import SettingsError
from ..site import Site, load
from ..spawner.process_state import register_site
from . import batch_service, conflicts
from .traits import items, value_of

SPAWNER_CLASS = "jupyter_research_spawner.spawner.ResearchSpawner"
# Values of spawner_class that configure() may replace: those of the chart and of KubeSpawner.
_REPLACED = (None, "kubespawner.KubeSpawner", "kubespawner.spawner.KubeSpawner", "research", SPAWNER_CLASS)
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

    * spawner_class, namespace and template_paths;
    * concurrent_spawn_limit to 0, because `hub.concurrent_starts` in the settings replaces it;
    * k8s_api_request_timeout to at least 10 s;
    * the role of the batch service, and the scopes of users and of their notebooks;
    * on JupyterHub 5, consecutive_failure_limit to 0, because JupyterHub 5 counts each refusal as a failure, and five
      failures would stop the hub.

    base: relative paths in the settings are relative to this directory; default: the directory of the first file, or
    the working directory.
    managed_batch: True makes the hub run the batch service as a managed service, for a demo; a map does the same, and
    is merged over the service's entry in `c.JupyterHub.services`.

    Raises SettingsError with all problems of the settings, and all values in `c` that contradict them.
    """
    parts = _parts(site)
    settings = parts if isinstance(parts, Site) else load(*parts)
    _check_spawner_class(c)
    if problems := conflicts.problems(c, settings):
        raise SettingsError(problems)
    log = get_logger()
    for warning in conflicts.warnings(c, settings):
        log.warning("%s", warning)
    c.JupyterHub.spawner_class = c.JupyterHub.get("spawner_class") if _is_ours(c) else SPAWNER_CLASS
    c.ResearchSpawner.installation = register_site(settings, _base(base, parts))
    c.ResearchSpawner.namespace = settings.namespaces.name
    c.ResearchSpawner.k8s_api_request_timeout = max(REQUEST_SECONDS, value_of(c, "k8s_api_request_timeout") or 0)
    _set_limits(c, log)
    # Set the whole list, because a path that is appended to an unset list comes after the hub's own templates.
    templates = [path for path in items(c.JupyterHub, "template_paths") if path != str(web.HUB_TEMPLATES)]
    c.JupyterHub.template_paths = [*templates, str(web.HUB_TEMPLATES)]
    batch_service.configure(
        c, settings, batch_service.managed(parts, _base(base, parts), managed_batch) if managed_batch else None
    )
    return settings


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


def _is_ours(c: Config) -> bool:
    """Return whether spawner_class is a subclass of ResearchSpawner.  `configure` does not replace a subclass."""
    chosen = c.JupyterHub.get("spawner_class")
    return isinstance(chosen, type) and any(base.__name__ == "ResearchSpawner" for base in chosen.__mro__)


def _check_spawner_class(c: Config) -> None:
    chosen = c.JupyterHub.get("spawner_class")
    name = f"{chosen.__module__}.{chosen.__qualname__}" if isinstance(chosen, type) else chosen
    if name not in _REPLACED and not _is_ours(c):
        raise SettingsError.single(
            "c.JupyterHub.spawner_class",
            f"is {name!r}, but configure() sets {SPAWNER_CLASS}. Remove it, or derive your class from ResearchSpawner "
            "and set spawner_class to the class itself",
        )


def _set_limits(c: Config, log: Any) -> None:
    limit = c.JupyterHub.get("concurrent_spawn_limit")
    if limit:
        log.info(
            "c.JupyterHub.concurrent_spawn_limit was %s and is now 0: hub.concurrent_starts in the settings limits "
            "the starts instead, and does not count servers that wait in a queue",
            limit,
        )
    c.JupyterHub.concurrent_spawn_limit = 0
    if int(jupyterhub.__version__.split(".")[0]) < 6:
        c.ResearchSpawner.consecutive_failure_limit = 0
        log.info(
            "c.ResearchSpawner.consecutive_failure_limit is now 0: JupyterHub %s counts a refused request as a failed "
            "spawn, so a few refused requests would stop the hub",
            jupyterhub.__version__,
        )
