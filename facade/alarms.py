"""What is to happen at a time, unless it is called off: nearly all of it is.

Strategy: one timer of the loop for all, because setting and cancelling one costs more than a
whole step of a request. What was called off stays in the heap until it is on top, or until most
of the heap is such.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final, Generic, TypeVar

from msgspec import Struct

from facade.waits import Loop

T = TypeVar("T")
_FEW: Final = 64  # called off, and not worth sweeping


class Alarm(Struct, order=True):
    """One of them; of those at the same time the first `number` is first. `ring` None: it has rung
    or was called off.
    """

    at: float
    number: int
    ring: Callable[[], object] | None


class Alarms(Loop):
    """Those of one loop. Times are the loop's."""

    def __init__(self) -> None:
        super().__init__()
        self._heap: list[Alarm] = []
        self._order = count()
        self._off = 0  # in the heap, and called off
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when the timer fires

    def set(self, at: float, ring: Callable[[], object]) -> Alarm:
        alarm = Alarm(at, next(self._order), ring)
        heapq.heappush(self._heap, alarm)
        if self._timer is None or at < self._next:
            self._wake_at(at)
        return alarm

    def call_off(self, alarm: Alarm) -> None:
        """Harmless where it has rung."""
        if alarm.ring is None:
            return
        alarm.ring = None
        self._off += 1
        if self._off > _FEW and self._off * 2 > len(self._heap):
            self._heap = [each for each in self._heap if each.ring is not None]
            heapq.heapify(self._heap)
            self._off = 0

    def _wake_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = at
        self._timer = self.get().call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = self.time()
        while self._heap and (self._heap[0].at <= now or self._heap[0].ring is None):
            alarm = heapq.heappop(self._heap)
            ring, alarm.ring = alarm.ring, None
            if ring is None:
                self._off -= 1
            else:
                ring()
        if self._heap and (self._heap[0].at < self._next or self._timer is None):
            self._wake_at(self._heap[0].at)


class Overdue(Generic[T]):
    """Those who all wait equally long, and since when: `tell` is called with whom that is too long.

    It is a quarter of the time late at most.
    """

    def __init__(self, seconds: float, tell: Callable[[T], object]) -> None:
        self._seconds = seconds
        self._tell = tell
        self._since: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = Loop()

    def begin(self, who: T) -> None:
        self._since[who] = self._loop.time()
        if self._timer is None:
            self._look_later()

    def end(self, who: T) -> None:
        """Harmless where nobody waits."""
        self._since.pop(who, None)

    def _look_later(self) -> None:
        self._timer = self._loop.get().call_later(self._seconds / 4, self._look)

    def _look(self) -> None:
        late = self._loop.time() - self._seconds
        for who in [who for who, since in self._since.items() if since <= late]:
            self.end(who)
            self._tell(who)
        self._timer = None
        if self._since:
            self._look_later()
