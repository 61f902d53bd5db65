"""The limits as an operator writes them: "60/minute", "100000 tokens/minute", "4 concurrent".

Strategy: all counting is in whole grains, so that nothing is ever rounded. A request or token
is `unit` grains, and `rate` grains come back each millisecond: N a minute are N x 60,000 grains
of which N come back each millisecond, both divided by what they have in common. A place of
"4 concurrent" is one grain that comes back only by hand.
Source: https://limits.readthedocs.io/en/stable/quickstart.html#rate-limit-string-notation
"""

from __future__ import annotations

import importlib
import math
import re
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import force_setattr

Kind = Literal["requests", "tokens", "concurrent"]


class Limit(Struct, frozen=True):
    """`amount` of `kind` per `period` (seconds; 0 for "concurrent"), all of it at once at most.

    `text` is the limit as it is told and kept; two spellings of one limit have one text.
    """

    kind: Kind
    amount: int
    period: int
    text: str
    rate: int  # grains that come back each millisecond
    unit: int  # grains of one request, token or place
    capacity: int = 0  # grains; made here

    def __post_init__(self) -> None:
        force_setattr(self, "capacity", self.amount * self.unit)


_FORMS: Final = "write it like '60/minute', '100000 tokens/minute' or '4 concurrent'"
_CONCURRENT: Final = re.compile(r"([0-9]+) *concurrent", re.IGNORECASE)
_TOKENS: Final = re.compile(r"([0-9]+) *tokens *(?=/|per )", re.IGNORECASE)
_NOTHING: Final = re.compile(r"(?<![0-9])0+(?![0-9])")
_LONGEST: Final = 64  # characters
_MOST: Final = 2**50  # grains; eightfold debts are still exact where numbers are floats (Lua)


def parse(text: str) -> Limit:
    """The limit. Raises ValueError with a sentence for what is none."""
    written = " ".join(text.split())
    if len(written) > _LONGEST:
        raise ValueError(f"{written[:_LONGEST]!r}... is no limit; {_FORMS}")
    if _NOTHING.search(written):  # the package would read "60/0 minutes" as "60/minute"
        raise ValueError(f"{written!r} lets nothing through; a limit is at least 1")
    if found := _CONCURRENT.fullmatch(written):
        limit = Limit("concurrent", int(found[1]), 0, f"{int(found[1])} concurrent", 0, 1)
    else:
        limit = _rate(written)
    if limit.capacity > _MOST:
        raise ValueError(
            f"{written!r} cannot be counted exactly; write a smaller or rounder number"
        )
    return limit


def _rate(written: str) -> Limit:
    kind: Kind = "tokens" if _TOKENS.match(written) else "requests"
    item = _item(_TOKENS.sub(r"\1", written), written)
    amount, period = item.amount, item.get_expiry()
    shared = math.gcd(amount, period * 1000)
    every = (
        item.GRANULARITY.name
        if item.multiples == 1
        else f"{item.multiples} {item.GRANULARITY.name}s"
    )
    said = f"{amount} tokens/{every}" if kind == "tokens" else f"{amount}/{every}"
    return Limit(kind, amount, period, said, amount // shared, period * 1000 // shared)


def _item(text: str, written: str) -> Any:  # noqa: ANN401 - the package is loaded by name
    """Loaded when a limit is configured: it takes longer than the rest of the start."""
    try:
        (item,) = importlib.import_module("limits").parse_many(text)
    except ValueError:  # also of more than one
        raise ValueError(f"{written!r} is no limit; {_FORMS}") from None
    return item
