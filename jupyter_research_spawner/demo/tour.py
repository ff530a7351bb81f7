"""The tour.  Each step prints what a user does, and checks the result on the running system."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..shape import OUR_PREFIX, Json
from . import comparison
from .demo_cluster import Say
from .running_demo import RunningDemo
from .user_session import UnexpectedResult, UserSession

PROBE = (Path(__file__).parent / "identity_probe.py").read_text()
WHO = ("user", "uid", "gid", "groups", "mounts")


async def tour(stage: RunningDemo, say: Say) -> bool:
    """Run both parts of the tour and print failed checks.  Return whether all checks passed."""
    async with (
        UserSession(stage.hub.url, "alice", stage.hub.password) as alice,
        UserSession(stage.hub.url, "bob", stage.hub.password) as bob,
    ):
        say("\nPart 1: alice starts a notebook and submits a job from it\n")
        is_same = await first_act(stage, alice, say)
        say("\nPart 2: a research job preempts a student's backfill job, which then restarts\n")
        came_back = await second_act(stage, alice, bob, say)
    return is_same and came_back


async def first_act(stage: RunningDemo, alice: UserSession, say: Say) -> bool:
    await alice.log_in()
    say("alice logs in to JupyterHub.")
    began = time.monotonic()
    await alice.start_server("Small")
    say(f"She selects the profile Small. JupyterLab is ready after {time.monotonic() - began:.1f} s.")
    in_notebook = json.loads((await alice.run(PROBE)).splitlines()[-1])
    say(f"She runs `id` in a notebook kernel:\n    {in_notebook['id']}")
    say(f"Shared directories that are mounted there: {in_notebook['mounts'] or 'none'}")
    if not stage.cluster.shortcoming:
        await alice.run(
            "import os, pathlib\np = pathlib.Path.home() / 'notes.txt'\np.write_text('hers')\np.chmod(0o600)"
        )
    submitted = await jobs(alice, "submit", "--wait", "--name", "who-am-i", "--", "python3", "-c", PROBE)
    say("From the kernel she submits a job with the same script:\n    job submit --wait -- python3 -c ...")
    in_job = json.loads(_json_line(submitted))
    say(f"The output of `id` in the job:\n    {in_job['id']}\n")
    listed = json.loads(await jobs(alice, "list", "--json"))
    job_id = _jobs_of(listed)[0]["id"]
    pods = await stage.pods()
    notebook_pod = _pod(pods, "alice", "notebook")
    job_pod = next(pod for pod in pods if pod["metadata"]["labels"].get("job-name") == job_id)
    rows = comparison.compare(
        {**in_notebook, **_decided(notebook_pod)}, {**in_job, **_decided(job_pod)}, _not_compared(stage)
    )
    say(comparison.render(rows))
    for name, pod in (("notebook", notebook_pod), ("job", job_pod)):
        decided = json.loads(pod["metadata"]["annotations"][OUR_PREFIX + "plan"])
        say(f"Wall time of the {name}: {decided['wall_time_hard']} ({decided['wall_time_reason']})")
    return _verdict(stage, rows, in_notebook, say)


def _verdict(stage: RunningDemo, rows: list[comparison.Row], in_notebook: dict[str, str], say: Say) -> bool:
    is_good = all(row.equal is not False for row in rows)
    if not is_good:
        say("\nFAILED: the notebook and the job differ in the rows marked DIFFERS.")
    if not stage.cluster.shortcoming:
        identity = stage.people["alice"]
        wanted = {"user": "alice", "uid": str(identity.uid), "gid": str(identity.gid), "home": identity.home}
        wanted["groups"] = ", ".join(sorted(identity.group_names))
        for name, value in wanted.items():
            if in_notebook[name] != value:
                say(f"\nFAILED: alice's {name} is {in_notebook[name]!r}, but her identity source says {value!r}.")
                is_good = False
    return is_good


async def second_act(stage: RunningDemo, alice: UserSession, bob: UserSession, say: Say) -> bool:
    await bob.log_in()
    await bob.start_server("Statistics 101")
    say("bob is a student. He logs in and starts a notebook of his class stats-101.")
    is_private = await _cannot_read(stage, bob, say)
    node = stage.cluster.batch
    work = f'echo "begins at $(date +%T)"; sleep {node.seconds}; echo "done at $(date +%T)"'
    submit = ("submit", "--profile", "half-node", "--queue")
    filling = [
        (await jobs(bob, *submit, "backfill", "--name", f"sweep-{number}", "--", "sh", "-c", work)).split()[-1]
        for number in (1, 2)
    ]
    await _until(bob, filling, lambda job: job["state"] == "running", "both running")
    say(f"{node.told} bob fills them with two jobs of {node.job_cpu} each in the queue backfill: {', '.join(filling)}.")
    research = (
        await jobs(alice, *submit, "climate", "--name", "research", "--", "sh", "-c", "echo research; sleep 3")
    ).split()[-1]
    say(
        f"alice submits the job {research} of {node.job_cpu} to the queue climate. "
        "Its priority is normal. The priority of bob's jobs is low."
    )
    await _until(alice, [research], lambda job: job["state"] in ("running", "succeeded"), "running")
    say("alice's job runs: the scheduler has preempted one of bob's jobs.")
    ended = await _until(bob, filling, lambda job: job["state"] == "succeeded", "succeeded")
    back = [job for job in ended if len(job["attempts"]) > 1]
    for job in back:
        say(f"bob's job {job['id']} restarted from the beginning and finished:")
        for number, attempt in enumerate(job["attempts"], 1):
            times = f"{_clock(attempt['started'])} to {_clock(attempt['finished'])}"
            say(f"    attempt {number}: {times}  {attempt['reason'] or 'finished'}")
    if len(back) != 1:
        say(f"FAILED: exactly one of bob's jobs must have more than one attempt, but {len(back)} have.")
    say("He runs `job list`:\n" + (await jobs(bob, "list")).rstrip())
    return len(back) == 1 and is_private


async def _cannot_read(stage: RunningDemo, bob: UserSession, say: Say) -> bool:
    if stage.cluster.shortcoming:
        say("The demo cannot check whether bob can read alice's files, because their pods run as the same user.")
        return True
    attempt = "try:\n    print(open('/home/alice/notes.txt').read())\nexcept OSError as error:\n    print(error)"
    told = (await bob.run(attempt)).strip()
    say(f"bob tries to read alice's notes: {told}")
    if "Permission denied" not in told:
        say("FAILED: bob must not be able to read alice's notes.")
        return False
    return True


async def jobs(person: UserSession, *arguments: str) -> str:
    """Run the command `job` in the user's kernel and return its output.  Raises UnexpectedResult if it fails."""
    command = shlex.join(("job", *arguments))
    # The kernel runs Python, so the command is quoted as one Python string.
    code = (
        "import subprocess\n"
        f"done = subprocess.run({command!r}, shell=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)\n"
        "print(done.stdout, end='')\n"
        "if done.returncode:\n"
        "    raise RuntimeError(done.stderr or done.stdout)\n"
    )
    return await person.run(code)


