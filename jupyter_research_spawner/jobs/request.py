"""What a person asks for when they submit a job: JSON that is believed in nothing.  Contract: POST /jobs."""

from __future__ import annotations

import difflib
import posixpath
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from ..refusal import Refusal
from ..resources import DEVICE_ENV
from ..settings import Duration, Settings, SettingsError
from ..storage import HIJACKING_ENV, IDENTITY_ENV

# Words and environment together.  The API server takes 1.5 MiB for a whole object, and a `$` doubles.
WORDS_LIMIT = 256 * 1024

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# The hub's, ours, and the cluster's: what tells where services are and which devices a container sees.
_OTHERS_ENV = ("JUPYTERHUB_", "RESEARCH_", "KUBERNETES_", "NVIDIA_", "NB_", *DEVICE_ENV)
_WHO = frozenset({"uid", "gid", "groups", "group", "user", "username", "identity", "runasuser", "runasgroup"})


def _env(env: dict[str, str]) -> dict[str, str]:
    """PATH, PYTHONPATH and the like are allowed: they find programs and change nothing about who runs them."""
    for name in env:
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(f"{name[:60]!r} is not the name of a variable: letters, digits and _, at most 128 of them")
        if name.startswith(_OTHERS_ENV) or name in IDENTITY_ENV:
            raise ValueError(f"{name} is set by the hub or by the cluster; leave it out")
        if name.startswith(HIJACKING_ENV):
            raise ValueError(f"{name} would change who programs think they are; leave it out")
    return env


def _path(path: str) -> str:
    below_home = path[2:] if path.startswith("~/") else ""
    if path == "~" or (below_home and posixpath.normpath(f"/{below_home}") == f"/{below_home}" and path.isprintable()):
        return path
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//") or not path.isprintable():
        raise ValueError(f"{path[:200]!r} is not a plain absolute path. Write it as `realpath` prints it")
    return path


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError(f"{text[:60]!r} is not one line of text")
    return text


def _words(command: list[str]) -> list[str]:
    if not command[0].strip():
        raise ValueError("the first word is the program to run, and it is empty")
    return command


Choice = Annotated[str, StringConstraints(strict=True, max_length=512), AfterValidator(_one_line)]
Text = Annotated[str, StringConstraints(strict=True)]


class JobRequest(Settings):
    """One job.  None means "you choose"; nothing here says who the person is."""

    name: Annotated[Choice, StringConstraints(max_length=120)] | None = Field(
        None, title="What `job list` shows", description="By default the program's name.", examples=["train"]
    )
    command: Annotated[list[Text], AfterValidator(_words)] = Field(
        title="The program and its arguments, one word each; no shell reads them",
        min_length=1,
        max_length=10_000,
        examples=[["python", "train.py"]],
    )
    image: Choice | None = Field(None, title="Image, by its name in the settings or in full")
    profile: Choice | None = Field(None, title="Profile", examples=["small"])
    queue: Choice | None = Field(None, title="Queue", examples=["climate"])
    wall_time: Duration | None = Field(None, title="Hard wall time", examples=["8h"])
    env: Annotated[dict[Text, Text], AfterValidator(_env)] = Field(
        default_factory=dict, title="Environment", max_length=1000, examples=[{"OMP_NUM_THREADS": "2"}]
    )
    workdir: Annotated[str, StringConstraints(strict=True, max_length=4096), AfterValidator(_path)] | None = Field(
        None, title="Working directory, on your home (`~/...`) or a mount", examples=["~/climate"]
    )


_HINTS = {
    "command": 'Write it as a list of words: ["python", "train.py"]. A shell is a program too: ["bash", "-c", "..."].',
    "env": 'Write it as a map of names to texts: {"OMP_NUM_THREADS": "2"}.',
}


def parse(body: Any) -> JobRequest:
    """`body` is whatever came in as JSON.  Raises Refusal (400) with the field at fault."""
    if not isinstance(body, dict):
        raise Refusal(
            "invalid", f"A job is a JSON object, not {_kind(body)}.", hint='Send {"command": ["python", "train.py"]}.'
        )
    for field in body:
        if field not in JobRequest.model_fields:
            raise _unknown(str(field))
    for field, value in body.items():
        _text_of(field, value)
    try:
        request = JobRequest.model_validate(body)
    except ValidationError as error:
        problem = SettingsError.of(error, JobRequest).problems[0]
        field = problem.path.partition(".")[0]
        said = problem.message[:500].rstrip(".")
        raise Refusal("invalid", f"{field}: {said}.", field=field, hint=_HINTS.get(field, "")) from None
    size = sum(len(text.encode()) for text in (*request.command, *request.env, *request.env.values()))
    if size > WORDS_LIMIT:
        raise Refusal(
            "too-long",
            f"The command and its environment are {size} bytes long; {WORDS_LIMIT} is the limit.",
            field="command",
            hint="Put what is long into a file, and give the file's name.",
        )
    return request


def _unknown(field: str) -> Refusal:
    name = field[:60]
    if re.sub(r"[^a-z]", "", field.lower()) in _WHO:
        return Refusal(
            "unknown-field",
            f"There is no field {name!r}: who you are is decided by the hub.",
            field=_shown(name),
            hint="Leave it out; the job runs as you.",
        )
    close = difflib.get_close_matches(name, JobRequest.model_fields, n=1)
    return Refusal(
        "unknown-field",
        f"There is no field {name!r}.",
        field=_shown(name),
        hint=f"Did you mean {close[0]!r}?" if close else f"A job has: {', '.join(JobRequest.model_fields)}.",
    )


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _text_of(field: str, value: Any) -> None:
    """No program can be given a NUL (execve(2)), and a lone surrogate is in no UTF-8."""
    texts = [value]
    if isinstance(value, list):
        texts = value
    elif isinstance(value, dict):
        texts = [*value, *value.values()]
    for text in texts:
        if isinstance(text, str) and ("\0" in text or not _is_unicode(text)):
            raise Refusal(
                "invalid",
                f"{field}: a text in it has a character that cannot be handed to a program.",
                field=field,
                hint="NUL and halves of UTF-16 pairs cannot. Put what needs them into a file.",
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "a truth value", list: "a list", str: "a text"}
    return names.get(type(value), "a number")
