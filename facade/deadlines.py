"""The clocks of one attempt: load, first token, idle and total (connect is the connection's).

Strategy: one alarm at most. What is waited for is given to `mind` first, and cancelled when the
clock that holds at that moment runs out; `check` says which. Progress only moves the deadline;
the alarm finds out when it rings. Idle counts only while we wait to read.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import asdict

from adapters.errors import Kind, UpstreamError
from facade.alarms import Alarm, Alarms
from facade.waits import Wait

T = TypeVar("T")


class Timeouts(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds. `load` holds until the model is in memory, then `first_token`."""

    connect: float = 5.0
    load: float = 300.0
    first_token: float = 60.0
    idle: float = 30.0
    total: float = 580.0

    def __str__(self) -> str:
        said = (f"{name} {limit:g} s" for name, limit in asdict(self).items())
        return ", ".join(said)


class Clocks:
    """One attempt's clocks; they start at once. `loads`: the upstream can tell a load.

    `silent`: it works without a word. `until`: when the request's own time is over, by the loop's
    time.
    """

    def __init__(
        self, timeouts: Timeouts, alarms: Alarms, until: float, loads: bool, silent: bool
    ) -> None:
        self.timeouts = timeouts
        self.alarms = alarms
        self.started = now = alarms.time()
        self.waits_for_content = True
        self._silent = silent
        self._total = min(now + timeouts.total, until)
        self._name = "total"
        self._until = math.inf  # when the clock of this name runs out, if total does not before
        self._idle: float | None = None  # seconds of silence that are borne now
        self._step: Wait[Any] | None = None  # what was waited for last
        self._expired: str | None = None
        if loads:
            self._name, self._until = "load", now + timeouts.load
        elif not silent:
            self._name, self._until = "first_token", now + timeouts.first_token
        first = min(self._until, self._total)
        self._alarm: Alarm | None = alarms.set(first, self._fire)

    def loaded(self, since_start: bool) -> None:
        """The model is in memory, `since_start` of the attempt or only now."""
        if not self.waits_for_content:
            return
        if self._silent:
            self._name, self._until = "total", math.inf
            return
        begins = self.started if since_start else self.alarms.time()
        self._name, self._until = "first_token", begins + self.timeouts.first_token
        if self._alarm is not None and self._until < self._alarm.at:
            self._arm()

    def content(self) -> None:
        """The answer has begun: from now on only idle and total hold."""
        self.waits_for_content = False
        self._name, self._until = "idle", math.inf
        if not self._silent:
            self._idle = self.timeouts.idle

    def flows(self) -> None:
        """An answer in one piece comes: from now on it is not silent."""
        self._silent = False
        self.content()

    def mind(self, step: Wait[T]) -> Wait[T]:
        """The step, for whoever waits for it now. It is cancelled by `stop` if no other follows."""
        self._step = step
        if self._idle is not None:
            self._until = self.alarms.time() + self._idle
        if self._alarm is None:  # it may have rung when something had come that was no content
            self._fire()
        elif self._until < self._alarm.at:
            self._arm()
        return step

    def check(self) -> None:
        """Raises the timeout, if a clock has cancelled what was waited for."""
        if self._expired is not None:
            said = _SAID[self._expired]
            raise UpstreamError(Kind.TIMEOUT, f"the upstream took too long ({said})") from None

    def brief(self, timeouts: Timeouts) -> Clocks:
        """Others, for what is not worth as much; they hold no longer than these."""
        return Clocks(timeouts, self.alarms, min(self._until, self._total), False, True)

    def stop(self) -> None:
        """Cancel what was waited for last, done or not."""
        if self._step is not None:
            self._step.cancel()
            self._step = None
        if self._alarm is not None:
            self.alarms.call_off(self._alarm)
            self._alarm = None

    def _arm(self) -> None:
        if self._alarm is not None:
            self.alarms.call_off(self._alarm)
        self._alarm = self.alarms.set(min(self._until, self._total), self._fire)

    def _fire(self) -> None:
        """What has come holds up all clocks but total, until more is waited for."""
        self._alarm = None
        if self._step is None:
            return
        waits, now = not self._step.done(), self.alarms.time()
        if waits and self._until < self._total and now >= self._until:
            self._expired = self._name
        elif now >= self._total:
            self._expired = "total"
        else:
            if waits:
                self._arm()
            return
        self._step.cancel()


_SAID = {
    "load": "the model was not loaded in time",
    "first_token": "no content came in time",
    "idle": "it fell silent in mid-answer",
    "total": "the whole answer was not there in time",
}
