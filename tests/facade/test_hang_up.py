"""A client that leaves, or takes nothing, ends the work on its answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from facade.wire.connection import SLICE, Stalls
from facade.wire.hang_up import Answer, until_hang_up
from tests.facade.slow_client import SlowClient, SlowConnection

Kind = type[SlowClient]
CLIENTS: Final = pytest.mark.parametrize("kind", [SlowClient, SlowConnection])


def _no_stop(_: Answer) -> None:
    raise AssertionError("the server does not stop")


def _cancels() -> int:
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

    assert await until_hang_up(client.client, Stalls(60), work, _no_stop) is None
    assert released.is_set()
    assert 0 == _cancels()


@CLIENTS
async def test_a_client_that_had_left_before_cancels_the_work(kind: Kind) -> None:
    client = kind()
    client.leave()

    async def work(_: Answer) -> None:
        await asyncio.Event().wait()

    assert await until_hang_up(client.client, Stalls(60), work, _no_stop) is None
    assert 0 == _cancels()


@CLIENTS
async def test_a_client_that_leaves_before_it_has_taken_all_is_gone(kind: Kind) -> None:
    client = kind()
    client.take(1)

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"x" * 3 * SLICE)
        asyncio.get_running_loop().call_later(0.01, client.leave)

    assert await until_hang_up(client.client, Stalls(60), work, _no_stop) is None
    assert len(client.body) <= SLICE


async def test_a_client_that_leaves_after_the_last_byte_has_its_answer() -> None:
    client = SlowClient()
    client.take()

    async def work(answer: Answer) -> None:
        answer.whole(204, {}, b"")

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        await client.send(message)
        if not message.get("more_body", True):
            client.leave()
            await asyncio.sleep(0.01)

    assert 204 == await until_hang_up(client.client._replace(send=send), Stalls(60), work, _no_stop)


async def test_a_connection_that_is_lost_after_the_last_byte_had_its_answer() -> None:
    client = SlowConnection()
    client.take()

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"ok")
        client.leave()

    assert 200 == await until_hang_up(client.client, Stalls(60), work, _no_stop)
    assert client.finished


async def _fill(answer: Answer) -> None:
    answer.start(200, {})
    while not (room := answer.drained()):
        answer.write(b"x" * SLICE)
    await room


async def test_a_connection_that_takes_nothing_is_aborted() -> None:
    client = SlowConnection()
    client.take(1)
    assert await until_hang_up(client.client, Stalls(0.05), _fill, _no_stop) is None
    assert client.aborted
    assert 1 == len(client.written)


async def test_a_client_that_takes_nothing_is_left_alone() -> None:
    client = SlowClient()
    client.take(1)
    assert await until_hang_up(client.client, Stalls(0.05), _fill, _no_stop) is None
    assert 1 == len(client.sent)


async def test_a_client_that_takes_something_at_times_is_not_idle() -> None:
    client = SlowConnection()

    async def work(answer: Answer) -> None:
        answer.whole(200, {}, b"x" * 4 * SLICE)
        for _ in range(4):
            await asyncio.sleep(0.03)
            client.take(1)

    assert 200 == await until_hang_up(client.client, Stalls(0.1), work, _no_stop)
    assert 4 * SLICE == len(client.body)


@CLIENTS
async def test_a_server_that_stops_says_its_last_word(kind: Kind) -> None:
    client = kind()
    client.take()
    said: list[bytes] = []

    async def work(answer: Answer) -> None:
        answer.start(200, {})
        answer.write(b"half")
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(_own_task().cancel)
        await asyncio.Event().wait()

    def stopping(answer: Answer) -> None:
        said.append(b"stopped")
        answer.write(b", stopped")
        answer.end()

    assert 200 == await until_hang_up(client.client, Stalls(60), work, stopping)
    assert [b"stopped"] == said
    assert b"half, stopped" == client.body


def _own_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


@CLIENTS
async def test_a_bug_in_the_work_is_the_servers_to_report(kind: Kind) -> None:
    async def work(_: Answer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_hang_up(kind().client, Stalls(60), work, _no_stop)
