"""The answer-writer port under ASGI, and the client's hang-up.

A whole answer is sent by the request's own task; a stream has a sender task, so that a
slow client never holds up reading, and everything written between two sends leaves in one.
A client that leaves, or takes nothing for too long, cancels the request's task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Protocol

from litestar.types import Receive, Send

from facade.errors import TooLarge
from facade.waits import Wait
from facade.wire.answer import READ_AHEAD

_Message = dict[str, object]
_SLICE: Final = 64 * 1024  # bytes a send: a client that takes this much is not idle
_LONGEST: Final = 4096  # characters of a header; clients give up at 8 KiB
_PRINTABLE: Final = bytes.maketrans(
    bytes([*range(32), *range(127, 256)]), b"?" * (32 + 129)
)  # a header that cannot be written must not break the answer it belongs to


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI takes them; what is not printable ASCII becomes `?`, what is long is cut."""
    return [(name.encode(), _header_value(value)) for name, value in headers.items()]


def _header_value(value: str) -> bytes:
    if len(value) > _LONGEST or not (value.isascii() and value.isprintable()):
        return value[:_LONGEST].encode("ascii", "replace").translate(_PRINTABLE)
    return value.encode()


class Stalls:
    """The sends under way, and since when: one timer for all, as they are many and stalls are rare.

    A client that takes nothing for `client_idle` seconds is told of by its `stalled`.
    """

    def __init__(self, client_idle: float) -> None:
        self._client_idle = client_idle
        self._since: dict[Callable[[], None], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, stalled: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._since[stalled] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._client_idle / 4, self._look, loop)

    def end(self, stalled: Callable[[], None]) -> None:
        self._since.pop(stalled, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - self._client_idle
        for stalled in [stalled for stalled, since in self._since.items() if since <= late]:
            self.end(stalled)
            stalled()
        self._timer = None
        if self._since:
            self._timer = loop.call_later(self._client_idle / 4, self._look, loop)


class AsgiAnswer:
    """The AnswerWriter of one ASGI request; `stalled` is called if its client takes nothing."""

    def __init__(self, send: Send, stalls: Stalls, stalled: Callable[[], None]) -> None:
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.complete = False  # nothing is left to be sent
        self._send = send
        self._stalls = stalls
        self._stalled = stalled
        self._pieces: list[bytes] = []
        self._held = 0
        self._ended = False
        self._sender: asyncio.Task[None] | None = None
        self._wakes: asyncio.Event | None = None  # the sender's, where there is one
        self._room: Wait[None] | None = None

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def started(self) -> bool:
        return self.status is not None

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers |= {**headers, "content-length": str(len(body))}
        self._pieces = [body]
        self._ended = True

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers |= headers
        self._wakes = asyncio.Event()
        self._sender = asyncio.create_task(self._run())

    def write(self, data: bytes) -> None:
        if data:
            self._pieces.append(data)
            self._held += len(data)
            self._wake()

    def drained(self) -> Wait[None] | None:
        if self._held < READ_AHEAD:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    def end(self) -> None:
        self._ended = True
        self._wake()

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
        self._stalls.end(self._stalled)

    async def _run(self) -> None:
        headers = raw_headers(self.headers)
        head: _Message = {"type": "http.response.start", "status": self.status, "headers": headers}
        await self._timed(head)
        last = False
        while not last:
            if not self._pieces and not self._ended:
                await self._more()
            for piece, final in self._slices():
                last = self.complete = final and self._ended and not self._pieces
                await self._timed(_body(piece, more=not last))
                self._held -= len(piece)
                self._make_room()

    def _wake(self) -> None:
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
        if len(held) <= _SLICE:
            return [(held, True)]
        starts = range(0, len(held), _SLICE)
        return [(held[start : start + _SLICE], start == starts[-1]) for start in starts]

    async def _timed(self, message: _Message) -> None:
        self._stalls.begin(self._stalled)
        await self._send(message)  # type: ignore[arg-type]  # ASGI's TypedDicts, built here
        self._stalls.end(self._stalled)

    def _make_room(self) -> None:
        if self._room is not None and self._held < READ_AHEAD:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None


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


class Connection(Protocol):
    """A client's connection, from a server that gives more of it than ASGI does."""

    def abort(self) -> None:
        """Close the socket without waiting for what the client has not taken."""

    def on_leave(self, leave: Callable[[], None]) -> None:
        """Call `leave` once, when the client is gone; at once if it is gone already."""

    def forget(self) -> None:
        """Call nothing any more."""


class Client(NamedTuple):
    """A client as ASGI gives it. Without a `connection` its leaving is asked of `receive`."""

    receive: Receive
    send: Send
    connection: Connection | None = None


def _own_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - ASGI runs applications in tasks
    return task


async def until_hang_up(
    client: Client,
    stalls: Stalls,
    work: Callable[[AsgiAnswer], Awaitable[None]],
    stopping: Callable[[AsgiAnswer], None],
) -> int | None:
    """Run `work` until it has answered or its client is gone; the status it answered with.

    None: the client left, or took nothing for too long and was cut. The task is
    cancelled then, so that what `work` holds is released. Where the server stops instead,
    `stopping` says the last word of an answer that has not ended.
    """
    task = _own_task()
    left = False

    def leave() -> None:
        nonlocal left
        if not answer.complete:  # servers also say "disconnect" after the last byte
            left = True
            task.cancel()

    def cut() -> None:
        if client.connection:
            client.connection.abort()
        leave()

    answer = AsgiAnswer(client.send, stalls, cut)
    unwatch = _watch(client, leave)
    try:
        await work(answer)
        await answer.sent()
    except asyncio.CancelledError:
        task.uncancel()
        if left or answer.ended:  # what is being sent cannot be taken up again
            return None
        stopping(answer)
        await answer.sent()
    finally:
        unwatch()
        answer.close()
    return answer.status


def _watch(client: Client, leave: Callable[[], None]) -> Callable[[], object]:
    """Have `leave` called when the client is gone; gives what ends that."""
    if client.connection:
        client.connection.on_leave(leave)
        return client.connection.forget
    return asyncio.create_task(_received_all(client.receive, leave)).cancel


async def _received_all(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()
