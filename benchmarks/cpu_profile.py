"""Measure where the hub's CPU time of a start goes, by samples of its stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

from . import sides
from .hub import MeasurementFailed, Setup, hub
from .sides import Json
from .stack_sampler import Stack

HASHES = "JupyterHub: hashes of tokens"
DATABASE = "JupyterHub: its database (SQLAlchemy)"
JUPYTERHUB = "JupyterHub: other code, traitlets"
KUBESPAWNER = "KubeSpawner, its Kubernetes client"
RESEARCH = "ResearchSpawner (this project)"
REST = "event loop, HTTP servers and clients"
# Whom a sample is counted for: the first of these whose frame is found, from the innermost frame outwards.
_OWNERS: tuple[tuple[str, Callable[[str, str], bool]], ...] = (
    (HASHES, lambda file, function: "/jupyterhub/" in file and function == "hash_token"),
    (REST, lambda file, function: file.endswith(("/jupyterhub/app.py", "/jupyterhub/__main__.py"))),
    (JUPYTERHUB, lambda file, _: "/jupyterhub/" in file),
    (DATABASE, lambda file, _: "/sqlalchemy/" in file),
    (KUBESPAWNER, lambda file, _: "/kubespawner/" in file or "/kubernetes_asyncio/" in file),
    (RESEARCH, lambda file, _: "/jupyter_research_spawner/" in file),
)
OWNERS = (RESEARCH, KUBESPAWNER, JUPYTERHUB, HASHES, DATABASE, REST)


@dataclass(frozen=True)
class Profile:
    """The hub's CPU time of one start in ms, by owner."""

    side: str
    starts: int
    cpu_ms: dict[str, float]

    def as_json(self) -> Json:
        return asdict(self)


async def measure(side: str, starts: int, ready_after: float) -> Profile:
    """Sample a hub during concurrent starts.  Raises MeasurementFailed."""
    first, *names = sides.usernames(starts + 1)
    async with hub(Setup(side, starts + 1, ready_after, is_sampled=True)) as measured:
        await measured.add_users([first, *names])
        await measured.start(first)
        cpu = measured.cpu_seconds
        measured.start_sampling()
        started = await measured.start_all(names)
        cpu = measured.cpu_seconds - cpu
        stacks = await measured.stop_sampling()
    if failures := [one.failure for one in started if one.failure]:
        raise MeasurementFailed(f"{len(failures)} of {starts} servers did not start: {failures[0]}")
    samples = count_by_owner(stacks)
    return Profile(side, starts, {owner: 1000 * cpu / starts * samples[owner] / samples.total() for owner in OWNERS})


def count_by_owner(stacks: Counter[Stack]) -> Counter[str]:
    found: Counter[str] = Counter()
    for stack, samples in stacks.items():
        found[_owner(stack)] += samples
    return found


def _owner(stack: Stack) -> str:
    for file, function in reversed(stack):
        for owner, has in _OWNERS:
            if has(file, function):
                return owner
    return REST
