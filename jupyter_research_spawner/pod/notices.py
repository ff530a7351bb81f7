"""The files with which a notebook tells its user when it ends: an extension of JupyterLab, and a line in new terminals.

No environment variable and no file of the image is replaced.  All directories are those that Jupyter and login shells
read in every image (jupyter_core.paths.SYSTEM_JUPYTER_PATH and SYSTEM_CONFIG_PATH, /etc/profile of Debian, Ubuntu,
Fedora and Alpine), so images with a JUPYTER_PATH of their own work too, and images without JupyterLab ignore them.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from .. import client
from ..shape import Json
from .client_commands import optional_config_map_volume

NOTICES_VOLUME = "research-notices"
EXTENSION_DIRECTORY = "/usr/local/share/jupyter/labextensions/research-end-notices"
# JupyterLab adds each JSON file in this directory to the data of its page (jupyterlab_server.config).
PAGE_CONFIG_DIRECTORY = "/etc/jupyter/labconfig/page_config.d"
PROFILE_SCRIPT = "/etc/profile.d/research-spawner.sh"
# From the keys of the ConfigMap to the paths in the extension's directory, because a key cannot have a slash.
EXTENSION_PATHS = {"package.json": "package.json", "notices.js": "static/notices.js"}
_SOURCES = Path(client.__file__).parent / "end_notices"


@functools.cache
def extension_files() -> dict[str, str]:
    """Return the content of the extension's files by their keys in the ConfigMap."""
    return {key: (_SOURCES / path).read_text(encoding="utf-8") for key, path in EXTENSION_PATHS.items()}


@functools.cache
def notices_config_map_name() -> str:
    """Return the ConfigMap's name.  It has a hash of the content, so an upgrade does not change running notebooks."""
    content = "\0".join(f"{key}\0{text}" for key, text in extension_files().items())
    return f"{NOTICES_VOLUME}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


@functools.cache
def terminal_script() -> str:
    """Return the script that login shells read.

    It is in an annotation, because a mount from a missing ConfigMap would be a directory, about which shells complain.
    """
    return (_SOURCES / "terminal.sh").read_text(encoding="utf-8")


def extension_volume() -> Json:
    """Return the volume with the extension.  Without the ConfigMap it is empty, and JupyterLab finds no extension."""
    items = [{"key": key, "path": path} for key, path in EXTENSION_PATHS.items()]
    return optional_config_map_volume(NOTICES_VOLUME, {"name": notices_config_map_name(), "items": items}, 0o444)


def notice_mounts(deadline_volume: str, script: str) -> list[Json]:
    """Return the mounts of the extension, of the deadline file for JupyterLab, and of the script for login shells.

    deadline_volume: the volume with the deadline file and with `script`, the name of the script in it.
    The deadline file is mounted with its directory, because the kubelet does not update a mount with a subPath.
    """
    return [
        {"name": NOTICES_VOLUME, "mountPath": EXTENSION_DIRECTORY, "readOnly": True},
        {"name": deadline_volume, "mountPath": PAGE_CONFIG_DIRECTORY, "readOnly": True},
        {"name": deadline_volume, "mountPath": PROFILE_SCRIPT, "subPath": script, "readOnly": True},
    ]
