"""uvicorn's HTTP protocol, with a shorter way for the paths that are asked for all the time.

Strategy: a POST to a busy path goes from the parser's callbacks to the application and back
without ASGI, whose cycle (a task, an event, a scope, two messages) costs more than a second
socket. What is unusual (a body without a length, one that is announced, requests in one packet, a
caller who is refused) goes uvicorn's way, as all other paths do: there is nothing that one way
answers and the other does not. Also here: a request's head has a size, and connections without
a request share one timer.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from facade.errors import BadRequest
from facade.wire.connection import Stalls, header_lines
from facade.wire.head import ABORT, Busy, Entered, Head, Headers
from facade.wire.stepped import Stepped

_LONGEST_HEAD: Final = 256 * 1024  # bytes, in whole reads; clients send some hundred
_MOST_UNSENT: Final = 64 * 1024  # bytes that the system holds for a client that does not take them
_MOST_IN_LINE: Final = 8  # requests of a connection behind the one that is answered
_OFFER: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


_idle: Final[WeakKeyDictionary[Config, Stalls]] = WeakKeyDictionary()


class Protocol(HttpToolsProtocol):
    """One connection. Of its requests one is answered at a time."""

    _head = 0  # bytes read since the last request's head was whole
    _in_head = True
    _visit: _Visit | None = None  # of whose request the body is read
    _whole: _Visit | None = None  # whose request has just been read
    answering: _Visit | None = None
    gone = False

    def __init__(self, config: Config, server_state: ServerState, *more: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(config, server_state, *more, **named)
        self._busy: Mapping[bytes, Busy] = getattr(self.app, "busy", {})
        self._idle = _idle.setdefault(config, Stalls(config.timeout_keep_alive))
        self._idle_too_long = self.timeout_keep_alive_handler

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as there
        """The system would take megabytes, and hide for a long time that a client moves."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not on Windows
            transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT
            )
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._head > _LONGEST_HEAD:
                self.send_400_response("the request's head is too large")
                return
            self._head += len(data)
            # Java's client offers h2c with all it asks; the parser drops the body of an offer.
            if b"\r\nupgrade:" in data.lower():
                data = _OFFER.sub(b"\r\nx-upgrade:", data)
        super().data_received(data)
        if self._whole is not None:
            visit, self._whole = self._whole, None
            visit.start()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is told like every error."""
        failure = BadRequest(msg, code="invalid_http")
        body = failure.body()
        headers = failure.headers() | {
            "x-request-id": f"req_{secrets.token_hex(12)}",
            "content-length": str(len(body)),
            "connection": "close",
        }
        self.transport.write(STATUS_LINE[400] + header_lines(headers) + b"\r\n" + body)
        self.transport.close()

    # What the parser sees

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        busy = self._busy.get(self.url)
        self._visit = self._entered(busy) if busy and self._free else None
        if self._visit is None:
            self._as_asgi()
        else:
            self.cycle = self._visit  # type: ignore[assignment]  # as far as uvicorn asks

    def on_body(self, body: bytes) -> None:
        if self._visit is not None:
            self._visit.pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        if self._visit is not None:
            self._whole, self._visit = self._visit, None
        else:
            super().on_message_complete()

    @property
    def _free(self) -> bool:
        """Whether no request is being answered."""
        cycle: Any = self.cycle  # None at first, against its annotation
        return cycle is None or cycle.response_complete

    def _entered(self, busy: Busy) -> _Visit | None:
        """The request on the short way, if it is one for that."""
        headers = dict(self.headers)
        length = headers.get(b"content-length")
        unusual = length is None or int(length) > busy.most or b"expect" in headers
        if unusual or self.parser.get_method() != b"POST":
            return None
        known, peer = Headers(self.headers, headers), self.client[0] if self.client else ""
        entered = busy.enter(Head("POST", self.url.decode(), known, peer, str(self.scheme)))
        return None if entered is None else _Visit(self, entered)

    def _as_asgi(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()
        if 0 < len(self.pipeline) < _MOST_IN_LINE:
            self.flow.resume_reading()  # or nobody would see that the client leaves
        # The task that answers has been made, and runs when this read is taken apart.
        extensions: dict[str, Any] = {ABORT: self.transport.abort}
        self.scope["extensions"] = extensions

    # What the transport tells

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.gone = True
        if self.answering:
            self.answering.leave()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.answering:
            self.answering.resume()

    # A connection without a request

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle.begin(self._idle_too_long)

    def _unset_keepalive_if_required(self) -> None:
        self._idle.end(self._idle_too_long)


class _NoEvent:
    """Nobody waits for what comes of a request whose body is read before it is answered."""

    def set(self) -> None:
        pass


class _Visit:
    """One request on the short way: its Connection, and what uvicorn asks of its cycles."""

    message_event = _NoEvent()
    response_complete = disconnected = False
    work: Stepped
    leave: Callable[[], None]
    resume: Callable[[], None]

    def __init__(self, server: Protocol, entered: Entered) -> None:
        self._server = server
        self._entered = entered
        self.pieces: list[bytes] = []  # of the body
        self._flow = server.flow
        self._tasks: set[Any] = server.tasks  # which the server waits for before it stops
        self.chunked = server.parser.get_http_version() != "1.0"
        self.keep_alive = self.chunked and server.parser.should_keep_alive()

    def start(self) -> None:
        """The request is whole."""
        pieces = self.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.work = Stepped(self._entered(body, self), self._ended, self._server.loop)
        self._tasks.add(self.work)
        self.work.step()

    def _ended(self, work: Stepped) -> None:
        self._tasks.discard(work)
        if not self.response_complete:  # the client is gone, or we have failed it
            self._server.transport.close()

    @property
    def paused(self) -> bool:
        return self._flow.write_paused

    def begin(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = [STATUS_LINE[status]]
        for name, value in self._server.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(header_lines(headers))
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)

    def write(self, data: bytes) -> None:
        if not self._server.gone:
            self._server.transport.write(data)

    def finish(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._server.transport.close()
        self._server.on_response_complete()

    def abort(self) -> None:
        self._server.transport.abort()

    def watch(self, leave: Callable[[], None], resume: Callable[[], None]) -> None:
        self.leave, self.resume = leave, resume
        self._server.answering = self
        if self._server.gone:
            leave()

    def forget(self) -> None:
        if self._server.answering is self:
            self._server.answering = None
        del self.leave, self.resume  # whose owners know us
