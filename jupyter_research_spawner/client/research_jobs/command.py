"""The command `job`.  Exit codes: 0 done, 1 refused or failed, 2 usage, 3 service not ready, 130 Ctrl-C."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import NoReturn, TextIO

from . import functions
from .job_errors import JobsError, NotReady, Refused
from .job_following import follow_to_end
from .job_model import FAILED, QUEUED, STARTING, Job
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
  job logs --follow train-x7k2p

for users of Slurm: sbatch and srun are 'submit' and 'submit --wait', squeue and
sacct are 'list', scontrol show job is 'show', scancel is 'cancel'. One index of
an array is ID_3, as in 'job logs run-x7k2p_3'.

exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 service not ready,
130 Ctrl-C; 'submit --wait' exits with the job's exit code, or 1 if it has none.
"""
SUBMIT_USAGE = """\
job submit [--name N] [--profile P] [--queue Q]
                   [--wall-time 8h] [--image I] [--env K=V ...]
                   [--workdir D] [--array 0-9%%3] [--wait] [--json]
                   -- COMMAND [ARG...]"""
SUBMIT_ABOUT = """\
Submit COMMAND as a batch job and print the job's id. No shell interprets the
words of COMMAND. Queue, profile and image are this notebook's by default. With
--array the command runs once for each index, which it reads from
SLURM_ARRAY_TASK_ID.
"""
LIST_ABOUT = """\
List your jobs, newest first. TIME is how long a job has run, or 'wait' and how
long it has waited. A job array has one line, and its REASON says how many
indexes have ended. Long reasons are cut; 'job show ID' prints all of a reason.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that prints a usage error in one line, without the list of options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {visible(message)}. See '{self.prog} --help'.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.  The caller handles KeyboardInterrupt (see archive.MAIN)."""
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
    return code


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse the arguments.  For `submit`, the words after the first `--` are the job's command.

    argparse does not see these words, because its treatment of `--` differs between Python versions.
    """
    command: list[str] = []
    if words[:1] == ["submit"] and "--" in words:
        end = words.index("--")
        words, command = words[:end], words[end + 1 :]
    args, unknown = parser.parse_known_args(words)
    if args.run is not _submit:
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return args
    if unknown and command:
        args.parser.error(f"unrecognized arguments before the '--': {' '.join(unknown)}")
    if not command:
        args.parser.error("no command; write it last, after '--', as in: job submit --name train -- python train.py")
    args.command = command
    args.env = None if args.env is None else dict(args.env)
    return args


def _submit(args: argparse.Namespace) -> int:
    job = functions.submit(
        args.command,
        name=args.name,
        profile=args.profile,
        queue=args.queue,
        wall_time=args.wall_time,
        image=args.image,
        env=args.env,
        workdir=args.workdir,
        array=args.array,
    )
    for warning in job.warnings:
        _say(f"warning: {warning}")
    if args.wait:
        return _wait(job, as_json=args.json)
    if args.json:
        _print_json(job.answer)
    else:
        print(visible(job.id))
    return 0


def _wait(job: Job, *, as_json: bool) -> int:
    """Wait until the job ends, and return the exit code.

    The job's output goes to stdout, and messages go to stderr.  With `--json`, stdout gets only the ended job as JSON.
    """
    _say(f"submitted {job.id}")
    try:
        job = follow_to_end(job, write=_printer(sys.stderr if as_json else sys.stdout), say=_say)
    except KeyboardInterrupt:
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
    if args.json:
        _print_json(job.answer)
    else:
        index = functions.split_index(args.id)[1]
        _print_lines(job_details(job, now=_now(), width=_width(), only=index))
    return 0


def _logs(args: argparse.Namespace) -> int:
    if args.follow:
        job = functions.show(args.id)
        if job.state in (QUEUED, STARTING):
            _say(f"{job.id} is {job.state}" + (f": {job.message}" if job.message else "; its output follows"))
    write = _printer(sys.stdout)
    for piece in functions.log_bytes(args.id, follow=args.follow, tail=args.tail, index=args.index):
        write(piece)
    return 0


def _cancel(args: argparse.Namespace) -> int:
    """Cancel each job.  Continue after a refusal, but stop if the service does not answer."""
    code = 0
    for job_id in args.ids:
        try:
            job = functions.cancel(job_id)
        except Refused as error:  # noqa: PERF203 - the loop continues with the next job
            if error.exit_code == NotReady.exit_code:
                raise
            _say_error(error)
            code = error.exit_code
        else:
            print(visible(f"{job_id} {_state_of(job, functions.split_index(job_id)[1])}"))
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
        ("--wall-time", "8h", "how long the job can run: a number and s, m, h or d"),
        ("--image", "I", "container image; default: this notebook's"),
        ("--workdir", "D", "working directory; default: the current one, if below your home"),
    ):
        submit.add_argument(option, metavar=letter, help=about)
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
    show = command("show", _show, "print one job with its attempts or indexes")
    show.add_argument("id", metavar="ID")
    logs = command("logs", _logs, "print the output of a job")
    logs.add_argument("id", metavar="ID")
    logs.add_argument("--follow", "-f", action="store_true", help="print new output until the job ends")
    logs.add_argument("--index", metavar="N", type=_number, help="index of a job array; ID_N means the same")
    logs.add_argument("--tail", metavar="N", type=_number, help="only the last N lines")
    cancel = command("cancel", _cancel, "cancel jobs, or delete jobs that have ended")
    cancel.add_argument("ids", metavar="ID", nargs="+")
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
    if isinstance(error, Refused):
        _say(f"{error.field}: {error.message}" if error.field else error.message)
        if error.hint:
            _say(error.hint)
    else:
        _say(str(error))
    if error.retry_after is not None:
        _say(f"try again in {error.retry_after} s")


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
