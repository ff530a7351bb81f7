"""The working directory of the main container.

The container runtime, which is root, follows symlinks in `workingDir` and creates a missing directory (checked with
containerd 2.2 and runc), even if a user has replaced a part of the path since it was checked.  So `workingDir` is only
the user's home or the path of a mount, which the user cannot replace.  The program itself changes to any other
directory, as the user; this needs /bin/sh in the image.
"""

from __future__ import annotations

import posixpath

from ..plan import Plan
from ..shape import Json
from ..wording import quote
from .containers import manifest_refusal
from .findings import Findings, PodUnderCheck
from .overlay import literal

# The arguments are the directory, and the words of the program.  The shell does not interpret them.
SCRIPT = """\
cd "$1" 2>/dev/null || {
  if [ -d "$1" ]; then why="cannot be entered with your user and groups"; else why="does not exist"; fi
  printf 'The working directory %s %s.\\n' "$1" "$why" >&2
  exit 1
}
shift
exec "$@"
"""
_ENTER = ["/bin/sh", "-c", literal(SCRIPT), "research-workdir"]


def compose_working_directory(plan: Plan, main: Json) -> None:
    """Set the main container's `workingDir`, and let its program change to a directory that is not safe there.

    The mounts of the container must be complete.  Raises Refusal if the program is not known.
    """
    wanted = starts_in(plan, main)
    is_safe = wanted in _safe(plan, main)
    main["workingDir"] = wanted if is_safe else plan.identity.home
    if is_safe or _entered(main) == wanted:
        return
    enter = [*_ENTER, literal(wanted)]
    # The arguments of a job are the user's command.  Those of a notebook are for the image's entrypoint, which then
    # runs the shell.
    if main.get("command") and not main.get("args"):
        main["command"], main["args"] = enter, main["command"]
    elif main.get("command"):
        main["command"] = [*enter, *main["command"]]
    elif main.get("args"):
        main["args"] = [*enter, *main["args"]]
    else:
        raise manifest_refusal(
            f"workingDir of container {main['name']!r}",
            f"is {wanted!r}. The program must change to this directory itself, but the program is not known",
            "Ask your administrators to set c.KubeSpawner.cmd, or to let notebooks start in the home directory.",
        )


def starts_in(plan: Plan, main: Json) -> str:
    """Return the directory in which the program starts, before or after `compose`."""
    written = plan.request.workdir or _entered(main) or main.get("workingDir") or plan.identity.home
    return posixpath.normpath("/" + str(written).lstrip("/"))


def _entered(main: Json) -> str | None:
    """Return the directory to which the program changes itself; None if it does not."""
    for words in (main.get("command", []), main.get("args", [])):
        if words[: len(_ENTER)] == _ENTER and len(words) > len(_ENTER):
            return str(words[len(_ENTER)]).replace("$$", "$")
    return None


def _safe(plan: Plan, main: Json) -> set[str]:
    """Return the directories that neither the user nor the container runtime can replace or create."""
    return {plan.identity.home, *(mount.get("mountPath", "").rstrip("/") for mount in main.get("volumeMounts", []))}


def check_working_directory(checked: PodUnderCheck) -> Findings:
    """Require a safe `workingDir`, and the directory of the request."""
    plan, main = checked.plan, checked.main
    path = f"workingDir of container {main['name']!r}"
    present, asked = main.get("workingDir"), plan.request.workdir
    if not present:
        yield path, "is missing: the container runtime would create the image's working directory as root"
    elif present not in _safe(plan, main):
        why = "the container runtime would create a missing directory as root"
        yield path, f"is {quote(present, 512)}, but it must be the user's home or the path of a mount: {why}"
    elif asked is not None and asked not in (present, _entered(main)):
        yield path, f"is {quote(present, 512)}, not {quote(asked, 512)}"
