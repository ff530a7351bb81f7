"""The fields of POST /jobs that all kinds of job have, and the names of jobs."""

from __future__ import annotations

import posixpath
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, Field, StringConstraints

from ..plan import Inherited, Request
from ..refusal import Refusal
from ..resources import gives_devices
from ..settings import Settings
from ..shape import Shape
from ..storage import HIJACKING_ENV, IDENTITY_ENV
from ..wording import quote
from .parsing import Choice, Submitted

# Limit in bytes of the command and the environment.  An object can have 1.5 MiB, and `literal` doubles each `$`.
WORDS_LIMIT = 256 * 1024

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# Limit in bytes of the names of the variables, which are also in an annotation of the job.
_NAMES_LIMIT = 16 * 1024
# Prefixes of variables that the hub, this project or the cluster sets: addresses of services, devices, array indexes.
_RESERVED_ENV = (
    "JUPYTERHUB_",
    "RESEARCH_",
    "KUBERNETES_",
    "NVIDIA_",
    "NB_",
    "JOB_COMPLETION_INDEX",
    "SLURM_ARRAY_",
)
# A pod's name is the job's name with a suffix.  It is also the host name, which has at most 63 characters.
_SLUG_LIMIT = 46
# The characters of Kubernetes' name suffixes.  There are no vowels, so that no words appear.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
V = TypeVar("V")


def valid_env(env: dict[str, V]) -> dict[str, V]:
    """Return `env` unchanged.  Raises ValueError if a name is not valid, reserved or dangerous.

    PATH and PYTHONPATH are valid, because they do not affect the identity.
    """
    for name in env:
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(
                f"{quote(name)} is not a valid name of a variable: use at most 128 letters, digits and underscores, "
                "and no digit at the beginning"
            )
        if name.startswith(_RESERVED_ENV) or name in IDENTITY_ENV:
            raise ValueError(f"{name} is set by the hub or by the cluster; remove it from env")
        if gives_devices(name):
            raise ValueError(
                f"{name} could give the job devices outside its profile; to choose among the job's devices, set the "
                "variable in the program"
            )
        if name.startswith(HIJACKING_ENV):
            raise ValueError(f"{name} could make programs believe that they run as another user; remove it from env")
    return env


def _path(path: str) -> str:
    below_home = path[2:] if path.startswith("~/") else ""
    if path == "~" or (below_home and posixpath.normpath(f"/{below_home}") == f"/{below_home}" and path.isprintable()):
        return path
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//") or not path.isprintable():
        if path.startswith("/") and not path.isprintable():
            raise ValueError(f"{quote(path)} has characters that cannot be printed. Rename the directory")
        raise ValueError(f"{quote(path)} is not a normalized absolute path. Write it as `realpath` prints it")
    return path


def _words(command: list[str]) -> list[str]:
    if not command[0].strip():
        raise ValueError("the first word is the program to run, and must not be empty")
    return command


Text = Annotated[str, StringConstraints(strict=True)]


# Inherited values are not validated further, because an inherited value never causes a refusal.
Value = Annotated[str, StringConstraints(strict=True, max_length=4096)]


class InheritedFields(Settings):
    """The values of the notebook that submits a job, for fields that the user left open."""

    profile: Value | None = Field(None, title="Profile of the notebook")
    queue: Value | None = Field(None, title="Queue of the notebook")
    image: Value | None = Field(None, title="Image of the notebook")
    workdir: list[Value] = Field(
        [], title="Paths of the current directory. The job uses the first one that it has", max_length=4
    )


class JobRequest(Submitted):
    """The request for a job, without the user's identity.  HINTS has a hint for some fields; a kind can add more."""

    HINTS: ClassVar[Mapping[str, str]] = {
        "command": 'Write the command as a list of words: ["python", "train.py"]. '
        'To use a shell, write ["bash", "-c", "..."].',
        "env": 'Write env as a map from names to strings: {"OMP_NUM_THREADS": "2"}.',
        "inherited": 'Write inherited as a map: {"profile": "small", "workdir": ["/home/alice/climate"]}.',
    }

    name: Annotated[Choice, StringConstraints(max_length=120)] | None = Field(
        None, title="Name of the job in `job list`", description="By default the program's name.", examples=["train"]
    )
    command: Annotated[list[Text], AfterValidator(_words)] = Field(
        title="The program and its arguments, which no shell interprets",
        min_length=1,
        max_length=10_000,
        examples=[["python", "train.py"]],
    )
    env: Annotated[dict[Text, Text], AfterValidator(valid_env)] = Field(
        default_factory=dict, title="Environment", max_length=1000, examples=[{"OMP_NUM_THREADS": "2"}]
    )
    workdir: Annotated[str, StringConstraints(strict=True, max_length=4096), AfterValidator(_path)] | None = Field(
        None, title="Working directory, in your home (`~/...`) or on a mount", examples=["~/climate"]
    )
    inherited: InheritedFields = Field(
        InheritedFields(),
        title="Values of the notebook",
        description="They are used where the request has none and where they fit. An inherited value never causes a "
        "refusal.",
        examples=[{"profile": "small", "queue": "climate", "workdir": ["/home/alice/climate"]}],
    )


def refuse_too_long(request: JobRequest) -> None:
    """Raise Refusal if the command and the environment would be too large for a Kubernetes object."""
    names = sum(len(name) for name in request.env)
    if names > _NAMES_LIMIT:
        raise Refusal(
            "too-long",
            f"The names of the variables are {names} bytes long; the limit is {_NAMES_LIMIT} bytes.",
            field="env",
            hint="Put the values into a file, and let the command read the file.",
        )
    size = sum(len(text.encode()) for text in (*request.command, *request.env, *request.env.values()))
    if size > WORDS_LIMIT:
        raise Refusal(
            "too-long",
            f"The command and its environment are {size} bytes long; the limit is {WORDS_LIMIT} bytes.",
            field="command",
            hint="Put long text into a file, and pass the file's name.",
        )


def display_name(request: JobRequest) -> str:
    """Return the name that the user chose, or the program's name."""
    return request.name or program_name(request.command)


def program_name(command: Sequence[str]) -> str:
    """Return the name of a job whose user chose none."""
    return (posixpath.basename(command[0])[:120] if command else "") or "job"


def new_job_id(request: JobRequest) -> str:
    """Return a random name for the Job, such as `train-x7k2p`, with at most 52 characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", display_name(request).lower())[:_SLUG_LIMIT].strip("-")
    # Names of some schedulers' objects must begin with a letter.
    slug = slug if slug[:1].isalpha() else f"job-{slug}".rstrip("-")[:_SLUG_LIMIT].rstrip("-")
    return f"{slug}-{''.join(secrets.choice(_ALPHABET) for _ in range(5))}"


def plan_request(request: JobRequest, shape: Shape, hub_user: str) -> Request:
    """Return the Request that `plan` takes.  `hub_user` is the user's name in the hub."""
    return Request(
        shape=shape,
        hub_user=hub_user,
        profile=request.profile,
        queue=request.queue,
        wall_time=request.wall_time,
        image=request.image,
        workdir=request.workdir,
        inherited=Inherited(
            request.inherited.profile,
            request.inherited.queue,
            request.inherited.image,
            tuple(request.inherited.workdir),
        ),
    )
