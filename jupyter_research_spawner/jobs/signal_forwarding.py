"""Let SIGTERM reach the programs of a job whose command is a shell or a script, and not only the shell.

A shell that is the first process of a container ignores SIGTERM and does not forward it, so its programs would be
killed without a warning when the job is cancelled, preempted, or over its wall time.  A program that is started without
a shell is the first process itself, and gets the signal from the kubelet.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from ..storage import within

MARK = "research-forward"
_SHELLS = frozenset({"ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"})
# The arguments are the words of the command, which the script does not interpret.  The command gets a process group of
# its own, to which SIGTERM is sent; without setsid(1) only its first process gets SIGTERM.  After SIGTERM the script
# waits until all processes of the group have ended, because a shell can end before its programs have.  SIGTERM can come
# before the script knows the number of the program, and a shell can take note of the program's end while SIGTERM
# interrupts `wait`, so the script looks again after both.  A program in the background would ignore SIGINT and SIGQUIT
# (POSIX.1-2024, Shell, 2.12), which GNU env can undo.  The log of the job gets no messages of this shell about signals.
# A variable without the prefix RESEARCH_ would replace the user's variable of that name.  Tested with dash 0.5.12, bash
# 5.2, busybox 1.35.
SCRIPT = """\
RESEARCH_PROGRAM=
RESEARCH_STOPPED=
research_stop() {
  RESEARCH_STOPPED=1
  [ -z "$RESEARCH_PROGRAM" ] || kill -TERM "-$RESEARCH_PROGRAM" || kill -TERM "$RESEARCH_PROGRAM"
}
trap research_stop TERM
if command -v setsid >/dev/null 2>&1; then
  set -- setsid "$@"
  ! env --default-signal=INT,QUIT true >/dev/null 2>&1 || set -- env --default-signal=INT,QUIT "$@"
fi
[ -z "$RESEARCH_STOPPED" ] || exit 143
"$@" &
RESEARCH_PROGRAM=$!
exec 2>/dev/null
[ -z "$RESEARCH_STOPPED" ] || research_stop
while true; do
  wait "$RESEARCH_PROGRAM"
  RESEARCH_EXIT_CODE=$?
  kill -0 "$RESEARCH_PROGRAM" || break
done
if [ -n "$RESEARCH_STOPPED" ]; then
  wait "$RESEARCH_PROGRAM"
  RESEARCH_LAST_CODE=$?
  [ "$RESEARCH_LAST_CODE" = 127 ] || RESEARCH_EXIT_CODE=$RESEARCH_LAST_CODE
fi
[ -z "$RESEARCH_STOPPED" ] || while kill -0 "-$RESEARCH_PROGRAM"; do
  sleep 1 || break
done
exit "$RESEARCH_EXIT_CODE"
"""


def forwarding_words(command: Sequence[str], directories: Iterable[str]) -> list[str]:
    """Return the words before this command with which its programs get SIGTERM; [] if the command is a program.

    directories: where users keep files.  A file there, or at a relative path, can be a script that a shell runs.
    """
    program = command[0]
    is_file = any(within(program, directory) for directory in directories)
    is_relative = "/" in program and not program.startswith("/")
    if is_file or is_relative or posixpath.basename(program) in _SHELLS:
        return ["/bin/sh", "-c", SCRIPT, MARK]
    return []
