"""The command `init`: a first site.yaml with comments."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..refusal import Refusal
from ..schedulers import SCHEDULERS

TEMPLATE = Path(__file__).parent / "first_site.yaml"


def first_site(options: argparse.Namespace) -> str:
    """Return a first site.yaml, or write it to a new file and return what to do next.  Raises Refusal."""
    text = TEMPLATE.read_text().replace("{schedulers}", ", ".join(sorted(SCHEDULERS)))
    if options.file is None:
        return text.rstrip("\n")
    try:
        with options.file.open("x") as written:
            written.write(text)
    except OSError as error:
        why = "There is a file of this name" if isinstance(error, FileExistsError) else error.strerror or str(error)
        raise Refusal("not-written", f"{options.file} was not written: {why}.", hint="Choose another name.") from None
    return f"{options.file} is written. Change it, and check it with: research-spawner lint --site {options.file}"
