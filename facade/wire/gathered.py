"""A transport whose small writes wait for the loop's next turn, and go when those of all others go.

Strategy: the system's way of sending is more code than a request's own. Where each request sends
for itself, each finds the processor's caches full of that, and wakes a peer that has just fallen
asleep; sent one after the other they cost half.
"""

from __future__ import annotations

import asyncio
from typing import Final

from facade.waits import Cohort

_AT_ONCE: Final = 64 * 1024  # bytes; with so many what is known of the peer's pace counts


class Gathered:
    """As far as our protocols and uvicorn ask. Closed, it writes what it holds; aborted, it does
    not. What it has written by then is told as the transport tells it.
    """

    def __init__(self, transport: asyncio.Transport, cohort: Cohort) -> None:
        self._transport = transport
        self._cohort = cohort
        self._held = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if self._held:
            self._held += data
        else:  # as nearly always
            self._held = data
            self._cohort.add(self)
        if len(self._held) > _AT_ONCE:
            self.step()

    def step(self) -> None:
        """Write what is held, unless the peer has gone; nothing, if that has been done."""
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        self.step()
        self._transport.close()

    def abort(self) -> None:
        self._held = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        return len(self._held) + self._transport.get_write_buffer_size()
