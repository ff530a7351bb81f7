"""What the page with the pod hides."""

from __future__ import annotations

from typing import Any

from jupyter_research_spawner.spawner.planned import LONGEST_KEPT, _is_short
from jupyter_research_spawner.spawner.pod_preview import HIDDEN, hide_secrets


def test_secrets_of_other_containers_are_hidden() -> None:
    other = {"image": "proxy:1", "args": ["--secret=S3CRET"], "env": [{"name": "KEY", "value": "S3CRET"}]}
    spec: dict[str, Any] = {
        "initContainers": [{"name": "clone", "command": ["git", "clone", "https://user:S3CRET@git.example.edu"]}],
        "containers": [
            {
                "name": "notebook",
                "args": ["jupyterhub-singleuser"],
                "env": [
                    {"name": "JUPYTERHUB_API_TOKEN", "value": "S3CRET"},
                    {"name": "LICENCE", "value": "S3CRET"},
                    {"name": "HOME", "value": "/home/alice"},
                ],
            },
            {"name": "proxy", **other},
        ],
    }
    hide_secrets(spec, {"LICENCE"})
    assert "S3CRET" not in str(spec)
    notebook, proxy = spec["containers"]
    assert notebook["args"] == ["jupyterhub-singleuser"] and notebook["env"][-1]["value"] == "/home/alice"
    assert (proxy["image"], proxy["args"], proxy["env"]) == ("proxy:1", HIDDEN, [{"name": "KEY", "value": HIDDEN}])


def test_long_options_are_not_kept() -> None:
    assert _is_short({"profile": "small"})
    assert not _is_short({"profile": "x" * LONGEST_KEPT})
    assert not _is_short({1, 2})
