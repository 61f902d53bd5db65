"""One asking for all who wait, and none for nobody."""

from __future__ import annotations

import asyncio

import pytest

from facade.waits import Askings

pytestmark = pytest.mark.asyncio


class Asked:
    """What is asked: counted, and answered when a test says so."""

    def __init__(self) -> None:
        self.times = self.cancelled = 0
        self.answers: asyncio.Event = asyncio.Event()

    async def __call__(self) -> int:
        self.times += 1
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.times


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_several_who_wait_share_one_asking() -> None:
    askings, asked = Askings[int](), Asked()
    waiting = [asyncio.create_task(askings.answer("m", asked)) for _ in range(5)]
    await _settle()
    waiting[0].cancel()
    asked.answers.set()
    assert [1, 1, 1, 1] == await asyncio.gather(*waiting[1:])
    assert (1, 0) == (asked.times, asked.cancelled)
    assert 2 == await askings.answer("m", asked)


async def test_when_the_last_leaves_it_ends_and_who_comes_then_asks_anew() -> None:
    askings, asked = Askings[int](), Asked()
    waiting = [asyncio.create_task(askings.answer("m", asked)) for _ in range(2)]
    await _settle()
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    late = asyncio.create_task(askings.answer("m", asked))
    await _settle()
    assert (2, 1) == (asked.times, asked.cancelled)
    asked.answers.set()
    assert 2 == await late


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    askings = Askings[int]()

    async def fails() -> int:
        raise ValueError

    waiting = [asyncio.create_task(askings.answer("m", fails)) for _ in range(2)]
    await asyncio.wait(waiting)
    assert [ValueError, ValueError] == [type(each.exception()) for each in waiting]
    asked = Asked()
    asked.answers.set()
    assert 1 == await askings.answer("m", asked)


async def test_closed_everybody_who_waits_is_cancelled() -> None:
    askings, asked = Askings[int](), Asked()
    waiting = asyncio.create_task(askings.answer("m", asked))
    await _settle()
    askings.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
