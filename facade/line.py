"""One kind of slots of an upstream: who has one now, who waits, who is refused.

Strategy: a lane counts its slots and keeps a line (facade.turns). A slot that is free is given
at once; else the caller has a Wait, which ends in a slot or a refusal. Whatever frees a slot
gives it on in the same call: no slot is free while somebody waits who may go, and nobody polls.

Of those who ask for a model that is not in memory one goes, and loads it; the others wait until
it is there or the one has ended, and keep no slot from those who ask for other models.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from adapters.dialect import named_remote
from facade.auth import Band
from facade.company import Company, Loaded, Together
from facade.errors import Busy, QueueFull, UpstreamRemoved, WaitedOut
from facade.turns import Asker, Turn, Turns
from facade.waits import Wait

_NEWEST: Final = 0.1  # the share of the latest service in the rolling mean
_GUESSED: Final = 5.0  # seconds of a service, before one has ended
_SOONEST: Final = 1.0  # seconds; nobody is told to come again at once


class BandState(Struct, frozen=True):
    """Who waits in a band. `oldest_seconds`: how long the first has; `wait_seconds`: how long who
    came now would probably wait.
    """

    waiting: int
    oldest_seconds: float
    wait_seconds: float


class LaneState(Struct, frozen=True):
    """A lane at one moment. `queue`: how many may wait; the last six count from the start.

    `busy`: found no slot and did not want to wait. `cancelled`: left while they waited, or in the
    moment in which they were granted.
    """

    slots: int | None
    in_use: int
    queue: int
    bands: Mapping[Band, BandState]
    granted: int
    busy: int
    full: int
    waited_out: int
    removed: int
    cancelled: int

    @property
    def waiting(self) -> int:
        return sum(band.waiting for band in self.bands.values())


class Slot:
    """A call to the upstream that may run. `waited`: seconds that it was waited for."""

    __slots__ = ("_line", "_loads", "_since", "model", "waited")

    def __init__(self, line: Line, model: str, waited: float, *, loads: bool) -> None:
        self._line: Line | None = line
        self._since = line.now()
        self._loads = loads  # it brings its model into memory
        self.model = model
        self.waited = waited

    def begun(self) -> None:
        """Content has come: its model is in memory."""
        if self._line is not None and self._loads:
            self._loads = False
            self._line.loaded(self.model)

    def release(self) -> None:
        """Give it back; twice is harmless."""
        line, self._line = self._line, None
        if line is not None:
            line.served(self.model, self._since, loads=self._loads)

    def pass_on(self) -> None:
        """Give back what nobody used."""
        line, self._line = self._line, None
        if line is not None:
            line.unused(self.model, loads=self._loads)


class _Waiter(asyncio.Future[Slot]):
    """Cancelled, it leaves the line, also in the tick in which it is done: so no slot is lost
    with a caller who is cancelled before the slot gets there.
    """

    line: Line
    turn: Turn
    timer: asyncio.TimerHandle

    def cancel(self, msg: object = None) -> bool:
        cancelled = super().cancel(msg)
        self.line.left(self)
        return cancelled


class Line:
    """The slots of one kind, and those who wait for them."""

    _slots = 0.0  # may be infinite
    _most_waiting = 0
    _closed = False
    _in_use = _granted = _busy = _full = _waited_out = _removed = _cancelled = 0
    _mean: float | None = None  # seconds of a service

    def __init__(
        self,
        upstream: str,
        clock: Callable[[], float],
        loaded: Loaded,
        together: Together,
    ) -> None:
        self._upstream = upstream
        self.now = clock
        self._loaded = loaded
        self._company = Company(loaded, together)
        self._turns = Turns(loaded)
        self._waiters: dict[Turn, _Waiter] = {}

    def enter(self, asker: Asker) -> Slot | Wait[Slot]:
        may = self._in_use < self._slots and asker.model not in self._turns.held
        first = not (self._waiters and self._turns.ready)
        if may and first and self._company.takes(asker.model):
            return self._slot(asker.model, 0.0)
        if self._closed:
            self._removed += 1
            raise self._gone()
        if asker.patience <= 0:
            self._busy += 1
            raise Busy(
                f"no slot of '{self._upstream}' is free: try again later",
                retry_after=self._retry_after(asker.band),
            )
        if len(self._waiters) >= self._most_waiting:
            self._full += 1
            raise QueueFull(
                f"the queue of '{self._upstream}' is full: try again later",
                retry_after=self._retry_after(asker.band),
            )
        return self._wait(asker)

    def resize(self, slots: int | None, most_waiting: int) -> None:
        if not self._closed:
            self._slots = math.inf if slots is None else slots
            self._most_waiting = most_waiting
            self._fill()

    def look(self) -> None:
        self._turns.held.difference_update(self._loaded() or ())
        self._fill()

    def close(self) -> None:
        self._closed = True
        self._slots = 0
        for waiter in list(self._waiters.values()):
            self._removed += 1
            self._leave(waiter)
            waiter.set_exception(self._gone())

    def free(self) -> int | None:
        free = self._slots - self._in_use - len(self._waiters)
        return None if free == math.inf else int(free)

    def snapshot(self) -> LaneState:
        return LaneState(
            slots=None if self._slots == math.inf else int(self._slots),
            in_use=self._in_use,
            queue=self._most_waiting,
            bands={band: self._band(band, since) for band, since in self._turns.since().items()},
            granted=self._granted,
            busy=self._busy,
            full=self._full,
            waited_out=self._waited_out,
            removed=self._removed,
            cancelled=self._cancelled,
        )

    def _band(self, band: Band, since: float | None) -> BandState:
        return BandState(
            waiting=self._turns.waiting()[band],
            oldest_seconds=0.0 if since is None else self.now() - since,
            wait_seconds=0.0 if self._in_use < self._slots else self._expected(band),
        )

    # What slots and waiters tell

    def loaded(self, model: str) -> None:
        """The model is in memory, or nobody loads it any more."""
        self._turns.held.discard(model)
        self._fill()

    def served(self, model: str, since: float, *, loads: bool) -> None:
        """A slot is free that was in use since then; by `loads` its model was not loaded yet."""
        took = self.now() - since
        self._mean = took if self._mean is None else self._mean + (took - self._mean) * _NEWEST
        self._free(model, loads)

    def unused(self, model: str, *, loads: bool) -> None:
        """A slot is free whose caller left in the moment in which it was granted."""
        self._cancelled += 1
        self._free(model, loads)

    def left(self, waiter: _Waiter) -> None:
        """It was cancelled: waiting, in the moment in which it was done, or once more."""
        if waiter.turn.waits:
            self._cancelled += 1
            self._leave(waiter)
        elif not waiter.cancelled() and waiter.exception() is None:
            waiter.result().pass_on()

    # What follows

    def _wait(self, asker: Asker) -> Wait[Slot]:
        waiter = _Waiter()
        waiter.line = self
        waiter.turn = self._turns.enter(asker, self.now())
        waiter.timer = waiter.get_loop().call_later(asker.patience, self._expire, waiter)
        self._waiters[waiter.turn] = waiter
        self._fill()
        return waiter

    def _fill(self) -> None:
        """Give what is free to those whose turn it is."""
        while self._waiters and self._in_use < self._slots and self._turns.ready:
            turn = self._turns.first()
            if not self._company.takes(turn.asker.model):
                return  # no one goes before it until it may
            self._turns.serve(turn)
            waiter = self._waiters.pop(turn)
            waiter.timer.cancel()
            waiter.set_result(self._slot(turn.asker.model, self.now() - turn.arrived))

    def _free(self, model: str, loads: bool) -> None:
        self._in_use -= 1
        self._company.end(model)
        if loads:
            self._turns.held.discard(model)
        self._fill()

    def _slot(self, model: str, waited: float) -> Slot:
        """A slot in use. The first for a model that is not in memory holds the others back."""
        self._in_use += 1
        self._granted += 1
        self._company.begin(model)
        loads = False
        if 1 < self._slots < math.inf:  # else it is alone, or nothing was to be held back
            known = self._loaded()
            if known is not None and model not in known and not named_remote(model):
                loads = True
                self._turns.held.add(model)
        return Slot(self, model, waited, loads=loads)

    def _expire(self, waiter: _Waiter) -> None:
        self._waited_out += 1
        self._leave(waiter)
        waiter.set_exception(self._too_long(waiter.turn.asker))

    def _leave(self, waiter: _Waiter) -> None:
        self._turns.leave(waiter.turn)
        waiter.timer.cancel()
        del self._waiters[waiter.turn]
        self._fill()

    def _too_long(self, asker: Asker) -> WaitedOut:
        return WaitedOut(
            f"no slot of '{self._upstream}' was free in {asker.patience:g} s: try again later",
            retry_after=self._retry_after(asker.band),
        )

    def _gone(self) -> UpstreamRemoved:
        return UpstreamRemoved(f"'{self._upstream}' was taken out of the configuration")

    def _retry_after(self, band: Band) -> float:
        return max(_SOONEST, self._expected(band))

    def _expected(self, band: Band) -> float:
        """Seconds until one who came now would probably be served."""
        ahead = 0
        for each, count in self._turns.waiting().items():
            ahead += count
            if each == band:
                break
        mean = _GUESSED if self._mean is None else self._mean
        return mean * (ahead + 1) / max(self._slots, 1)
