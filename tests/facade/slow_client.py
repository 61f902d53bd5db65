"""A client that takes when it is told to, as a server gives it to an application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from facade.wire.hang_up import Client

Message = dict[str, Any]


class SlowClient:
    """The server's side of ASGI: a send ends when the client takes it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self._takes = asyncio.Semaphore(0)

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

    @property
    def client(self) -> Client:
        return Client(self.receive, self.send)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class SlowConnection(SlowClient):
    """A Connection, which is paused after each write until the client takes it."""

    def __init__(self, *, chunked: bool = False) -> None:
        super().__init__()
        self.chunked = chunked
        self.paused = False
        self.written: list[bytes] = []
        self.finished = self.aborted = False
        self._credit = 0
        self._leave: Callable[[], None] | None = None
        self._resume: Callable[[], None] | None = None

    @property
    def work(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None
        return task

    def begin(self, status: int, headers: Mapping[str, str]) -> bytes:
        names = " ".join(f"{name}={value}" for name, value in headers.items())
        return f"{status} {names}|".encode()

    def write(self, data: bytes) -> None:
        assert not self.paused
        self.written.append(data)
        self._credit -= 1
        self.paused = self._credit <= 0

    def take(self, messages: int = 1_000) -> None:
        self._credit = max(self._credit, 0) + messages
        self.paused = self._credit <= 0
        if self._resume and not self.paused:
            self._resume()

    def finish(self) -> None:
        assert not self.finished
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def watch(self, leave: Callable[[], None], resume: Callable[[], None]) -> None:
        self._leave, self._resume = leave, resume
        if self.gone.is_set():
            leave()

    def forget(self) -> None:
        self._leave = self._resume = None

    def leave(self) -> None:
        super().leave()
        if self._leave:
            self._leave()

    @property
    def client(self) -> SlowConnection:  # type: ignore[override]  # another kind of client
        return self

    @property
    def body(self) -> bytes:
        return b"".join(self.written).partition(b"|")[2]
