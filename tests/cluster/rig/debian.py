"""A small Debian with Python, from the mirror that this machine's own apt uses.

Contract: debootstrap(8), `apt-get indextargets` (apt's acquire-additional-files.md); seen with Debian 12.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .layers import CannotBuildImage, run

PACKAGES = ("python3",)
OS_RELEASE = Path("/etc/os-release")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Not needed by anything that runs, or the machine's own: names of mirrors and its resolver are not for images.
_LEFT_OUT = (
    "/boot",
    "/debootstrap",
    "/etc/apt/sources.list",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/lib/apt/lists",
    "/var/log",
)


def keep(path: str) -> bool:
    return path not in _LEFT_OUT


def suite() -> str:
    """Of this machine: "bookworm".  Raises CannotBuildImage on others than Debian."""
    lines = OS_RELEASE.read_text().splitlines()
    release = dict(line.partition("=")[::2] for line in lines)
    if release.get("ID") != "debian":
        raise CannotBuildImage(
            f"Images are made of Debian's packages, on Debian only, and this is {release.get('ID', 'nothing known')} "
            f"({OS_RELEASE}): use Debian, or a container or virtual machine of it."
        )
    return release["VERSION_CODENAME"]


def make(tree: Path, work: Path) -> None:
    """Install it into `tree`.  Raises CannotBuildImage."""
    debootstrap: list[str | Path] = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--keyring={_KEYRING}",
        suite(),
        tree,
        _mirror(suite()),
    ]
    # In namespaces of its own, so that its /proc and /sys and all that it started are gone with it, however it ends.
    namespaces: list[str | Path] = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    run([*namespaces, *debootstrap], environment=_environment(), directory=work)
    for log in ("bootstrap.log", "apt", "dpkg.log", "alternatives.log"):
        run(["rm", "-rf", tree / "var/log" / log])


def _mirror(suite: str) -> str:
    targets = ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(RELEASE) $(CODENAME) $(COMPONENT) $(REPO_URI)"]
    for line in subprocess.run(targets, check=True, capture_output=True, text=True).stdout.splitlines():
        kind, release, codename, component, address = line.split()
        if kind == "Packages" and suite in (release, codename) and component == "main":
            return address
    raise CannotBuildImage(
        f"apt knows no mirror with {suite}/main: see /etc/apt/sources.list.d, then run apt-get update."
    )


def _environment() -> dict[str, str]:
    """debootstrap fetches with wget, which knows nothing of apt's own proxy."""
    said = subprocess.run(
        ["apt-config", "shell", "http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    proxies = dict(line.partition("=")[::2] for line in said.splitlines())
    return {**os.environ, **{name: value.strip("'") for name, value in proxies.items()}}
