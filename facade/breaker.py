"""Which targets are left alone for a while, by what became of the requests sent to them.

    closed --failures--> open --rest is over--> half-open: one probe --+--content--> closed
                          ^                                           |
                          +-------------------failure-----------------+

Health is learned from the callers' own requests and never by generating. A rate limit is no
failure: it cools the target down for as long as the upstream says. Time is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

from msgspec import Struct

Target = TypeVar("Target", bound=Hashable)

CONSECUTIVE: Final = 5  # failures that open
RATE: Final = 0.5  # of the results of a window, if they are at least LEAST
LEAST: Final = 10
WINDOW: Final = 30.0  # seconds
REST: Final = 5.0  # seconds from opening to the probe
PROBED: Final = 1.0  # seconds to come back after, where a probe is under way
_MOST_RESULTS: Final = 100
_MOST_TARGETS: Final = 1000  # patterns make a target of any name


class Rest(Struct, frozen=True):
    """Why a target is not asked now, and for how many seconds. `limited`: by a rate limit."""

    seconds: float
    limited: bool


class Breaker:
    """One target's."""

    def __init__(self) -> None:
        self._results: deque[tuple[float, bool]] = deque(maxlen=_MOST_RESULTS)
        self._consecutive = 0
        self._opened_until: float | None = None  # None: closed
        self._probing = False
        self._cools_until = 0.0
        self._limited = False  # why it cools

    def rest(self, now: float) -> Rest | None:
        """None: it may be asked."""
        if now < self._cools_until:
            return Rest(self._cools_until - now, limited=self._limited)
        if self._opened_until is None:
            return None
        if now < self._opened_until:
            return Rest(self._opened_until - now, limited=False)
        return Rest(PROBED, limited=False) if self._probing else None

    def failing(self, now: float) -> bool:
        """Whether its latest result is a failure, and of the last moments."""
        at, good = self._results[-1] if self._results else (now, True)
        return not good and now - at < REST

    def begin(self) -> bool:
        """An attempt begins, where `rest` was None; whether it is the probe."""
        if self._opened_until is None:
            return False
        self._probing = True
        return True

    def close(self) -> None:
        """The probe has brought content: it need not be waited for to its end."""
        self._opened_until = None
        self._probing = False
        self._consecutive = 0
        self._results.clear()

    def leave(self) -> None:
        """The probe ends without a result: its caller has left."""
        self._probing = False

    def cool(self, until: float, *, limited: bool) -> None:
        """Not to be asked before; of several such times the latest holds."""
        if until > self._cools_until:
            self._cools_until, self._limited = until, limited

    def good(self, now: float, *, probe: bool) -> None:
        """An attempt has brought content. What began before it opened closes nothing."""
        if probe:
            self.close()
        if self._opened_until is None:
            self._consecutive = 0
            self._results.append((now, True))

    def failed(self, now: float, *, probe: bool) -> None:
        """An attempt has failed, by the target's fault."""
        if probe:
            self._open(now)
        elif self._opened_until is None:
            self._consecutive += 1
            self._results.append((now, False))
            if self._consecutive >= CONSECUTIVE or self._too_many(now):
                self._open(now)

    def _open(self, now: float) -> None:
        self._probing = False
        self._opened_until = now + REST

    def _too_many(self, now: float) -> bool:
        recent = [good for at, good in self._results if now - at <= WINDOW]
        return len(recent) >= LEAST and recent.count(False) >= RATE * len(recent)


class Breakers(Generic[Target]):
    """Those of the targets that have failed; of many only the ones that failed last."""

    def __init__(self) -> None:
        self._known: dict[Target, Breaker] = {}

    def find(self, target: Target) -> Breaker | None:
        """None: nothing has ever been wrong with it."""
        return self._known.get(target) if self._known else None

    def of(self, target: Target) -> Breaker:
        """For noting what is wrong with it."""
        breaker = self._known.get(target)
        if breaker is None:
            breaker = self._known[target] = Breaker()
            if len(self._known) > _MOST_TARGETS:
                del self._known[next(iter(self._known))]
        return breaker

    def resting(self, now: float) -> Iterator[tuple[Target, Rest]]:
        """Those that are not asked now, and why."""
        for target, breaker in self._known.items():
            rest = breaker.rest(now)
            if rest is not None:
                yield target, rest
