"""A client that leaves, or takes nothing for too long, ends the work on its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from litestar.types import Receive, Send

from facade.wire.answer import AnswerWriter
from facade.wire.asgi import AsgiAnswer
from facade.wire.connected_answer import ConnectedAnswer
from facade.wire.connection import Connection, Stalls


class Client(NamedTuple):
    """A client as ASGI gives it, and its connection where the server gives more."""

    receive: Receive
    send: Send
    connection: Connection | None = None


class Answer(AnswerWriter, Protocol):
    """`ended`: nothing more will be written; `complete`: nothing is left to be sent."""

    status: int | None
    ended: bool
    complete: bool

    async def sent(self) -> None:
        """Wait until the client has been given everything."""

    def close(self) -> None:
        """End without finishing: what was not sent is not sent. Harmless after the end."""


async def until_hang_up(
    client: Client,
    stalls: Stalls,
    work: Callable[[Answer], Awaitable[None]],
    stopping: Callable[[Answer], None],
) -> int | None:
    """Run `work` until it has answered or its client is gone; the status it answered with.

    None: the client left, or took nothing for too long and was cut. The task is
    cancelled then, so that what `work` holds is released. Where the server stops instead,
    `stopping` says the last word of an answer that has not ended.
    """
    watch = _Watch(client, stalls)
    answer = watch.answer
    try:
        await work(answer)
        await answer.sent()
    except asyncio.CancelledError:
        watch.task.uncancel()
        if watch.left or answer.ended:  # what is being sent cannot be taken up again
            return None
        stopping(answer)
        await answer.sent()
    finally:
        watch.end()
        answer.close()
    return answer.status


class _Watch:
    """Cancels the task it is made in when the client of its answer is gone."""

    def __init__(self, client: Client, stalls: Stalls) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI runs applications in tasks
        self.task = task
        self.left = False
        self.answer: Answer
        self._connection = client.connection
        if client.connection is None:
            self.answer = AsgiAnswer(client.send, stalls, self._leave)
            self.end: Callable[[], object] = asyncio.create_task(self._watch(client.receive)).cancel
        else:
            answer = self.answer = ConnectedAnswer(client.connection, stalls, self._cut)
            client.connection.watch(self._leave, answer.resume)
            self.end = client.connection.forget

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _cut(self) -> None:
        if self._connection:
            self._connection.abort()
        self._leave()

    def _leave(self) -> None:
        if not self.answer.complete:  # servers also say "disconnect" after the last byte
            self.left = True
            self.task.cancel()
