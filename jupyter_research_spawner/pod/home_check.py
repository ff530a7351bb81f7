"""The first init container, which checks the home directory and the working directory before the program starts.

A container runtime creates a missing `workingDir`, which then belongs to root, even on shared storage (checked with
containerd 2.2 and runc).  This init container starts in / and fails with a message for the user instead.
"""

from __future__ import annotations

from decimal import Decimal

from ..plan import Plan
from ..settings.units import format_bytes, format_cores
from ..shape import Json
from ..storage import within
from .findings import Findings, PodUnderCheck
from .overlay import NO_NVIDIA_DEVICES, Overlay, literal
from .working_directory import starts_in

HOME_CHECK = "research-home"
# The arguments are a limit in seconds, and pairs of `home` or `work` and a directory.  The shell does not interpret
# them.  Only the results of `cd` and of creating a file decide: in some shells, `test` ignores ACLs, read-only mounts
# and the NFS server.  Commands that are not built into the shell only improve the messages.
# A home of another user is accepted if it is writable, because CIFS and some other file systems show the same owner for
# all files.  A full disk or quota is accepted, because the user can only then remove files.
SCRIPT = r"""
export LC_ALL=C
set -f
limit=$1
shift
fail() {
  printf '%s\n' "$1"
  exit 1
}
name_of() {
  case $1 in home) name="Your home directory $2" ;; *) name="The working directory $2" ;; esac
}
look() {
  name_of "$1" "$2"
  remedy="Ask your administrators to correct this."
  [ "$1" = home ] || remedy="Choose another."
  cd "$2" 2>/dev/null || explain "$1" "$2"
  [ "$1" = home ] || exit 0
  file=$2/.research-home-check
  why=$({ : >>"$file"; } 2>&1) && { rm -f "$file" 2>/dev/null; exit 0; }
  case $why in *uota*|*"No space left"*) exit 0 ;; esac
  case $why in *Read-only*) ;; *) [ -O "$2" ] || belongs "$2" ;; esac
  fail "$name is not writable for you: ${why##*: }. $remedy"
}
belongs() {
  set -- $(ls -ldn "$1" 2>/dev/null)
  fail "$name belongs to another user${4:+ (uid $3, gid $4)}, and you cannot write to it. $remedy"
}
explain() {
  cd /
  at= rest=${2#/}
  while [ -n "$rest" ] && cd "./${rest%%/*}" 2>/dev/null; do
    at=$at/${rest%%/*}
    case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
  done
  at=$at/${rest%%/*}
  if [ -d "$at" ] && [ "$at" = "$2" ]; then
    [ "$1" != home ] || [ -O "$2" ] || belongs "$2"
    fail "$name is closed to you: its permissions do not let you enter it. $remedy"
  fi
  [ ! -d "$at" ] || fail "$name cannot be reached: you may not enter $at. $remedy"
  [ ! -e "$at" ] || fail "$name cannot be reached: $at is not a directory. $remedy"
  link="is a symbolic link to a place that is missing or closed to you"
  [ ! -L "$at" ] || fail "$name cannot be reached: $at $link. $remedy"
  why=$(ls -d "$at" 2>&1)
  case $why in
    *"No such file"*|*"not found"*|"") ;;
    *) fail "$name cannot be reached: ${why##*: }. $remedy" ;;
  esac
  [ "$1" = home ] || fail "$name does not exist. Create it first, or choose another."
  fail "$name does not exist on the shared file system. Ask your administrators to create it."
}
while [ $# -gt 0 ]; do
  name_of "$1" "$2"
  late="its file system has not answered for $limit s"
  trap 'fail "$name cannot be used: $late. Try again later, or tell your administrators."' USR1
  look "$1" "$2" &
  looks=$!
  {
    trap 'kill $!; exit' TERM
    sleep "$limit" &
    wait $! && kill -USR1 $$
  } >/dev/null 2>&1 &
  limits=$!
  wait "$looks"
  found=$?
  kill "$limits" 2>/dev/null
  [ "$found" = 0 ] || exit 1
  shift 2
done
"""
# The kubelet does not pin half a CPU, so with a NUMA profile the main container gets all exclusive CPUs.
_CPU = Decimal("0.5")
_MEMORY = 64 * 1024**2
# Fields that the API server adds to pods.
_FILLED_IN = ("imagePullPolicy", "terminationMessagePath")


def home_check_container(plan: Plan, overlay: Overlay, main: Json) -> Json:
    """Return the init container, which runs as the user and mounts the same shared storage as the main container."""
    asked = [str(int(plan.home_check_limit.total_seconds())), *_directories(plan, main)]
    return {
        "name": HOME_CHECK,
        "command": ["sh", "-c", literal(SCRIPT), HOME_CHECK, *map(literal, asked)],
        "workingDir": "/",
        "env": [dict(NO_NVIDIA_DEVICES)],
        "resources": _resources(plan),
        "securityContext": {
            "runAsUser": plan.identity.uid,
            "runAsGroup": plan.identity.gid,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [dict(mount) for mount in overlay.storage_mounts],
        **_image(plan, main),
    }


def check_home_check(checked: PodUnderCheck) -> Findings:
    """Require that this init container comes first, because the working directory of another one could be missing."""
    wanted = home_check_container(checked.plan, checked.overlay, checked.main)
    present = (checked.spec.get("initContainers") or [{}])[0]
    if present.get("name") != HOME_CHECK:
        yield "spec.initContainers[0]", f"must be {HOME_CHECK}, which checks whether the home directory exists"
        return
    for key in sorted(wanted.keys() | present.keys()):
        if present.get(key) != wanted.get(key) and (key in wanted or key not in _FILLED_IN):
            yield f"spec.initContainers[0].{key}", f"must not be changed: it is part of {HOME_CHECK}"


def _image(plan: Plan, main: Json) -> Json:
    """Return the image of the init container, by default the main container's, which is pulled anyway."""
    if plan.home_check_image is not None:
        return {"image": plan.home_check_image}
    found: Json = {} if plan.image is None else {"image": plan.image}
    return {key: main[key] for key in ("image", "imagePullPolicy") if key in main} | found


def _directories(plan: Plan, main: Json) -> list[str]:
    """Return the directories to check, each after the word `home` or `work`."""
    found = ["home", plan.identity.home]
    directory = starts_in(plan, main)
    # A directory outside the mounts is in the container's file system and is deleted with the container.
    if directory != plan.identity.home and any(within(directory, mount.path) for mount in plan.mounts):
        found += ["work", directory]
    return found


def _resources(plan: Plan) -> Json:
    """Return requests and limits that are at most the main container's, so that the pod does not request more."""
    amounts = {
        "cpu": format_cores(min(plan.resources.cpu, _CPU)),
        "memory": format_bytes(min(plan.resources.memory, _MEMORY)),
    }
    return {"requests": amounts, "limits": dict(amounts)}
