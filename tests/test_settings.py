"""Settings as a site writes them: units, merging, `like:`, secrets, and errors that name the path and the way out."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from jupyter_research_spawner.settings import (
    ByName,
    Bytes,
    Cores,
    Duration,
    Groups,
    Secret,
    Settings,
    SettingsError,
    format_duration,
    merge,
    ordered,
    parse_duration,
    read,
)
from jupyter_research_spawner.settings.merge import resolve_like
from jupyter_research_spawner.settings.strict import open_to
from jupyter_research_spawner.settings.units import (
    format_bytes,
    format_cores,
    parse_bytes,
    parse_cores,
    parse_wall_time,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("90m", 5400),
        ("8h", 28800),
        ("21d", 1814400),
        ("08h", 28800),
        ("3660d", 3660 * 86400),
        ("1h30m", 5400),
        ("1d12h30m15s", 131415),
        ("2m5s", 125),
    ],
)
def test_durations_are_a_whole_number_and_a_unit(written: str, seconds: int) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [-8, 8.5, True, None, "h", "8 h", "8.5h", "-8h", "8H", "8w", "PT8H", "30m1h", "1h1h", "8h\n", "", ["8h"], "٨h"],
)
def test_what_is_no_duration_is_told_how_to_write_one(written: Any) -> None:
    with pytest.raises(
        ValueError, match=r"is not a valid duration\. Use a whole number and a unit: 30s, 90m, 8h, 1h30m or 21d"
    ):
        parse_duration(written)


@pytest.mark.parametrize("written", ["0s", "3661d", "99999999h", timedelta(0), timedelta(hours=-1)])
def test_a_duration_is_between_one_second_and_ten_years(written: Any) -> None:
    with pytest.raises(ValueError, match="must be between one second and ten years"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        # YAML 1.1 reads 4:00:00 as 14400, and 1:30 as 90.
        (14400, "14400 has no unit. Write 4h for 14400 seconds, or 14400m for minutes (YAML reads 4:00:00 as 14400)"),
        (90, "90 has no unit. Write 90s for 90 seconds, or 90m for minutes (YAML reads 1:30 as 90)"),
        (8, "8 has no unit. Write 8s for 8 seconds, or 8m for minutes"),
        ("4:00:00", "'4:00:00' has no unit. Settings need one, because YAML reads a time like 4:00:00 as a number."),
        ("1-0", "'1-0' has no unit. Settings need one, because YAML reads a time like 4:00:00 as a number. Write 1d"),
        ("90", "Write 90m"),
    ],
)
def test_a_duration_without_a_unit_in_settings_is_told_the_right_form(written: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_duration(written)
    assert sentence in str(error.value)


def test_yaml_reads_a_time_without_quotes_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("wall_time: 4:00:00\n")
    with pytest.raises(ValueError, match="Write 4h for 14400 seconds, or 14400m for minutes"):
        parse_duration(read(path)["wall_time"])


# What slurm_time_str2secs of Slurm 22.05.8 (Debian's slurm-wlm) returns for these texts.
SLURM_TIMES = {
    "90": 5400,
    "08": 480,
    "1:30": 90,
    "12:99": 819,
    "4:00:00": 14400,
    "1-0": 86400,
    "1-": 86400,
    "1-12:30": 131400,
    "1-12:30:15": 131415,
    "0-0:0:7": 7,
}
NOT_SLURM_TIMES = (":30", "1:", "1:2:3:4", "1-2-3", "90m ?", "1.5", "+5", "--", "1--2", "2-:3", "1:1-2", "", "-5")


@pytest.mark.parametrize(("written", "seconds"), [*SLURM_TIMES.items(), (90, 5400), ("8h", 28800), ("1h30m", 5400)])
def test_a_wall_time_has_the_forms_of_sbatch_or_a_unit(written: Any, seconds: int) -> None:
    assert parse_wall_time(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize("written", [*NOT_SLURM_TIMES, None, True, 1.5, ["4:00:00"], "9" * 30, 10**400, "٩٠"])
def test_what_is_no_wall_time_is_told_all_forms(written: Any) -> None:
    with pytest.raises(
        ValueError, match=r"is not a valid wall time\. Use a unit .* or a format of Slurm: 90 \(minutes\)"
    ):
        parse_wall_time(written)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("0s", "must be between one second and ten years"),
        ("0", "without a limit is not possible"),  # as in Slurm
        ("0:00", "without a limit is not possible"),
        (0, "without a limit is not possible"),
        ("99999999-0", "must be between"),
        ("3661d", "must be between"),
        ("UNLIMITED", "without a limit is not possible"),
        ("-1", "without a limit is not possible"),
        (-1, "without a limit is not possible"),
    ],
)
def test_a_wall_time_has_limits(written: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_wall_time(written)


@given(st.integers(1, 10 * 366 * 86400))
def test_a_duration_reads_back_as_it_was(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


def test_durations_are_written_in_the_largest_whole_unit_with_a_small_number() -> None:
    minutes = {1: "1m", 90: "90m", 480: "8h", 481: "8h1m", 1440: "1d", 2160: "36h", 2190: "1d12h30m", 288000: "200d"}
    assert [format_duration(timedelta(minutes=number)) for number in minutes] == list(minutes.values())
    assert [format_duration(timedelta(seconds=number)) for number in (99, 28801)] == ["99s", "8h1s"]


@pytest.mark.parametrize(
    ("written", "cores", "shown"),
    [
        (2, "2", "2"),
        (2.0, "2", "2"),
        (0.5, "0.5", "500m"),
        ("500m", "0.5", "500m"),
        ("2", "2", "2"),
        ("1.25", "1.25", "1250m"),
        ("2000m", "2", "2"),
        (Decimal("0.1"), "0.1", "100m"),
        (Decimal("10"), "10", "10"),
    ],
)
def test_cpus_are_cores_or_thousandths(written: Any, cores: str, shown: str) -> None:
    assert parse_cores(written) == Decimal(cores)
    assert format_cores(parse_cores(written)) == shown


@pytest.mark.parametrize(
    "written",
    [
        True,
        False,
        None,
        "",
        "2 cores",
        "2Gi",
        "0.5m",
        0.0001,
        -1,
        "-1",
        float("nan"),
        float("inf"),
        [2],
        "1e3",
        "2\n",
        Decimal("NaN"),
        Decimal("-1"),
        Decimal("0.12345"),
        "9" * 5000,
    ],
)
def test_what_is_no_number_of_cpus_is_told_how_to_write_one(written: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a valid number of CPUs\. Use for example 2, 0\.5 or '500m'"):
        parse_cores(written)


@pytest.mark.parametrize("written", [0, 0.0, "0m", 4097, Decimal(0)])
def test_cpus_are_some_and_not_too_many(written: Any) -> None:
    with pytest.raises(ValueError, match="must be more than 0 and at most 4096"):
        parse_cores(written)


@given(st.integers(1, 4096 * 1000))
def test_cpus_read_back_as_they_were(thousandths: int) -> None:
    cores = Decimal(thousandths) / 1000
    assert parse_cores(format_cores(cores)) == cores


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4Gi", 4 * 2**30),
        ("500Mi", 500 * 2**20),
        ("1T", 10**12),
        ("2000k", 2 * 10**6),
        (2**30, 2**30),
        ("1048576", 2**20),
    ],
)
def test_memory_is_a_quantity(written: Any, size: int) -> None:
    assert parse_bytes(written) == size


@pytest.mark.parametrize(
    "written",
    [
        True,
        None,
        4.5,
        "4.5Gi",
        "4 Gi",
        "4GB",
        "4g",
        "4gi",
        "500m",
        "-4Gi",
        "",
        ["4Gi"],
        {"limit": "4Gi"},
        "4Gi\n",
        "9" * 5000,
    ],
)
def test_what_is_no_amount_of_memory_is_told_how_to_write_one(written: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid amount of memory"):
        parse_bytes(written)


@pytest.mark.parametrize("written", [4, "4", "4k", "1023Ki", "1025Ti", -1, 0])
def test_memory_without_its_unit_is_noticed(written: Any) -> None:
    with pytest.raises(ValueError, match=r"Is the unit missing|is not a valid amount"):
        parse_bytes(written)


@given(st.integers(2**20, 2**50))
def test_memory_reads_back_as_it_was(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == size


def test_units_are_described_as_they_are_written() -> None:
    class Sizes(Settings):
        time: Duration
        cpu: Cores
        memory: Bytes

    schema = Sizes.model_json_schema()["properties"]
    pattern = schema["time"]["pattern"]
    assert [bool(re.search(pattern, text)) for text in ("8h", "1h30m", "1d12h30m15s", "30m1h", "", "8")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    sizes = Sizes.model_validate({"time": "480m", "cpu": "2000m", "memory": "4096Mi"})
    assert sizes.model_dump(mode="json") == {"time": "8h", "cpu": "2", "memory": "4Gi"}
    assert Sizes.model_validate(sizes.model_dump()) == sizes


class Offer(Settings):
    order: int = 100


def test_order_then_name_decides_what_comes_first() -> None:
    offers = {"b": Offer(), "a": Offer(), "z": Offer(order=1)}
    assert [name for name, _ in ordered(offers)] == ["z", "a", "b"]


@pytest.mark.parametrize(
    ("groups", "mine", "open_"),
    [
        ({}, ["climate"], True),
        ({}, [], True),
        ({"climate": True}, ["climate", "students"], True),
        ({"climate": True}, ["students"], False),
        ({"climate": True}, [], False),
        ({"climate": False}, ["climate"], False),
        ({"climate": False}, ["students"], False),
        ({"climate": False, "students": True}, ["climate"], False),
        ({"climate": False, "students": True}, ["climate", "students"], True),
    ],
)
def test_no_group_is_everybody_and_only_falses_is_nobody(groups: Groups, mine: list[str], open_: bool) -> None:
    assert open_to(groups, mine) is open_


@pytest.mark.parametrize("written", ["yes", 1, 0, "true", None])
def test_whether_a_group_may_is_true_or_false_and_nothing_else(written: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Groups).validate_python({"climate": written})


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("stats-101", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("A", False),
        ("a_b", False),
        ("-a", False),
        ("a-", False),
        ("", False),
        ("a\n", False),
        ("a.b", False),
    ],
)
def test_our_names_are_dns_labels(name: str, good: bool) -> None:
    names: TypeAdapter[dict[str, int]] = TypeAdapter(ByName[int])
    if good:
        assert names.validate_python({name: 1}) == {name: 1}
    else:
        with pytest.raises(ValidationError):
            names.validate_python({name: 1})


SITE = {"queues": {"climate": {"order": 1, "groups": {"climate": True}}}, "list": [1, 2], "cpu": 2}


@pytest.mark.parametrize(
    ("over", "merged"),
    [
        ({}, SITE),
        ({"cpu": 4}, {**SITE, "cpu": 4}),
        ({"list": [3]}, {**SITE, "list": [3]}),
        ({"cpu": None}, {key: value for key, value in SITE.items() if key != "cpu"}),
        ({"absent": None}, SITE),
        ({"queues": {"climate": {"order": None}}}, {**SITE, "queues": {"climate": {"groups": {"climate": True}}}}),
        (
            {"queues": {"climate": {"groups": {"ocean": True}}}},
            {**SITE, "queues": {"climate": {"order": 1, "groups": {"climate": True, "ocean": True}}}},
        ),
        ({"queues": 5}, {**SITE, "queues": 5}),
        ({"cpu": {"default": 2, "max": None}}, {**SITE, "cpu": {"default": 2}}),
        ({"list": [None, {"a": None}]}, {**SITE, "list": [None, {"a": None}]}),
    ],
)
def test_files_merge_as_helm_merges_them(over: dict[str, Any], merged: dict[str, Any]) -> None:
    before = json.dumps(SITE)
    assert merge(SITE, over) == merged
    assert json.dumps(SITE) == before


def test_null_deletes_in_a_single_file_too() -> None:
    assert merge({"a": None, "b": {"c": None, "d": 1}}) == {"b": {"d": 1}}


def test_what_was_deleted_can_be_written_again() -> None:
    assert merge({"a": {"x": 1}}, {"a": None}, {"a": {"y": 2}}) == {"a": {"y": 2}}


keys = st.sampled_from("abcd")
leaves = st.one_of(st.integers(), st.booleans(), st.text(max_size=3), st.lists(st.integers(), max_size=2))


def maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(keys, values, max_size=4)


any_values = st.recursive(st.none() | leaves, maps, max_leaves=12)
files = maps(any_values)
files_without_nulls = maps(st.recursive(leaves, maps, max_leaves=12))
# Every path is a map in each file or in none.
files_of_one_shape = maps(maps(leaves))


def without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(below) for key, below in value.items() if below is not None}


@given(files)
def test_one_file_is_itself_without_its_nulls(file: dict[str, Any]) -> None:
    assert merge(file) == without_nulls(file) == merge(file, {}) == merge({}, file) == merge(file, file)


@given(files, files, files)
def test_merging_goes_from_left_to_right(first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]) -> None:
    assert merge(first, second, third) == merge(merge(first, second), third)


@given(files_of_one_shape, files_of_one_shape, files_of_one_shape)
def test_where_paths_agree_the_right_two_may_be_merged_first(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    assert merge(first, merge(second, third)) == merge(first, second, third)


@given(files, files_without_nulls)
def test_the_last_file_has_all_it_says(first: dict[str, Any], last: dict[str, Any]) -> None:
    merged = merge(first, last)
    assert merge(merged, last) == merged
    assert all(merged[key] == value for key, value in last.items() if not isinstance(value, dict))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return path


def refused(path: Path) -> str:
    with pytest.raises(SettingsError) as error:
        read(path)
    return str(error.value)


def test_a_file_is_yaml_or_json(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a: {b: 8h}\nc: [1]\n")) == {"a": {"b": "8h"}, "c": [1]}
    assert read(written(tmp_path, '{"a": {"b": "8h"}}')) == {"a": {"b": "8h"}}
    assert read(written(tmp_path, "# nothing yet\n")) == {}
    anchors = "base: &base {cpu: 2, memory: 4Gi}\nlarge: {<<: *base, cpu: 8}\n"
    assert read(written(tmp_path, anchors))["large"] == {"cpu": 8, "memory": "4Gi"}


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("queues: {}\nprofiles: {}\nqueues: {}\n", "'queues'", 3),
        ("queues:\n  climate: {order: 1, groups: {a: true}, order: 2}\n", "'order'", 2),
        ("a: [{b: 1, b: 1}]\n", "'b'", 1),
        ("1: x\n1: y\n", "'1'", 2),
    ],
)
def test_a_key_that_is_there_twice_is_an_error_with_its_line(tmp_path: Path, text: str, key: str, line: int) -> None:
    message = refused(written(tmp_path, text))
    assert message.startswith(f"{tmp_path}/site.yaml:{line}: ")
    assert f"the key {key} occurs twice, first in line 1. Keep one of them" in message or line == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", "must contain a map at the top level (key: value), not a list"),
        ("hello\n", "must contain a map at the top level (key: value), not a single value"),
        ("a: [1\n", "is not valid YAML"),
        ("? [a, b]\n: c\n", "site.yaml:1: a key must be text, not a list"),
        (
            "a: !!python/object/apply:os.system [id]\n",
            "site.yaml:1: a: has the tag 'tag:yaml.org,2002:python/object/apply:os.system', which settings cannot have",
        ),
        ("a: &a {b: *a}\n", "site.yaml:1: a.b: contains itself, by an alias"),
    ],
)
def test_what_is_no_settings_file_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refused(written(tmp_path, text))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.yaml") == f"{tmp_path}/absent.yaml: cannot be read: No such file or directory"
    latin1 = tmp_path / "site.yaml"
    latin1.write_bytes(b"a: \xe9\n")
    assert "is not valid YAML" in refused(latin1)


def test_a_broken_line_is_not_shown_since_a_secret_may_be_in_it(tmp_path: Path) -> None:
    message = refused(written(tmp_path, 'bind_password: "correct horse\n'))
    assert "line" in message
    assert "horse" not in message


KEEP = frozenset({"title", "order"})


def like(profiles: dict[str, Any]) -> dict[str, Any]:
    return resolve_like(profiles, "profiles", KEEP).profiles


def test_like_copies_all_but_title_and_order_and_replaces_whole_keys() -> None:
    profiles = {
        "small": {"title": "Small", "order": 1, "cpu": 2, "gpu": {"kind": "whole", "count": 2}},
        "mig": {"like": "small", "cpu": 4, "gpu": {"kind": "mig"}},
    }
    assert like(profiles) == {
        "small": {"title": "Small", "order": 1, "cpu": 2, "gpu": {"kind": "whole", "count": 2}},
        "mig": {"cpu": 4, "gpu": {"kind": "mig"}},
    }


def test_like_follows_a_chain_whatever_the_order_in_the_file() -> None:
    profiles = {"c": {"like": "b"}, "b": {"like": "a", "memory": "8Gi", "title": "B"}, "a": {"cpu": 2, "memory": "4Gi"}}
    assert like(profiles)["c"] == {"cpu": 2, "memory": "8Gi"}


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ({"a": {"like": "a"}}, "profiles.a.like: is a cycle: a -> a"),
        (
            {"a": {"like": "b"}, "b": {"like": "c"}, "c": {"like": "a"}},
            "profiles.c.like: is a cycle: a -> b -> c -> a",
        ),
        ({"a": {"like": "b"}, "b": {"like": "b"}}, "profiles.b.like: is a cycle: b -> b"),
        ({"a": {"like": "smal"}, "small": {}}, "profiles.a.like: 'smal' does not exist. Existing names: a, small"),
        (
            {"a": {"like": ["small"]}, "small": {}},
            "profiles.a.like: [small] does not exist. Existing names: a, small",
        ),
    ],
)
def test_like_that_leads_nowhere_is_named(profiles: dict[str, Any], message: str) -> None:
    assert message in [str(problem) for problem in resolve_like(profiles, "profiles", KEEP).problems]


def test_a_profile_that_is_no_map_is_left_for_the_settings_to_refuse() -> None:
    assert like({"a": 5, "b": {"like": "a", "cpu": 1}}) == {"a": 5, "b": {"cpu": 1}}


LITERAL = "correct horse"


class Source(Settings):
    bind_password: Secret


@pytest.mark.parametrize("written", [LITERAL, 12345678, 1.25])
def test_a_secret_in_the_settings_is_refused_and_not_repeated(written: Any) -> None:
    with pytest.raises(ValidationError) as error:
        Source.model_validate({"bind_password": written})
    message = str(SettingsError.of(error.value, Source))
    assert message == ("bind_password: must not contain the secret itself. Use {env: NAME} or {file: /path/to/file}")


@pytest.mark.parametrize(
    "written",
    [{}, {"env": "A", "file": "/a"}, {"env": None, "file": None}, {"env": "A B"}, {"value": LITERAL}, [LITERAL], True],
)
def test_a_secret_is_in_one_place(written: Any) -> None:
    with pytest.raises(ValidationError) as error:
        Source.model_validate({"bind_password": written})
    message = str(SettingsError.of(error.value, Source))
    assert "bind_password" in message
    assert LITERAL not in message


def test_a_secret_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bind").write_text(LITERAL + "\n")
    monkeypatch.setenv("BIND", LITERAL)
    monkeypatch.chdir("/")
    for where in ({"env": "BIND"}, {"file": str(tmp_path / "bind")}, {"file": "bind"}):
        secret = Secret.model_validate(where)
        assert secret.read(tmp_path) == LITERAL
        assert LITERAL not in repr(secret) + secret.model_dump_json()


def test_a_secret_that_is_not_there_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIND", raising=False)
    with pytest.raises(ValueError, match="the environment variable BIND is not set"):
        Secret(env="BIND").read(tmp_path)
    with pytest.raises(ValueError, match=r"bind cannot be read: No such file or directory"):
        Secret(file=tmp_path / "bind").read(tmp_path)


@pytest.mark.parametrize("empty", ["", "\n"])
def test_an_empty_secret_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    (tmp_path / "bind").write_text(empty)
    monkeypatch.setenv("BIND", empty)
    for secret in (Secret(env="BIND"), Secret(file=tmp_path / "bind")):
        with pytest.raises(ValueError, match="is empty"):
            secret.read(tmp_path)


def test_a_secret_file_that_is_not_text_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "bind").write_bytes(b"horse\xff")
    with pytest.raises(ValueError, match="is not UTF-8 text") as error:
        Secret(file=tmp_path / "bind").read(tmp_path)
    assert "horse" not in repr(error.value)


class Inner(Settings):
    wall_time: Duration = Field(default=timedelta(hours=8))
    count: int = 1


class Outer(Settings):
    queues: ByName[Inner]
    home: str


def problems(written: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(written)
    return str(SettingsError.of(error.value, Outer)).splitlines()


def test_every_error_is_told_at_once_each_with_its_path() -> None:
    assert problems({"queues": {"climate": {"wall_time": 8, "walltime": "8h"}}, "homes": "/home"}) == [
        "queues.climate.wall_time: 8 has no unit. Write 8s for 8 seconds, or 8m for minutes",
        "queues.climate.walltime: there is no such setting. Did you mean 'wall_time'?",
        "home: is missing",
        "homes: there is no such setting. Did you mean 'home'?",
    ]


def test_an_unknown_setting_that_resembles_none_is_told_what_may_stand_there() -> None:
    assert problems({"queues": {}, "home": "/home", "zzz": 1}) == [
        "zzz: there is no such setting. Allowed keys: home, queues"
    ]
    assert problems({"queues": {"students": {"zzz": 1}}, "home": "/home"}) == [
        "queues.students.zzz: there is no such setting. Allowed keys: count, wall_time"
    ]


def test_a_value_of_the_wrong_type_is_shown_and_a_map_is_not() -> None:
    assert problems({"queues": {"climate": {"count": "two"}}, "home": "/home"}) == [
        "queues.climate.count: must be a whole number, not 'two'"
    ]
    assert problems({"queues": {}, "home": {"file": LITERAL}}) == ["home: must be text, not a map"]


def test_where_nothing_can_be_set_that_is_said() -> None:
    with pytest.raises(ValidationError) as error:
        Settings.model_validate({"queue": "x"})
    assert str(SettingsError.of(error.value, Settings)) == "queue: there is no such setting. No keys are allowed here"


def test_a_bad_name_is_an_error_at_the_map() -> None:
    assert [problem.split(": ")[0] for problem in problems({"queues": {"A b": {}}, "home": "/"})] == ["queues.A b"]


def test_settings_do_not_change_after_they_were_read() -> None:
    with pytest.raises(ValidationError):
        Inner().count = 2  # type: ignore[misc]
