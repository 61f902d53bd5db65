"""A coroutine that is stepped without a task ends, waits and is cancelled as in one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from facade.waits import Cohort, Prompt
from facade.wire.stepped import Stepped

Ended = list[Stepped]


class Work(Stepped):
    """Who awaits it waits for its end."""

    def __init__(self, cohort: Cohort | None = None) -> None:
        super().__init__(cohort or Cohort())
        self.times: Ended = []
        self._end_of_it = asyncio.Event()

    def has_ended(self) -> None:
        self.times.append(self)
        self._end_of_it.set()

    def __await__(self) -> Generator[Any, None, object]:
        return self._end_of_it.wait().__await__()


def _begun(work: Coroutine[Any, Any, object]) -> tuple[Work, Ended]:
    stepped = Work()
    stepped.begin(work)
    return stepped, stepped.times


async def test_what_need_not_wait_has_ended_when_it_was_begun() -> None:
    async def work() -> None: ...

    stepped, ended = _begun(work())
    assert [stepped] == ended
    assert not stepped.cancel()


async def test_it_goes_on_when_what_it_waits_for_is_done() -> None:
    wait: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    got: list[int] = []

    async def work() -> None:
        await asyncio.sleep(0)
        got.append(await wait)

    stepped, ended = _begun(work())
    for _ in range(3):
        await asyncio.sleep(0)
    assert [] == ended
    wait.set_result(7)
    await stepped
    assert ([7], [stepped]) == (got, ended)


async def test_a_failure_that_it_waits_for_is_raised_in_it() -> None:
    wait: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    caught: list[str] = []

    async def work() -> None:
        try:
            await wait
        except OSError as error:
            caught.append(str(error))

    stepped, _ = _begun(work())
    wait.set_exception(OSError("lost"))
    await stepped
    assert ["lost"] == caught


async def test_cancelling_it_cancels_what_it_waits_for() -> None:
    wait: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    released: list[bool] = []

    async def work() -> None:
        try:
            await wait
        finally:
            released.append(wait.cancelled())

    stepped, ended = _begun(work())
    assert stepped.cancel()
    await stepped
    assert ([True], [stepped], False) == (released, ended, stepped.cancel())


async def test_who_is_cancelled_may_go_on() -> None:
    wait: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    after: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    got: list[str] = []

    async def work() -> None:
        try:
            await wait
        except asyncio.CancelledError:
            got.append(await after)

    stepped, ended = _begun(work())
    stepped.cancel()
    await asyncio.sleep(0)
    after.set_result("told")
    assert [] == ended
    await stepped
    assert ["told"] == got


@pytest.mark.parametrize("result", [True, False])
async def test_cancelled_between_a_result_and_its_next_step_it_is_told(result: bool) -> None:
    """As a task is: the result is there, but nobody is to go on with it."""
    wait: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    got: list[str] = []

    async def work() -> None:
        try:
            await wait
        except asyncio.CancelledError:
            got.append("cancelled")
            raise
        except OSError:
            got.append("failed")

    stepped, ended = _begun(work())
    if result:
        wait.set_result(1)
    else:
        wait.set_exception(OSError())
    stepped.cancel()
    await stepped
    assert (["cancelled"], [stepped]) == (got, ended)


async def test_who_cancels_itself_is_told_where_it_waits_next() -> None:
    got: list[str] = []

    async def work() -> None:
        stepped.cancel()
        got.append("still here")
        await asyncio.get_running_loop().create_future()

    stepped = Work()
    stepped.begin(work())
    await stepped
    assert (["still here"], [stepped]) == (got, stepped.times)


async def test_what_is_cancelled_before_it_begins_does_nothing() -> None:
    got: list[str] = []

    async def work() -> None:
        got.append("begun")

    stepped = Work()
    assert stepped.cancel()
    stepped.begin(work())
    assert ([], [stepped]) == (got, stepped.times)


async def test_what_it_raises_is_told_to_the_loop() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said))

    async def work() -> None:
        raise ZeroDivisionError

    stepped, ended = _begun(work())
    assert [stepped] == ended
    (said,) = told
    assert isinstance(said["exception"], ZeroDivisionError)


async def test_it_goes_on_in_the_turn_after_what_is_prompt_was_set() -> None:
    wait: Prompt[int] = Prompt()
    got: list[int] = []

    async def work() -> None:
        got.append(await wait)

    stepped, ended = _begun(work())
    wait.set_result(7)
    assert [] == got
    await asyncio.sleep(0)
    assert ([7], [stepped]) == (got, ended)


async def test_what_is_prompt_raises_then_too() -> None:
    wait: Prompt[int] = Prompt()
    caught: list[str] = []

    async def work() -> None:
        try:
            await wait
        except OSError as error:
            caught.append(str(error))

    _, ended = _begun(work())
    wait.set_exception(OSError("lost"))
    await asyncio.sleep(0)
    assert (["lost"], 1) == (caught, len(ended))


async def test_cancelling_what_is_prompt_lets_its_canceller_finish_first() -> None:
    wait: Prompt[int] = Prompt()

    async def work() -> None:
        await wait

    stepped, ended = _begun(work())
    assert stepped.cancel()
    assert [] == ended
    await stepped
    assert ([stepped], True) == (ended, wait.cancelled())


async def test_tasks_wait_for_what_is_prompt_as_for_any_future() -> None:
    wait: Prompt[int] = Prompt()
    asyncio.get_running_loop().call_soon(wait.set_result, 7)
    assert 7 == await wait
