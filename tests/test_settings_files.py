"""Settings files: where a mistake is written, what YAML does not read as it looks, and null as helm hands it on."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import samples
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from traitlets.config import Config

from jupyter_research_spawner.cli.main import main
from jupyter_research_spawner.configuration import configure
from jupyter_research_spawner.settings import SettingsError, merge_values, read
from jupyter_research_spawner.settings.yaml_file import MOST_VALUES
from jupyter_research_spawner.site import Site, load

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Return a function that writes a file and returns its path."""

    def write(text: str | bytes, name: str = "more.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems(*files: Path | dict[str, Any]) -> list[str]:
    """Return what is wrong with the sample settings and these over them, with the names of files instead of paths."""
    with pytest.raises(SettingsError) as error:
        load(samples.SITE_FILE, *files)
    return [re.sub(r"^/\S*/", "", line) for line in str(error.value).splitlines()]


MIXED = """\
profiles:
  small:
    cpu: two
    queue: nope
  twin: {like: nix, title: T}
  c1: {like: c2, title: C}
  c2:
    like: c1
    title: C
queues:
  climate:
    priority: urgent
    ordr: 1
    groups: {no: true, climate: on}
classes:
  stats-101:
    queue: none
    profile: absent
    until: 2026-13-45
storage:
  mounts:
    more:
      path: /data/era5
      classes: {physics: true}
      claim: more
"""


def test_every_problem_is_told_in_one_run_each_at_its_line(written: Written) -> None:
    """Wrong values, wrong names of other settings, `like` and keys that are not text."""
    assert problems(written(MIXED)) == [
        "more.yaml:3: profiles.small.cpu: 'two' is not a valid number of CPUs. Use for example 2, 0.5 or '500m'",
        "more.yaml:4: profiles.small.queue: 'nope' is not in queues. Allowed values: backfill, climate, teaching",
        "more.yaml:4: profiles.a100.queue: 'nope' is not in the queues of this profile",
        "more.yaml:5: profiles.twin.like: 'nix' does not exist. Existing names: a100, c1, c2, small, twin",
        "more.yaml:8: profiles.c2.like: is a cycle: c1 -> c2 -> c1",
        "more.yaml:12: queues.climate.priority: 'urgent' is not in priorities. Allowed values: high, low, normal",
        "more.yaml:13: queues.climate.ordr: there is no such setting. Did you mean 'order'?",
        'more.yaml:14: queues.climate.groups.no: the key no is a boolean (false) for YAML, not text. Quote it: "no"',
        "more.yaml:17: classes.stats-101.queue: 'none' is not in queues. Allowed values: backfill, climate, teaching",
        "more.yaml:18: classes.stats-101.profile: 'absent' is not in profiles. Allowed values: a100, c1, c2, small, "
        "twin",
        "more.yaml:19: classes.stats-101.until: '2026-13-45' is not a valid date. Use the format year-month-day: "
        "2026-12-20",
        "more.yaml:23: storage.mounts.more.path: mounts.more.path (/data/era5) and mounts.era5.path (/data/era5) "
        "overlap, so one mount would hide the other. Choose paths that do not contain each other",
        "more.yaml:24: storage.mounts.more.classes.physics: 'physics' is not in classes. Allowed values: stats-101",
    ]


def test_like_without_profiles_is_no_second_problem(written: Written) -> None:
    classes = "classes: {own: {like: small, queue: nope, roster: {group: x}, until: 2026-12-20}, stats-101: null}\n"
    assert problems(written(f"{classes}profiles: [small]\n")) == [
        "more.yaml:1: classes.own.queue: 'nope' is not in queues. Allowed values: backfill, climate, teaching",
        f"more.yaml:2: profiles: {BY_NAME}",
    ]


def test_a_long_chain_of_like_is_a_problem_and_no_traceback(written: Written) -> None:
    chain = "".join(f"  p{number}: {{like: p{number + 1}, title: T}}\n" for number in range(2000))
    last = "  p2000: {title: Last, cpu: 1, memory: 1Gi, wall_time: 1h}\n"
    (line,) = problems(written(f"profiles:\n{chain}{last}"))
    assert line == "more.yaml:33: profiles.p31.like: is a chain of more than 32 profiles, from p0 on"


def test_a_value_of_several_files_is_at_the_one_that_is_used(written: Written) -> None:
    first = written("profiles:\n  small:\n    cpu: two\n    memory: 4GB\n", "first.yaml")
    second = written("# over it\nprofiles:\n  small: {cpu: three}\n", "second.yaml")
    assert [line.split(": ")[0] for line in problems(first, second)] == ["first.yaml:4", "second.yaml:3"]
    third = written("profiles: {small: {cpu: 2, memory: 4Gi}}\n", "third.yaml")
    assert load(samples.SITE_FILE, first, second, third).profiles["small"].cpu == 2


def test_a_missing_key_is_at_its_map_or_at_the_null_that_deletes_it(written: Written) -> None:
    assert problems(written("# new\nprofiles:\n  tiny:\n    title: Tiny\n    cpu: 1\n    memory: 1Gi\n")) == [
        "more.yaml:3: profiles.tiny.wall_time: is missing"
    ]
    assert problems(written("profiles:\n  small:\n    title:\n")) == ["more.yaml:3: profiles.small.title: is missing"]
    with pytest.raises(SettingsError) as error:
        load(written("scheduler: {kind: kueue}\n"))
    assert {line.split(": ")[0].rpartition("/")[2] for line in str(error.value).splitlines()} == {"more.yaml:1"}


def test_an_inherited_value_is_at_the_line_where_it_is_written(written: Written) -> None:
    """And reported once, not for each profile that has it by `like`; unless only there it is wrong."""
    assert problems(written("profiles:\n  small:\n    description: 3.10\n")) == [
        'more.yaml:3: profiles.small.description: must be text, but 3.10 is a number. Quote it: "3.10"'
    ]
    assert problems(
        written(
            "profiles:\n  small:\n    shm: 8Gi\n    memory: 8Gi\n  half:\n    like: small\n"
            "    title: Half\n    memory: 4Gi\n"
        )
    ) == [
        "more.yaml:3: profiles.half.shm: shm (8Gi) must not be more than memory (4Gi), because /dev/shm counts as "
        "memory of the pod"
    ]
    (line,) = problems(
        written(
            "classes:\n  own: {like: small, queue: teaching, roster: {group: x}, until: 2026-12-20,\n"
            "    wall_time: 9h, wall_time_hard: 8h}\n"
        )
    )
    assert line.startswith("more.yaml:3: classes.own.wall_time_hard: ")


def test_anchors_and_merge_keys_are_at_the_line_of_the_value(written: Written) -> None:
    text = "profiles:\n  one: &one\n    title: One\n    cpu: two\n    memory: 1Gi\n    wall_time: 1h\n"
    assert problems(written(f"{text}  other:\n    <<: *one\n    title: Other\n")) == [
        f"more.yaml:4: profiles.{name}.cpu: 'two' is not a valid number of CPUs. Use for example 2, 0.5 or '500m'"
        for name in ("one", "other")
    ]


def test_json_has_lines_and_its_own_text(written: Written) -> None:
    text = '{\n\t"profiles": {\n\t\t"small": {\n\t\t\t"title": "a\\/b \\ud83d\\ude00",\n\t\t\t"cpu": "two"}}}\n'
    assert [line.split(": ")[0] for line in problems(written(text, "more.json"))] == ["more.json:5"]
    site = load(samples.SITE_FILE, written(text.replace("two", "2"), "more.json"))
    assert site.profiles["small"].title == "a/b \U0001f600"
    assert problems(written('{"profiles": {"small": 1,\n "small": 2}}', "more.json")) == [
        "more.json:2: profiles.small: the key 'small' occurs twice, first in line 1. Keep one of them"
    ]


def test_settings_without_a_file_have_no_place(written: Written) -> None:
    over = {"profiles": {"tiny": "small"}, "queues": {"climate": {"ordr": 1}}}
    assert [line.split(": ")[0] for line in problems(over)] == ["queues.climate.ordr", "profiles.tiny"]
    file = written("profiles:\n  small: {cpu: two}\n")
    assert [line.split(": ")[0] for line in problems(file, over)] == [
        "more.yaml:2",
        "queues.climate.ordr",
        "profiles.tiny",
    ]


QUOTED = "is not a valid date. Use the format year-month-day: 2026-12-20"
BY_NAME = "must be a map (key: value) with a name for each entry, not a list"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("profiles: [small]", f"profiles: {BY_NAME}"),
        ("queues:\n- climate", f"queues: {BY_NAME}"),
        ("pods: {base: {tolerations: {key: a}}}", "pods.base.tolerations: must be a list, not a map"),
        (
            "classes: {stats-101: {roster: stats101}}",
            "classes.stats-101.roster: must be a map (key: value), for example {group: stats101-f26}, not 'stats101'",
        ),
        ("hub: 5", "hub: must be a map (key: value), not 5"),
        (
            "queues: {backfill: {groups: {1: true}}}",
            "queues.backfill.groups.1: the key 1 is a number for YAML, not text",
        ),
        ("queues: {backfill: {groups: {1.10: true}}}", "the key 1.10 is a number (1.1) for YAML, not text. Quote it"),
        ("queues: {backfill: {groups: {~: true}}}", "the key ~ is null"),
        ("queues: {backfill: {groups: {2026-01-02: true}}}", "the key 2026-01-02 is a date for YAML, not text"),
        ("queues: {backfill: {groups: {on: true}}}", "the key on is a boolean (true) for YAML, not text"),
        ("queues: {backfill: {groups: {y: true}}}", "the key y is a boolean (true) for YAML, not text. Quote it"),
        (
            "identity: {checks: {minimum_uid: 01000}}",
            "identity.checks.minimum_uid: YAML reads 01000 as octal, the number 512. Write 1000 if it is a decimal "
            'number. Quote it if it is text: "01000"',
        ),
        ("identity: {checks: {minimum_uid: 0o17}}", "YAML reads 0o17 as octal, the number 15. Write 17"),
        ("identity: {checks: {minimum_uid: 0900}}", "YAML reads 0900 as octal. Write 900 if it is a decimal number"),
        ("identity: {checks: {minimum_uid: 1_000}}", "YAML can read 1_000 as a number. Write 1000 if it is a number"),
        ("batch: {max_jobs: 1e3}", "some programs read 1e3 as a number, others as text. Write a number without an"),
        (
            "profiles: {small: {wall_time: 4:00:00}}",
            "profiles.small.wall_time: YAML reads 4:00:00 as the number 14400 (base 60). Write a duration with a unit: "
            '4h. Quote it if it is text: "4:00:00"',
        ),
        ("profiles: {small: {wall_time: 1:30}}", "YAML reads 1:30 as the number 90 (base 60)"),
        ("profiles: {small: {wall_time: 14400}}", "14400 has no unit. Write 4h for 14400 seconds"),
        ("profiles: {small: {order: .5}}", "profiles.small.order: must be a whole number, not .5"),
        ("profiles: {small: {title: 2026-12-20}}", 'must be text, but 2026-12-20 is a date. Quote it: "2026-12-20"'),
        ("profiles: {small: {title: yes}}", 'must be text, but yes is a boolean. Quote it: "yes"'),
        (
            "profiles: {small: {title: y}}",
            "helm reads y as true. Write true if it is a boolean. Quote it if it is text",
        ),
        ("batch: {images: {default: 3.10}}", 'must be text, but 3.10 is a number. Quote it: "3.10"'),
        ("namespaces: {name: 2026}", 'namespaces.name: must be text, but 2026 is a number. Quote it: "2026"'),
        ("classes: {stats-101: {until: 2026-12-20 10:00:00}}", f"until: 2026-12-20T10:00:00 {QUOTED}"),
        ("classes: {stats-101: {until: 20261220}}", f"until: 20261220 {QUOTED}"),
        ("profiles: {small: {groups: {climate: 'true'}}}", "must be a boolean (true or false), not 'true'"),
        ("profiles: {small: {cpu: .inf}}", ".inf is not a valid number of CPUs"),
    ],
)
def test_a_form_that_is_wrong_gives_a_sentence_with_the_right_form(text: str, problem: str, written: Written) -> None:
    (line,) = problems(written(f"\n{text}\n"))
    assert re.match(r"more\.yaml:[23]: ", line), line
    assert problem in line


