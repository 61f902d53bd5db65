"""A stage returns its result, or a Wait for it; only a Wait is awaited.

So a request that need not wait is decided without one suspension, and a shell that has
no task for a request can run the same code: it steps the coroutine and goes on when the
Wait it gave is done.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

Wait = asyncio.Future


@types.coroutine
def next_stage() -> Generator[None, None, None]:
    """Let all who are ready come as far as this, before anybody goes on: see `Cohort`."""
    yield


class Left(asyncio.CancelledError):
    """Who waits is cancelled, whatever became of what was waited for."""


class Member(Protocol):
    """Who goes on with others."""

    def step(self) -> None: ...


class Cohort:
    """Those who go on in the loop's next turn, one after the other.

    Strategy: cohort scheduling. Requests that come in one turn go through each stage together, so
    that its code and data are in the processor's caches for all but the first. A request on its
    own does not fit there: each stage would wait for memory again. See decision 20.
    """

    def __init__(self) -> None:
        self._ready: list[Member] = []
        self.loop = Loop()

    def add(self, member: Member) -> None:
        if not self._ready:
            self.loop.get().call_soon(self._run)
        self._ready.append(member)

    def _run(self) -> None:
        ready, self._ready = iter(self._ready), []
        try:
            for member in ready:
                member.step()
        finally:
            for member in ready:  # those behind one that raised
                self.add(member)


class Prompt(asyncio.Future[T]):
    """A Wait whose end has a shell without tasks go on, at no cost of a handle and a context."""

    cohort: Cohort | None = None  # which `waiter` then joins
    waiter: Member

    def set_result(self, result: T) -> None:
        asyncio.Future.set_result(self, result)  # looked up once less than by super()
        if self.cohort is not None:
            self.cohort.add(self.waiter)

    def set_exception(self, exception: type[BaseException] | BaseException) -> None:
        super().set_exception(exception)
        if self.cohort is not None:
            self.cohort.add(self.waiter)

    def cancel(self, msg: object = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled and self.cohort is not None:
            self.cohort.add(self.waiter)
        return cancelled


class Loop:
    """The one that runs when it is first asked for: to ask which one runs is a system call."""

    def __init__(self) -> None:
        self._known: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        if self._known is None:
            self._known = asyncio.get_running_loop()
        return self._known

    def time(self) -> float:
        return (self._known or self.get()).time()


class Askings(Generic[T]):
    """One asking at a time about each name, for all who wait; it ends when the last has left."""

    def __init__(self) -> None:
        self._under_way: dict[str, tuple[asyncio.Task[T], set[object]]] = {}  # with who waits

    async def answer(self, name: str, ask: Callable[[], Coroutine[object, object, T]]) -> T:
        """What `ask` gives; it is called if nobody waits for that yet."""
        if name not in self._under_way:
            self._under_way[name] = (asyncio.create_task(ask()), set())
        task, waiting = self._under_way[name]
        myself = object()
        waiting.add(myself)
        try:
            return await asyncio.shield(task)
        finally:
            waiting.remove(myself)
            if not waiting:
                del self._under_way[name]
                task.cancel()

    def close(self) -> None:
        """Whoever waits is cancelled."""
        for task, _ in self._under_way.values():
            task.cancel()


async def result_of(step: T | Wait[T]) -> T:
    """The result of a stage, waited for only where it has to be."""
    return await step if isinstance(step, asyncio.Future) else step
