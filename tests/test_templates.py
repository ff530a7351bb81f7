"""Braces in KubeSpawner's settings: its own fields are expanded as documented, and other braces stay."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubespawner import KubeSpawner
from samples import person, site_with
from test_render import rendered
from test_traps import PLAIN, spawner_of_alice

from jupyter_research_spawner.spawner.templates import FIELDS, escape_other_braces, expand, invalid_texts, why_invalid

VALUES = {name: name.upper() for name in FIELDS}


def formatted(text: str) -> str:
    return text.format(**VALUES)


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ('{"theme": "dark"}', '{"theme": "dark"}'),
        ('{"user": "{username}"}', '{"user": "USERNAME"}'),
        ('{"a": {"b": {}}}', '{"a": {"b": {}}}'),
        ('{"url": "https://example.org/{bucket}"}', '{"url": "https://example.org/{bucket}"}'),
        ("git clone ${REPO} /home/{username}", "git clone ${REPO} /home/USERNAME"),
        ("${BRANCH:-main} ${#A} ${A%.git}", "${BRANCH:-main} ${#A} ${A%.git}"),
        ("find . -exec rm {} +", "find . -exec rm {} +"),
        ("awk '{print $1}'", "awk '{print $1}'"),
        ("a}b{c", "a}b{c"),
        ("{0} {}", "{0} {}"),
        # What KubeSpawner documents stays.
        ("{username}-{servername}", "USERNAME-SERVERNAME"),
        ("{{}} {{username}} {userid}", "{} {username} USERID"),
        ("{username!s:>9}", " USERNAME"),
        ("${username}", "$USERNAME"),
    ],
)
def test_what_arrives(text: str, arrives: str) -> None:
    assert expand({"x": [text]}, formatted) == {"x": [arrives]}
    assert list(invalid_texts([text], "place")) == []


@pytest.mark.parametrize("text", ["{usernam}", "{ username }", "{username", "username}", "{username} {team}"])
def test_a_misspelt_field_is_an_error_and_not_a_directory_of_that_name(text: str) -> None:
    for value in (text, [{"mountPath": "/home", "subPath": f"home/{text}"}]):
        with pytest.raises((KeyError, ValueError)):
            expand(value, formatted)
        assert [place for place, _ in invalid_texts(value, "x")] == ["x" if value == text else "x[0]['subPath']"]


@pytest.mark.parametrize("key", ["hostPath", "persistentVolumeClaim", "nfs", "csi"])
def test_no_brace_of_a_volume_is_taken_literally(key: str) -> None:
    """With a literal brace, all users would share one directory."""
    with pytest.raises((KeyError, ValueError, IndexError)):
        expand([{"name": "home", key: {"path": "/export/${USER}"}}], formatted)


@given(st.text(alphabet=string.ascii_letters[:3] + "{}$:!.[]\"' ", max_size=12))
def test_a_text_that_kubespawner_expands_is_expanded_as_it_does(text: str) -> None:
    try:
        expected = formatted(text)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError):
        return
    assert formatted(escape_other_braces(text)) == expected


@given(st.text(alphabet='ab{}$ "', max_size=12), st.sampled_from(["{username}", ""]))
def test_a_text_without_a_problem_never_ends_a_start(text: str, more: str) -> None:
    escaped = escape_other_braces(text + more)
    if not why_invalid(escaped):
        formatted(escaped)


async def test_the_fields_are_those_of_the_installed_kubespawner(monkeypatch: pytest.MonkeyPatch) -> None:
    class Template(str):
        def format(self, *_: Any, **fields: Any) -> str:
            assert set(fields) == FIELDS
            return "checked"

    with spawner_of_alice(site_with(PLAIN)) as spawner:
        assert KubeSpawner._expand_user_properties(spawner, Template("{x}")) == "checked"


async def test_json_and_shell_variables_reach_the_pod() -> None:
    pod = await rendered(
        environment={"VIEWER": '{"theme": "dark", "user": "{username}"}', "PLAIN": "{username}"},
        extra_containers=[{"name": "sync", "image": "x", "args": ["sh", "-c", "git clone ${REPO} {username}"]}],
        extra_annotations={"example.org/user": '{"name": "{username}"}'},
        extra_pod_config={"hostname": "nb"},
    )
    notebook, sync = pod["spec"]["containers"]
    env = {entry["name"]: entry.get("value") for entry in notebook["env"]}
    assert (env["VIEWER"], env["PLAIN"]) == ('{"theme": "dark", "user": "alice"}', "alice")
    assert sync["args"] == ["sh", "-c", "git clone ${REPO} alice"]
    assert pod["metadata"]["annotations"]["example.org/user"] == '{"name": "alice"}'
    assert person("alice").name == "alice"
