"""A real Prometheus for tests, as Debian's package `prometheus` installs it: `prometheus` and `promtool`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from patience import eventually

from jupyter_research_spawner.demo.hub import free_port

# With CI=true, a test that is skipped for want of something fails.
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="needs prometheus and promtool: apt-get install prometheus",
)


@dataclass
class Prometheus:
    url: str
    session: aiohttp.ClientSession

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query; each has `metric` and `value`."""
        async with self.session.get(f"{self.url}/api/v1/query", params={"query": expression}) as answer:
            found = json.loads(await answer.text())
        assert found["status"] == "success", f"{expression}: {found}"
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    async def has(self, expression: str, least: float) -> bool:
        """Return whether the first sample of an instant query is at least `least`."""
        found = await self.query(expression)
        return bool(found) and float(found[0]["value"][1]) >= least

    async def alerts(self) -> list[str]:
        """Return the names of the rules that Prometheus has loaded."""
        async with self.session.get(f"{self.url}/api/v1/rules") as answer:
            groups = json.loads(await answer.text())["data"]["groups"]
        return [rule["name"] for group in groups for rule in group["rules"]]


@asynccontextmanager
async def running_prometheus(
    directory: Path, targets: Mapping[str, str], token: str, rules: Path
) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes each target every second.

    directory: an empty directory.  targets: URLs by name of the job.
    token: the token of the hub that it sends, as docs/how-to/monitoring.md says.
    """
    scrapes = []
    for job, url in targets.items():
        _, _, rest = url.partition("://")
        target, _, path = rest.partition("/")
        scrapes.append(
            {
                "job_name": job,
                "metrics_path": f"/{path}",
                "authorization": {"type": "token", "credentials": token},
                "static_configs": [{"targets": [target]}],
            }
        )
    settings = {"global": {"scrape_interval": "1s"}, "rule_files": [str(rules)], "scrape_configs": scrapes}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - forks, waits for nothing
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    async with aiohttp.ClientSession() as session:
        found = Prometheus(f"http://{address}", session)

        async def is_ready() -> bool:
            assert process.poll() is None, (directory / "log").read_text()
            try:
                async with session.get(f"{found.url}/-/ready") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        try:
            await eventually(is_ready, every=0.1, otherwise=(directory / "log").read_text)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
