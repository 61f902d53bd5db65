"""The rate limits that an upstream tells in its headers, read into one form.

Strategy: a header's name says which window it is of (`requests`, `tokens-minute`, ...) and
which of its three values; a window counts requests or tokens, or does not concern us. Of
several windows of one kind the tightest is told. What cannot be read is as if unsaid.
Sources: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers,
https://docs.anthropic.com/en/api/rate-limits, https://console.groq.com/docs/rate-limits,
https://inference-docs.cerebras.ai/support/rate-limits, the IETF's draft ratelimit-headers
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from adapters import durations

_OF_REQUESTS: Final = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)
_OF_TOKENS: Final = (
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
)
SHOWN: Final = _OF_REQUESTS + _OF_TOKENS


class Limit(Struct, frozen=True):
    """One window. `reset` is in seconds from when it was told; None is unknown."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None

    def after(self, seconds: float) -> Limit | None:
        """What of it holds so much later; nothing once it was reset, but for a last while."""
        if seconds > max(self.reset or 0.0, _HOLDS):
            return None
        return self if self.reset is None else replace(self, reset=max(self.reset - seconds, 0.0))


class RateLimits(Struct, frozen=True):
    requests: Limit | None = None
    tokens: Limit | None = None

    def after(self, seconds: float) -> RateLimits | None:
        """What of them holds so much later."""
        requests = self.requests and self.requests.after(seconds)
        tokens = self.tokens and self.tokens.after(seconds)
        return RateLimits(requests, tokens) if requests or tokens else None

    @property
    def wait(self) -> float | None:
        """Seconds until there is something left again of what is used up, if that is known."""
        empty = [each for each in (self.requests, self.tokens) if each and each.remaining == 0]
        return max((each.reset for each in empty if each.reset is not None), default=None)

    def headers(self) -> dict[str, str]:
        """In OpenAI's form."""
        said: dict[str, str] = {}
        for each, limit, remaining, reset in (
            (self.requests, *_OF_REQUESTS),
            (self.tokens, *_OF_TOKENS),
        ):
            if each is None:
                continue
            if each.limit is not None:
                said[limit] = f"{each.limit}"
            if each.remaining is not None:
                said[remaining] = f"{each.remaining}"
            if each.reset is not None:
                said[reset] = durations.spelled(each.reset)
        return said


def tighter(one: RateLimits, other: RateLimits | None) -> RateLimits:
    """Of each kind the one of which the smaller part is left."""
    if other is None:
        return one
    return RateLimits(
        _tighter(one.requests, other.requests),
        _tighter(one.tokens, other.tokens),
    )


def _tighter(one: Limit | None, other: Limit | None) -> Limit | None:
    return min(filter(None, (one, other)), key=_looseness, default=None)


_VALUE: Final = "(?P<value>limit|remaining|reset)"
_NAMES: Final = tuple(
    re.compile(form)
    for form in (
        rf"(?:x-)?ratelimit-{_VALUE}(?:-(?P<window>[a-z0-9-]+))?",
        rf"[a-z]+-ratelimit-(?P<window>[a-z-]+)-{_VALUE}",
        rf"(?P<window>ratelimitbysize)-{_VALUE}",
        rf"x-(?P<window>trial-endpoint|endpoint-monthly)-call-{_VALUE}",
    )
)
_COUNT: Final = re.compile(r"\s*(-?[0-9]{1,15})(?:\.[0-9]*)?\s*(?:[,;]|$)")
_TOKENS: Final = frozenset({"tokens", "ratelimitbysize"})
_REQUESTS: Final = frozenset({"requests", "req", "endpoint"})
_LONGEST_RESET: Final = 366 * 86_400.0  # seconds; what is beyond is no time at all
_HOLDS: Final = 60.0  # seconds; most windows are of a minute


WORDS: Final = ("limit", "remaining")  # one of them is in the name of each header that is read


def read(headers: Mapping[str, str], now: float | None) -> RateLimits | None:
    """What the headers (names in lower case) say; None if nothing.

    `now` is the Unix time, for those who tell a reset as a date; None: unknown.
    """
    said = [
        (place, text)
        for name, text in headers.items()
        if any(word in name for word in WORDS) and (place := _place(name))
    ]
    if not said:
        return None
    windows: dict[str, dict[str, dict[str, str]]] = {"requests": {}, "tokens": {}}
    for place, text in said:
        windows[place.kind].setdefault(place.window, {})[place.value] = text
    requests, tokens = (_tightest(each.values(), now) for each in windows.values())
    return RateLimits(requests, tokens) if requests or tokens else None


class _Place(Struct, frozen=True):
    """What a header's name says its text is."""

    kind: str
    window: str
    value: str


@lru_cache(maxsize=256)
def _place(name: str) -> _Place | None:
    for form in _NAMES:
        if found := form.fullmatch(name):
            window = found["window"] or "requests"  # where it is not said, calls are counted
            words = {*window.split("-")}
            kind = "requests" if words & _REQUESTS else "tokens" if words & _TOKENS else None
            return _Place(kind, window, found["value"]) if kind else None
    return None


def _tightest(windows: Iterable[Mapping[str, str]], now: float | None) -> Limit | None:
    """Of the windows of one kind, that of which the smallest part is left; then the longest."""
    said = [window for values in windows if (window := _window(values, now))]
    return min(said, key=_looseness, default=None)


def _looseness(window: Limit) -> tuple[float, float]:
    if window.remaining is None:
        left = 1.0  # nothing says that it is tight
    else:
        left = min(window.remaining / (window.limit or max(window.remaining, 1)), 1.0)
    return left, -(window.reset or 0.0)


def _window(values: Mapping[str, str], now: float | None) -> Limit | None:
    """A limit that is not above 0 is a filler, and so is what stands beside it."""
    limit, remaining = _count(values.get("limit")), _count(values.get("remaining"))
    if limit is not None and limit <= 0:
        return None
    if remaining is not None and remaining < 0:
        remaining = None
    if limit is None and remaining is None:
        return None
    reset = durations.until(values.get("reset"), now)
    return Limit(limit, remaining, reset if reset is None or reset <= _LONGEST_RESET else None)


def _count(text: str | None) -> int | None:
    """Of `100, 100;w=60` the first: the rest is how the window is made."""
    found = _COUNT.match(text or "")
    return int(found[1]) if found else None
