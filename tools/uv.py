"""Run uv, in this environment, with the package index and the certificates that pip is configured with.

uv does not read pip's configuration.  A variable of uv's that is already set is kept.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

# pip's option: uv's environment variable, and what separates several values in it.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
}
# pip's own order: a later section overrides an earlier one.
SECTIONS = ("global", "install", ":env:")


def variables(listed: str) -> dict[str, str]:
    """Return what `pip config list` printed as uv's environment variables."""
    values: dict[tuple[str, str], str] = {}
    for line in listed.splitlines():
        name, _, quoted = line.partition("=")
        section, _, option = name.rpartition(".")
        values[section, option] = str(ast.literal_eval(quoted))
    found = {}
    for section in SECTIONS:
        for option, (variable, separator) in VARIABLES.items():
            if (section, option) in values:
                found[variable] = separator.join(values[section, option].split())
    return found


def main(arguments: list[str]) -> None:
    """Replace this process by uv."""
    listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
    defaults = {
        # As pip does it: trust the system's certificates, and take the best version of all indexes.
        "UV_SYSTEM_CERTS": "true",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "true",
        **variables(listed),
    }
    uv = Path(sys.executable).with_name("uv")
    os.execve(uv, ["uv", *arguments], {**defaults, **os.environ})


if __name__ == "__main__":
    main(sys.argv[1:])
