"""A registry of one image that answers as slowly as a test needs. Contract: pull of the OCI distribution-spec 1.1."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .oci import ARCHITECTURES

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@contextmanager
def registry(program: Path, seconds: float) -> Iterator[str]:
    """The name of an image whose one file is this static program, called /program; a pull takes so many seconds.

    containerd 2.2 speaks plain HTTP with a registry on the loopback interface that knows no TLS.
    """
    blobs, manifest = _image(program)
    layer = json.loads(manifest)["layers"][0]["digest"]
    stopped = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        # To the first bytes of TLS too: by such an answer containerd knows that it should speak without.
        default_request_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, _, name = self.path.rpartition("/")
            if kind.endswith("/manifests"):
                self._send(MANIFEST, manifest)
            elif kind.endswith("/blobs") and name in blobs:
                if name == layer:
                    stopped.wait(seconds)
                self._send("application/octet-stream", blobs[name])
            else:
                self._send("application/json", b"{}", 200 if self.path == "/v2/" else 404)

        do_HEAD = do_GET

        def _send(self, content_type: str, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}/slow/image:1"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _image(program: Path) -> tuple[dict[str, bytes], bytes]:
    """Return the image's blobs by digest, and its manifest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("program")
        member.mode, member.size = 0o755, program.stat().st_size
        with program.open("rb") as content:
            archive.addfile(member, content)
        # Nothing that a node could have from before.
        archive.addfile(tarfile.TarInfo(f"pulled-{secrets.token_hex(8)}"))
    layer = packed.getvalue()
    config = json.dumps(
        {
            "architecture": ARCHITECTURES[os.uname().machine],
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, layer)],
        }
    ).encode()
    return {_digest(blob): blob for blob in (layer, config, manifest)}, manifest


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"
