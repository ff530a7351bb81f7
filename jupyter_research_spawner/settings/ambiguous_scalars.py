"""Find ambiguous plain scalars, which PyYAML does not read as they look, or which helm reads in another way.

YAML 1.1 (yaml.org/type/int.html, float.html and bool.html), as PyYAML 6.0.3 and helm 3.18 read it:

    01000       512 for both: octal
    0o17, 08    a string for PyYAML, a number for helm
    1e3         a string for PyYAML, a number for helm
    4:00:00     14400 for PyYAML: sexagesimal; a string for helm
    y, n        a string for PyYAML, a boolean for helm
"""

from __future__ import annotations

import re
from datetime import timedelta

from .units import format_duration

_SEXAGESIMAL = re.compile(r"[-+]?([1-9][0-9_]*(:[0-5]?[0-9])+|[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_OCTAL = re.compile(r"[-+]?0o[0-7_]+")
_UNDERSCORE = re.compile(r"[-+]?[0-9][0-9.]*_[0-9_.]*")
_EXPONENT = re.compile(r"[-+]?[0-9][0-9._]*[eE][-+]?[0-9]+")
HELM_BOOLEANS = {"y": True, "n": False}
_SECRET = re.compile(r"pass|secret|token|credential|(?<![a-z])key$", re.IGNORECASE)


def may_be_secret(path: str) -> bool:
    """Return whether a value can be a secret: that of an environment variable, or of a key with such a name."""
    above, _, last = path.rpartition(".")
    return above.rpartition(".")[2] == "env" or _SECRET.search(last) is not None


def why_ambiguous(text: str, *, shown: bool = True) -> str | None:
    """Return why this plain scalar must be written in another way, and how; None if it is not ambiguous.

    If not `shown`, the sentence does not contain the scalar.
    """
    if len(text) > 64:
        return None
    it, quoted = (text, f'Quote it if it is text: "{text}"') if shown else ("it", "Quote it if it is text")
    if _SEXAGESIMAL.fullmatch(text):
        seconds = _sexagesimal(text)
        means = f" {seconds}" if shown else ""
        unit = format_duration(timedelta(seconds=seconds)) if shown and 0 < seconds < 10**9 else "4h"
        return f"YAML reads {it} as the number{means} (base 60). Write a duration with a unit: {unit}. {quoted}"
    if _LEADING_ZERO.fullmatch(text) or _OCTAL.fullmatch(text):
        number = _octal(text) if shown else None
        means = "" if number is None else f", the number {number}"
        plain = f" {text.replace('_', '').lstrip('+-0o') or '0'}" if shown else " it without the zero"
        return f"YAML reads {it} as octal{means}. Write{plain} if it is a decimal number. {quoted}"
    if _UNDERSCORE.fullmatch(text):
        plain = f" {text.replace('_', '')}" if shown else " it without underscores"
        return f"YAML can read {it} as a number. Write{plain} if it is a number. {quoted}"
    if _EXPONENT.fullmatch(text):
        return f"some programs read {it} as a number, others as text. Write a number without an exponent. {quoted}"
    if text.lower() in HELM_BOOLEANS:
        boolean = str(HELM_BOOLEANS[text.lower()]).lower()
        return f"helm reads {it} as {boolean}. Write {boolean} if it is a boolean. {quoted}"
    return None


def _sexagesimal(text: str) -> int:
    seconds = 0
    for part in text.lstrip("+-").replace("_", "").partition(".")[0].split(":"):
        seconds = seconds * 60 + int(part)
    return seconds


def _octal(text: str) -> int | None:
    digits = text.lstrip("+-").replace("_", "").removeprefix("0o")
    return int(digits, 8) if set(digits) <= set("01234567") else None
