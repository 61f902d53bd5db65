"""The answer-writer port under any ASGI server, and a request's body from one.

Strategy: the request's task sends, and does nothing else, so that a slow client never holds up
reading, and everything written between two sends leaves in one. The work that gives the answer
is stepped beside it, as on a connection of our own server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from litestar.types import Receive, Send

from facade.alarms import Overdue
from facade.errors import TooLarge
from facade.waits import Cohort, Prompt, Wait
from facade.wire.connection import SLICE, Stalls, raw_headers
from facade.wire.stepped import Stepped
from facade.wire.written import Written

_WATCHED_AFTER: Final = 0.05  # seconds: the task that watches costs more than a short answer


class Clients:
    """What all answers share: whose clients stall, who is ready, who is not watched yet."""

    def __init__(self, stalls: Stalls) -> None:
        self.stalls = stalls
        self.cohort = Cohort()
        self.unwatched = Overdue(_WATCHED_AFTER, AsgiAnswer.watch)


class AsgiAnswer(Stepped, Written):
    """The Answer of one ASGI request, and the work that gives it; made in the request's task.

    `abort` closes the client's socket, where the server lets us.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        clients: Clients,
        abort: Callable[[], None] | None = None,
    ) -> None:
        Stepped.__init__(self, clients.cohort)
        Written.__init__(self, clients.stalls)
        task = asyncio.current_task(clients.cohort.loop.get())
        assert task is not None  # noqa: S101 - ASGI runs applications in tasks
        self._task = task
        self._receive = receive
        self._send = send
        self._unwatched = clients.unwatched
        self._abort = abort
        self._watching: asyncio.Task[None] | None = None
        self._begun = False  # the head is sent
        self._fresh = False  # something was written since the last send
        self._sending = False  # it stays where a send is cut: nothing can follow
        self._last = False  # what is sent, or was, is the end of the answer
        self._more: Wait[None] | None = None  # that something is; the task's
        self._sent: Prompt[None] | None = None  # that all is sent; the work's

    async def give(self, work: Coroutine[Any, Any, object]) -> None:
        """Send what the work writes, until it has ended. Raises what sending does, but OSErrors."""
        self._unwatched.begin(self)
        try:
            self.begin(work)
            while not self._is_over:
                try:
                    await self._next()
                except OSError:  # as servers may tell that the client is gone
                    self._cut()
                except asyncio.CancelledError:
                    self._cancelled()
        except BaseException:
            self._sending = False  # the task is the server's again: nobody sends a last word
            self._cut()
            raise
        finally:
            self._unwatched.end(self)
            if self._watching is not None:
                self._watching.cancel()

    def stalled(self) -> None:
        if self._abort:
            self._abort()
        super().leave()

    def leave(self) -> None:
        """The client is gone; servers also say so once they have been given the last byte."""
        if not self._last:
            super().leave()

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers.update(headers)
        self.headers["content-length"] = str(len(body))
        self._pieces = [body]
        self._held = len(body)
        self.end()

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers.update(headers)
        self._send_soon()

    def end(self) -> None:
        self.ended = self._fresh = True
        self._wake()

    async def sent(self) -> None:
        """Wait until the client has been given everything."""
        if self.started and not self.complete:
            self._sent = Prompt(loop=self._cohort.loop.get())
            try:
                await self._sent
            finally:
                self._sent = None  # which knows us: together they would wait for the collector

    def close(self) -> None:
        """End without finishing: what was not sent is not sent. Harmless after the end."""
        self._stalls.end(self)

    def has_ended(self) -> None:
        if self._sending:
            self._task.cancel()
        else:
            self._wake()

    def _next(self) -> Awaitable[None]:
        """What the task does now: send what there is, or wait for more."""
        if self._fresh and not self._sending:
            self._fresh = False
            return self._send_held()
        self._more = self._cohort.loop.get().create_future()
        return self._more

    def _cancelled(self) -> None:
        self._task.uncancel()
        if self._sending:
            self._cut()
        else:  # the server stops, and the work may have a last word
            self.cancel()

    async def _send_held(self) -> None:
        if self.complete:
            return
        self._sending = True
        self._stalls.begin(self)
        if not self._begun:
            self._begun = True
            headers = raw_headers(self.headers)
            head = {"type": "http.response.start", "status": self.status, "headers": headers}
            await self._send(head)  # type: ignore[arg-type]  # ASGI's TypedDicts, built here
        for piece, final in self._slices():
            self._last = final and self.ended and not self._pieces
            more = not self._last
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})
            self._gone(len(piece))
            if not final:  # the next is another send
                self._stalls.begin(self)
        self._stalls.end(self)
        self._sending = False
        self.complete = self._last
        if self.complete and self._sent is not None:
            self._all_is_sent(self._sent)

    def _all_is_sent(self, sent: Prompt[None]) -> None:
        if not sent.done():
            sent.cohort = None  # the work is alone in this stage
            sent.set_result(None)
            self.step()

    def _slices(self) -> list[tuple[bytes, bool]]:
        """What is held, in sends; the last of them is marked."""
        held = b"".join(self._pieces)
        self._pieces.clear()
        if len(held) <= SLICE:
            return [(held, True)] if held or self.ended else []
        starts = range(0, len(held), SLICE)
        return [(held[start : start + SLICE], start == starts[-1]) for start in starts]

    def _send_soon(self) -> None:
        """After the work's next stage: it may have more by then, and a send is dear."""
        if not self._fresh:
            self._fresh = True
            self._cohort.loop.get().call_soon(self._wake)

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _cut(self) -> None:
        """What was being sent is lost, and with it whatever comes after it."""
        self.left = True
        self.cancel()

    def watch(self) -> None:
        """See that the client leaves."""
        self._watching = self._cohort.loop.get().create_task(self._until_left())

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leave()


async def read_body(receive: Receive, most: int) -> bytes:
    """The request's body; nothing of it if the client left. TooLarge beyond `most` bytes."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # what came of it may be valid, and nobody is there for an answer
        piece = message["body"]
        size += len(piece)
        if size > most:
            raise TooLarge(f"the request is larger than {most} bytes (server.max_body)")
        pieces.append(piece)
        if not message["more_body"]:
            return b"".join(pieces)  # no copy of a single one