def test_a_number_that_begins_with_a_dot_is_a_number(written: Written) -> None:
    assert load(samples.SITE_FILE, written("profiles: {small: {cpu: .5}}")).profiles["small"].cpu * 2 == 1


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        (b"a: 1\nb: \xe9\n", "more.yaml:2", "is not valid YAML: it is not UTF-8 text. Save it as UTF-8"),
        ("a: 1\n".encode("utf-16"), "more.yaml", "is not valid YAML: it is UTF-16 text. Save it as UTF-8"),
        (b"\x7fELF\x02\x00\x00", "more.yaml", "it is a binary file. Name a text file with YAML or JSON"),
        (b"a: 1\nb: \x07\n", "more.yaml:2", "it has the control character U+0007"),
        ("a:\n\tb: 1\n", "more.yaml:2", "there is a tab. Indent with spaces (column 1)"),
        ("a: 1\n---\nb: 2\n", "more.yaml:2", "it has several documents, separated by ---. Keep one"),
        ("a: 1\n...\nb: 2\n", "more.yaml:3", "there is something after the end of the document. Remove it"),
        ("a: 1\nb: 'x\nc: 1\n", "more.yaml:2", "the quoted text that begins here does not end (column 4)"),
        ("a: 1\nb: {c: 1\n", "more.yaml:2", "the map in braces that begins here does not end (column 4)"),
        ("a: b: c\n", "more.yaml:1", "there is a second colon in this line, or the indentation is wrong (column 5)"),
        ("a:\n  b: 1\n c: 1\n", "more.yaml:3", "the indentation does not match the lines above"),
        ("a: %x\n", "more.yaml:1", "a value cannot begin with this character. Quote the value (column 4)"),
        ("a: *x\n", "more.yaml:1", "an alias (*name) has no anchor (&name) before it (column 4)"),
        ("a: {{ x }}\n", "more.yaml:1", "a: a key must be text, not a map. Quote a value that begins with a bracket"),
        ("a: !foo 1\n", "more.yaml:1", "a: has the tag '!foo', which settings cannot have. Remove it"),
        ("a: &a {<<: *a}\n", "more.yaml:1", "a: `<<` must have an alias of a map, such as *base"),
        ("a: " + "[" * 30_000, "more.yaml", "is nested too deeply. At most 64 levels are allowed"),
        ("a: " + "{a: " * 99 + "1" + "}" * 99, "more.yaml:1", "is nested too deeply. At most 64 levels are allowed"),
        ("[a]", "more.yaml:1", "must contain a map at the top level (key: value), not a list"),
    ],
)
def test_a_file_that_is_not_settings_gives_a_sentence(
    text: str | bytes, place: str, sentence: str, written: Written
) -> None:
    (line,) = problems(written(text))
    assert line.startswith(f"{place}: ")
    assert sentence in line


