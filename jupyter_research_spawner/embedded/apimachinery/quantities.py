"""Kubernetes quantities, such as `500m`, `2`, `16Gi`."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{letter + "i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}
_DECIMAL = ["n", "u", "m", "", *"kMGTPE"]
_BINARY = ["", *(letter + "i" for letter in "KMGTPE")]
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")


_RULE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def quantity(text: str | float) -> Decimal:
    """Return a quantity as a number: `500m` is 0.5.  Raises ValueError if the text is not a quantity."""
    found = _QUANTITY.fullmatch(str(text))
    if not found:
        raise ValueError(_RULE)
    return Decimal(found[1] + (found[2] or "")) * _SUFFIXES[found[3] or ""]


def canonical(text: str | float) -> str:
    """Return a quantity as the API server stores it: `1000m` as `1`, `1.5Gi` as `1536Mi`.

    Raises ValueError if the text is not a quantity.  Follows apimachinery's resource.Quantity, compared with 1.36.3.
    """
    amount = quantity(text)
    if "e" in str(text).lower().removesuffix("e"):
        return str(text)
    binary = str(text).endswith("i") and abs(amount) >= 1024 and amount == amount.to_integral_value()
    amount = amount if binary else amount.quantize(_SUFFIXES["n"], ROUND_UP)
    for suffix in reversed(_BINARY if binary else _DECIMAL):
        pieces = amount / _SUFFIXES[suffix]
        if amount and pieces == pieces.to_integral_value():
            return f"{int(pieces)}{suffix}"
    return "0"
