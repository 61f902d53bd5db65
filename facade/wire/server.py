"""uvicorn's HTTP protocol, with what a proxy needs and ASGI has no word for.

A request's scope has the extension `facade.abort`, which closes the client's socket without
waiting for what it has not taken. A request's head has a size, beyond which it is refused.
"""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ABORT: Final = "facade.abort"
_LONGEST_HEAD: Final = 256 * 1024  # bytes, in whole reads; clients send some hundred


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head = 0  # bytes read since the last request's head was whole
    _in_head = True

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head += len(data)
            if self._head > _LONGEST_HEAD:
                self.send_400_response("The request's head is too large.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        extensions: dict[str, Any] = {ABORT: self.transport.abort}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        super().on_headers_complete()
