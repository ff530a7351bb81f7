"""Find the containers of a pod template, and make the Refusal for a manifest that must not be created."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from ..refusal import Refusal
from ..shape import Json, Template


def manifest_refusal(path: str, message: str, hint: str = "") -> Refusal:
    """Return the refusal of a manifest.  Its text is "the pod's PATH" followed by `message`."""
    return Refusal(
        "manifest",
        f"Nothing was started: the pod's {path} {message}.",
        field=path,
        hint=hint or "Ask your administrators to check the hub's settings and hooks, which set this field.",
        status=503,
    )


def all_containers(pod: Json) -> Iterator[tuple[str, Json]]:
    """Yield each init, ordinary and ephemeral container with its path."""
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod["spec"].get(sort) or ()):
            yield f"spec.{sort}[{index}]", container


def main_container(template: Template, pod: Json) -> Json:
    """Return the container that runs the notebook or the user's command.  Raises Refusal if there is none."""
    for container in pod["spec"].get("containers") or ():
        if container.get("name") == template.main:
            return cast(Json, container)
    raise manifest_refusal("spec.containers", f"has no container {template.main!r}, the main container")


def remedy(container: Json) -> str:
    """Return how to remove the container that the zero-to-jupyterhub chart adds; "" for other containers."""
    if container["name"] == "block-cloud-metadata":
        return ". Set singleuser.cloudMetadata.blockWithIptables: false and use the chart's NetworkPolicy instead"
    return ""


def same_json(found: Any, wanted: Any) -> bool:
    """Return whether two JSON values have the same type and value.  Python's == is also true for True and 1."""
    return type(found) is type(wanted) and found == wanted
