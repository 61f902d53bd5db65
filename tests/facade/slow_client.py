"""A client that takes when it is told to, as a server gives it to an application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from facade.wire.asgi import Client

Message = dict[str, Any]


class SlowClient:
    """The server's side of ASGI, and a Connection: a send ends when the client takes it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.aborted = False
        self._takes = asyncio.Semaphore(0)
        self._leave: Callable[[], None] | None = None

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        await self._takes.acquire()
        self.sent.append(dict(message))

    async def receive(self) -> Any:  # noqa: ANN401 - an ASGI message
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def take(self, messages: int = 1_000) -> None:
        for _ in range(messages):
            self._takes.release()

    def abort(self) -> None:
        self.aborted = True

    def on_leave(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        if self.gone.is_set():
            leave()

    def forget(self) -> None:
        self._leave = None

    def leave(self) -> None:
        self.gone.set()
        if self._leave:
            self._leave()

    @property
    def connected(self) -> Client:
        return Client(self.receive, self.send, self)

    @property
    def plain(self) -> Client:
        return Client(self.receive, self.send)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])
