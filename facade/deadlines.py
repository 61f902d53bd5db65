"""The clocks of one attempt: load, first token, idle and total (connect is the connection's).

Strategy: one alarm at most. What is waited for is given to `guard`, which cancels it when
the clock that holds at that moment runs out and says which. Progress only moves the
deadline; the alarm finds out when it rings. Idle counts only while we wait to read.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TypeVar

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

    `until`: when the request's own time is over, by the loop's time; then when the clock that
    holds just now runs out.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        alarms: Alarms,
        *,
        loads: bool,
        silent: bool,
        until: float = math.inf,
    ) -> None:
        self._alarms = alarms
        self.timeouts = timeouts
        self.waits_for_content = True
        self._silent = silent
        self._started = self._alarms.time()
        self._name = "total"
        self.until = self._total = min(self._started + timeouts.total, until)
        self._cancel: Callable[[], object] | None = None  # what is waited for
        self._expired: str | None = None
        self._alarm: Alarm | None = None
        if loads:
            self._set("load", self._started + timeouts.load)
        elif not silent:
            self._set("first_token", self._started + timeouts.first_token)

    def loaded(self, since_start: bool) -> None:
        """The model is in memory, `since_start` of the attempt or only now."""
        if not self.waits_for_content:
            return
        if self._silent:
            self._set("total", self._total)
        else:
            begins = self._started if since_start else self._alarms.time()
            self._set("first_token", begins + self.timeouts.first_token)

    def content(self) -> None:
        """The answer has begun: from now on only idle and total hold."""
        self.waits_for_content = False
        self._set("total", self._total)

    def flows(self) -> None:
        """An answer in one piece comes: from now on it is not silent."""
        self._silent = False
        self.content()

    async def guard(self, step: Wait[T], *, idle: bool = False) -> T:
        """The result of `step`; raises the timeout if a clock runs out first.

        `idle`: silence while waiting for this counts.
        """
        if idle and not self.waits_for_content and not self._silent:
            self._set("idle", self._alarms.time() + self.timeouts.idle)
        self._cancel = step.cancel
        self._arm()
        try:
            return await step
        except asyncio.CancelledError:
            if self._expired is None:
                step.cancel()
                raise
            raise UpstreamError(
                Kind.TIMEOUT, f"the upstream took too long ({_SAID[self._expired]})"
            ) from None
        finally:
            self._cancel = None

    def brief(self, timeouts: Timeouts) -> Clocks:
        """Others, for what is not worth as much; they hold no longer than these."""
        return Clocks(timeouts, self._alarms, loads=False, silent=True, until=self.until)

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarms.call_off(self._alarm)
            self._alarm = None

    def _set(self, name: str, at: float) -> None:
        sooner = at < self.until
        self._name, self.until = (name, at) if at < self._total else ("total", self._total)
        if sooner and self._alarm is not None:
            self.stop()
            self._arm()

    def _arm(self) -> None:
        if self._alarm is None:
            self._alarm = self._alarms.set(self.until, self._fire)

    def _fire(self) -> None:
        self._alarm = None
        if self._cancel is None:
            return
        if self._alarms.time() < self.until:
            self._arm()
            return
        self._expired = self._name
        self._cancel()


_SAID = {
    "load": "the model was not loaded in time",
    "first_token": "no content came in time",
    "idle": "it fell silent in mid-answer",
    "total": "the whole answer was not there in time",
}
