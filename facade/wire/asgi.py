"""The answer-writer port under any ASGI server, and a request's body from one.

A whole answer is sent by the request's own task; a stream has a sender task, so that a
slow client never holds up reading, and everything written between two sends leaves in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from litestar.types import Receive, Send

from facade.errors import TooLarge
from facade.wire.connection import SLICE, Stalls, raw_headers
from facade.wire.written import Written

_Message = dict[str, object]


class AsgiAnswer(Written):
    """The Answer of one ASGI request, in the task it is made in.

    `abort` closes the client's socket, where the server lets us.
    """

    _sender: asyncio.Task[None] | None = None
    _wakes: asyncio.Event | None = None  # the sender's, where there is one

    def __init__(self, send: Send, stalls: Stalls, abort: Callable[[], None] | None = None) -> None:
        super().__init__(stalls)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI runs applications in tasks
        self._task = task
        self._send = send
        self._abort = abort

    async def watch(self, receive: Receive) -> None:
        """See that the client leaves."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave()

    def stalled(self) -> None:
        if self._abort:
            self._abort()
        self.leave()

    def cancel(self) -> bool:
        return self._task.cancel()

    def given_up(self) -> bool:
        self._task.uncancel()
        return super().given_up()

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers |= {**headers, "content-length": str(len(body))}
        self._pieces = [body]
        self.ended = True

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers |= headers
        self._wakes = asyncio.Event()
        self._sender = asyncio.create_task(self._run())

    def end(self) -> None:
        self.ended = True
        self._send_soon()

    async def sent(self) -> None:
        """Wait until the client has been given everything."""
        if self._sender is not None:
            await self._sender
        elif self.started:
            await self._run()

    def close(self) -> None:
        """End without finishing: what was not sent is not sent. Harmless after the end."""
        if self._sender is not None:
            self._sender.cancel()
        self._stalls.end(self)

    async def _run(self) -> None:
        headers = raw_headers(self.headers)
        head: _Message = {"type": "http.response.start", "status": self.status, "headers": headers}
        await self._timed(head)
        last = False
        while not last:
            if not self._pieces and not self.ended:
                await self._more()
            for piece, final in self._slices():
                last = self.complete = final and self.ended and not self._pieces
                await self._timed(_body(piece, more=not last))
                self._gone(len(piece))

    def _send_soon(self) -> None:
        if self._wakes is not None:
            self._wakes.set()

    async def _more(self) -> None:
        if self._wakes is not None:
            self._wakes.clear()
            await self._wakes.wait()

    def _slices(self) -> list[tuple[bytes, bool]]:
        """What is held, in sends; the last of them is marked."""
        held = b"".join(self._pieces)
        self._pieces.clear()
        if len(held) <= SLICE:
            return [(held, True)]
        starts = range(0, len(held), SLICE)
        return [(held[start : start + SLICE], start == starts[-1]) for start in starts]

    async def _timed(self, message: _Message) -> None:
        self._stalls.begin(self)
        await self._send(message)  # type: ignore[arg-type]  # ASGI's TypedDicts, built here
        self._stalls.end(self)


def _body(body: bytes, *, more: bool) -> _Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def read_body(receive: Receive, most: int) -> bytes:
    """The request's body; what there is of it if the client left. TooLarge beyond `most` bytes."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(pieces)
        pieces.append(message["body"])
        size += len(message["body"])
        if size > most:
            raise TooLarge(f"the request is larger than {most} bytes (server.max_body)")
        if not message["more_body"]:
            return b"".join(pieces)
