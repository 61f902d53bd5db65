"""What happens after an attempt's failure: again, the next target, or the client is told.

    again    what may pass: timeouts, 408, 429, 5xx, a 200 that is no answer
    next     what another target need not have: refused, our credential or account, the model,
             its context window; and what did not pass in time
    told     what is the request's own fault

One budget of extra attempts holds over the whole chain; going to the next target costs none
of it. Time and randomness are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from operator import itemgetter
from typing import Final

from msgspec import Struct

from adapters.errors import InvalidRequest, Kind, UpstreamError
from facade.breaker import Breaker, Breakers, Rest
from facade.errors import Busy, Cold, NoSlot, RateLimited
from facade.planning import Route

LONGEST_WAIT: Final = 5.0  # seconds of an upstream's Retry-After that a request waits itself
LONGEST_COOLING: Final = 3600.0  # seconds; an upstream may say anything
_FIRST_BACKOFF: Final = 0.25  # seconds; doubled each time
_LONGEST_BACKOFF: Final = 4.0
_UNSAID: Final = 2.0  # seconds, where every target is limited and none says for how long


class Step(Enum):
    AGAIN = "again"
    NEXT = "next"
    TOLD = "told"


class Decision(Struct, frozen=True):
    """`wait` before it is asked again, or how long it is to cool down; both in seconds."""

    step: Step
    wait: float = 0.0
    cools: float = 0.0


class So(Struct, frozen=True):
    """Where a request stands: failures of this target so far, retries left, targets behind it.

    `jitter` is drawn from 0 to 1.
    """

    failures: int
    retries: int
    last: bool
    jitter: float


_TOLD: Final = Decision(Step.TOLD)
_NEXT: Final = Decision(Step.NEXT)
_ELSEWHERE: Final = frozenset(
    {
        Kind.CREDENTIAL,
        Kind.PAYMENT,
        Kind.MODEL_NOT_FOUND,
        Kind.CONTEXT_LENGTH,
        Kind.CONFINED,
        Kind.TOO_LARGE,
    }
)
_NOT_THERE: Final = (404, 405, 410)  # said of a path or a model: the request is not at fault
_BLAMELESS: Final = frozenset(
    {Kind.RATE_LIMITED, Kind.TOO_LARGE, Kind.REJECTED, Kind.CONTEXT_LENGTH, Kind.CONFINED}
)  # say nothing against the target


def decide(error: UpstreamError, so: So) -> Decision:
    """What follows from a failure before the commit point."""
    if error.kind in _ELSEWHERE or error.status in _NOT_THERE:
        return _NEXT
    if error.kind is Kind.UNREACHABLE and not so.last:
        return _NEXT
    asked = error.retry_after or 0.0
    if not (error.retry and so.retries) or asked > LONGEST_WAIT:
        cools = min(asked, LONGEST_COOLING) if asked > LONGEST_WAIT else 0.0
        return _TOLD if error.kind is Kind.REJECTED else Decision(Step.NEXT, cools=cools)
    backoff = min(_FIRST_BACKOFF * 2 ** (so.failures - 1), _LONGEST_BACKOFF)
    return Decision(Step.AGAIN, wait=asked + backoff * (1 + so.jitter) / 2)


class Resting(NoSlot):
    """The target has failed others while a slot of it was waited for."""

    code = "breaker_open"

    def __init__(self, rest: Rest) -> None:
        super().__init__("the target is left alone for a moment", retry_after=rest.seconds)
        self.rest = rest


class Course:
    """One request's way along its chain. `until`: when its time is over.

    `patient`: a target that is busy is waited for. Else it is spared, as one that is cold, and
    waited for only when no other has answered, the one first whose turn comes soonest.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        retries: int,
        breakers: Breakers[Route],
        until: float,
        *,
        patient: bool = True,
    ) -> None:
        self.number = 1  # of the attempt
        self.reason = ""  # of the last move
        self._routes = list(routes)
        self._targets = len(routes)  # behind them stand those that were spared
        self._patient = patient
        self._spared: list[tuple[float, Route]] = []  # with the seconds they would be waited for
        self._retries = retries
        self._breakers = breakers
        self._until = until
        self._at = 0
        self._failures = 0  # of this target
        self._breaker: Breaker | None = None
        self._probes = False
        self._error: UpstreamError | None = None
        self._unfit: InvalidRequest | None = None
        self._full: list[NoSlot] = []
        self._waits: list[float | None] = []  # of the limited targets; None: it does not say
        self._refusals: list[RateLimited] = []  # those of them that a limit of ours has
        self._rests: list[float] = []  # of those left alone because they failed

    def target(self, now: float) -> Route | None:
        """The target to ask now, which is held to begin; None where none is left."""
        while self._at < len(self._routes) or self._spared:
            if self._at == len(self._routes):
                self._take_up()
            route = self._routes[self._at]
            breaker = self._breaker = self._breakers.find(route)
            rest = breaker.rest(now) if breaker else None
            if rest is None:
                self._probes = breaker.begin() if breaker else False
                return route
            self._skip(rest)
        return None

    @property
    def patient(self) -> bool:
        """Whether a slot of the target is to be waited for."""
        return self._patient or self.again

    @property
    def again(self) -> bool:
        """Whether the target was spared before; now it is waited for, busy or cold."""
        return self._at >= self._targets

    def check(self, now: float) -> None:
        """Look at the target again, after a wait: only one probes it. Raises Resting."""
        breaker = self._breakers.find(self._routes[self._at])
        if breaker is None or self._probes:
            return
        rest = breaker.rest(now)
        if rest is not None:
            raise Resting(rest)
        self._breaker, self._probes = breaker, breaker.begin()

    def began(self) -> None:
        """Content has come."""
        if self._probes and self._breaker:
            self._breaker.close()
            self._probes = False

    def good(self, now: float) -> None:
        """The answer is complete."""
        if self._breaker:
            self._breaker.good(now, probe=self._probes)

    def left(self) -> None:
        """The attempt ends without a result."""
        if self._probes and self._breaker:
            self._breaker.leave()

    def passed_over(self, error: InvalidRequest | NoSlot | RateLimited) -> None:
        """The target cannot be asked for this, or has no slot, or a limit of ours has no room.

        Nothing was sent.
        """
        self.left()
        if isinstance(error, Resting):
            self._skip(error.rest)
        elif isinstance(error, Cold) or (isinstance(error, Busy) and not self.patient):
            self._spared.append((error.retry_after or 0.0, self._routes[self._at]))
            self._move(error.code or "")
        elif isinstance(error, NoSlot):
            self._full.append(error)
            self._move(error.code or "")
        elif isinstance(error, RateLimited):
            self._waits.append(error.retry_after)
            self._refusals.append(error)
            self._move("rate_limited")
        else:
            self._unfit = self._unfit or error
            self._move("unsupported")

    def failed(self, error: UpstreamError, now: float, jitter: float) -> float | None:
        """Seconds until the next `target` is to be asked for; None: the client is told."""
        self._note(error, now)
        self.number += 1
        self._failures += 1
        self._error = error
        last = self._at + 1 == len(self._routes) and not self._spared
        decision = decide(error, So(self._failures, self._retries, last, jitter))
        if decision.step is Step.TOLD or now >= self._until:
            return None
        if decision.cools:
            limited = error.kind is Kind.RATE_LIMITED
            self._breakers.of(self._routes[self._at]).cool(now + decision.cools, limited=limited)
        if decision.step is Step.AGAIN and self._may_wait(now, decision.wait):
            self._retries -= 1
            return decision.wait
        if error.kind is Kind.RATE_LIMITED:
            self._waits.append(error.retry_after)
        self._move(error.kind.value)
        return 0.0

    def keep(self, fits: Callable[[Route], bool]) -> None:
        """Of those that are still to be asked only these."""
        self._routes[self._at :] = filter(fits, self._routes[self._at :])
        self._spared = [(wait, route) for wait, route in self._spared if fits(route)]

    def told(self) -> UpstreamError | InvalidRequest | NoSlot | RateLimited:
        """What the client is told where no target is left."""
        if len(self._waits) == self._targets:
            return self._limited()
        if self._full:  # it could have answered, and soon can again
            return min(self._full, key=lambda error: error.retry_after or 0)
        waits = [*self._rests, *(wait for wait in self._waits if wait is not None)]
        if self._error:
            return self._error
        if self._unfit and not waits:
            return self._unfit
        return UpstreamError(
            Kind.UNREACHABLE,
            "every target that could answer has failed too often, and is left alone for a moment",
            retry_after=min(waits),
        )

    def _limited(self) -> UpstreamError | RateLimited:
        """A 429 with the shortest of the waits."""
        shortest = min((w for w in self._waits if w is not None), default=_UNSAID)
        ours = next((each for each in self._refusals if each.retry_after == shortest), None)
        if ours is not None:
            return ours
        error = self._error or UpstreamError(
            Kind.RATE_LIMITED, "every target of this model is rate-limited"
        )
        error.retry_after = shortest
        return error

    def _note(self, error: UpstreamError, now: float) -> None:
        if now >= self._until:  # what it could not do in the time that was left proves nothing
            self.left()
        elif error.kind not in _BLAMELESS:
            breaker = self._breaker or self._breakers.of(self._routes[self._at])
            breaker.failed(now, probe=self._probes)
        elif error.kind in (Kind.RATE_LIMITED, Kind.CONFINED):
            self.left()
        else:
            self.good(now)

    def _may_wait(self, now: float, wait: float) -> bool:
        breaker = self._breakers.find(self._routes[self._at])
        return now + wait < self._until and not (breaker and breaker.rest(now))

    def _skip(self, rest: Rest) -> None:
        if rest.limited:
            self._waits.append(rest.seconds)
        else:
            self._rests.append(rest.seconds)
        self._move("rate_limited" if rest.limited else "breaker_open")

    def _take_up(self) -> None:
        """Those that were spared are next."""
        self._routes += [route for _, route in sorted(self._spared, key=itemgetter(0))]
        self._spared.clear()
        if self._routes[self._at] == self._routes[0]:
            self.reason = ""

    def _move(self, reason: str) -> None:
        self._at += 1
        self._failures = 0
        if self._at < len(self._routes):
            self.reason = reason
