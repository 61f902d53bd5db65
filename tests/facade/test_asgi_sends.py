"""What a server does to a send of its application: it fails, it is cancelled, nobody is there."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from facade.wire.answer import Answer
from facade.wire.connection import SLICE
from tests.facade.slow_client import SlowClient
from tests.facade.test_hang_up import cancels


async def test_a_client_that_leaves_leaves_nothing_to_the_collector() -> None:
    client = SlowClient()
    answers: list[weakref.ref[Answer]] = []

    async def work(answer: Answer) -> None:
        answers.append(weakref.ref(answer))
        answer.whole(200, {}, b"ok" * SLICE)
        asyncio.get_running_loop().call_later(0.01, client.leave)

    gc.disable()
    try:
        assert await client.served(work) is None
        await asyncio.sleep(0)  # who watched has ended
        assert [None] == [answer() for answer in answers]
    finally:
        gc.enable()


class _Gone(SlowClient):
    """Whose server says so where something is sent."""

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        if self.sent:
            raise OSError("the client is gone")
        await super().send(message)


@pytest.mark.parametrize("much", [1, 3 * SLICE])
async def test_a_client_that_is_gone_when_something_is_sentcancels_the_work(much: int) -> None:
    client = _Gone()
    client.take()

    async def work(answer: Answer) -> None:
        answer.start(200, {})
        answer.write(b"x" * much)
        await asyncio.Event().wait()

    assert await client.served(work) is None
    assert 1 == len(client.sent)


async def test_a_client_that_is_gone_at_the_last_bytecancels_the_work() -> None:
    client = _Gone()
    client.take()

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"ok")

    assert await client.served(work) is None


class _Fails(SlowClient):
    async def send(self, _: Any) -> None:  # noqa: ANN401 - an ASGI message
        raise RuntimeError("a bug")


async def test_a_server_that_cannot_send_is_told_and_nothing_is_left_behind() -> None:
    client = _Fails()
    released = asyncio.Event()

    async def work(answer: Answer) -> None:
        answer.start(200, {})
        try:
            await asyncio.Event().wait()
        finally:
            released.set()

    with pytest.raises(RuntimeError, match="a bug"):
        await client.served(work)
    await asyncio.wait_for(released.wait(), 5)


async def test_a_server_that_cannot_send_goes_on_in_its_task() -> None:
    """The work ends later, without a last word, and cancels nobody."""
    client = _Fails()
    answer = client.answered()
    ended = asyncio.Event()

    async def work() -> None:
        try:
            answer.start(200, {})
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert answer.given_up()
        finally:
            await asyncio.sleep(0)
            ended.set()

    with pytest.raises(RuntimeError, match="a bug"):
        await answer.give(work())
    await asyncio.wait_for(ended.wait(), 5)
    await asyncio.sleep(0)
    assert 0 == cancels()


async def test_a_server_that_stops_while_something_is_sent_is_waited_for_by_nobody() -> None:
    """Whether the client has taken that is unknown: nothing can follow."""
    client = SlowClient()

    async def work(answer: Answer) -> None:
        answer.start(200, {})
        answer.write(b"half")
        asyncio.get_running_loop().call_later(0.01, client.stop)
        await asyncio.Event().wait()

    assert await client.served(work) is None
    assert [] == client.sent
    assert 0 == cancels()
