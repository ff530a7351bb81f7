"""Reads the batch service's address and the defaults of jobs from environment variables that the spawner sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from .batch_client import BatchClient
from .job_errors import JobsError, NotReady

URL = "RESEARCH_BATCH_URL"
TOKEN = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - the variable's name
IMAGES = ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE")


@dataclass(frozen=True)
class Notebook:
    """The address of the batch service, and the defaults of jobs.  For an empty default the service chooses a value."""

    batch: BatchClient
    queue: str
    profile: str
    image: str
    home: str


def this_notebook(environment: Mapping[str, str]) -> Notebook:
    """Read the environment of a notebook.  Raises NotReady outside a notebook, and JobsError if a value is invalid."""
    missing = [name for name in (URL, TOKEN) if not environment.get(name)]
    if missing:
        raise NotReady(
            f"There is no batch service here: {' and '.join(missing)} {'are' if missing[1:] else 'is'} not set. "
            "These variables are set only in notebook servers, not in batch jobs. Use a terminal or a notebook of your "
            "JupyterHub server. If you already do, ask your administrators to enable the batch service."
        )
    image = next((environment[name] for name in IMAGES if environment.get(name)), "")
    return Notebook(
        batch=BatchClient(_service_url(environment[URL]), _token(environment[TOKEN])),
        queue=environment.get("RESEARCH_QUEUE", ""),
        profile=environment.get("RESEARCH_PROFILE", ""),
        image=image,
        home=environment.get("HOME", ""),
    )


def directory_below(home: str) -> str | None:
    """Return the current directory as `~` or `~/...`; None if it is not below `home` or was removed."""
    if not home.startswith("/") or not home.strip("/"):
        return None
    try:
        here = Path.cwd()
        roots = (Path(home), Path(home).resolve())
    except (OSError, RuntimeError):  # unreadable; a loop of links
        return None
    for root in roots:
        if root == here or root in here.parents:
            return str(Path("~") / here.relative_to(root))
    return None


def _service_url(url: str) -> str:
    try:
        usable = _usable(url, urlsplit(url))
    except ValueError:  # a port that is not a number, an invalid IPv6 address
        usable = False
    if not usable:
        raise JobsError(
            f"{URL} is not a valid address of a service. It must look like http://hub:8000/services/batch, "
            "without a user, a query or spaces. Tell your administrators."
        )
    return url.rstrip("/")


def _usable(url: str, parts: SplitResult) -> bool:
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and parts.port != 0
        and "@" not in parts.netloc
        and not parts.query
        and not parts.fragment
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )


def _token(token: str) -> str:
    # Without this check, the error of http.client would quote a token that is not a valid header value.
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise JobsError(f"{TOKEN} is not a valid token. Restart your server to get a new one.")
    return token
