"""Reads the batch service's address and the defaults of jobs from environment variables that the spawner sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from .batch_client import BatchClient
from .job_errors import JobsError, NotReady

URL = "RESEARCH_BATCH_URL"
TOKEN = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - the variable's name
LONGEST_PATH = 4096  # of the field in the service's API
IMAGES = ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE")


@dataclass(frozen=True)
class Notebook:
    """The address of the batch service, and values that jobs inherit where they fit.  "" for an unknown value."""

    batch: BatchClient
    queue: str
    profile: str
    image: str


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
    )


def current_directory(environment: Mapping[str, str]) -> list[str]:
    """Return the paths of the current directory; [] if it was removed, or if its path is not text.

    The first path has no symbolic links.  In a job, only the path below HOME may exist if HOME is a link, or only the
    path that the shell has in PWD.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 - its text is compared with that of other paths
        home, shell = environment.get("HOME", ""), environment.get("PWD", "")
        real_home = os.path.realpath(home) if home.startswith("/") else "/"
        found = [here]
        if real_home != "/" and f"{here}/".startswith(f"{real_home}/"):
            found.append(os.path.normpath(home + here[len(real_home) :]))
        if shell.startswith("/") and os.path.normpath(shell) == shell and os.path.samefile(shell, here):  # noqa: PTH121
            found.append(shell)
    except OSError:
        return []
    return [path for path in dict.fromkeys(found) if path.isprintable() and len(path) <= LONGEST_PATH]


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
