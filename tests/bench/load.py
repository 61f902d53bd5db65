"""`python -m tests.bench.load KIND UPSTREAM PORT SECONDS`: asks, reads, judges, counts.

A closed loop: each connection asks again as soon as its answer is whole. What is under way
when the time is over is still awaited, so that no answer is paid for without being counted.
The outcome is one line of JSON.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Final, NamedTuple, cast

import httptools
import msgspec
import uvloop
from msgspec import Struct

from tests.bench.judging import Judge
from tests.bench.rows import KINDS

GRACE: Final = 20.0  # seconds


class Bounds(NamedTuple):
    """How long a load is: so many seconds or answers, then `grace` for what is under way.

    `connections` are at most those of its kind.
    """

    seconds: float
    answers: int = sys.maxsize
    connections: int = sys.maxsize
    grace: float = GRACE


class Outcome(Struct):
    """`fault` is what was wrong with the first bad answer."""

    good: int = 0
    bad: int = 0
    fault: str = ""
    seconds: float = 0.0


class _Run:
    """What the connections of one load share."""

    def __init__(self, kind: str, request: bytes, bounds: Bounds) -> None:
        self.request = request
        self.outcome = Outcome()
        self._judge = Judge(kind)
        self._left = bounds.answers
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + bounds.seconds

    def more(self) -> bool:
        """Whether one more answer is to be asked for."""
        self._left -= 1
        return self._left >= 0 and self._loop.time() < self._until

    def count(self, status: int, body: bytes) -> None:
        fault = self._judge.fault(status, body)
        if fault:
            self.fail(fault)
        else:
            self.outcome.good += 1

    def fail(self, fault: str) -> None:
        self.outcome.bad += 1
        self.outcome.fault = self.outcome.fault or fault


class _Connection(asyncio.Protocol):
    _transport: asyncio.WriteTransport

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._waits = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.give_up(f"not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._waits = False
        self._run.count(self._parser.get_status_code(), b"".join(self._pieces))
        self._pieces.clear()
        self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        self.give_up("the connection was lost")
        self.gone.set_result(None)

    def give_up(self, fault: str) -> None:
        """The answer that is waited for, if any, is a bad one."""
        if self._waits:
            self._waits = False
            self._run.fail(fault)
        self._transport.abort()

    def _ask(self) -> None:
        if self._run.more():
            self._waits = True
            self._transport.write(self._run.request)
        else:
            self._transport.close()


async def load(kind: str, upstream: str, port: int, bounds: Bounds) -> Outcome:
    """Put a load on what listens at the port."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    run = _Run(kind, KINDS[kind].request(kind, upstream, port), bounds)
    made = []
    for _ in range(min(bounds.connections, KINDS[kind].connections)):
        _, connection = await loop.create_connection(lambda: _Connection(run), "127.0.0.1", port)
        made.append(connection)
    all_gone = asyncio.gather(*(connection.gone for connection in made))
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(all_gone), bounds.seconds + bounds.grace)
    for connection in made:
        connection.give_up("it did not come in time")
    await all_gone
    run.outcome.seconds = loop.time() - began
    return run.outcome


def _main(kind: str, upstream: str, port: str, seconds: str) -> None:
    outcome = uvloop.run(load(kind, upstream, int(port), Bounds(float(seconds))))
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    _main(*sys.argv[1:])
