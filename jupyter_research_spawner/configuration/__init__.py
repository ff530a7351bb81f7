"""`configure(c, site)`: the one line of jupyterhub_config.py that makes notebooks run as the people they are for."""

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
# The chart's and KubeSpawner's own names for what ResearchSpawner is on top of.
_REPLACED = (None, "kubespawner.KubeSpawner", "kubespawner.spawner.KubeSpawner", "research", SPAWNER_CLASS)
# One admission webhook may take 10 s (Kubernetes' default for timeoutSeconds); KubeSpawner gives a create 3 s.
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
    """Set up `c` (JupyterHub's configuration) for `site`: a Site, settings as a map, a YAML file, or several to merge.

    Call it last in jupyterhub_config.py; twice does no more than once.  What is set is added to what is there:
    spawner_class, our settings, concurrent_spawn_limit 0 (ResearchSpawner paces itself: `hub.concurrent_starts`),
    k8s_api_request_timeout of 10 s at least, our templates after the site's own, and for batch the service's role and
    the scopes of people and of their notebooks.  On JupyterHub 5 also consecutive_failure_limit 0: there a refusal
    counts as a failure, and five of them would end the hub.

    base: where relative paths in the settings start; by default the directory of the first file, or the working
    directory.  managed_batch: let the hub run the batch service itself, for a demo (it reads the settings from the
    same files); a map is merged over its entry in `c.JupyterHub.services`.

    Raises SettingsError with every problem of the settings, and with everything in `c` that says something else than
    the Site does, naming both.
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
    # A whole list: what is appended to a list that nobody set comes after the hub's own directory, and is never found.
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
    """A site's own subclass stays."""
    chosen = c.JupyterHub.get("spawner_class")
    return isinstance(chosen, type) and any(base.__name__ == "ResearchSpawner" for base in chosen.__mro__)


def _check_spawner_class(c: Config) -> None:
    chosen = c.JupyterHub.get("spawner_class")
    name = f"{chosen.__module__}.{chosen.__qualname__}" if isinstance(chosen, type) else chosen
    if name not in _REPLACED and not _is_ours(c):
        raise SettingsError.single(
            "c.JupyterHub.spawner_class",
            f"is {name!r}, but configure() sets up {SPAWNER_CLASS}. Leave it out, or derive your class from "
            "ResearchSpawner and set the class itself",
        )


def _set_limits(c: Config, log: Any) -> None:
    limit = c.JupyterHub.get("concurrent_spawn_limit")
    if limit:
        log.info(
            "c.JupyterHub.concurrent_spawn_limit was %s and is 0 now: hub.concurrent_starts of the Site paces the "
            "starts, and servers that wait in a queue do not count",
            limit,
        )
    c.JupyterHub.concurrent_spawn_limit = 0
    if int(jupyterhub.__version__.split(".")[0]) < 6:
        c.ResearchSpawner.consecutive_failure_limit = 0
        log.info(
            "c.ResearchSpawner.consecutive_failure_limit is 0: JupyterHub %s counts a refused choice as a failed "
            "spawn, so a few of them would end the hub",
            jupyterhub.__version__,
        )
