"""Measure plan + compose + check against KubeSpawner's get_pod_manifest.

The measurement runs in a separate process, `python -m benchmarks.decide DIRECTORY`, because it must set KUBECONFIG.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner
from traitlets.config import Config

from jupyter_research_spawner.identity import PosixIdentity, Resolver
from jupyter_research_spawner.jobs import notebook
from jupyter_research_spawner.plan import Plan, Request, plan
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.shape import NOTEBOOK_KIND, Shape
from jupyter_research_spawner.site import Site, load

from . import sides
from .processes import StartFailed, running, tail
from .sides import Json

ROUNDS, IN_A_ROUND = 15, 100
LIMIT_SECONDS = 300.0
MANIFEST, PLAN, COMPOSE, CHECK, ALL = "get_pod_manifest", "plan", "compose", "check", "plan + compose + check"
Seconds = dict[str, list[float]]


async def measure() -> Seconds:
    """Return the CPU seconds of one call of each step.  Each step has one value for each round."""
    with TemporaryDirectory(prefix="benchmark-") as directory:
        state = Path(directory)
        kubeconfig = state / "kubeconfig"
        kubeconfig.write_text(json.dumps(sides.kubeconfig("http://127.0.0.1:1", "none")))
        log = state / "decide.log"
        arguments = ["-m", "benchmarks.decide", directory]
        async with running(arguments, log, {"KUBECONFIG": str(kubeconfig)}) as process:
            assert process.stdout is not None
            told = await asyncio.wait_for(process.stdout.read(), LIMIT_SECONDS)
            if await process.wait():
                raise StartFailed(f"The cost of plan, compose and check could not be measured:\n{tail(log)}")
        seconds: Seconds = json.loads(told)
        return seconds


@dataclass(frozen=True)
class Decision:
    """The inputs of one start: the site, the user and KubeSpawner's pod manifest."""

    site: Site
    identity: PosixIdentity
    base: Json

    def plan(self) -> Plan:
        shape = Shape(NOTEBOOK_KIND, self.base["metadata"]["name"])
        request = Request(shape=shape, hub_user=self.identity.name)
        now = datetime.now(timezone.utc)
        return plan(self.site, self.identity, request, run_id=uuid.uuid4().hex, now=now, secret=b"a secret")

    def compose_pod(self) -> Json:
        """Return the pod that the spawner would create."""
        decided = self.plan()
        manifest = compose(decided, self.base, notebook.SLOTS)
        check(decided, manifest, notebook.SLOTS)
        return manifest


async def manifests(directory: Path, side: str, names: Sequence[str]) -> list[Json]:
    """Return the notebook pod of each user.  The file in KUBECONFIG must exist."""
    sides.write_accounts(directory, names)
    site = load(sides.site(directory, "plain"))
    resolver = Resolver(site.identity, directory)
    found = []
    async with ApiClient() as client:
        for name in names:
            identity = await resolver.resolve(name)
            traits = sides.kube_spawner() if side == sides.KUBE else _matching_traits(identity)
            base: Json = client.sanitize_for_serialization(await _kube_spawner(name, traits).get_pod_manifest())
            base["metadata"]["namespace"] = sides.NAMESPACE
            found.append(base if side == sides.KUBE else Decision(site, identity, base).compose_pod())
    return found


async def _rounds(directory: Path) -> Seconds:
    name, *_ = names = sides.usernames(400)
    sides.write_accounts(directory, names)
    site = load(sides.site(directory, "kueue"))
    identity = await Resolver(site.identity, directory).resolve(name)
    spawner = _kube_spawner(name, sides.kube_spawner())
    async with ApiClient() as client:
        beneath = _kube_spawner(name, _matching_traits(identity))
        base: Json = client.sanitize_for_serialization(await beneath.get_pod_manifest())
    decision = Decision(site, identity, base)
    decided = decision.plan()
    composed = compose(decided, base, notebook.SLOTS)
    steps: dict[str, Callable[[], object]] = {
        PLAN: decision.plan,
        COMPOSE: lambda: compose(decided, base, notebook.SLOTS),
        CHECK: lambda: check(decided, composed, notebook.SLOTS),
        ALL: decision.compose_pod,
    }
    seconds: Seconds = {MANIFEST: [], **{name: [] for name in steps}}
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(IN_A_ROUND):
            await spawner.get_pod_manifest()
        seconds[MANIFEST].append((time.process_time() - begun) / IN_A_ROUND)
        for step, run in steps.items():
            begun = time.process_time()
            for _ in range(IN_A_ROUND):
                run()
            seconds[step].append((time.process_time() - begun) / IN_A_ROUND)
    return seconds


def _matching_traits(identity: PosixIdentity) -> Json:
    """Return the KubeSpawner traits that ResearchSpawner sets before it composes the pod."""
    return {
        "namespace": sides.NAMESPACE,
        "image": sides.IMAGE,
        "uid": identity.uid,
        "gid": identity.gid,
        "supplemental_gids": list(identity.supplementary_gids),
    }


def _kube_spawner(name: str, traits: Json) -> KubeSpawner:
    """Return a KubeSpawner that works without a hub, created as in KubeSpawner's tests."""
    user = SimpleNamespace(name=name, id=1, url=f"/user/{name}/", escaped_name=name)
    config = Config(KubeSpawner={**traits, "cmd": ["jupyterhub-singleuser"]})
    return KubeSpawner(user=user, config=config, _mock=True)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_rounds(Path(sys.argv[1])))))
