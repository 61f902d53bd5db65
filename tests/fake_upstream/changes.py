"""Waiting, from any thread and any event loop, until something is so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future


class Changes:
    """Whoever changes something calls `tell`; what is waited for is looked at anew then."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Future[None]]] = []
        self._lock = threading.Lock()

    def tell(self) -> None:
        """Something has changed."""
        with self._lock:
            for so, reached in self._waiting:
                if not reached.done() and so():
                    reached.set_result(None)

    async def until(self, so: Callable[[], bool], within: float) -> None:
        """Return when `so()`; TimeoutError if that takes more than so many seconds."""
        reached: Future[None] = Future()
        waiting = (so, reached)
        with self._lock:
            self._waiting.append(waiting)
        try:
            self.tell()
            async with asyncio.timeout(within):
                # Shielded, so that a timeout never cancels what another thread is about to set.
                await asyncio.shield(asyncio.wrap_future(reached))
        finally:
            with self._lock:
                self._waiting.remove(waiting)
