"""What both writers of answers share: what was written for a client and is not sent yet."""

from __future__ import annotations

import asyncio

from facade.waits import Wait
from facade.wire.answer import READ_AHEAD
from facade.wire.connection import Stalls


class Written:
    """The part of an answer that waits for its client."""

    def __init__(self, stalls: Stalls) -> None:
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.ended = False
        self.complete = False  # nothing is left to be sent
        self.left = False  # the client is gone
        self._held = 0
        self._room: Wait[None] | None = None
        self._stalls = stalls
        self._pieces: list[bytes] = []

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

    def given_up(self) -> bool:
        """What is being sent cannot be taken up again."""
        return self.left or self.ended

    def leave(self) -> None:
        """The client is gone."""
        if not self.complete:  # servers also say "disconnect" after the last byte
            self.left = True
            self.cancel()

    def _gone(self, size: int) -> None:
        """So many bytes of it have gone."""
        self._held -= size
        if self._room is not None and self._held < READ_AHEAD:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    # Each of the two has its own way

    def _send_soon(self) -> None:
        raise NotImplementedError

    def cancel(self) -> bool:
        """Cancel the work that gives it."""
        raise NotImplementedError
