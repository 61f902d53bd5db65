"""The rate limits that the models of one upstream were last told to have.

Kept for whoever chooses a target or waits for one, and shown to clients. Bounded: of many
models only those heard of last are known.
"""

from __future__ import annotations

from typing import Final

from adapters.rate_limits import RateLimits

_MOST: Final = 256  # models


class KnownLimits:
    """By the upstream's name of a model. `now` is in seconds of any one clock."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, RateLimits]] = {}

    def note(self, model: str, limits: RateLimits, now: float) -> None:
        self._told.pop(model, None)  # so that the first is always the one longest unheard of
        self._told[model] = (now, limits)
        if len(self._told) > _MOST:
            del self._told[next(iter(self._told))]

    def of(self, model: str, now: float) -> RateLimits | None:
        """What still holds; None where nothing is known."""
        told = self._told.get(model)
        return told[1].after(now - told[0]) if told else None
