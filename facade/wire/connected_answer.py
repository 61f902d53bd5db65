"""The answer-writer port over a client's connection: no task, no message, nothing in between.

Strategy: what is written goes at once, as far as the client takes it (the connection gathers the
writes of one turn). While it has not taken what it was given, the rest is held here, so that it is
known how much that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from facade.waits import Wait
from facade.wire.connection import SLICE, Connection, Stalls
from facade.wire.stepped import Stepped
from facade.wire.written import Written

_LAST_CHUNK: Final = b"0\r\n\r\n"


class ConnectedAnswer(Stepped, Written):
    """The Answer of one request on a connection of our own server, and the work that gives it."""

    def __init__(self, connection: Connection, stalls: Stalls) -> None:
        Stepped.__init__(self, connection.cohort)
        Written.__init__(self, stalls)
        self.keep_alive = True  # the connection serves another request after it
        self._connection = connection
        self._chunked = False
        self._head = b""
        self._turn: asyncio.Handle | None = None
        self._sent: Wait[None] | None = None

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.headers.update(headers)
        self.headers["content-length"] = str(len(body))
        head = self._begun(status)
        if len(body) <= SLICE and not self._connection.paused:
            self.ended = True
            self._finish(head + body)
            return
        self._head = head
        self._pieces.append(body)
        self._held = len(body)
        self.end()

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self._chunked = self._connection.chunked
        self.headers.update(headers)
        if self._chunked:
            self.headers["transfer-encoding"] = "chunked"
        self._head = self._begun(status)
        self._send_soon()

    def write(self, data: bytes) -> None:
        if self._held or len(data) > SLICE or self._connection.paused:
            super().write(data)
        elif data:
            self._connection.write(self._head + self._framed(data))
            self._head = b""

    def end(self) -> None:
        self.ended = True
        if self._head or self._held or self._connection.paused:
            self.resume()
        else:
            self._finish(_LAST_CHUNK if self._chunked else b"")

    async def sent(self) -> None:
        """Wait until the connection has taken everything."""
        if self.started and not self.complete:
            self._sent = self._cohort.loop.get().create_future()
            await self._sent

    def close(self) -> None:
        """End without finishing: what was not written is not. Harmless after the end."""
        if self._turn is not None:
            self._turn.cancel()
        if not self.complete:
            self._pieces.clear()
            self._stalls.end(self)

    def stalled(self) -> None:
        self._connection.abort()
        self.leave()

    def has_ended(self) -> None:
        self._connection.ended(self)

    def pause(self) -> None:
        """The client has not taken what was written; of what is complete nothing waits for it."""
        if not self.complete:
            self._stalls.begin(self)

    def resume(self) -> None:
        """Write what is held, as far as the client takes it."""
        self._turn = None
        self._stalls.end(self)
        while not self._connection.paused and not self.complete:
            if not (self._pieces or self._head or self.ended):
                return
            self._write_slice()
        if not self.complete:
            self._stalls.begin(self)

    def _begun(self, status: int) -> bytes:
        """The head of the answer."""
        self.status = status
        if not self.keep_alive:
            self.headers["connection"] = "close"
        return self._connection.begin(status, self.headers)

    def _send_soon(self) -> None:
        if self._turn is None and not self._connection.paused:
            self._turn = self._cohort.loop.get().call_soon(self.resume)

    def _write_slice(self) -> None:
        held = self._next_slice()
        data = self._head + self._framed(held)
        self._head = b""
        self._gone(len(held))
        if not self.ended or self._pieces:
            self._connection.write(data)
        else:
            self._finish(data + _LAST_CHUNK if self._chunked else data)

    def _finish(self, data: bytes) -> None:
        """Write the last of it."""
        self.complete = True
        self._connection.finish(data)
        if self._sent is not None and not self._sent.done():
            self._sent.set_result(None)

    def _next_slice(self) -> bytes:
        """What goes next of the pieces. Where it is much, it is cut once, not for each slice."""
        pieces = self._pieces
        if self._held > SLICE:
            if len(pieces[0]) != SLICE:
                held = b"".join(pieces)
                pieces[:] = [held[at : at + SLICE] for at in range(0, len(held), SLICE)]
            return pieces.pop(0)
        held = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return held

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data
