"""A client that sees bytes: HTTP/1.1 over a socket, whole or piece by piece, and its SSE.

It is strict where clients are not: a header that comes twice, a line of a stream that is no
`data:`, a body that is not ended are all seen.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from msgspec import Struct

from tests.api.serving import WAIT

Json = dict[str, Any]
DONE: Final = "[DONE]"


class Listening(Protocol):
    """A facade, in this process or in another."""

    @property
    def port(self) -> int: ...


class Answer(Struct, frozen=True):
    """An answer. `complete`: its body came to the end that its framing promised."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        return json.loads(self.body)

    @property
    def error(self) -> Json:
        """The error, which has all four keys and nothing else."""
        assert "application/json" == self.headers["content-type"]
        return error_of(self.json)

    @property
    def events(self) -> list[str]:
        """What the `data:` of each event of the stream holds."""
        return events(self.body)

    @property
    def chunks(self) -> list[Json]:
        """The events of a stream that ended well."""
        *chunks, end = self.events
        assert DONE == end
        return [json.loads(chunk) for chunk in chunks]


def error_of(said: object) -> Json:
    assert isinstance(said, dict)
    assert {"error"} == said.keys()
    error: Json = said["error"]
    assert {"message", "type", "param", "code"} == error.keys()
    assert isinstance(error["message"], str)
    assert error["message"]
    return error


def events(body: bytes) -> list[str]:
    """A body of nothing but whole events with one `data:` line each, and comments."""
    assert not body or body.endswith(b"\n\n")
    found = []
    for event in body.decode().split("\n\n")[:-1]:
        assert "\n" not in event
        assert "\r" not in event
        if not event.startswith(":"):
            assert event.startswith("data: ")
            found.append(event.removeprefix("data: "))
    return found


class Conversation:
    """One request that was sent, and its answer as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self._left = -1  # bytes of a body of known length
        self._chunked = False

    async def until_blank(self) -> bytes:
        """The bytes of a head."""
        async with asyncio.timeout(WAIT):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def head(self) -> tuple[int, dict[str, str]]:
        line, *fields = (await self.until_blank()).decode().split("\r\n")[:-2]
        pairs = [(name.lower(), value) for name, _, value in (f.partition(": ") for f in fields)]
        headers = dict(pairs)
        assert len(headers) == len(pairs), "a header came twice"
        status = int(line.split(" ")[1])
        if status == 100:
            return await self.head()
        self._chunked = headers.get("transfer-encoding") == "chunked"
        self._left = int(headers.get("content-length", -1))
        return status, headers

    async def piece(self) -> bytes:
        """The next piece of the body; b"" at its end, EOFError where it is cut."""
        async with asyncio.timeout(WAIT):
            if not self._chunked:
                piece = await self._reader.read(self._left)
                self._left -= len(piece)
                if not piece and self._left:
                    raise EOFError
                return piece
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            return (await self._reader.readexactly(size + 2))[:-2]

    def leave(self, *, reset: bool = False) -> float:
        """Close the socket, with RST if `reset`; the time, by the clock of the fake."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()
        return time.monotonic()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request. Underscores of header names are dashes; "" leaves one out."""
    said = {
        "host": "localhost",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}\r\n" for name, value in said.items() if value]
    return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1") + body


@asynccontextmanager
async def opened(
    facade: Listening, method: str, path: str, body: object = b"", **headers: str
) -> AsyncIterator[Conversation]:
    """A request that was sent; leaving hangs up. A body that is not bytes is sent as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with sent_raw(facade, request(method, path, sent, **headers)) as conversation:
        yield conversation


@asynccontextmanager
async def sent_raw(facade: Listening, sent: bytes) -> AsyncIterator[Conversation]:
    reader, writer = await asyncio.open_connection("127.0.0.1", facade.port)
    try:
        writer.write(sent)
        yield Conversation(reader, writer)
    finally:
        writer.transport.abort()


async def answer_of(conversation: Conversation, *, bodiless: bool = False) -> Answer:
    """The whole answer, cut or not."""
    status, headers = await conversation.head()
    pieces = []
    complete = True
    try:
        while not bodiless and (piece := await conversation.piece()):
            pieces.append(piece)
    except (EOFError, ConnectionError):
        complete = False
    return Answer(status, headers, b"".join(pieces), complete)


async def rest_of(conversation: Conversation) -> bytes:
    """What is left of a body that comes to its end."""
    pieces = []
    while piece := await conversation.piece():
        pieces.append(piece)
    return b"".join(pieces)


async def ask(
    facade: Listening, method: str, path: str, body: object = b"", **headers: str
) -> Answer:
    """The answer to one request on a connection of its own."""
    async with opened(facade, method, path, body, **headers) as conversation:
        return await answer_of(conversation, bodiless=method == "HEAD")


def chat(model: str, **more: object) -> Json:
    """The body of a chat."""
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
