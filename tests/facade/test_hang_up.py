"""A client that leaves, or takes nothing, ends the work on its answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from facade.wire.answer import Answer
from facade.wire.connection import SLICE
from tests.facade.slow_client import SlowClient, SlowConnection

Kind = type[SlowClient] | type[SlowConnection]
CLIENTS: Final = pytest.mark.parametrize("kind", [SlowClient, SlowConnection])


def cancels() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@CLIENTS
async def test_a_client_that_leaves_cancels_the_work(kind: Kind) -> None:
    client = kind()
    released = asyncio.Event()

    async def work(_: Answer) -> None:
        client.leave()
        try:
            await asyncio.Event().wait()
        finally:
            released.set()

    assert await client.served(work) is None
    assert released.is_set()
    assert 0 == cancels()


@CLIENTS
async def test_a_client_that_had_left_before_cancels_the_work(kind: Kind) -> None:
    client = kind()
    client.leave()

    async def work(_: Answer) -> None:
        await asyncio.Event().wait()

    assert await client.served(work) is None
    assert 0 == cancels()


@CLIENTS
async def test_a_client_that_leaves_before_it_has_taken_all_is_gone(kind: Kind) -> None:
    client = kind()
    client.take(1)

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"x" * 3 * SLICE)
        asyncio.get_running_loop().call_later(0.01, client.leave)

    assert await client.served(work) is None
    assert len(client.body) <= SLICE


class _LeavesAtTheEnd(SlowClient):
    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        await super().send(message)
        if not message.get("more_body", True):
            self.leave()
            await asyncio.sleep(0.01)


async def test_a_client_that_leaves_after_the_last_byte_has_its_answer() -> None:
    client = _LeavesAtTheEnd()
    client.take()

    async def work(answer: Answer) -> None:
        answer.whole(204, {}, b"")

    assert 204 == await client.served(work)


async def test_a_connection_that_is_lost_after_the_last_byte_had_its_answer() -> None:
    client = SlowConnection()
    client.take()

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"ok")
        client.leave()

    assert 200 == await client.served(work)
    assert client.finished


@CLIENTS
async def test_a_work_that_ends_later_than_its_answer_cuts_nothing(kind: Kind) -> None:
    """As a replay does, which waits for the one who writes it."""
    client = kind()
    client.take(2)

    async def work(answer: Answer) -> None:
        answer.start(200, {})
        answer.write(b"first, ")
        await asyncio.sleep(0.01)
        answer.write(b"last")
        answer.end()
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.01, client.take)

    assert 200 == await client.served(work)
    assert b"first, last" == client.body


async def _fill(answer: Answer) -> None:
    answer.start(200, {})
    while not (room := answer.drained()):
        answer.write(b"x" * SLICE)
    await room


async def test_a_connection_that_takes_nothing_is_aborted() -> None:
    client = SlowConnection()
    client.take(1)
    assert await client.served(_fill, 0.05) is None
    assert client.aborted
    assert 1 == len(client.written)


async def test_a_connection_whose_answer_is_complete_is_not_waited_for() -> None:
    """The system has not taken the last bytes yet; the next request may come meanwhile."""
    client = SlowConnection()
    client.take(1)

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"ok")

    assert 200 == await client.served(work, 0.05)
    assert client.paused
    await asyncio.sleep(0.1)
    assert not client.aborted


async def test_a_client_that_takes_nothing_is_left_alone() -> None:
    client = SlowClient()
    client.take(1)
    assert await client.served(_fill, 0.05) is None
    assert 1 == len(client.sent)


async def test_a_client_that_does_not_take_the_last_of_it_is_left_alone() -> None:
    client = SlowClient()
    client.take(1)

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"ok")

    serving = asyncio.create_task(client.served(work, 0.05))
    assert ({serving}, set()) == await asyncio.wait({serving}, timeout=5)
    assert serving.result() is None
    assert 1 == len(client.sent)


async def test_a_client_that_takes_something_at_times_is_not_idle() -> None:
    client = SlowConnection()

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"x" * 4 * SLICE)
        for _ in range(4):
            await asyncio.sleep(0.03)
            client.take(1)

    assert 200 == await client.served(work, 0.1)
    assert 4 * SLICE == len(client.body)


@CLIENTS
async def test_a_server_that_stops_says_its_last_word(kind: Kind) -> None:
    client = kind()
    client.take()

    async def work(answer: Answer) -> None:
        answer.start(200, {})
        answer.write(b"half, ")
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(client.stop)
        await asyncio.Event().wait()

    assert 200 == await client.served(work)
    assert client.body.startswith(b"half, data: {")
    assert b'"code":"server_stopping"' in client.body
    assert 0 == cancels()


@CLIENTS
async def test_a_server_that_stops_has_nothing_to_add_to_what_is_being_sent(kind: Kind) -> None:
    client = kind()
    client.take(2)

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"x" * 3 * SLICE)
        asyncio.get_running_loop().call_later(0.01, client.stop)

    assert await client.served(work) is None
    assert set(b"x") == set(client.body)


@CLIENTS
async def test_a_bug_in_the_work_is_told_to_its_client(kind: Kind) -> None:
    client = kind()
    client.take()

    async def work(_: Answer) -> None:
        raise ZeroDivisionError

    assert 500 == await client.served(work)
    assert b'"error":' in client.body
