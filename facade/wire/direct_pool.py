"""The lines to one upstream: so many in use at a time, the rest idle, the latest used first.

Strategy: nothing here depends on how many lines or takers there are, and taking an idle line
needs no task. The latest used is the surest to be open and the warmest; the others grow old
and are closed by one timer.
"""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from typing import Protocol

from facade.waits import Cohort, Loop
from facade.wire.direct_line import Line, Listener, connect
from facade.wire.site import Site
from facade.wire.upstream import KEEP_ALIVE


class Taker(Listener, Protocol):
    """Who takes a line. From its turn on it has a place, until it gives the line back or leaves."""

    def start(self, line: Line) -> None: ...

    def refused(self, error: BaseException) -> None:
        """No line could be made; the place is still held."""

    def drop(self) -> None:
        """Leave: all connections to the upstream are closed."""


class Pool:
    """Takers wait in the order in which they came."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.loop = Loop()
        self._cohort = Cohort()
        self._takers: set[Taker] = set()  # who have a place
        self._waiting: OrderedDict[Taker, None] = OrderedDict()
        self._connecting: dict[Taker, asyncio.Task[None]] = {}
        self._idle: dict[Line, float] = {}  # with the loop's time since when
        self._sweeping: asyncio.TimerHandle | None = None
        self._ends: set[asyncio.Future[None]] = set()  # of all that is under way

    def take(self, taker: Taker) -> None:
        """Start the taker on an idle line, or on a new one as soon as there is a place."""
        if self._idle:
            self._takers.add(taker)
            taker.start(self._idle.popitem()[0])
        elif len(self._takers) < self.site.connections:
            self._takers.add(taker)
            self.connect(taker)
        else:
            self._waiting[taker] = None

    def connect(self, taker: Taker) -> None:
        """Start a taker that has its place on a new line."""
        task = asyncio.create_task(
            connect(self.site, self._cohort, functools.partial(self._made, taker))
        )
        self._connecting[taker] = task
        self._await_end(task)
        task.add_done_callback(functools.partial(self._tried, taker))

    def give_back(self, taker: Taker, line: Line) -> None:
        """The place and the line are for the next."""
        self._takers.remove(taker)
        line.used = True
        if self._waiting:
            self._next().start(line)
            return
        self._idle[line] = now = self.loop.time()
        line.listener = self
        if self._sweeping is None:
            self._sweep_at(now + KEEP_ALIVE)

    def leave(self, taker: Taker) -> None:
        """The taker wants nothing more, wherever it is; a line of its own it has closed."""
        if taker in self._waiting:
            del self._waiting[taker]
            return
        self._takers.remove(taker)
        connecting = self._connecting.pop(taker, None)
        if connecting is not None:
            connecting.cancel()
        if self._waiting:
            self.connect(self._next())

    def received(self, line: Line, _data: bytes) -> None:
        """Nobody asked on an idle line: whatever this is, it is no answer."""
        del self._idle[line]
        line.close()

    def ended(self, line: Line, _error: Exception | None) -> None:
        del self._idle[line]

    async def close(self) -> None:
        """Returns when every socket is closed."""
        for taker in (*self._waiting, *self._takers):
            taker.drop()
        for line in self._idle:
            line.close()
        self._idle.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        while self._ends:
            await asyncio.wait(self._ends)

    def _next(self) -> Taker:
        """Who has waited longest; it has the place that has become free."""
        taker, _ = self._waiting.popitem(last=False)
        self._takers.add(taker)
        return taker

    def _made(self, taker: Taker, line: Line) -> None:
        self._await_end(line.gone)
        if self._connecting.pop(taker, None) is None:
            line.close()
        else:
            taker.start(line)

    def _tried(self, taker: Taker, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._connecting.get(taker) is not task:
            return
        del self._connecting[taker]
        if error is None:
            taker.drop()
        else:
            taker.refused(error)

    def _await_end(self, end: asyncio.Future[None]) -> None:
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)

    def _sweep_at(self, when: float) -> None:
        self._sweeping = self.loop.get().call_at(when, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long; the oldest come first."""
        self._sweeping = None
        now = self.loop.time()
        for line, since in tuple(self._idle.items()):
            if since + KEEP_ALIVE > now:
                self._sweep_at(since + KEEP_ALIVE)
                return
            del self._idle[line]
            line.close()
