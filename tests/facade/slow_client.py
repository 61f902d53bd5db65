"""A client that takes when it is told to, as a server gives it to an application."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from facade.auth import Keyring
from facade.edge import Edge, Request
from facade.listening import ServerSettings
from facade.waits import Cohort
from facade.wire.answer import Answer, AnswerWriter
from facade.wire.asgi import AsgiAnswer, Clients
from facade.wire.connected_answer import ConnectedAnswer
from facade.wire.connection import Connection, Stalls
from facade.wire.head import Headers
from facade.wire.stepped import Stepped

Message = dict[str, Any]
Work = Callable[[Any], Awaitable[None]]
IDLE = 60.0  # seconds


class SlowClient:
    """The server's side of ASGI: a send ends when the client takes it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self._takes = asyncio.Semaphore(0)
        self._task = asyncio.current_task()  # the request's

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        await self._takes.acquire()
        self.sent.append(dict(message))

    async def receive(self) -> Any:  # noqa: ANN401 - an ASGI message
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def take(self, messages: int = 1_000) -> None:
        for _ in range(messages):
            self._takes.release()

    def leave(self) -> None:
        self.gone.set()

    def stop(self) -> None:
        """As a server does that stops."""
        assert self._task is not None
        self._task.cancel()

    async def served(self, work: Work, client_idle: float = IDLE) -> int | None:
        """What the edge says of this work when it has ended, under ASGI."""
        said: int | None = None  # as it stays where the work is cancelled once more

        async def serving() -> None:
            nonlocal said
            said = await _served(work, answer)

        answer = self.answered(client_idle)
        await answer.give(serving())
        return said

    def answered(self, client_idle: float = IDLE) -> AsgiAnswer:
        """The answer to its request, of the task that asks for it."""
        return AsgiAnswer(self.receive, self.send, Clients(Stalls(client_idle)))

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class Answered(ConnectedAnswer):
    """`over` when its work has ended; `said`: what the edge says of it then."""

    def __init__(self, connection: Connection, stalls: Stalls) -> None:
        super().__init__(connection, stalls)
        self.over = asyncio.Event()
        self.said: int | None = None

    async def work(self, work: Work) -> None:
        self.said = await _served(work, self)

    def has_ended(self) -> None:
        self.over.set()


class SlowConnection:
    """A Connection, which is paused after each write until the client takes it."""

    def __init__(self, *, chunked: bool = False) -> None:
        self.gone = asyncio.Event()
        self.chunked = chunked
        self.cohort = Cohort()
        self.paused = False
        self.written: list[bytes] = []
        self.finished = self.aborted = False
        self._credit = 0
        self.answer: Answered | None = None

    def answered(self, client_idle: float = IDLE) -> Answered:
        """The answer to its request."""
        self.answer = Answered(self, Stalls(client_idle))
        return self.answer

    async def served(self, work: Work, client_idle: float = IDLE) -> int | None:
        """The same on a connection of our own server, where there is no task."""
        answer = self.answered(client_idle)
        if self.gone.is_set():
            answer.leave()
        answer.begin(answer.work(work))
        await answer.over.wait()
        return answer.said

    def begin(self, status: int, headers: Mapping[str, str]) -> bytes:
        names = " ".join(f"{name}={value}" for name, value in headers.items())
        return f"{status} {names}|".encode()

    def write(self, data: bytes) -> None:
        assert not self.paused
        self.written.append(data)
        self._credit -= 1
        self.paused = self._credit <= 0
        if self.paused and self.answer:
            self.answer.pause()

    def take(self, messages: int = 1_000) -> None:
        self._credit = max(self._credit, 0) + messages
        self.paused = self._credit <= 0
        if self.answer and not self.paused:
            self.answer.resume()

    def finish(self, data: bytes) -> None:
        assert not self.finished
        self.write(data)
        self.finished = True

    def abort(self) -> None:
        self.aborted = True
        self.gone.set()

    def ended(self, work: Stepped) -> None: ...

    def leave(self) -> None:
        self.gone.set()
        if self.answer:
            self.answer.leave()

    def stop(self) -> None:
        assert self.answer is not None
        self.answer.cancel()

    @property
    def body(self) -> bytes:
        return b"".join(self.written).partition(b"|")[2]


async def _served(work: Work, answer: Answer) -> int | None:
    ids = map(str, itertools.count())
    edge = Edge(ServerSettings(), Keyring("", {}), ids.__next__)

    async def handle(_: Request, answer: AnswerWriter) -> None:
        await work(answer)

    return await edge.serve(handle, Request("POST", "/", Headers([])), answer, time.perf_counter())
