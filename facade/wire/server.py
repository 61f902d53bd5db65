"""uvicorn's HTTP protocol, with what a proxy needs and ASGI has no word for.

A request's scope has the extension `facade.connection`: it tells without a task that the client
has left, closes its socket without waiting for what it has not taken, and is written to without
a task (`facade.wire.connection` is the port). A request's head has a size, beyond which it is
refused.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from facade.errors import BadRequest
from facade.wire.connection import Form, RawHeaders, raw_headers

CONNECTION: Final = "facade.connection"
_LONGEST_HEAD: Final = 256 * 1024  # bytes, in whole reads; clients send some hundred
_MOST_UNSENT: Final = 64 * 1024  # bytes that the system holds for a client that does not take them
_OFFER: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """One connection. Of its requests one is answered at a time."""

    _head = 0  # bytes read since the last request's head was whole
    _in_head = True
    answering: _Request | None = None
    gone = False

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
            data = _OFFER.sub(b"\r\nx-upgrade:", data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is told like every error."""
        failure = BadRequest(msg, code="invalid_http")
        body = failure.body()
        headers = failure.headers() | {
            "x-request-id": f"req_{secrets.token_hex(12)}",
            "content-length": str(len(body)),
            "connection": "close",
        }
        lines = b"".join(b"%b: %b\r\n" % header for header in raw_headers(headers))
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (lines, body))
        self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        super().on_headers_complete()
        # The task that answers has been made, and runs when this read is taken apart.
        extensions: dict[str, Any] = {CONNECTION: _Request(self, self.cycle)}
        self.scope["extensions"] = extensions

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone = True
        if self.answering:
            self.answering.leave()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.answering:
            self.answering.resume()


class _Request:
    """The `Connection` of one request: others may have come behind it on the same socket."""

    leave: Callable[[], None]
    resume: Callable[[], None]

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    @property
    def paused(self) -> bool:
        return self._cycle.flow.write_paused

    @property
    def form(self) -> Form:
        scope = self._cycle.scope
        if scope["method"] == "HEAD":
            return Form.BARE
        return Form.CHUNKED if scope["http_version"] == "1.1" else Form.UNFRAMED

    def begin(self, status: int, headers: RawHeaders) -> bytes:
        cycle = self._cycle
        cycle.waiting_for_100_continue = False
        cycle.response_started = True
        lines = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)

    def write(self, data: bytes) -> None:
        if not self._protocol.gone:
            self._cycle.transport.write(data)

    def finish(self) -> None:
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def abort(self) -> None:
        self._cycle.transport.abort()

    def watch(self, leave: Callable[[], None], resume: Callable[[], None]) -> None:
        self.leave, self.resume = leave, resume
        self._protocol.answering = self
        if self._protocol.gone:
            leave()

    def forget(self) -> None:
        if self._protocol.answering is self:
            self._protocol.answering = None