def bomb(alias: str) -> str:
    """Return a file of a few lines with billions of values; `alias` makes a line from its letter and the one before."""
    return "a0: &a0 {x: 1}\n" + "".join(
        alias.format(name=f"a{number + 1}", below=", ".join([f"*a{number}"] * 9), number=number) for number in range(12)
    )


@pytest.mark.parametrize("alias", ["{name}: &{name} [{below}]\n", "{name}: &{name} {{<<: [{below}], k{number}: 1}}\n"])
def test_aliases_cannot_make_a_file_large(alias: str, written: Written) -> None:
    begin = time.monotonic()
    (line,) = problems(written(bomb(alias)))
    assert f"has more than {MOST_VALUES} values, counting each alias" in line
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n"])
def test_an_empty_file_alone_is_told_what_it_must_contain(text: str, written: Written) -> None:
    empty = written(text)
    with pytest.raises(SettingsError) as error:
        load(empty)
    assert str(error.value).startswith(f"{empty}: is empty. It must contain identity, namespaces, storage, scheduler, ")
    assert load(samples.SITE_FILE, empty) == load(samples.SITE_FILE)


def test_a_byte_order_mark_is_no_mistake(written: Written) -> None:
    marked = b"\xef\xbb\xbf" + samples.SITE_FILE.read_bytes()
    assert load(written(marked)) == load(samples.SITE_FILE)


