"""When the comments of a stream come, by a clock that the test holds; over both shells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from facade.held import Held
from facade.wire.answer import Answer
from facade.wire.connection import SLICE
from facade.wire.kept_alive import KeptAlive, Silences
from tests.facade.slow_client import SlowClient, SlowConnection
from tests.facade.virtual_time import run

LONGEST: Final = 16.0
LOOK: Final = LONGEST / 8
COMMENT: Final = b": keep-alive\n\n"
CLIENTS: Final = pytest.mark.parametrize("kind", [SlowClient, SlowConnection])


def _body(
    kind: type[SlowClient], work: Callable[[Answer], Coroutine[Any, Any, None]], taken: int = 1_000
) -> bytes:
    """What the client of this work has got at its end."""

    async def test() -> bytes:
        client = kind()
        client.take(taken)
        await client.served(work, 10 * LONGEST)
        return client.body

    return run(test())


@CLIENTS
def test_comments_come_in_silence_and_again(kind: type[SlowClient]) -> None:
    async def work(answer: Answer) -> None:
        with Held() as held:
            stream = Silences(LONGEST).keep(answer, held)
            await asyncio.sleep(LONGEST)
            assert (None, False) == (answer.status, stream.started)
            await asyncio.sleep(LOOK)
            assert (200, False) == (answer.status, stream.started)
            await asyncio.sleep(2 * (LONGEST + LOOK))
            stream.headers["x-facade-upstream"] = "one\n"
            stream.start(200, {})
            assert stream.started
            stream.write(b"data: 1\n\n")
            stream.end()

    assert 3 * COMMENT + b": x-facade-upstream: one?\n\ndata: 1\n\n" == _body(kind, work)


@CLIENTS
def test_what_is_written_ends_the_silence(kind: type[SlowClient]) -> None:
    async def work(answer: Answer) -> None:
        with Held() as held:
            stream = Silences(LONGEST).keep(answer, held)
            stream.start(200, {})
            for _ in range(5):
                await asyncio.sleep(LONGEST - LOOK)
                stream.write(b"data: 1\n\n")
            stream.end()

    assert 5 * b"data: 1\n\n" == _body(kind, work)


def test_a_client_that_does_not_take_what_there_is_gets_no_comment_more() -> None:
    async def work(answer: Answer) -> None:
        with Held() as held:
            stream = Silences(LONGEST).keep(answer, held)
            stream.start(200, {})
            while stream.drained() is None:
                stream.write(b"x" * SLICE)
                await asyncio.sleep(0)
            await asyncio.sleep(5 * LONGEST)
            assert stream.drained() is not None
            asyncio.get_running_loop().call_soon(client.take)
            stream.end()

    client = SlowConnection()

    async def test() -> None:
        await client.served(work, 10 * LONGEST)

    run(test())
    assert client.finished
    assert b"x" == client.body[-1:]
    assert COMMENT not in client.body


def test_one_timer_serves_all_streams_and_ends_with_them() -> None:
    async def test() -> None:
        silences = Silences(LONGEST)
        loop: Any = asyncio.get_running_loop()
        with Held() as held:
            for _ in range(100):
                silences.keep(SlowAnswer(), held)
            assert 1 == len(loop._scheduled)
        await asyncio.sleep(LOOK + 1)
        assert [] == loop._scheduled
        with Held() as held:
            silences.keep(SlowAnswer(), held)
            assert 1 == len(loop._scheduled)
        await asyncio.sleep(LOOK + 1)

    run(test())


def test_what_failed_before_it_started_says_who_failed() -> None:
    async def test() -> None:
        answer = SlowAnswer()
        with Held() as held:
            Silences(LONGEST).keep(answer, held).headers["x-facade-upstream"] = "one"
            assert {} == answer.headers
        assert {"x-facade-upstream": "one"} == answer.headers

    run(test())


def test_where_no_comment_is_wanted_the_answer_is_its_own_writer() -> None:
    answer = SlowAnswer()
    with Held() as held:
        assert Silences(0).keep(answer, held) is answer


class SlowAnswer(KeptAlive):
    """A writer to nobody."""

    def __init__(self) -> None:
        super().__init__(self, {})
