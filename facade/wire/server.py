"""uvicorn's HTTP protocol, with what a proxy needs and ASGI has no word for.

A request's scope has the extension `facade.connection`: it tells without a task that the client
has left, and closes its socket without waiting for what it has not taken. A request's head has
a size, beyond which it is refused.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from facade.errors import BadRequest
from facade.wire.asgi import raw_headers

CONNECTION: Final = "facade.connection"
_LONGEST_HEAD: Final = 256 * 1024  # bytes, in whole reads; clients send some hundred
_MOST_UNSENT: Final = 64 * 1024  # bytes that the system holds for a client that does not take them
_OFFER: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """One connection; also the `Connection` of its requests, of which one runs at a time."""

    _head = 0  # bytes read since the last request's head was whole
    _in_head = True
    _leave: Callable[[], None] | None = None
    _gone = False

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

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {CONNECTION: self}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone = True
        if self._leave:
            self._leave()

    def abort(self) -> None:
        self.transport.abort()

    def on_leave(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        if self._gone:
            leave()

    def forget(self) -> None:
        self._leave = None
