"""A request on the short way of our server, and what uvicorn asks of one; and what is none."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from facade.errors import BadRequest
from facade.wire.connected_answer import ConnectedAnswer
from facade.wire.connection import header_lines
from facade.wire.head import Busy, Entered


class _NoEvent:
    """Nobody waits for what comes of a request whose body is read before it is answered."""

    def set(self) -> None:
        pass


class Visit(ConnectedAnswer):
    """Its answer, and the work that gives it; to uvicorn, one of its cycles."""

    message_event: Final = _NoEvent()
    disconnected = False

    @property
    def response_started(self) -> bool:
        return self.started

    @property
    def response_complete(self) -> bool:
        return self.complete


class Reading(Struct):
    """A request whose body is read. `began`: when its head came, by time.perf_counter."""

    visit: Visit
    busy: Busy
    entered: Entered
    began: float
    pieces: list[bytes]


def refusal(message: str, request_id: str) -> bytes:
    """The whole answer to what is not HTTP, after which the connection is closed."""
    failure = BadRequest(message, code="invalid_http")
    body = failure.body()
    headers = failure.headers() | {
        "x-request-id": request_id,
        "content-length": str(len(body)),
        "connection": "close",
    }
    return STATUS_LINE[400] + header_lines(headers) + b"\r\n" + body
