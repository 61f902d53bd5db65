"""The answer-writer port over a client's connection: no task, no message, one write a turn.

Strategy: what is written in one turn of the loop leaves in one write at its end, or at once
where nothing more can come. While the client has not taken what it was given, the rest is held
here, so that it is known how much that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from facade.waits import Wait
from facade.wire.answer import READ_AHEAD
from facade.wire.connection import SLICE, Connection, Stalls


def _nobody() -> None: ...


class ConnectedAnswer:
    """The AnswerWriter of one request; `stalled` is called if its client takes nothing."""

    def __init__(self, connection: Connection, stalls: Stalls, stalled: Callable[[], None]) -> None:
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.ended = False
        self.complete = False  # nothing is left to be written
        self._connection = connection
        self._stalls = stalls
        self._stalled = stalled
        self._chunked = False
        self._head = b""
        self._pieces: list[bytes] = []
        self._held = 0
        self._turn: asyncio.Handle | None = None
        self._room: Wait[None] | None = None
        self._sent: Wait[None] | None = None

    @property
    def started(self) -> bool:
        return self.status is not None

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers |= headers
        self.headers["content-length"] = str(len(body))
        head = self._connection.begin(status, self.headers)
        if len(body) <= SLICE and not self._connection.paused:
            self.ended = self.complete = True
            self._connection.write(head + body)
            self._connection.finish()
            return
        self._head = head
        self._pieces.append(body)
        self._held = len(body)
        self.end()

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers |= headers
        self._chunked = self._connection.chunked
        if self._chunked:
            self.headers["transfer-encoding"] = "chunked"
        self._head = self._connection.begin(status, self.headers)
        self._write_soon()

    def write(self, data: bytes) -> None:
        if data:
            self._pieces.append(data)
            self._held += len(data)
            self._write_soon()

    def drained(self) -> Wait[None] | None:
        if self._held < READ_AHEAD:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    def end(self) -> None:
        self.ended = True
        self.resume()

    async def sent(self) -> None:
        """Wait until the connection has taken everything."""
        if self.started and not self.complete:
            self._sent = asyncio.get_running_loop().create_future()
            await self._sent

    def close(self) -> None:
        """End without finishing: what was not written is not. Harmless after the end."""
        if self._turn is not None:
            self._turn.cancel()
        self._pieces.clear()
        self._stalls.end(self._stalled)
        self._stalled = _nobody  # who cares, and knows us

    def resume(self) -> None:
        """Write what is held, as far as the client takes it."""
        self._turn = None
        self._stalls.end(self._stalled)
        while not self._connection.paused and not self.complete:
            if not (self._pieces or self._head or self.ended):
                return
            self._write_slice()
        if not self.complete:
            self._stalls.begin(self._stalled)

    def _write_soon(self) -> None:
        if self._turn is None and not self._connection.paused:
            self._turn = asyncio.get_running_loop().call_soon(self.resume)

    def _write_slice(self) -> None:
        pieces = self._pieces
        held = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if len(held) > SLICE:
            pieces.append(held[SLICE:])
            held = held[:SLICE]
        self._held -= len(held)
        self.complete = self.ended and not pieces
        self._connection.write(self._head + self._framed(held))
        self._head = b""
        if self._room is not None and self._held < READ_AHEAD:
            self._settle(self._room)
            self._room = None
        if self.complete:
            self._connection.finish()
            self._settle(self._sent)

    def _framed(self, data: bytes) -> bytes:
        if not self._chunked:
            return data
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return chunk + b"0\r\n\r\n" if self.complete else chunk

    @staticmethod
    def _settle(wait: Wait[None] | None) -> None:
        if wait is not None and not wait.done():
            wait.set_result(None)
