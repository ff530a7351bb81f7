"""Images as an OCI image layout in a tar: image-spec 1.0 (opencontainers.org), seen with containerd 2.2 and 1.6.

Layers are plain tars: compressing them would only cost time on the way from one directory of this machine to another.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Layer:
    """A tar file and the SHA-256 of its bytes, in hexadecimal."""

    file: Path
    sha256: str


@dataclass(frozen=True)
class Image:
    name: str  # with its tag
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"


def write_layer(file: Path, tree: Path, keep: Callable[[str], bool] = lambda _: True) -> str:
    """Write `tree` as a layer, and return the SHA-256 of the tar.

    keep: says of each path in the image ("/usr/bin/env") whether it goes in; what is below one that does not, does not.
    """
    with file.open("wb") as output:
        hashed = _Hashed(output)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            _add_tree(archive, tree, "", keep)
    return hashed.sha256.hexdigest()


def _add_tree(archive: tarfile.TarFile, directory: Path, name: str, keep: Callable[[str], bool]) -> None:
    for path in sorted(directory.iterdir()):
        inside = f"{name}/{path.name}"
        if not keep(inside):
            continue
        member = archive.gettarinfo(path, inside.lstrip("/"))
        if member is None:  # a socket
            continue
        member.uname = member.gname = ""  # names are this machine's, numbers the image's
        member.mtime = int(member.mtime)
        if member.isreg():
            with path.open("rb") as content:
                archive.addfile(member, content)
        else:
            archive.addfile(member)
        if member.isdir():
            _add_tree(archive, path, inside, keep)


def write_archive(stream: IO[bytes], images: Iterable[Image]) -> None:
    """Write an image layout with these images; what they share is in it once."""
    files: dict[str, Path] = {}
    texts: dict[str, bytes] = {}
    manifests: list[dict[str, object]] = []
    for image in images:
        files |= {layer.sha256: layer.file for layer in image.layers}
        config = _json(_configuration(image))
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, _sha256(config), len(config)),
                "layers": [_descriptor(_LAYER, layer.sha256, layer.file.stat().st_size) for layer in image.layers],
            }
        )
        texts |= {_sha256(config): config, _sha256(manifest): manifest}
        named = {"annotations": {"io.containerd.image.name": image.name}}
        manifests.append(_descriptor(_MANIFEST, _sha256(manifest), len(manifest)) | named)
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add_text(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        for digest, text in texts.items():
            _add_text(archive, f"blobs/sha256/{digest}", text)
        for digest, file in files.items():
            _add_file(archive, f"blobs/sha256/{digest}", file)
        _add_text(archive, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))


class _Hashed(io.RawIOBase):
    """Passes on what is written, and knows its SHA-256."""

    def __init__(self, output: IO[bytes]) -> None:
        self.sha256 = hashlib.sha256()
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        self.sha256.update(chunk)
        return self._output.write(chunk)


def _configuration(image: Image) -> dict[str, object]:
    return {
        "architecture": ARCHITECTURES[os.uname().machine],
        "os": "linux",
        "config": {
            "Env": [f"{name}={value}" for name, value in image.environment.items()],
            "Entrypoint": list(image.entrypoint),
            "Cmd": list(image.command),
            "WorkingDir": image.working_directory,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.sha256}" for layer in image.layers]},
    }


def _descriptor(media_type: str, sha256: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _add_text(archive: tarfile.TarFile, name: str, text: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text)
    archive.addfile(member, io.BytesIO(text))


def _add_file(archive: tarfile.TarFile, name: str, file: Path) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.stat().st_size
    with file.open("rb") as content:
        archive.addfile(member, content)
