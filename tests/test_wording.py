"""Parts of messages: lists of names, and quoted values from users or from other programs."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_research_spawner.wording import QUOTE_LIMIT, find_moments, format_list, format_moment, quote


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_format_list_joins_names_with_commas_and_a_conjunction(names: list[str], text: str) -> None:
    assert format_list(names) == text


def test_format_list_accepts_another_conjunction_and_any_iterable() -> None:
    assert format_list(iter(["a", "b", "c"]), "or") == "a, b or c"


def test_format_list_says_how_many_names_it_leaves_out() -> None:
    names = [f"g{number}" for number in range(14)]
    assert format_list(names[:12]).endswith("g10 and g11")
    assert format_list(names[:13]).endswith("g10, g11 and 1 more")
    assert format_list(names, limit=2) == "g0, g1 and 12 more"
    assert format_list(names, limit=None).endswith("g12 and g13")


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("small", "'small'"),
        ("", "''"),
        ("a\nb", r"'a\nb'"),
        ("\x1b[31mred\x1b[0m", r"'\x1b[31mred\x1b[0m'"),
        ("a\u202eb", r"'a\u202eb'"),
        (5, "5"),
        (None, "null"),
        (["a", "b"], "[a, b]"),
        ({"a": [True, None], "b c": date(2026, 12, 20)}, "{a: [true, null], 'b c': 2026-12-20}"),
        (["no", "1", "2026-12-20", "a: b", "[x]"], "['no', '1', '2026-12-20', 'a: b', '[x]']"),
        (datetime(2026, 12, 20, 8, 0), "2026-12-20T08:00:00"),
    ],
)
def test_quote_escapes_control_characters(value: object, quoted: str) -> None:
    assert quote(value) == quoted


def test_quote_shortens_text_inside_the_quotes() -> None:
    assert quote("a" * QUOTE_LIMIT) == f"'{'a' * QUOTE_LIMIT}'"
    assert quote("a" * (QUOTE_LIMIT + 1)) == f"'{'a' * (QUOTE_LIMIT - 1)}…'"


def test_quote_does_not_write_out_what_is_very_large_or_deep() -> None:
    deep: object = "bottom"
    for _ in range(100):
        deep = [deep]
    assert quote(deep) == "[[[[[[[[[…]]]]]]]]]"
    assert quote([10**5000]) == "[a very large number]"


def test_quote_shortens_other_values() -> None:
    assert quote(["a" * 1000]) == f"[{'a' * (QUOTE_LIMIT - 2)}…"


@given(st.text() | st.lists(st.text()) | st.binary())
def test_a_quoted_value_is_bounded_and_printable(value: object) -> None:
    quoted = quote(value)
    assert quoted.isprintable()
    # An unprintable character of a string takes at most 10 characters, as in '\U0010ffff'.
    assert len(quoted) <= 10 * QUOTE_LIMIT + 2


NOW = datetime(2026, 11, 29, 12, 0, tzinfo=timezone.utc)


def test_times_in_a_sentence_are_found_as_they_were_written() -> None:
    since, then = NOW - timedelta(hours=30), NOW + timedelta(minutes=5)
    sentence = f"Waiting since {format_moment(since)}. It is queued again at {format_moment(then)}."
    assert sentence == "Waiting since 28 Nov 06:00 UTC. It is queued again at 29 Nov 12:05 UTC."
    assert find_moments(sentence, NOW) == [("28 Nov 06:00 UTC", since), ("29 Nov 12:05 UTC", then)]


@given(st.timedeltas(min_value=timedelta(days=-180), max_value=timedelta(days=180)))
def test_the_year_of_a_time_is_the_closest_one(ago: timedelta) -> None:
    time = (NOW + ago).replace(second=0, microsecond=0)
    assert find_moments(format_moment(time), NOW) == [(format_moment(time), time)]


@pytest.mark.parametrize(
    "text", ["", "31 Feb 10:00 UTC", "1 Nov 25:00 UTC", "10:00 UTC", "28 Nov 10:00", "128 Nov 1:00 UTC"]
)
def test_other_text_has_no_times(text: str) -> None:
    assert find_moments(text, NOW) == []
