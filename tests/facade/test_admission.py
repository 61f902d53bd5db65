"""The admission queue: who is given a slot, who waits, who is refused. Time is virtual."""

from __future__ import annotations

import asyncio

import pytest

from facade.admission import Room
from facade.errors import Busy, FacadeError, QueueFull, UpstreamRemoved, WaitedOut, told
from facade.held import Held
from facade.turns import STANDS_BACK
from tests.facade.queues import admission, asker, given, in_use, waiting
from tests.facade.virtual_time import run


def test_a_free_slot_is_given_at_once() -> None:
    async def test() -> None:
        queue = admission()
        given(queue).release()
        assert given(queue).waited == 0.0
        assert in_use(queue) == 1

    run(test())


def test_without_a_limit_nobody_waits() -> None:
    async def test() -> None:
        queue = admission(Room(None, None, 0))
        for _ in range(500):
            given(queue)
        state = queue.snapshot()["generation"]
        assert (state.slots, state.in_use) == (None, 500)

    run(test())


def test_a_slot_that_is_released_goes_to_who_waits_in_the_same_call() -> None:
    async def test() -> None:
        queue = admission()
        slot, wait = given(queue), waiting(queue)
        await asyncio.sleep(7)
        slot.release()
        assert wait.done()
        assert (await wait).waited == 7.0

    run(test())


def test_a_slot_released_twice_is_free_once() -> None:
    async def test() -> None:
        queue = admission()
        slot = given(queue)
        slot.release()
        other = given(queue)
        slot.release()
        assert in_use(queue) == 1
        other.release()
        assert in_use(queue) == 0

    run(test())


def test_a_call_that_fails_gives_its_slot_back() -> None:
    async def test() -> None:
        queue = admission()

        def fails() -> None:
            with Held() as held:
                held.add(given(queue).release)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        assert in_use(queue) == 0

    run(test())


def test_more_than_may_wait_are_refused_with_the_time_until_they_would_be_served() -> None:
    async def test() -> None:
        queue = admission(Room(2, 1, 3))
        first = given(queue)
        await asyncio.sleep(20)  # so long a service takes
        first.release()
        given(queue), given(queue)
        for band in STANDS_BACK:
            waiting(queue, asker(band=band))
        for band, seconds in zip(STANDS_BACK, (20, 30, 40), strict=True):
            with pytest.raises(QueueFull) as refused:
                queue.enter(asker(band=band))
            assert refused.value.retry_after == seconds  # (ahead + 1) x 20 s / 2 slots
        assert queue.snapshot()["generation"].full == 3

    run(test())


def test_the_mean_follows_the_services_slowly() -> None:
    async def test() -> None:
        queue = admission(Room(1, 1, 0))
        for seconds in (10, 20):
            slot = given(queue)
            await asyncio.sleep(seconds)
            slot.release()
        given(queue)
        with pytest.raises(QueueFull) as refused:
            queue.enter(asker())
        assert refused.value.retry_after == 11.0

    run(test())


def test_who_is_refused_is_never_told_to_come_again_at_once() -> None:
    async def test() -> None:
        queue = admission(Room(1, 1, 0))
        given(queue).release()  # it took no time
        given(queue)
        with pytest.raises(QueueFull) as refused:
            queue.enter(asker())
        assert refused.value.headers()["retry-after-ms"] == "1000"

    run(test())


def test_who_waits_longer_than_its_patience_is_refused_then() -> None:
    async def test() -> None:
        queue = admission()
        given(queue)
        with pytest.raises(WaitedOut) as refused:
            await waiting(queue, asker(patience=60.0))
        assert asyncio.get_running_loop().time() == 60.0
        assert refused.value.retry_after == 5.0  # it is not ahead of itself
        state = queue.snapshot()["generation"]
        assert (state.waited_out, state.waiting) == (1, 0)

    run(test())


def test_who_does_not_want_to_wait_is_refused_at_once() -> None:
    async def test() -> None:
        queue = admission()
        given(queue)
        with pytest.raises(Busy):
            queue.enter(asker(patience=0.0))
        state = queue.snapshot()["generation"]
        assert (state.busy, state.waited_out) == (1, 0)

    run(test())


def test_a_slot_that_is_granted_is_not_waited_out() -> None:
    async def test() -> None:
        queue = admission()
        slot, wait = given(queue), waiting(queue, asker(patience=10.0))
        slot.release()
        await asyncio.sleep(20)
        (await wait).release()
        assert queue.snapshot()["generation"].waited_out == 0

    run(test())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Busy, "busy"),
        (QueueFull, "queue_full"),
        (WaitedOut, "queue_timeout"),
        (UpstreamRemoved, "upstream_removed"),
    ],
)
def test_a_refusal_is_a_503_that_says_when_to_come_again(
    error: type[FacadeError], code: str
) -> None:
    failure = told(error("no", retry_after=2.5))
    assert (failure.status, failure.type, failure.code) == (503, "server_error", code)
    assert failure.headers()["retry-after"] == "3"