SECRETS = """\
identity: {sources: {local: {bind_password: 012345}}}
pods:
  base:
    env: {ANY: 012345, DB_PASSWORD: 012345, LIST: [012345]}
"""


def test_a_value_that_may_be_secret_is_not_shown(written: Written) -> None:
    lines = problems(written(SECRETS))
    assert [line.split(": ")[1] for line in lines] == [
        "identity.sources.local.bind_password",
        "pods.base.env.ANY",
        "pods.base.env.DB_PASSWORD",
        "pods.base.env.LIST.0",
        "pods.base.env.LIST",
    ]
    assert "12345" not in "".join(lines[:3]) + lines[4]


VALUES: list[Any] = [
    None, True, -1, 1.5, float("inf"), float("nan"), "", "x", "a b", "\n", [], ["a"], [None], {}, {"a": None},
    {"a": {"b": 1}}, date(2026, 1, 1), datetime(2026, 1, 1, 1), 10**400, [[1]], {"kind": "nope"}, b"a", "x" * 1000,
]  # fmt: skip
NOT_YAML = re.compile(
    r"\b(None|True|False)\b|datetime|<class|<object|Error\(|Decimal\(|pydantic|Input should|inf\b(?<!\.inf)"
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(below, (*path, key))


def with_everything() -> dict[str, Any]:
    raw = samples.raw_site()
    raw["pods"]["base"] |= {"nodeSelector": {"a": "b"}, "env": {"A": "b"}, "labels": {"a": "b"}, "affinity": {}}
    raw["pods"]["allow"] = {"claims": {"a": "ro"}, "host_paths": {"/cvmfs": "ro"}, "secrets": {"a": True}}
    raw["storage"]["system_accounts"] = {"passwd": "root:x:0:0::/:/bin/sh\n"}
    dora = {"uid": 20009, "gid": 20009, "home": "/home/dora", "groups": {"g": 3}}
    raw["identity"]["sources"]["in"] = {"kind": "static", "people": {"dora": dora}}
    raw["profiles"]["small"] |= {"jobs": {"wall_time_hard": "9d"}, "pod": {"affinity": {}}, "shm": "1Gi"}
    own = {"like": "small", "queue": "teaching", "roster": {"group": "g"}, "until": "2026-12-20", "jobs": {}}
    raw["classes"]["own"] = own
    return raw


EVERYTHING = with_everything()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(st.sampled_from(list(paths(EVERYTHING))), st.sampled_from(VALUES))
def test_any_value_anywhere_gives_sentences_of_yaml(path: tuple[Any, ...], value: Any) -> None:
    raw = copy.deepcopy(EVERYTHING)
    owner: Any = raw
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    try:
        load(raw)
    except SettingsError as error:
        for problem in error.problems:
            assert not NOT_YAML.search(str(problem)), str(problem)
            assert len(str(problem)) < 900


# Null: what helm 3.18.6 makes of several files (`helm template -f ONE -f TWO`, with `toJson .Values`).

ONE = "custom: {research: {a: {x: 1, z: {z: 1}}, b: {x: 1}, l: [1, null, {a: null}], p: {q: null}}}\n"
TWO = "custom: {research: {a: null, b: {x: null, c: null}}}\n"
THREE = "custom: {research: {a: {w: 1}, b: {x: 2}}}\n"
BY_HELM: dict[str, dict[str, Any]] = {
    ONE: {"a": {"x": 1, "z": {"z": 1}}, "b": {"x": 1}, "l": [1, None, {"a": None}], "p": {"q": None}},
    ONE + TWO: {"a": None, "b": {"c": None, "x": None}, "l": [1, None, {"a": None}], "p": {"q": None}},
    ONE + TWO + THREE: {"a": {"w": 1}, "b": {"c": None, "x": 2}, "l": [1, None, {"a": None}], "p": {"q": None}},
}


@pytest.mark.parametrize("texts", BY_HELM)
def test_files_are_merged_as_helm_merges_them(texts: str) -> None:
    merged = merge_values(*map(yaml.safe_load, texts.splitlines()))
    assert merged == {"custom": {"research": BY_HELM[texts]}}


NULL_A, NULL_B = samples.DATA / "null-a.yaml", samples.DATA / "null-b.yaml"


def test_null_over_like_is_one_answer_in_the_command_and_in_the_hub(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two files in a row, one map that helm merged (it keeps the null), and both of them with the hub's `configure`."""
    base = written(yaml.safe_dump({"custom": {"research": samples.raw_site()}}), "base.yaml")
    merged = merge_values(read(base), read(NULL_A), read(NULL_B))
    assert merged["custom"]["research"]["profiles"]["twin"]["gpu"] is None
    one = written(json.dumps(merged, default=str), "merged.json")
    sites: list[Site] = [load(merged["custom"]["research"]), configure(Config(), merged["custom"]["research"])]
    sites.append(load(*(read(file)["custom"]["research"] for file in (base, NULL_A, NULL_B))))
    for site in sites:
        assert (site.profiles["twin"].gpu, site.profiles["twin"].cpu) == (None, 1)
        assert site == sites[0]
    assert sites[0].profiles["base"].gpu is not None
    said = []
    for files in ([base, NULL_A, NULL_B], [one]):
        # The accounts of the sample settings are in files beside it.
        assert main(["render", *(word for file in files for word in ("-f", str(file))), "--user", "alice"]) in (0, 1)
        capsys.readouterr()
        assert main(["lint", *(word for file in files for word in ("-f", str(file)))]) == 0
        out = capsys.readouterr().out
        said.append(re.sub(r"\s+", " ", out).partition("Advice")[0])
        assert "Twin: 1 CPU, 1Gi; wall time 8h" in said[-1]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ("profiles: {small: null, a100: {like: null, title: T, cpu: 1, memory: 1Gi, wall_time: 1h, numa: null}}", {}),
        ("pods: {base: {tolerations: null}}", {}),
        ("profiles: {a100: {pod: {nodeSelector: null}}}", {}),
        ("queues: {climate: {groups: {climate: null}}}", {}),
    ],
)
def test_null_deletes_profiles_lists_and_keys_of_nested_maps(
    over: str, expected: dict[str, Any], written: Written
) -> None:
    site = load(samples.SITE_FILE, written(f"{over}\nclasses: null\n"))
    if "small: null" in over:
        assert set(site.profiles) == {"a100"}
    if "tolerations" in over:
        assert site.pods.base.tolerations == []
    if "nodeSelector" in over:
        assert site.profiles["a100"].pod.nodeSelector == expected
    if "groups" in over:
        assert site.queues["climate"].groups == expected


def test_null_in_a_class_deletes_the_field_that_like_brings(written: Written) -> None:
    course = (
        "classes: {own: {like: a100, queue: teaching, roster: {group: x}, until: 2026-12-20, gpu: null, numa: null}}"
    )
    site = load(samples.SITE_FILE, written(course))
    assert (site.profiles["own"].gpu, site.profiles["own"].memory) == (None, 120 * 2**30)
    again = written("classes: {own: {gpu: {kind: whole, count: 2}}}", "again.yaml")
    assert load(samples.SITE_FILE, written(course), again).profiles["own"].gpu is not None
