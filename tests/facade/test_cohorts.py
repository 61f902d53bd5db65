"""Those who are ready go through a stage together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from facade.waits import Cohort, Prompt, next_stage
from tests.facade.test_stepped import Work


async def test_all_who_are_ready_come_as_far_before_one_goes_on() -> None:
    cohort = Cohort()
    wait: Prompt[str] = Prompt()
    seen: list[str] = []

    async def work(name: str) -> None:
        seen.append(name + " began")
        await next_stage()
        seen.append(name + await wait)
        await next_stage()
        seen.append(name + " ended")

    both = Work(cohort), Work(cohort)
    for stepped, name in zip(both, "ab", strict=True):
        stepped.begin(work(name))
    wait.set_result(" went on")
    for stepped in both:
        await stepped
    assert ["a began", "b began", "a went on", "b went on", "a ended", "b ended"] == seen


async def test_nobody_is_ahead_of_who_was_ready_before() -> None:
    cohort = Cohort()
    seen: list[str] = []

    async def spins() -> None:
        for turn in range(3):
            seen.append(f"spins {turn}")
            await next_stage()

    async def works() -> None:
        await next_stage()
        seen.append("works")

    spinning, working = Work(cohort), Work(cohort)
    spinning.begin(spins())
    working.begin(works())
    await spinning
    assert ["spins 0", "spins 1", "works", "spins 2"] == seen


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_who_is_cancelled_on_the_way_to_the_next_stage_holds_nobody_up(
    cancelled: int,
) -> None:
    cohort = Cohort()
    seen: list[str] = []

    async def work(name: str) -> None:
        try:
            await next_stage()
            seen.append(name)
        except asyncio.CancelledError:
            seen.append(f"{name} left")

    both = Work(cohort), Work(cohort)
    for stepped, name in zip(both, "ab", strict=True):
        stepped.begin(work(name))
    both[cancelled].cancel()
    for stepped in both:
        await stepped
    assert (["a left", "b"], ["a", "b left"])[cancelled] == seen


async def test_who_raises_holds_nobody_up() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said))
    cohort = Cohort()
    seen: list[str] = []

    class Fails:
        def step(self) -> None:
            raise ZeroDivisionError

    class Goes:
        def step(self) -> None:
            seen.append("went")

    for member in (Goes(), Fails(), Goes(), Fails(), Goes()):
        cohort.add(member)
    for _ in range(3):
        await asyncio.sleep(0)
    assert (["went"] * 3, 2) == (seen, len(told))


async def test_a_task_comes_to_the_next_stage_too() -> None:
    seen: list[str] = []

    async def work(name: str) -> None:
        seen.append(name)
        await next_stage()
        seen.append(name)

    await asyncio.gather(work("a"), work("b"))
    assert ["a", "b", "a", "b"] == seen
