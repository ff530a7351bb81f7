"""Which pods of a hub count as unclaimed and for how long, and which pods a hub has created."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.spawner.pod_owner import is_of_this_database, is_of_this_hub, owner_keys, server_of
from jupyter_research_spawner.spawner.unclaimed_pods import UnclaimedTimes

SECRET = b"the hub's"
OWNER = "research-spawner/owner"


@dataclass
class Row:
    id: int = 1
    created: datetime | None = datetime(2026, 9, 1, 12, 0, 0, 999)


def pod(name: str = "jupyter-alice", user: str = "alice", server: str = "", keys: str | None = None) -> Json:
    annotations = {"research-spawner/user-name": user, "research-spawner/plan": json.dumps({"server": server})}
    if keys is not None:
        annotations[OWNER] = keys
    return {"metadata": {"namespace": "jhub", "name": name, "uid": name, "annotations": annotations}}


def keys(secret: bytes = SECRET, row: Row | None = None, **over: str) -> str:
    place = {"user": "alice", "server": "", "namespace": "jhub", "pod_name": "jupyter-alice"}
    return owner_keys(secret, row or Row(), **{**place, **over})


def test_a_hub_knows_its_pod_and_the_row_of_its_user() -> None:
    found = pod(keys=keys())
    assert server_of(found) == ("alice", "")
    assert is_of_this_hub(SECRET, found)
    assert is_of_this_database(SECRET, Row(), found)
    # A database that keeps no fractions of a second.
    assert is_of_this_database(SECRET, Row(created=datetime(2026, 9, 1, 12)), found)


@pytest.mark.parametrize(
    "of_another",
    [
        keys(b"another hub's"),
        keys(user="bob"),
        keys(server="exp"),
        keys(namespace="other"),
        keys(pod_name="jupyter-bob"),
        keys().swapcase(),
        "",
        ".",
        "0" * 64,
    ],
)
def test_no_other_pod_counts_as_created_here(of_another: str) -> None:
    assert not is_of_this_hub(SECRET, pod(keys=of_another))
    assert not is_of_this_database(SECRET, Row(), pod(keys=of_another))


def test_without_a_secret_no_pod_with_keys_is_known() -> None:
    assert not is_of_this_hub(b"", pod(keys=keys()))
    assert not is_of_this_database(b"", Row(), pod(keys=keys(b"")))


@pytest.mark.parametrize("row", [Row(2), Row(created=datetime(2026, 9, 2)), Row(created=None)])
def test_a_pod_of_another_database_is_of_this_hub_only(row: Row) -> None:
    found = pod(keys=keys())
    assert is_of_this_hub(SECRET, found)
    assert not is_of_this_database(SECRET, row, found)


def test_a_pod_of_an_older_version_is_adopted_but_never_unclaimed() -> None:
    assert is_of_this_hub(SECRET, pod())
    assert not is_of_this_database(SECRET, Row(), pod())
    by_hand = {"metadata": {"namespace": "jhub", "name": "jupyter-alice"}}
    assert not is_of_this_hub(SECRET, by_hand)


def test_a_pod_is_due_when_it_was_unclaimed_for_the_whole_time(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    times = UnclaimedTimes(timedelta(seconds=10), clock=lambda: now[0])
    alice, bob = pod(), pod("jupyter-bob", "bob")
    assert times.due([alice]) == []
    now[0] = 5
    assert times.due([alice, bob]) == []
    now[0] = 10
    assert times.due([alice, bob]) == [alice]
    # A server has claimed bob's pod in between.
    assert times.due([]) == []
    now[0] = 20
    assert times.due([bob]) == []
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith("No server claims pod jhub/jupyter-alice, created at an unknown time for server ")
    assert len(told) == 3
