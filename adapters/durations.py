"""Lengths of time as upstreams write them: Go's `1m2.5s`, `22 seconds`, a number, a date.

What cannot be read is None, and what is long past is 0: a wrong wait is worse than none.
Source: https://pkg.go.dev/time#ParseDuration
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = {
    "millisecond": 1e-3,
    "ms": 1e-3,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "ns": 1e-9,
    "second": 1.0,
    "sec": 1.0,
    "s": 1.0,
    "minute": 60.0,
    "min": 60.0,
    "m": 60.0,
    "hour": 3600.0,
    "h": 3600.0,
    "day": 86_400.0,
    "d": 86_400.0,
}
_DIGITS: Final = r"[0-9]{1,15}(?:\.[0-9]{0,15})?"  # few enough to be finite
_NUMBER: Final = re.compile(_DIGITS)
_PART: Final = re.compile(rf"({_DIGITS}) ?({'|'.join(_SECONDS)})s?(?![a-z]),? ?", re.IGNORECASE)
_EPOCH: Final = 1e9  # a number of seconds from here on is a date, as of 2001
_EPOCH_MS: Final = 1e11


def number(text: str | None) -> float | None:
    """A plain number, 0 or more."""
    text = (text or "").strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def length(text: str) -> float | None:
    """Seconds, of a length with units at the beginning of the text."""
    parts = []
    at = 0
    while part := _PART.match(text, at):
        parts.append(float(part[1]) * _SECONDS[part[2].lower()])
        at = part.end()
    return sum(parts) if parts else None


def until(text: str | None, now: float | None) -> float | None:
    """Seconds from `now` (Unix time; None: unknown) to a moment, however it is written.

    A number is seconds, or, where it is large, seconds or milliseconds since 1970. Then
    there are lengths with units, RFC 3339, and the dates of HTTP.
    """
    text = (text or "").strip()
    said = number(text)
    if said is None:
        return _until_date(text, now) if (wait := length(text)) is None else wait
    if said < _EPOCH:
        return said
    return _since(now, said / 1000 if said >= _EPOCH_MS else said)


def moment(text: str | None) -> float | None:
    """The Unix time of an RFC 3339 or HTTP date; without a zone it is UTC."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = read(text or "")
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _until_date(text: str, now: float | None) -> float | None:
    return _since(now, moment(text))


def _since(now: float | None, then: float | None) -> float | None:
    return None if now is None or then is None else max(then - now, 0.0)


def spelled(seconds: float) -> str:
    """A length as Go spells it, to the millisecond: `1h2m3.5s`, `120ms`, `0s`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s" if rest % 1000 else f"{rest // 1000}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
