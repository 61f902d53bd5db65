"""The admission queue when waiters leave, slots change, and very many wait."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from typing import Final

import pytest

from facade.admission import Admission, Room
from facade.errors import QueueFull, UpstreamRemoved
from facade.held import Held
from facade.line import BandState, Slot
from facade.turns import STANDS_BACK, Lane, Turn
from tests.facade.queues import ONE, admission, asker, given, in_use, waiting
from tests.facade.virtual_time import run

LANES: Final[tuple[Lane, ...]] = ("generation", "embedding")
WAITERS: Final = 10_000


def test_a_waiter_that_leaves_is_gone_at_once() -> None:
    async def test() -> None:
        queue = admission(Room(1, 1, 1))
        slot = given(queue)
        waiting(queue).cancel()
        next_one = waiting(queue)  # there is room again
        slot.release()
        assert next_one.done()
        assert queue.snapshot()["generation"].cancelled == 1

    run(test())


async def _hold(queue: Admission) -> None:
    asked = queue.enter(asker())
    with Held() as held:
        held.add((asked if isinstance(asked, Slot) else await asked).release)
        await asyncio.sleep(1000)


def test_a_slot_granted_to_a_cancelled_waiter_is_passed_on() -> None:
    """litellm#20256, #27955: counters leaked where a call was cancelled."""

    async def test() -> None:
        queue = admission()
        slot = given(queue)
        leaves, stays = asyncio.create_task(_hold(queue)), asyncio.create_task(_hold(queue))
        await asyncio.sleep(1)
        slot.release()
        leaves.cancel()  # in the tick in which it was granted
        await asyncio.sleep(1)
        assert leaves.cancelled()
        assert in_use(queue) == 1
        stays.cancel()
        await asyncio.sleep(1)
        assert in_use(queue) == 0
        state = queue.snapshot()["generation"]
        assert (state.granted, state.cancelled) == (3, 1)

    run(test())


def test_a_slot_passed_on_does_not_make_services_look_short() -> None:
    async def test() -> None:
        queue = admission(Room(1, 1, 1))
        slot, wait = given(queue), waiting(queue, asker(patience=1000.0))
        await asyncio.sleep(100)
        slot.release()
        assert wait.done()
        wait.cancel()
        wait.cancel()
        assert in_use(queue) == 0
        given(queue), waiting(queue)
        with pytest.raises(QueueFull) as refused:
            queue.enter(asker())
        assert refused.value.retry_after == 200.0

    run(test())


def test_who_is_cancelled_in_the_tick_in_which_it_is_refused_leaves_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        queue = admission()
        given(queue)
        task = asyncio.create_task(_hold(queue))
        await asyncio.sleep(1)
        queue.close()
        task.cancel()
        await asyncio.sleep(1)
        assert task.cancelled()

    with caplog.at_level(logging.ERROR, "asyncio"):
        run(test())
        gc.collect()
    assert caplog.messages == []


def test_the_embeddings_lane_is_apart() -> None:
    async def test() -> None:
        queue = admission(Room(1, 2, 1))
        given(queue), waiting(queue)
        embeds = asker(lane="embedding")
        given(queue, embeds), given(queue, embeds)
        waiting(queue, embeds)
        with pytest.raises(QueueFull):
            queue.enter(embeds)
        assert [in_use(queue, lane) for lane in LANES] == [1, 2]

    run(test())


def test_more_slots_serve_those_who_wait_at_once() -> None:
    async def test() -> None:
        queue = admission()
        given(queue)
        waits = [waiting(queue) for _ in range(3)]
        queue.resize(Room(3, 1, 100))
        assert [wait.done() for wait in waits] == [True, True, False]

    run(test())


def test_fewer_slots_drain_down() -> None:
    async def test() -> None:
        queue = admission(Room(3, 1, 100))
        slots = [given(queue) for _ in range(3)]
        wait = waiting(queue)
        queue.resize(Room(1, 1, 0))
        slots[0].release()
        slots[1].release()
        assert (wait.done(), in_use(queue)) == (False, 1)
        slots[2].release()
        assert (wait.done(), in_use(queue)) == (True, 1)

    run(test())


def test_waiters_of_a_removed_upstream_are_told_and_running_calls_go_on() -> None:
    async def test() -> None:
        queue = admission()
        slot, wait = given(queue), waiting(queue)
        queue.close()
        with pytest.raises(UpstreamRemoved):
            await wait
        slot.release()
        queue.resize(ONE)
        with pytest.raises(UpstreamRemoved):
            queue.enter(asker())
        state = queue.snapshot()["generation"]
        assert (state.in_use, state.removed) == (0, 2)

    run(test())


def test_the_queue_shows_what_it_holds() -> None:
    async def test() -> None:
        queue = admission(Room(1, None, 100))
        given(queue)
        waiting(queue, asker(band="batch"))
        await asyncio.sleep(3)
        waiting(queue, asker(band="interactive"))
        state = queue.snapshot()["generation"]
        assert (state.slots, state.in_use, state.queue, state.waiting) == (1, 1, 100, 2)
        assert state.bands == {
            "interactive": BandState(waiting=1, oldest_seconds=0.0, wait_seconds=10.0),
            "normal": BandState(waiting=0, oldest_seconds=0.0, wait_seconds=10.0),
            "batch": BandState(waiting=1, oldest_seconds=3.0, wait_seconds=15.0),
        }
        free = queue.snapshot()["embedding"].bands
        assert {BandState(waiting=0, oldest_seconds=0.0, wait_seconds=0.0)} == {*free.values()}

    run(test())


def test_ten_thousand_waiters_cost_a_logarithm_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    less = Turn.__lt__

    def counted(self: Turn, other: Turn) -> bool:
        nonlocal compared
        compared += 1
        return less(self, other)

    async def ask(queue: Admission, number: int) -> None:
        bands = list(STANDS_BACK)
        asked = queue.enter(asker(str(number % 977), bands[number % 3], patience=1e6))
        (asked if isinstance(asked, Slot) else await asked).release()

    async def test() -> None:
        queue = admission(Room(1, 1, WAITERS), loaded=["llama"])
        slot = given(queue)
        tasks = [asyncio.create_task(ask(queue, number)) for number in range(WAITERS)]
        await asyncio.sleep(1)
        assert queue.snapshot()["generation"].waiting == WAITERS
        for task in tasks[::4]:
            task.cancel()
        slot.release()
        await asyncio.wait(tasks)
        state = queue.snapshot()["generation"]
        assert (state.granted, state.cancelled) == (1 + WAITERS * 3 // 4, WAITERS // 4)

    monkeypatch.setattr(Turn, "__lt__", counted)
    run(test())
    assert WAITERS < compared < 3 * WAITERS * math.log2(WAITERS)
