"""A program with the account of a pod: what client-go's rest.InClusterConfig looks for, two variables and three files.

Where the files are cannot be chosen, so the program has a /run of its own, which goes when it ends.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .control_plane import ControlPlane

SECONDS = 6 * 3600
_OWN_RUN = """
files=$1; shift
mount -t tmpfs account /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$files" /run/secrets/kubernetes.io/serviceaccount
exec "$@"
"""


@dataclass(frozen=True)
class Account:
    """A ServiceAccount, which must exist. The cluster's roles decide what it may do, as for a pod."""

    namespace: str
    name: str

    def command(self, plane: ControlPlane, *words: str | Path) -> Sequence[str | Path]:
        """Return a command that runs `words` with this account."""
        files = plane.state / f"account-{self.namespace}-{self.name}"
        files.mkdir(exist_ok=True, mode=0o700)
        (files / "token").write_text(self._token(plane))
        (files / "namespace").write_text(self.namespace)
        shutil.copy(plane.authority.certificate, files / "ca.crt")
        return ["unshare", "--mount", "sh", "-euc", _OWN_RUN, "sh", files, *words]

    def environment(self, plane: ControlPlane) -> Mapping[str, str]:
        host, port = plane.url.removeprefix("https://").split(":")
        return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}

    def _token(self, plane: ControlPlane) -> str:
        """Return a token from the TokenRequest API."""
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": SECONDS},
        }
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{self.name}/token"
        token: str = plane.api.call("POST", path, asked)["status"]["token"]
        return token
