"""Which streams of server-sent events stay open, and which one makes room for another."""

from __future__ import annotations

import pytest

from jupyter_research_spawner.batch import open_streams
from jupyter_research_spawner.batch.open_streams import OpenStream, OpenStreams
from jupyter_research_spawner.refusal import Refusal


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "STREAMS_AT_ONCE", 4)
    monkeypatch.setattr(open_streams, "ALL_STREAMS_AT_ONCE", 6)


def replaced(streams: list[OpenStream]) -> list[bool]:
    return [stream.is_replaced for stream in streams]


def test_a_users_new_page_replaces_their_oldest_one() -> None:
    streams = OpenStreams()
    of_alice = [streams.open("alice") for _ in range(6)]
    assert replaced(of_alice) == [True, True, False, False, False, False]
    streams.close(of_alice[0])  # when its task ends
    streams.close(of_alice[5])
    assert not streams.open("alice").is_replaced
    assert replaced(of_alice[2:5]) == [False, False, False]


def test_whoever_has_the_most_pages_makes_room_for_others() -> None:
    streams = OpenStreams()
    of_alice = [streams.open("alice") for _ in range(4)]
    of_bob = [streams.open("bob") for _ in range(2)]
    of_carol = [streams.open("carol")]
    assert replaced(of_alice) == [True, False, False, False]
    of_carol.append(streams.open("carol"))
    assert replaced(of_alice) == [True, True, False, False]
    assert not any(replaced([*of_bob, *of_carol]))
    # All have two now. Carol's next page replaces her own.
    streams.open("carol")
    assert replaced(of_carol) == [True, False]
    assert replaced(of_bob) == [False, False]


def test_where_everybody_has_one_page_a_further_user_reloads() -> None:
    streams = OpenStreams()
    first = [streams.open(f"user{number}") for number in range(6)]
    with pytest.raises(Refusal, match="Too many pages") as refused:
        streams.open("alice")
    assert (refused.value.status, refused.value.retry_after) == (429, 60)
    assert not any(replaced(first))
    streams.close(first[0])
    streams.open("alice")
