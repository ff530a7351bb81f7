"""`make bench` works: short runs with a few starts, whose values are not asserted; and what it makes of values."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import concurrent_starts, cpu_profile
from benchmarks.bars import bars
from benchmarks.click import Clicks
from benchmarks.concurrent_starts import Run
from benchmarks.events_memory import Growth
from benchmarks.free_capacity_form import FreeCapacityForm
from benchmarks.idle import Idle
from benchmarks.results import Results
from benchmarks.sizes import Sizes

REPOSITORY = Path(__file__).parent.parent
SIDES = ["KubeSpawner", "ResearchSpawner"]
LIMIT_SECONDS = 300.0
OTHERS = ("form", "free", "queued", "jobs", "click", "idle", "memory", "profile")
OURS = "jupyter_research_spawner/spawner/planned.py"


async def bench(directory: Path, *arguments: str) -> tuple[str, Any]:
    """Return the printed table and the written JSON."""
    numbers = directory / f"{arguments[1]}.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks", *arguments, "--json", str(numbers)),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
    assert process.returncode == 0, said.decode()
    return printed.decode(), json.loads(numbers.read_text())


def run(side: str, *, cpu: float, most_ready: float, starts: int = 400) -> Run:
    return Run(side, starts, 0, cpu, most_ready, most_ready, most_ready, None, starts, "")


def test_bars_compare_pairs_with_kubespawner_and_sizes_with_each_other() -> None:
    results = Results(Sizes())
    cases = {case.name: case for case in concurrent_starts.cases(results.sizes, 3)}
    pairs = [((40.0, 10.0), (38.0, 10.2)), ((80.0, 20.0), (84.0, 30.0)), ((20.0, 5.0), (19.8, 4.0))]
    paced = [
        run(side, cpu=cpu, most_ready=ready) for pair in pairs for side, (cpu, ready) in zip(SIDES, pair, strict=True)
    ]
    few = [run(side, cpu=4.0, most_ready=8.0, starts=100) for side in SIDES]
    many = [run(side, cpu=80.0, most_ready=99.0, starts=1600) for side in SIDES]
    results.runs = [(cases["paced"], paced), (cases["few"], few), (cases["many"], many)]
    results.idle = [Idle(SIDES[0], 500, 4.0, 100.0, 9.0), Idle(SIDES[1], 500, 0.0, 0.0, 5.0)]
    results.memory = [Growth(SIDES[0], 35_000, 90.0, 200.0), Growth(SIDES[1], 35_000, 20.4, 50.0)]

    results.free = [FreeCapacityForm(5_000, 20_000, 200, {"free-now": 200}, 6.0, 10.1, 150.0, 2_000.0)]
    results.clicks = [
        Clicks(SIDES[0], (0.06, 0.05, 0.09), (0.02, 0.02, 0.02), 0.1),
        Clicks(SIDES[1], (0.1, 0.9, 0.09), (0.03, 0.03, 0.03), 0.2),
    ]

    found = {bar.title.strip() + (" (aim)" if bar.is_aim else ""): bar for bar in bars(results)}
    told = {title: (bar.measured, bar.is_reached) for title, bar in found.items() if bar.measured is not None}
    assert told == {
        "400 starts: 95 % ready, to KubeSpawner's": (pytest.approx(1.02), True),
        "400 starts: hub CPU, to KubeSpawner's": (pytest.approx(0.99), True),
        "400 starts: hub CPU, to KubeSpawner's (aim)": (pytest.approx(0.99), False),
        "1,600 starts: CPU of each, to 100's": (pytest.approx(1.25), False),
        "500 idle: lists a minute, to KubeSpawner's": (0.0, True),
        "500 idle: listed bytes, to KubeSpawner's": (0.0, True),
        "500 idle: lists a minute": (0.0, True),
        "35,000 events: memory grows by": (20.4, False),
        "form, 200 profiles, 5,000 nodes: 99 %": (10.1, False),
        "click: page later than KubeSpawner's": (pytest.approx(40), True),
    }


def test_samples_count_for_the_innermost_package_that_is_named() -> None:
    packages = "/venv/lib/python3.11/site-packages"
    hub = (f"{packages}/jupyterhub/app.py", "launch_instance")
    user = (f"{packages}/jupyterhub/user.py", "spawn")
    loop = ("/usr/lib/python3.11/asyncio/events.py", "_run")
    traitlets = (f"{packages}/traitlets/traitlets.py", "__set__")
    stacks = {
        (hub, loop, user, (f"{packages}/sqlalchemy/orm/session.py", "commit"), loop): cpu_profile.DATABASE,
        (hub, loop, user, traitlets): cpu_profile.JUPYTERHUB,
        (hub, loop, user, (f"{packages}/jupyterhub/utils.py", "hash_token")): cpu_profile.HASHES,
        (hub, loop, (f"{packages}/kubespawner/spawner.py", "_start"), traitlets): cpu_profile.KUBESPAWNER,
        (
            hub,
            (f"{packages}/kubespawner/spawner.py", "_start"),
            (str(REPOSITORY / OURS), "apply_plan"),
        ): cpu_profile.RESEARCH,
        (hub, loop): cpu_profile.REST,
    }
    for stack, owner in stacks.items():
        assert cpu_profile.count_by_owner(Counter({stack: 7})) == {owner: 7}


@pytest.mark.thorough
@pytest.mark.embedded
async def test_each_measurement_measures_both_sides(tmp_path: Path) -> None:
    small = ("--spawns", "2", "--pairs", "1", "--ready-after", "0.2")
    (decided, seconds), (counted, calls), (starts, runs), (others, rest) = await asyncio.gather(
        bench(tmp_path, "--only", "decide"),
        bench(tmp_path, "--only", "calls"),
        bench(tmp_path, "--only", "starts", *small),
        bench(tmp_path, *(word for name in OTHERS for word in ("--only", name)), "--small", "--ready-after", "0.2"),
    )

    assert "plan + compose + check" in decided
    assert all(value > 0 for values in seconds["cpu_seconds_of_decide"].values() for value in values)

    assert "create pods" in counted
    for phases in calls["calls"].values():
        made = [(phase["phase"], phase["calls"].get("create pods", 0) / phase["starts"]) for phase in phases]
        assert made == [
            ("the hub's first start", 1),
            ("another user's first start", 1),
            ("a stop", 0),
            ("the same user's next start", 1),
        ]

    assert "2 CONCURRENT STARTS" in starts
    (case,) = runs["runs"]
    assert [(run["side"], run["starts"], run["failed"]) for run in case["runs"]] == [(side, 2, 0) for side in SIDES]
    assert all(run["cpu"] > 0 for run in case["runs"])

    assert [case["case"] for case in rest["runs"]] == ["queued", "jobs"]
    assert [form["side"] for form in rest["forms"]] == SIDES * 2
    (free,) = rest["free"]
    assert (sum(free["states"].values()), "unknown" in free["states"]) == (free["profiles"], False)
    assert all(free[name] > 0 for name in ("half_ms", "most_ms", "compute_ms", "watch_ms_per_minute"))
    for clicks in rest["clicks"]:
        pairs = zip(clicks["seconds"], clicks["redirect_seconds"], strict=True)
        assert [0 < redirected < ended for ended, redirected in pairs] == [True, True]
    of_sides = (rest["clicks"], rest["idle"], rest["memory"], rest["profiles"])
    for found in (*(case["runs"] for case in rest["runs"]), *of_sides):
        assert [one["side"] for one in found] == SIDES
    assert all(sum(profile["cpu_ms"].values()) > 0 for profile in rest["profiles"])

    assert [line for line in (decided + counted + starts + others).splitlines() if len(line) > 80] == []
