"""`python -m tests.bench.upstream`: OpenAI and Ollama in one, as cheap as Python allows.

Says its port on the first line, and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Final, cast

import httptools
import msgspec
import uvloop

from tests.bench import answers
from tests.bench.answers import Asked, Pieces

PACE: Final = 0.02  # seconds between the chunks of a paced stream
_PHASES: Final = 16  # streams that begin together must not go on in step
_asked = msgspec.json.Decoder(Asked)
_streams = itertools.count()


class Upstream(asyncio.Protocol):
    """One connection."""

    _transport: asyncio.WriteTransport

    def __init__(
        self, answer: Callable[[bytes, Asked], Pieces] = answers.answer, pace: float = PACE
    ) -> None:
        self._answer = answer
        self._pace = pace
        self._parser = httptools.HttpRequestParser(self)
        self._path = self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        pieces = self._answer(self._path, _asked.decode(self._body or b"{}"))
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            phase = next(_streams) % _PHASES / _PHASES
            self._later(self._pace * phase, iter(pieces))

    def _later(self, seconds: float, pieces: Iterator[bytes]) -> None:
        asyncio.get_running_loop().call_later(seconds, self._write, pieces)

    def _write(self, pieces: Iterator[bytes]) -> None:
        piece = next(pieces, None)
        if piece is not None and not self._transport.is_closing():
            self._transport.write(piece)
            self._later(self._pace, pieces)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
