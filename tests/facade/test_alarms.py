"""Alarms ring at their time and in their order, unless they are called off, on one timer."""

from __future__ import annotations

import asyncio
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from facade.alarms import Alarm, Alarms, Overdue
from tests.facade.virtual_time import run

Step = tuple[str, int]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "call off", "wait"]), st.integers(0, 40)), max_size=60
    )
)
def test_each_rings_once_at_its_time_unless_it_was_called_off(steps: list[Step]) -> None:
    async def test() -> None:
        alarms = Alarms()
        loop = asyncio.get_running_loop()
        rung: list[tuple[float, int]] = []
        due: dict[int, float] = {}
        known: dict[int, Alarm] = {}

        async def until(end: float) -> None:
            await asyncio.sleep(end - loop.time())
            for number, at in list(due.items()):
                if at <= loop.time():
                    assert (at, number) in rung
                    del due[number]

        def ring(number: int) -> None:
            rung.append((loop.time(), number))

        for number, (what, how) in enumerate(steps):
            if what == "set":
                at = due[number] = loop.time() + how
                known[number] = alarms.set(at, partial(ring, number))
            elif what == "wait":
                await until(loop.time() + (how + 1) / 4)  # a bare yield is too early for any timer
            elif known:
                chosen = sorted(known)[how % len(known)]
                alarms.call_off(known.pop(chosen))
                due.pop(chosen, None)
        await until(loop.time() + 41)
        assert {} == due
        assert len(rung) == len({number for _, number in rung})
        assert [at for at, _ in rung] == sorted(at for at, _ in rung)

    run(test())


def test_what_is_called_off_is_forgotten() -> None:
    async def test() -> None:
        alarms = Alarms()
        kept = alarms.set(1000, asyncio.Event().set)
        for at in range(10_000):
            alarms.call_off(alarms.set(2000 + at, asyncio.Event().set))
        assert len(alarms._heap) < 200
        assert kept.ring is not None

    run(test())


def test_one_may_be_set_while_another_rings() -> None:
    async def test() -> None:
        alarms = Alarms()
        rung: list[float] = []

        def ring() -> None:
            rung.append(asyncio.get_running_loop().time())
            if len(rung) < 3:
                alarms.set(rung[-1] + 1, ring)

        alarms.set(1, ring)
        alarms.set(10, rung.clear)
        await asyncio.sleep(9)
        assert [1, 2, 3] == rung

    run(test())


def test_what_is_set_while_another_rings_does_not_delay_the_others() -> None:
    async def test() -> None:
        alarms = Alarms()
        loop = asyncio.get_running_loop()
        rung: list[float] = []

        def ring() -> None:
            rung.append(loop.time())

        alarms.set(1, lambda: alarms.set(10, ring))
        alarms.set(2, ring)
        await asyncio.sleep(11)
        assert [2, 10] == rung

    run(test())


def test_who_waits_too_long_is_told_of_once_and_hardly_late() -> None:
    async def test() -> None:
        told: dict[str, float] = {}
        loop = asyncio.get_running_loop()

        def tell(who: str) -> None:
            assert who not in told
            told[who] = loop.time()
            overdue.end(who)  # harmless

        overdue = Overdue(8.0, tell)
        overdue.begin("first")
        await asyncio.sleep(3)
        overdue.begin("ended")
        overdue.begin("again")
        await asyncio.sleep(3)
        overdue.end("ended")
        overdue.begin("again")
        await asyncio.sleep(30)
        overdue.begin("late")
        await asyncio.sleep(30)
        assert ["first", "again", "late"] == list(told)
        for who, began in (("first", 0), ("again", 6), ("late", 36)):
            assert began + 8 <= told[who] <= began + 10

    run(test())
