"""`make bench` works: short runs with two starts.  The tests do not assert the measured values."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent
SIDES = ["KubeSpawner", "ResearchSpawner"]
LIMIT_SECONDS = 300.0


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


@pytest.mark.thorough
@pytest.mark.embedded
async def test_each_measurement_measures_both_sides(tmp_path: Path) -> None:
    small = ("--spawns", "2", "--pairs", "1", "--ready-after", "0.2")
    (decided, seconds), (counted, calls), (starts, runs) = await asyncio.gather(
        bench(tmp_path, "--only", "decide"),
        bench(tmp_path, "--only", "calls"),
        bench(tmp_path, "--only", "starts", *small),
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

    assert [line for line in (decided + counted + starts).splitlines() if len(line) > 80] == []
