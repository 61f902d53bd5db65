"""The rate limits that the models of one upstream were last told to have.

Kept for whoever chooses a target or waits for one, and shown to clients. Bounded: of many
models only those heard of last are known.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from adapters import rate_limits
from adapters.rate_limits import RateLimits

_MOST: Final = 256  # models


class KnownLimits:
    """By the upstream's name of a model. `now` is in seconds of any one clock."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[float, RateLimits]] = {}

    def hear(self, model: str, headers: Mapping[str, str], now: float) -> None:
        """Note what an answer's headers say, if anything."""
        limits = rate_limits.read(headers, time.time())
        if limits is not None:
            self.note(model, limits, now)

    def note(self, model: str, limits: RateLimits, now: float) -> None:
        self.told.pop(model, None)  # so that the first is always the one longest unheard of
        self.told[model] = (now, limits)
        if len(self.told) > _MOST:
            del self.told[next(iter(self.told))]

    def of(self, model: str, now: float) -> RateLimits | None:
        """What still holds; None where nothing is known."""
        told = self.told.get(model)
        return told[1].after(now - told[0]) if told else None
