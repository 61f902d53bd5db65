"""An upstream of bytes by hand: a script plays the server's side of each connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from facade.waits import result_of
from facade.wire.upstream import Connections, Exchange

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Asked(NamedTuple):
    """A request as it came: its first line, its header lines in order, its body."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes


class Peer:
    """The server's side of the connection with that number (from 1)."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.asked: list[Asked] = []
        self.reached = asyncio.Event()  # for a script and its test to wait for one another
        self.left = asyncio.Event()  # the client was seen to close
        self.sent = 0  # bytes the system took

    async def request(self) -> Asked:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = [(name, value) for name, _, value in (each.partition(": ") for each in rest)]
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.asked.append(Asked(line, headers, await self.reader.readexactly(int(length))))
        return self.asked[-1]

    async def send(self, piece: bytes) -> None:
        self.writer.write(piece)
        await self.writer.drain()
        await asyncio.sleep(0)  # so that pieces do not run together
        self.sent += len(piece)

    async def gone(self) -> None:
        """Returns when the client has closed."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.left.set()

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Upstream:
    """A listening server; it plays the script for each connection, then closes that one."""

    def __init__(self, script: Script) -> None:
        self.peers: list[Peer] = []
        self.playing: set[asyncio.Task[None]] = set()
        self.port = 0
        self._script = script
        self._came = asyncio.Event()
        self._server: asyncio.Server

    async def start(self, tls: ssl.SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secure_url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def peer(self, number: int) -> Peer:
        """The peer of that number, once it has connected."""
        while len(self.peers) < number:
            self._came.clear()
            await self._came.wait()
        return self.peers[number - 1]

    def refuse(self) -> None:
        """Take no further connection."""
        self._server.close()

    async def stop(self) -> None:
        """Raises what a script raised, other than that its client has left."""
        self.refuse()
        for task in self.playing:
            task.cancel()
        for outcome in await asyncio.gather(*self.playing, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(Peer(len(self.peers) + 1, reader, writer))
        self.playing.add(asyncio.create_task(self._play(self.peers[-1])))
        self._came.set()

    async def _play(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            peer.left.set()
        finally:
            peer.writer.close()


def saying(*pieces: bytes) -> Script:
    """Every request is answered with the pieces; the connection stays open."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for piece in pieces:
                await peer.send(piece)

    return script


def saying_once(*pieces: bytes) -> Script:
    """One request is answered with the pieces, then the connection is closed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.send(piece)

    return script


async def whole(exchange: Exchange, pieces: list[bytes] | None = None) -> bytes:
    """The rest of the body; `pieces` has what came also where the end is bad."""
    pieces = [] if pieces is None else pieces
    while piece := await result_of(exchange.read()):
        pieces.append(piece)
    return b"".join(pieces)


async def get(connections: Connections, path: str = "/") -> bytes:
    """The body of one GET, read to its end."""
    return await whole(await connections.open("GET", path, b"", {}))
