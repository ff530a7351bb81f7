"""Runs a batch script that was read from standard input, as `sbatch` does.  The rules and messages are sbatch's."""

from __future__ import annotations

import array
import fcntl
import os
import re
import stat
import sys
import termios
from collections.abc import Sequence

from .job_errors import JobsError

# One argument of a program has at most 128 KiB, with the NUL at its end (execve(2), MAX_ARG_STRLEN).
LIMIT = 128 * 1024 - 1
# The arguments are the script, its interpreter, the interpreter's one argument or "", and the script's arguments.
RUN = """\
file=$(mktemp /tmp/job-script.XXXXXX) && printf '%s' "$1" >"$file" || exit 126
interpreter=$2 option=$3
shift 3
exec "$interpreter" ${option:+"$option"} "$file" "$@"
"""
MARK = "research-script"
NAME = "script"


def read_script() -> bytes:
    """Return the script on standard input, at most one byte more than LIMIT.  Raises JobsError."""
    if sys.stdin is None:
        raise JobsError("Standard input is closed. Write 'job submit - < run.sh' or a pipe.")
    try:
        return sys.stdin.buffer.read(LIMIT + 1)
    except OSError as error:
        raise JobsError(f"The script on standard input cannot be read ({error.strerror or error}).") from error


def script_command(script: bytes, arguments: Sequence[str]) -> list[str]:
    """Return the words of a command that runs the script with these arguments.  Raises JobsError if it is not a script.

    As the kernel does, it passes everything after the interpreter in the first line as one argument (execve(2)).
    """
    if not script.strip():
        raise JobsError("The script on standard input is empty.")
    if len(script) > LIMIT:
        raise JobsError(
            f"The script is longer than {LIMIT} bytes. Write it into a file in your home, and submit its path: "
            "job submit -- ./run.sh"
        )
    if script.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise JobsError("The script is UTF-16, and not UTF-8. Convert it: iconv -f UTF-16 -t UTF-8")
    if script.startswith(b"\xef\xbb\xbf"):
        raise JobsError("The script begins with a byte order mark (U+FEFF) instead of #!. Remove it: tail -c +4")
    if b"\0" in script:
        raise JobsError("The script contains NUL bytes, so it is a program and not text. Submit its path instead.")
    if not script.startswith(b"#!") or not script[2:].splitlines()[0].strip():
        raise JobsError(
            "This does not look like a batch script. The first line must start with #! followed by the path to an "
            "interpreter, for instance: #!/bin/bash"
        )
    if b"\r\n" in script:
        raise JobsError(
            "The script has DOS line breaks (\\r\\n) instead of UNIX line breaks (\\n). Convert it: tr -d '\\r'"
        )
    try:
        text = script.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"The script is not UTF-8: byte {error.start} is invalid. Write it into a file, and submit its path."
        raise JobsError(message) from error
    interpreter, *option = re.split(r"[ \t]+", text[2:].split("\n", 1)[0].strip(), maxsplit=1)
    return ["/bin/sh", "-c", RUN, MARK, text, interpreter, "".join(option), *arguments]


def has_slurm_options(script: bytes) -> bool:
    """Return whether the script has lines that set options of sbatch."""
    return any(line.startswith(b"#SBATCH") for line in script.splitlines())


def told_command(words: Sequence[str]) -> Sequence[str]:
    """Return the words of a job's command to show, in which a script from standard input is `-`."""
    is_script = len(words) >= 7 and list(words[:2]) == ["/bin/sh", "-c"] and words[3] == MARK
    return ["-", *words[7:]] if is_script else words


def has_unread_input() -> bool:
    """Return whether standard input is a pipe with data, or a file at its beginning.  Never waits.

    An open pipe without data is usual in a notebook, in cron and over ssh.  In `while read x; do job submit ...; done <
    list`, the shell has read from the file.
    """
    try:
        mode = os.fstat(0).st_mode
        if stat.S_ISREG(mode):
            return os.fstat(0).st_size > 0 and os.lseek(0, 0, os.SEEK_CUR) == 0
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            return False
        count = array.array("i", [0])
        fcntl.ioctl(0, termios.FIONREAD, count)
    except OSError:  # it is closed
        return False
    return count[0] > 0