async def _until(
    person: UserSession, ids: list[str], reached: Callable[[dict[str, Any]], bool], what: str, limit: float = 90
) -> list[dict[str, Any]]:
    deadline = time.monotonic() + limit
    while True:
        listed = {job["id"]: job for job in _jobs_of(json.loads(await jobs(person, "list", "--json")))}
        mine = [listed[job_id] for job_id in ids]
        if all(reached(job) for job in mine):
            return mine
        if time.monotonic() > deadline:
            told = "; ".join(f"{job['id']} is {job['state']} ({job['message']})" for job in mine)
            raise UnexpectedResult(f"The jobs were not {what} within {limit:.0f} s: {told}")
        await asyncio.sleep(0.5)


def _jobs_of(listed: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = listed["jobs"] if isinstance(listed, dict) else listed
    return found


def _json_line(text: str) -> str:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return line
    raise UnexpectedResult(f"The job did not print its identity: {text!r}")


def _pod(pods: list[Json], user: str, kind: str) -> Json:
    for pod in pods:
        labels = pod["metadata"].get("labels", {})
        if labels.get(OUR_PREFIX + "user") == user and labels.get(OUR_PREFIX + "kind") == kind:
            return pod
    raise UnexpectedResult(f"There is no pod of {user}'s {kind}.")


def _decided(pod: Json) -> dict[str, str]:
    spec = pod["spec"]
    return {
        "scheduler": spec.get("schedulerName", ""),
        "queue": pod["metadata"]["labels"][OUR_PREFIX + "queue"],
        "priority": f"{spec.get('priorityClassName')} ({spec.get('priority')})",
    }


def _not_compared(stage: RunningDemo) -> dict[str, str]:
    if not stage.cluster.shortcoming:
        return {}
    return dict.fromkeys((*WHO, "home"), stage.cluster.shortcoming)


def _clock(moment: str | None) -> str:
    return moment[11:19] if moment else "?"
