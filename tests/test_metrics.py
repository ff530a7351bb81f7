"""Names, labels and values of the metrics."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

import jupyter_research_spawner
from jupyter_research_spawner import metrics
from jupyter_research_spawner.identity import Resolver
from jupyter_research_spawner.identity.identity_settings import IdentitySettings
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.spawner.pacing import Pacing
from jupyter_research_spawner.watch import follow as follow_module
from jupyter_research_spawner.watch.api_server import ApiError
from jupyter_research_spawner.watch.follow import follow

PACKAGE = Path(jupyter_research_spawner.__file__).parent
# Labels whose values are constants of the code, or names in the site's settings, or resources that the code watches.
LABELS = {"code", "kind", "outcome", "profile", "queue", "reason", "resource", "result", "scheduler", "source"}

METRICS = [found for found in vars(metrics).values() if isinstance(found, (Counter, Gauge, Histogram))]


def value(name: str, **labels: str) -> float:
    """Return the value of a time series in the registry of the process; 0 if it does not exist."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def family(metric: Any) -> Any:
    return metric.describe()[0]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: family(metric).name)
def test_names_and_labels_follow_the_conventions_of_prometheus(metric: Any) -> None:
    described = family(metric)
    assert described.name.startswith("research_spawner_")
    assert described.documentation
    if described.type == "histogram":
        assert described.name.endswith("_seconds")
    else:
        assert not described.name.endswith("_total"), "prometheus_client adds it to counters, and gauges have none"
    assert set(metric._labelnames) <= LABELS


@cache
def syntax_trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    for path, tree in syntax_trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_the_code_of_each_refusal_is_a_constant_and_no_text_of_a_user() -> None:
    """The code is the value of a label. These functions have it as their argument, which is a constant in turn."""
    passed_on = {"code", "f'unknown-{field}'", "f'{field}-not-yours'"}
    of_http_status = "HTTPStatus(status).phrase.lower().replace(' ', '-')"
    found = {
        where: ast.unparse(call.args[0] if call.args else call.keywords[0].value)
        for name in ("Refusal", "identity_refused", "_failed")
        for where, call in calls(name)
        if not where.startswith("client/") and not (call.args and isinstance(call.args[0], ast.Constant))
    }
    copied = "{**down.as_dict(), 'hint': hint}"
    assert set(found.values()) - passed_on == {of_http_status, copied}, found
    for where, call in calls("_require_allowed"):
        assert isinstance(call.args[1], ast.Constant), where


@pytest.mark.parametrize("code", ["queue\nlimit", 'x"} 1', "", "A" * 20, "x" * 41, "Größe"])
def test_an_unusual_code_is_counted_as_other(code: str) -> None:
    before = value("research_spawner_refusals_total", code="other")
    metrics.count_refusal(code)
    assert value("research_spawner_refusals_total", code="other") == before + 1
    ends = value("research_spawner_ends_total", kind="notebook", reason="other")
    metrics.count_end("notebook", code)
    assert value("research_spawner_ends_total", kind="notebook", reason="other") == ends + 1


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/namespaces/jhub/pods", "pods"),
        ("/api/v1/nodes", "nodes"),
        ("/apis/batch/v1/namespaces/jhub/jobs", "jobs.batch"),
        ("/apis/kueue.x-k8s.io/v1beta1/namespaces/jhub/workloads", "workloads.kueue.x-k8s.io"),
        ("/apis/storage.k8s.io/v1/storageclasses", "storageclasses.storage.k8s.io"),
        ("/something/else", "other"),
    ],
)
def test_a_watched_path_is_counted_by_its_resource(path: str, resource: str) -> None:
    assert metrics.watched_resource(path) == resource


class Over(BaseException):
    pass


class FailsAfterOneWatch:
    """An API server that lists once, ends the watch early, and then refuses."""

    def __init__(self) -> None:
        self.lists = 0
        self.up_while_watching = 0.0

    def for_repeated_requests(self) -> FailsAfterOneWatch:
        return self

    async def ask(self, method: str, path: str, *, query: Any) -> Any:
        self.lists += 1
        if self.lists == 2:
            raise ApiError(403, "forbidden")
        if self.lists == 3:
            raise Over
        return {"metadata": {"resourceVersion": "1"}, "items": []}

    async def watch_events(self, path: str, query: Any, silence_seconds: float) -> Any:
        self.up_while_watching = value("research_spawner_watch_up", resource="widgets.example.com")
        for event in ():
            yield event


async def test_a_watch_that_fails_is_shown_as_down_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "FIRST_PAUSE_SECONDS", 0.01)
    server: Any = FailsAfterOneWatch()
    with pytest.raises(Over):
        async for _ in follow(server, "/apis/example.com/v1/namespaces/jhub/widgets", {}):
            pass
    assert server.up_while_watching == 1
    assert value("research_spawner_watch_up", resource="widgets.example.com") == 0
    assert value("research_spawner_watch_restarts_total", resource="widgets.example.com") == 2


async def test_pacing_slots_are_shown_in_use_and_waiting() -> None:
    pacing = Pacing(1)
    first, second = pacing.new_slot(), pacing.new_slot()
    await first.acquire()
    waiting = asyncio.ensure_future(second.acquire())
    await asyncio.sleep(0)
    assert shown() == (1, 1, 1)
    first.release()
    await waiting
    assert shown() == (1, 1, 0)
    second.release()
    assert shown() == (1, 0, 0)


def shown() -> tuple[float, float, float]:
    names = ("pacing_slots", "pacing_slots_in_use", "pacing_starts_waiting")
    limit, in_use, waiting = (value(f"research_spawner_{name}") for name in names)
    return limit, in_use, waiting


def identity_settings(passwd: Path) -> IdentitySettings:
    group = passwd.with_name("group")
    group.write_text("alice:x:20001:\n")
    return IdentitySettings.model_validate(
        {"sources": {"metered": {"kind": "static", "passwd": str(passwd), "group": str(group)}}}
    )


async def test_lookups_are_timed_by_source_and_the_cache_is_counted(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("alice:x:20001:20001::/home/alice:/bin/sh\n")
    resolver = Resolver(identity_settings(passwd))
    hits, misses = cached()
    answered = lookups("answered")
    assert lookups("failed") == 0
    await resolver.resolve("alice")
    await resolver.resolve("alice")
    assert cached() == (hits + 1, misses + 1)
    assert lookups("answered") > answered
    passwd.unlink()
    with pytest.raises(Refusal) as refused:
        await resolver.resolve("bob")
    assert refused.value.code == "source-down"
    assert lookups("failed") == 1


def cached() -> tuple[float, float]:
    hits, misses = (value("research_spawner_identity_cache_requests_total", result=kind) for kind in ("hit", "miss"))
    return hits, misses


def lookups(result: str) -> float:
    return value("research_spawner_identity_lookup_seconds_count", source="metered", result=result)
