"""A client that leaves, or takes nothing for too long, ends the work on its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from litestar.types import Receive, Send

from facade.wire.answer import AnswerWriter
from facade.wire.asgi import AsgiAnswer
from facade.wire.connected_answer import ConnectedAnswer
from facade.wire.connection import Connection, Stalls, Work


class Client(NamedTuple):
    """A client as ASGI gives it. `abort` closes its socket, where the server lets us."""

    receive: Receive
    send: Send
    abort: Callable[[], None] | None = None


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
    client: Client | Connection,
    stalls: Stalls,
    work: Callable[[Answer], Awaitable[None]],
    stopping: Callable[[Answer], None],
) -> int | None:
    """Run `work` until it has answered or its client is gone; the status it answered with.

    None: the client left, or took nothing for too long and was cut. This is cancelled then, so
    that what `work` holds is released. Where the server stops instead, `stopping` says the last
    word of an answer that has not ended.
    """
    watch = _Asgi(client, stalls) if isinstance(client, Client) else _Connected(client, stalls)
    answer = watch.answer
    try:
        await work(answer)
        if not answer.complete:
            await answer.sent()
    except asyncio.CancelledError:
        watch.work.uncancel()
        if watch.left or answer.ended:  # what is being sent cannot be taken up again
            return None
        stopping(answer)
        await answer.sent()
    finally:
        watch.end()
        answer.close()
    return answer.status


class _Watch:
    """Cancels the work when the client of its answer is gone."""

    answer: Answer
    work: Work
    left = False

    def leave(self) -> None:
        if not self.answer.complete:  # servers also say "disconnect" after the last byte
            self.left = True
            self.work.cancel()


class _Connected(_Watch):
    def __init__(self, connection: Connection, stalls: Stalls) -> None:
        self._connection = connection
        self.work = connection.work
        answer = self.answer = ConnectedAnswer(connection, stalls, self._cut)
        self.end = connection.forget
        connection.watch(self.leave, answer.resume)

    def _cut(self) -> None:
        self._connection.abort()
        self.leave()


class _Asgi(_Watch):
    """In the task it is made in."""

    def __init__(self, client: Client, stalls: Stalls) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - ASGI runs applications in tasks
        self.work = task
        self._abort = client.abort
        self.answer = AsgiAnswer(client.send, stalls, self._cut)
        self.end = asyncio.create_task(self._watch(client.receive)).cancel

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.leave()

    def _cut(self) -> None:
        if self._abort:
            self._abort()
        self.leave()
