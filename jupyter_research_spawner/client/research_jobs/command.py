"""The command `job`.  Exit codes: 0 done, 1 refused or failed, 2 usage, 3 service not ready, 130 Ctrl-C."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import NoReturn, TextIO

from . import functions
from .batch_script import NAME, has_slurm_options, has_unread_input, read_script, script_command
from .job_errors import JobsError, NotReady, Refused
from .job_following import follow_to_end
from .job_model import FAILED, QUEUED, STARTING, SUCCEEDED, Job
from .report import job_details, job_table
from .terminal import visible
from .version import VERSION

BROKEN_PIPE = 141  # the exit code that shells use: 128 + SIGPIPE

ABOUT = "Submit and manage batch jobs. They run as you, in the queues that you may use."
EPILOG = """\
examples:
  job submit --name train --wall-time 8h -- python train.py --epochs 3
  job submit --wait -- bash -c 'make test 2>&1 | tail'
  job submit --array 1-100%10 -- bash run.sh
  job submit --wall-time 1-0 - < run.sh
  job logs --follow train-x7k2p

for users of Slurm: sbatch and srun are 'submit' and 'submit --wait', squeue and
sacct are 'list', scontrol show job is 'show', scancel is 'cancel'. One index of
an array is ID_3, as in 'job logs run-x7k2p_3'.

exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 service not ready,
130 Ctrl-C; 'submit --wait' exits with the job's exit code, or 1 if it has none.
A program that the image does not have ends with 127, as in a shell.
"""
SUBMIT_USAGE = """\
job submit [--name N] [--profile P] [--queue Q]
                   [--wall-time 8h] [--image I] [--env K=V ...]
                   [--chdir D] [--array 0-9%%3] [--wait] [--json]
                   -- COMMAND [ARG...]
       job submit [OPTION...] - [ARG...] < SCRIPT"""
SUBMIT_ABOUT = """\
Submit COMMAND as a batch job and print the job's id. No shell interprets the
words of COMMAND. With '-', the job is the script on standard input, whose first
line names its interpreter (#!/bin/bash); lines with #SBATCH are not read.

Profile, queue and image are this notebook's where they fit. With --profile they
are the profile's. The job starts in the current directory if jobs have it, else
in your home directory; a line on stderr says so. With --array the command runs
once for each index, which it reads from SLURM_ARRAY_TASK_ID.
"""
LIST_ABOUT = """\
List your jobs, newest first. TIME is how long a job has run, or 'wait' and how
long it has waited. REASON is a word of squeue, such as Priority, Resources or
TimeLimit, or the beginning of a sentence; 'job show ID' prints the whole
sentence. A job array has one line, and its REASON says how many indexes have
ended.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that prints a usage error in one line, without the list of options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {visible(message)}. See '{self.prog} --help'.\n")


# The options of each field of the service's API, whose messages have the field's name.
_OPTIONS = {
    "name": "--name",
    "profile": "--profile",
    "queue": "--queue",
    "wall_time": "--wall-time",
    "image": "--image",
    "env": "--env",
    "workdir": "--chdir",
    "array": "--array",
    "tail": "--tail",
    "command": "COMMAND",
}
# The service's hints for fields that are not valid show JSON.
_HINTS = {
    "command": "Write it after '--', as in: job submit -- python train.py. To use a shell: -- bash -c '...'.",
    "env": "Write --env NAME=VALUE, once for each variable.",
    "array": "Leave --array out for a single job.",
}
# The service's hints for other clients.
_HINTS_OF_CODES = {
    "unauthorized": "Restart your server to get a new token; if that does not help, tell your administrators.",
}
# The options of sbatch that have another name here, or none.
_OF_THE_PROFILE = "--profile, which has CPUs, memory and GPUs"
_SLURM_OPTIONS = {
    **dict.fromkeys(("-t", "--time"), "--wall-time"),
    **dict.fromkeys(("-p", "--partition"), "--queue"),
    **dict.fromkeys(("-J", "--job-name"), "--name"),
    **dict.fromkeys(("-a",), "--array"),
    **dict.fromkeys(("-W",), "--wait"),
    **dict.fromkeys(("--export",), "--env NAME=VALUE"),
    **dict.fromkeys(("--wrap",), "a command: -- bash -c '...'"),
    **dict.fromkeys(("-c", "--cpus-per-task", "--mem", "--mem-per-cpu", "-G", "--gpus", "--gres"), _OF_THE_PROFILE),
    **dict.fromkeys(("-o", "--output", "-e", "--error"), "'job logs ID' afterwards, or '>' in the command"),
}
_WITH_VALUE = ("-D", "--workdir", *(option for option in _OPTIONS.values() if option.startswith("--")))
_WORDS = re.compile(r"(?<![-.\w])(wall_time|workdir|env)\b(?!\.\w)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.  The caller handles KeyboardInterrupt (see archive.MAIN)."""
    # Python prints messages to stdout if stderr is closed.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it stays open
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # JupyterLab's terminals are UTF-8, whatever the image's locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    parser = _parser()
    args = _parse(parser, list(sys.argv[1:] if arguments is None else arguments))
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        code = run(args)
        sys.stdout.flush()
    except JobsError as error:
        _say_error(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader has closed the pipe (`job list | head`); Python would report that again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except OSError as error:  # only writing: the errors of connections and files are JobsError
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _say(f"the output cannot be written ({error.strerror or error})")
        return JobsError.exit_code
    return code


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse the arguments.  For `submit`, the words after the first `--` are the job's command.

    argparse does not see these words, because its treatment of `--` differs between Python versions.
    """
    command: list[str] = []
    is_script = False
    if words[:1] == ["submit"]:
        words, is_script, command = _split_command(words)
    args, unknown = parser.parse_known_args(words)
    if args.run is not _submit:
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return args
    if unknown and (command or is_script):
        args.parser.error(
            f"unrecognized arguments before the '{'-' if is_script else '--'}': {' '.join(unknown)}{_of_slurm(unknown)}"
        )
    if not is_script and has_unread_input():
        args.parser.error(
            "standard input has data, and a job does not get it. If it is a script, write 'job submit -'. If the "
            "job needs it, write it into a file. Else add '< /dev/null'"
        )
    if not command and not is_script:
        args.parser.error(
            "no command; write it last, after '--', as in: job submit --name train -- python train.py, or submit a "
            f"batch script, as in: job submit - < run.sh{_of_slurm(unknown)}"
        )
    args.command = command
    args.script = is_script
    args.env = None if args.env is None else dict(args.env)
    return args


def _of_slurm(words: Sequence[str]) -> str:
    """Return what to write instead of options of sbatch, as the end of a message; "" if there are none."""
    names = dict.fromkeys(word.split("=", 1)[0] for word in words)
    found = [f"instead of {name} write {_SLURM_OPTIONS[name]}" for name in names if name in _SLURM_OPTIONS]
    return f" ({'; '.join(found)})" if found else ""


def _split_command(words: list[str]) -> tuple[list[str], bool, list[str]]:
    """Return the options of `submit`, whether the job is a script, and the words of the command or for the script.

    A `-` that is not the value of an option means the script, and a `--` behind it is optional.
    """
    for place, word in enumerate(words):
        if word == "--":
            return words[:place], False, words[place + 1 :]
        if word == "-" and words[place - 1] not in _WITH_VALUE:
            rest = words[place + 1 :]
            return words[:place], True, rest[1:] if rest[:1] == ["--"] else rest
    return words, False, []


def _submit(args: argparse.Namespace) -> int:
    command, name = args.command, args.name
    if args.script:
        script = read_script()
        command, name = script_command(script, command), NAME if name is None else name
        if has_slurm_options(script):
            _say("warning: the script's #SBATCH lines are not read; write these options after 'job submit'")
    job = functions.submit(
        command,
        name=name,
        profile=args.profile,
        queue=args.queue,
        wall_time=args.wall_time,
        image=args.image,
        env=args.env,
        workdir=args.workdir,
        array=args.array,
    )
    if not args.script and has_unread_input():
        _say("warning: standard input has data, and the job does not get it")
    for warning in job.warnings:
        _say(f"warning: {warning}")
    if args.wait:
        return _wait(job, as_json=args.json)
    try:
        if args.json:
            _print_json(job.answer)
        else:
            print(visible(job.id))
        sys.stdout.flush()
    except OSError:
        _say(f"submitted {job.id}")
        raise
    return 0


def _wait(job: Job, *, as_json: bool) -> int:
    """Wait until the job ends, and return the exit code.

    The job's output goes to stdout, and messages go to stderr.  With `--json`, stdout gets only the ended job as JSON.
    """
    _say(f"submitted {job.id}")
    try:
        job = follow_to_end(job, write=_printer(sys.stderr if as_json else sys.stdout), say=_say)
    except (KeyboardInterrupt, OSError):
        _say(f"{job.id} continues: 'job logs --follow {job.id}' prints its output, 'job cancel {job.id}' cancels it")
        raise
    except Refused as error:
        if error.status == 404:
            raise JobsError(f"{job.id} no longer exists, because it was cancelled before it ended.") from error
        raise
    if as_json:
        _print_json(job.answer)
    if job.state == FAILED:
        _say(f"{job.id} failed" + (f": {job.message}" if job.message else ""))
        return job.exit_code or 1
    return 1 if job.exit_code is None else job.exit_code


def _list(args: argparse.Namespace) -> int:
    jobs, note = functions.jobs_and_note()
    if args.json:
        _print_json({"jobs": [job.answer for job in jobs]})
    elif jobs:
        _print_lines(job_table(jobs, now=_now(), width=_width()))
        if note:
            _say(note)
    else:
        _say("you have no jobs; 'job submit -- COMMAND' submits a job")
    return 0


def _show(args: argparse.Namespace) -> int:
    job = functions.show(args.id)
    index = functions.split_index(args.id)[1]
    functions.require_index(job, index)
    if args.json:
        _print_json(job.answer)
    else:
        _print_lines(job_details(job, now=_now(), width=_width(), only=index))
    return 0


def _logs(args: argparse.Namespace) -> int:
    if args.follow:
        job = functions.show(args.id)
        if job.state in (QUEUED, STARTING):
            _say(f"{job.id} is {job.state}" + (f": {job.message}" if job.message else "; its output follows"))
    write = _printer(sys.stdout)
    is_empty = True
    for piece in functions.log_bytes(args.id, follow=args.follow, tail=args.tail, index=args.index):
        write(piece)
        is_empty = False
    if is_empty and args.tail != 0:
        _say_why_empty(args.id, args.index)
    return 0


def _say_why_empty(job_id: str, index: int | None) -> None:
    """Say why there is no output, unless the program runs or has succeeded without any."""
    with suppress(JobsError):  # the output was complete without this
        job = functions.show(job_id)
        index = functions.split_index(job_id)[1] if index is None else index
        state, message = next(
            ((one.state, one.message) for one in job.indexes if one.index == index), (job.state, job.message)
        )
        if state in (QUEUED, STARTING, FAILED):
            words = "has failed without output" if state == FAILED else f"is {state} and has no output yet"
            _say(f"{job_id} {words}" + (f": {message}" if message else ""))


def _cancel(args: argparse.Namespace) -> int:
    """Cancel each job.  As with scancel, a job that has already ended is not an error."""

    def cancel(job_id: str) -> None:
        job = functions.cancel(job_id)
        state = _state_of(job, functions.split_index(job_id)[1])
        print(visible(f"{job_id} {state}"))
        if state in (SUCCEEDED, FAILED):
            which = "it" if job.id == job_id else "the whole array"
            _say(f"{job_id} has already ended" + (f"; 'job remove {job.id}' deletes {which}" if job.ended else ""))

    return _for_each(args.ids, cancel)


def _remove(args: argparse.Namespace) -> int:
    def remove(job_id: str) -> None:
        functions.remove(job_id)
        print(visible(f"{job_id} removed"))

    return _for_each(args.ids, remove)


def _for_each(ids: Sequence[str], act: Callable[[str], None]) -> int:
    """Act on each job.  Continue after a refusal, but stop if the service does not answer."""
    code = 0
    for job_id in ids:
        try:
            act(job_id)
        except Refused as error:  # noqa: PERF203 - the loop continues with the next job
            if error.exit_code == NotReady.exit_code:
                raise
            _say_error(error)
            code = error.exit_code
    return code


def _state_of(job: Job, index: int | None) -> str:
    return next((found.state for found in job.indexes if found.index == index), job.state)


def _parser() -> Parser:
    parser = Parser(prog="job", description=ABOUT, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"job {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str, text: str = "") -> Parser:
        added = commands.add_parser(
            name,
            help=about,
            description=text or about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(run=run, parser=added)
        return added

    submit = command("submit", _submit, "start a job and print its id", SUBMIT_ABOUT)
    submit.usage = SUBMIT_USAGE
    for option, letter, about in (
        ("--name", "N", "name of the job; the job's id begins with this name"),
        ("--profile", "P", "profile; default: this notebook's"),
        ("--queue", "Q", "queue; default: this notebook's"),
        ("--wall-time", "8h", "how long the job can run: 90m, 8h, 1h30m, or as for sbatch: 90, 4:00:00, 1-12"),
        ("--image", "I", "container image; default: this notebook's"),
    ):
        submit.add_argument(option, metavar=letter, help=about)
    submit.add_argument(
        *("--chdir", "-D", "--workdir"), dest="workdir", metavar="D", help="working directory; default: the current one"
    )
    submit.add_argument(
        "--array", metavar="0-9%3", help="run once for each index, as in sbatch; %%3 means at most 3 at a time"
    )
    submit.add_argument(
        "--env", metavar="K=V", type=_assignment, action="append", help="environment variable; can be repeated"
    )
    submit.add_argument(
        "--wait", action="store_true", help="wait for the job, print its output (not for an array), exit with its code"
    )
    jobs = command("list", _list, "list your jobs, newest first", LIST_ABOUT)
    about_id = "id of a job, as in 'job list', or ID_3 for index 3 of an array"
    show = command("show", _show, "print one job with its attempts or indexes")
    show.add_argument("id", metavar="ID", help=about_id)
    logs = command("logs", _logs, "print the output of a job")
    logs.add_argument("id", metavar="ID", help=about_id)
    logs.add_argument("--follow", "-f", action="store_true", help="print new output until the job ends")
    logs.add_argument("--index", metavar="N", type=_number, help="index of a job array; ID_N means the same")
    logs.add_argument("--tail", metavar="N", type=_number, help="only the last N lines")
    cancel = command("cancel", _cancel, "cancel jobs that have not ended")
    cancel.add_argument("ids", metavar="ID", nargs="+", help=about_id)
    remove = command("remove", _remove, "delete jobs that have ended, with their output")
    remove.add_argument("ids", metavar="ID", nargs="+", help="id of a job, as in 'job list'")
    for with_json in (submit, jobs, show):
        with_json.add_argument("--json", action="store_true", help="print the batch service's JSON")
    return parser


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _printer(stream: TextIO) -> Callable[[bytes], None]:
    """Return a function that writes output unchanged to a pipe or file, and escapes control characters on a terminal.

    Carriage returns are not escaped, because progress bars need them.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write_text(piece: bytes) -> None:
        stream.write(visible(decoder.decode(piece), keep="\n\r\t"))
        stream.flush()

    def write_bytes(piece: bytes) -> None:
        stream.buffer.write(piece)
        stream.buffer.flush()

    return write_text if stream.isatty() else write_bytes


def _say_error(error: JobsError) -> None:
    hint = ""
    if isinstance(error, Refused):
        _say(_told(error))
        hint = _HINTS_OF_CODES.get(error.code, error.hint)
        if error.code == "invalid":
            hint = _HINTS.get(error.field or "", hint)
        if hint:
            _say(_with_options(re.sub("`([^`]*)`", r"'\1'", hint)))
    else:
        _say(str(error))
    if error.retry_after is not None and "try again" not in hint.lower():
        _say(f"try again in {error.retry_after} s")


def _told(error: Refused) -> str:
    """Return the message with the option that the user wrote, instead of the field of the service's API.

    Messages about values that are not valid begin with the path of the value, such as `env.A: ...`.
    """
    option = _OPTIONS.get(error.field or "")
    if error.field is None or option is None:  # such as "id", which is in the sentence
        return _with_options(error.message)
    found = re.match(rf"{re.escape(error.field)}(\.[^:]*)?: ", error.message)
    below = f" {found[1][1:]}" if found and found[1] else ""
    message = error.message[found.end() :] if found else error.message
    return f"{option}{below}: {_with_options(message)}"


def _with_options(sentence: str) -> str:
    return _WORDS.sub(lambda found: _OPTIONS[found[0]], sentence)


def _say(sentence: str) -> None:
    print(visible(f"job: {sentence}"), file=sys.stderr, flush=True)


def _print_lines(lines: Sequence[str]) -> None:
    print("\n".join(lines))


def _print_json(answer: Mapping[str, object]) -> None:
    print(json.dumps(answer, indent=2))


def _width() -> int:
    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def _now() -> datetime:
    return datetime.now(timezone.utc)
