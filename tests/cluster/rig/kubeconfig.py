"""Kubeconfig files, mode 0600: whoever can read the administrator's can start containers as any user."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import yaml

from .certificates import Pair


def write(path: Path, server: str, ca: Path, pair: Pair, namespace: str = "default") -> Path:
    """Write a kubeconfig that contains the certificates, so that no other file is needed."""
    user = {"client-certificate-data": _text(pair.certificate), "client-key-data": _text(pair.key)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "rig",
        "clusters": [{"name": "rig", "cluster": {"server": server, "certificate-authority-data": _text(ca)}}],
        "users": [{"name": "rig", "user": user}],
        "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig", "namespace": namespace}}],
    }
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
        yaml.safe_dump(config, file)
    return path


def _text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
