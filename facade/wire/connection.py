"""A client's connection, as a server gives it that has more than ASGI; and what both share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from facade.alarms import Overdue
from facade.waits import Cohort
from facade.wire.stepped import Stepped

SLICE: Final = 64 * 1024  # bytes a write: a client that takes this much is not idle
_LONGEST: Final = 4096  # characters of a header; clients give up at 8 KiB
_PRINTABLE: Final = bytes.maketrans(
    bytes([*range(32), *range(127, 256)]), b"?" * (32 + 129)
)  # a header that cannot be written must not break the answer it belongs to
_PLAIN: Final = bytes(range(32, 127))  # what needs none of that

RawHeaders = list[tuple[bytes, bytes]]


def raw_headers(headers: Mapping[str, str]) -> RawHeaders:
    """Headers as ASGI takes them; what is not printable ASCII becomes `?`, what is long is cut."""
    values = "".join(headers.values())  # nearly always all of them are plain: so one look at all
    if len(values) <= _LONGEST and values.isascii() and values.isprintable():
        return [(name.encode(), value.encode()) for name, value in headers.items()]
    return [(name.encode(), _header_value(value)) for name, value in headers.items()]


def header_lines(headers: Mapping[str, str]) -> bytes:
    """The same as they are written."""
    lines = "\r\n".join(map(": ".join, headers.items())).encode() + b"\r\n"
    if len(lines) > _LONGEST or len(lines.translate(None, _PLAIN)) != 2 * len(headers):
        return b"".join([b"%b: %b\r\n" % header for header in raw_headers(headers)])
    return lines


class Heads:
    """How a server's answers begin; what is the same in all of a status is put together once."""

    def __init__(self) -> None:
        self._own: RawHeaders = []
        self._begun: dict[int, bytes] = {}

    def head(self, status: int, headers: Mapping[str, str], own: RawHeaders) -> bytes:
        """`own` are the server's headers: another list whenever they change."""
        if own is not self._own:
            self._own, self._begun = own, {}
        begun = self._begun.get(status)
        if begun is None:
            lines = [b"%b: %b\r\n" % header for header in own]
            begun = self._begun[status] = STATUS_LINE[status] + b"".join(lines)
        return begun + header_lines(headers) + b"\r\n"


def _header_value(value: str) -> bytes:
    if len(value) > _LONGEST or not (value.isascii() and value.isprintable()):
        return value[:_LONGEST].encode("ascii", "replace").translate(_PRINTABLE)
    return value.encode()


class Connection(Protocol):
    """A client's connection, of which one request waits for its answer.

    `chunked`: how a stream is framed; else it ends with the connection, for HTTP/1.0. `paused`:
    the client has not taken what was written. `cohort`: of all connections of its server.
    """

    chunked: bool
    paused: bool
    cohort: Cohort

    def begin(self, status: int, headers: Mapping[str, str]) -> bytes:
        """The head of the answer, to be written first. The server adds headers of its own."""

    def write(self, data: bytes) -> None: ...

    def finish(self, data: bytes) -> None:
        """Write the last of the answer: the connection goes on to the next request."""

    def abort(self) -> None:
        """Close the socket without waiting for what the client has not taken."""

    def ended(self, work: Stepped) -> None:
        """What gave the answer has ended, whether it is complete or not."""


class Sender(Protocol):
    """Whoever waits for a client."""

    def stalled(self) -> None:
        """The client has taken nothing for too long."""


class Stalls(Overdue[Sender]):
    """The sends under way. Whose client takes nothing for `client_idle` seconds is told so."""

    def __init__(self, client_idle: float) -> None:
        super().__init__(client_idle, lambda sender: sender.stalled())
