"""How long an upstream asks to wait, wherever it says so: headers first, its words last.

Sources: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after,
https://cloud.google.com/apis/design/errors#error_details (RetryInfo)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from adapters import durations, rate_limits

_PROSE: Final = re.compile(
    r"\b(?:try again|retry) (?:in|after) (?:about )?(?=[0-9])", re.IGNORECASE
)


def seconds(headers: Mapping[str, str], said: Mapping[str, object], message: str) -> float | None:
    """Seconds to wait; None if nothing says it. `said` is the error object of the body."""
    now = durations.moment(headers.get("date"))  # the upstream's own clock
    milliseconds = durations.number(headers.get("retry-after-ms"))
    if milliseconds:  # 0 stands beside a retry-after that says more
        return milliseconds / 1000
    return next((wait for wait in _told(headers, said, message, now) if wait is not None), None)


def _told(
    headers: Mapping[str, str], said: Mapping[str, object], message: str, now: float | None
) -> Iterator[float | None]:
    yield durations.until(headers.get("retry-after"), now)
    yield _delay(said.get("details"))
    yield _spoken(message)
    yield _limited(headers, now)
    metadata = said.get("metadata")
    inner = metadata.get("headers") if isinstance(metadata, dict) else None
    if isinstance(inner, dict):
        texts = {name.lower(): str(text) for name, text in inner.items() if _short(text)}
        yield _limited(texts, now)


def _short(value: object) -> bool:
    return isinstance(value, str | int)


def _delay(details: object) -> float | None:
    """`retryDelay` of Google's error details."""
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
            return durations.length(delay)
    return None


def _spoken(message: str) -> float | None:
    """`Please try again in 1m2.5s`; where no unit is said, it is seconds."""
    found = _PROSE.search(message)
    return durations.length(message[found.end() :]) if found else None


def _limited(headers: Mapping[str, str], now: float | None) -> float | None:
    """Until what is used up is reset."""
    limits = rate_limits.read(headers, now)
    return limits.wait if limits else None
