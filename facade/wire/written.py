"""What both writers of answers share: what was written for a client and is not sent yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from facade.waits import Wait
from facade.wire.answer import READ_AHEAD
from facade.wire.connection import Stalls


class Written:
    """The part of an answer that waits for its client; `stalled` is called if it takes nothing."""

    def __init__(self, stalls: Stalls, stalled: Callable[[], None]) -> None:
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.ended = False
        self.complete = False  # nothing is left to be sent
        self._stalls = stalls
        self._stalled = stalled
        self._pieces: list[bytes] = []
        self._held = 0
        self._room: Wait[None] | None = None

    @property
    def started(self) -> bool:
        return self.status is not None

    def write(self, data: bytes) -> None:
        if data:
            self._pieces.append(data)
            self._held += len(data)
            self._send_soon()

    def drained(self) -> Wait[None] | None:
        if self._held < READ_AHEAD:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    def _gone(self, size: int) -> None:
        """So many bytes of it have gone."""
        self._held -= size
        if self._room is not None and self._held < READ_AHEAD:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    def _send_soon(self) -> None:
        raise NotImplementedError  # each of the two has its own way
