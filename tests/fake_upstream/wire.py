"""HTTP/1.1 by hand: reads a request, plays an Answer.

It is drained before a write, never after: a client that does not read stalls the next piece, and
nothing is awaited between the last byte of an answer and its end.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.fake_upstream.answers import Answer, Pause

Hold = Callable[[], Awaitable[object]]  # returns when a held answer may go on
_AT_MOST: Final = 65536  # bytes a write
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # linger, for no time


class Request(Struct):
    """A request as it came, and what became of its answer; all times are of `time.monotonic`.

    `headers` are lower-cased, the last of a name wins; `raw_headers` are all, in order, as sent.
    `json` is {} where the body is not a JSON object. `connection` counts from 1. `hung_up_at` is
    set when the client left before its answer was over. `written` counts bytes of the wire, head
    and framing too, that went to the socket; at most one write of 64 KiB waits there.
    """

    method: str
    target: str
    version: str
    headers: dict[str, str]
    raw_headers: list[tuple[str, str]]
    connection: int
    came_at: float
    body: bytes = b""
    json: dict[str, Any] = {}
    hung_up_at: float | None = None
    written: int = 0

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keeps_alive(self) -> bool:
        closes = "close" in self.headers.get("connection", "").lower()
        return self.version == "HTTP/1.1" and not closes


async def read_request(reader: StreamReader, writer: StreamWriter, connection: int) -> Request:
    """The next request; ValueError for one that is not HTTP, EOFError for none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = line.split(" ")
    raw = [(name, value.strip()) for name, _, value in (each.partition(":") for each in fields)]
    headers = {name.lower(): value for name, value in raw}
    request = Request(method, target, version, headers, raw, connection, time.monotonic())
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        request.body = await _chunks(reader)
    else:
        request.body = await reader.readexactly(int(headers.get("content-length", 0)))
    request.json = _object(request.body)
    return request


async def _chunks(reader: StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return body


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


async def play(answer: Answer, request: Request, writer: StreamWriter, hold: Hold) -> bool:
    """Send the answer as it says; whether the connection may be kept."""
    keeps = request.keeps_alive and answer.framing != "close"
    steps: list[bytes | Pause] = [answer.pause]
    if answer.head:
        steps.append(_head(answer, keeps=keeps))
    if request.method != "HEAD":
        steps.extend(_framed(answer))
    for step in steps:
        if isinstance(step, Pause):
            await (hold() if step.seconds is None else asyncio.sleep(step.seconds))
            continue
        for piece in _slices(step, answer.slices or _AT_MOST):
            await asyncio.sleep(0)  # a reader in the same loop sees piece by piece
            await writer.drain()
            writer.write(piece)
            request.written += len(piece)
    if answer.ends != "properly":
        await writer.drain()
        break_off(writer, reset=answer.ends == "reset")
    return keeps and answer.ends == "properly"


def break_off(writer: StreamWriter, *, reset: bool) -> None:
    """Close the socket at once, with RST if `reset`."""
    if reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    writer.transport.abort()


def _head(answer: Answer, *, keeps: bool) -> bytes:
    headers = dict(answer.headers)
    if answer.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    elif answer.framing == "length":
        length = sum(len(piece) for piece in answer.body if isinstance(piece, bytes))
        headers["content-length"] = str(length + (answer.ends != "properly"))
    if not keeps:
        headers["connection"] = "close"
    phrase = HTTPStatus(answer.status).phrase if answer.status in _KNOWN else ""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {answer.status} {phrase}\r\n{''.join(lines)}\r\n".encode("latin-1")


_KNOWN: Final = frozenset(HTTPStatus)


def _framed(answer: Answer) -> Iterator[bytes | Pause]:
    for piece in answer.body:
        if answer.framing == "chunked" and isinstance(piece, bytes):
            yield chunk(piece)
        else:
            yield piece
    if answer.framing == "chunked" and answer.ends == "properly":
        yield b"0\r\n\r\n"


def chunk(piece: bytes) -> bytes:
    """The piece as a chunk of a chunked body; none for an empty one, which would end it."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def _slices(piece: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(piece), size):
        yield piece[start : start + size]
