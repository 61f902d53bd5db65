"""The clocks against a model of them that knows the whole story beforehand; time is virtual."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from adapters.errors import Kind, UpstreamError
from facade.alarms import Alarms
from facade.deadlines import _SAID, Clocks, Timeouts
from facade.waits import Wait
from tests.facade.virtual_time import run

FOREVER: Final = 10_000.0
NEVER: Final = float("inf")


class Step(Struct, frozen=True):
    """A wait for the upstream of so many seconds; then perhaps content; then we do not wait."""

    waits: float
    content: bool
    pauses: float


class Story(Struct, frozen=True):
    """One attempt, as it would go on if no clock ran out."""

    timeouts: Timeouts
    steps: tuple[Step, ...]
    loads: bool
    silent: bool
    loaded_at: float  # NEVER: it is not told
    since_start: bool


def _seconds(least: int = 1) -> st.SearchStrategy[float]:
    return st.integers(least, 30).map(float)


STORIES: Final = st.builds(
    Story,
    timeouts=st.builds(
        Timeouts,
        load=_seconds(),
        first_token=_seconds(),
        idle=_seconds(),
        total=_seconds(10).map(lambda limit: limit + 0.25),  # never with another clock
    ),
    steps=st.lists(
        st.builds(Step, waits=_seconds(), content=st.booleans(), pauses=_seconds(0)),
        min_size=1,
        max_size=6,
    ).map(tuple),
    loads=st.booleans(),
    silent=st.booleans(),
    loaded_at=st.one_of(st.just(NEVER), st.integers(1, 40).map(lambda at: at + 0.5)),
    since_start=st.booleans(),
)


def expected(story: Story) -> tuple[float, str] | None:
    """When which clock runs out; None if none does."""
    now, content = 0.0, False
    for step in story.steps:
        due = now + step.waits
        at, name = _limit(story, now, content, until=due)
        assume(at != due)  # at the same moment either may be first
        if at < due:
            return max(at, now), name
        content = content or step.content
        now = due + step.pauses
    return None


def _limit(story: Story, began: float, content: bool, *, until: float) -> tuple[float, str]:
    """When the clock that holds during a wait runs out, and its name."""
    limits, total = story.timeouts, (story.timeouts.total, "total")
    if content:
        return total if story.silent else min((began + limits.idle, "idle"), total)
    if not story.loads:
        return total if story.silent else min((limits.first_token, "first_token"), total)
    load = min((limits.load, "load"), total)
    if story.loaded_at >= min(until, max(load[0], began)):
        return load
    if story.silent:
        return total
    begins = 0.0 if story.since_start else story.loaded_at
    first = (begins + limits.first_token, "first_token")
    # It may have been over by the time that the model was found to be loaded.
    at, name = min(first, total)
    return max(at, story.loaded_at), name


async def _waited(clocks: Clocks, step: Wait[None]) -> None:
    """As an answer is waited for."""
    try:
        await clocks.mind(step)
    except asyncio.CancelledError:
        clocks.check()
        raise


async def _lived(story: Story) -> tuple[float, str] | None:
    loop = asyncio.get_running_loop()
    clocks = Clocks(story.timeouts, Alarms(), NEVER, story.loads, story.silent)
    if story.loads and story.loaded_at < NEVER:
        loop.call_at(story.loaded_at, clocks.loaded, story.since_start)
    try:
        for step in story.steps:
            await _waited(clocks, asyncio.ensure_future(asyncio.sleep(step.waits)))
            if step.content:
                clocks.content()
            await asyncio.sleep(step.pauses)
    except UpstreamError as error:
        said = error.message.removeprefix("the upstream took too long (").removesuffix(")")
        return loop.time(), next(name for name, words in _SAID.items() if words == said)
    finally:
        clocks.stop()
    return None


@settings(max_examples=500, deadline=None)
@given(STORIES)
def test_the_clock_that_holds_runs_out_exactly_when_it_must(story: Story) -> None:
    assert expected(story) == run(_lived(story))


async def _cancelled_from_outside() -> None:
    clocks = Clocks(Timeouts(), Alarms(), NEVER, loads=False, silent=False)
    step = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(_waited(clocks, step))
    await asyncio.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert step.cancelled()
    clocks.stop()


def test_who_is_cancelled_is_not_told_of_a_timeout() -> None:
    run(_cancelled_from_outside())


@pytest.mark.parametrize("over", [False, True])
def test_who_stops_lets_go_of_what_was_waited_for_done_or_not(over: bool) -> None:
    class Step(asyncio.Future[None]):
        cancels = 0

        def cancel(self, msg: object = None) -> bool:
            self.cancels += 1
            return super().cancel(msg)

    async def test() -> None:
        clocks = Clocks(Timeouts(), Alarms(), NEVER, loads=False, silent=False)
        step = clocks.mind(Step())
        if over:
            step.set_result(None)
        clocks.stop()
        clocks.stop()
        assert isinstance(step, Step)
        assert 1 == step.cancels
        assert over != step.cancelled()

    run(test())


async def _fails() -> None:
    clocks = Clocks(Timeouts(), Alarms(), NEVER, loads=False, silent=False)
    step: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    step.set_exception(UpstreamError(Kind.CUT, "cut"))
    with pytest.raises(UpstreamError, match="cut"):
        await _waited(clocks, step)
    clocks.stop()
    clocks.stop()


def test_a_step_that_fails_fails_for_its_own_reason() -> None:
    run(_fails())


async def _many_steps() -> float:
    alarms = Alarms()
    clocks = Clocks(Timeouts(total=FOREVER, idle=2.0), alarms, NEVER, loads=False, silent=False)
    for _ in range(1000):
        await _waited(clocks, asyncio.ensure_future(asyncio.sleep(1.0)))
        clocks.content()
    clocks.stop()
    assert [] == [each for each in alarms._heap if each.ring is not None]
    return asyncio.get_running_loop().time()


def test_progress_moves_a_deadline_and_leaves_no_timer_behind() -> None:
    assert 1000.0 == run(_many_steps())


class _Aborted(asyncio.Future[None]):
    """A step whose cancelling is seen, also when it is done."""

    times = 0

    def cancel(self, msg: object = None) -> bool:
        self.times += 1
        return super().cancel(msg)


async def _always_something() -> tuple[float, int]:
    """Each step has come before anybody looks."""
    clocks = Clocks(Timeouts(total=5.5, idle=2.0), Alarms(), NEVER, loads=False, silent=False)
    clocks.content()
    for _ in range(20):
        step = _Aborted()
        clocks.mind(step)
        step.set_result(None)
        await asyncio.sleep(1.0)
        if step.times:
            break
    with pytest.raises(UpstreamError, match="the whole answer was not there in time"):
        clocks.check()
    return asyncio.get_running_loop().time(), step.times


def test_total_runs_out_whatever_comes() -> None:
    assert (6.0, 1) == run(_always_something())


@pytest.mark.parametrize(("loads", "said"), [(True, "not loaded"), (False, "no content came")])
def test_what_comes_without_content_holds_up_neither_load_nor_first_token(
    loads: bool, said: str
) -> None:
    async def test() -> float:
        timeouts = Timeouts(load=5.5, first_token=5.5)
        clocks = Clocks(timeouts, Alarms(), NEVER, loads, silent=False)
        for _ in range(20):
            step = clocks.mind(_Aborted())
            if step.cancelled():
                break
            step.set_result(None)
            await asyncio.sleep(1.0)
        with pytest.raises(UpstreamError, match=said):
            clocks.check()
        return asyncio.get_running_loop().time()

    assert 6.0 == run(test())
