"""What an upstream has in memory, asked while an answer is waited for; never by generating.

Nothing on the wire tells loading from thinking, so the clocks of an attempt hear it from here.

Ollama's own engine lists a model from early in its load. Until a call to it has ended, the time at
which it is to leave is told anew with each asking: so it is there if that stands still.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from adapters.dialect import Facts, ListsLoaded, UpstreamRequest, named_remote
from adapters.errors import UpstreamError
from facade.deadlines import Clocks
from facade.waits import Loop

_EVERY: Final = 1.0  # seconds
_PATIENCE: Final = 1.0  # seconds; a newer Ollama does not say while it loads


def _unheard() -> None:
    pass


class Loading:
    """One upstream's memory. `ask` sends a metadata request and gives the answer's body."""

    def __init__(
        self, dialect: ListsLoaded, ask: Callable[[UpstreamRequest], Awaitable[bytes]]
    ) -> None:
        self._dialect = dialect
        self._ask = ask
        self._now = Loop().time
        self._asking: asyncio.Task[Mapping[str, bool]] | None = None
        self._asked_at = -math.inf
        # When it was last asked; None: it did not say.
        self._known: Mapping[str, Facts] | None = None
        self._memory: frozenset[str] | None = frozenset()  # the same, and what was noted since
        self._seen = deque[frozenset[str]](maxlen=100)  # what was in memory at a time
        self._listed_as: dict[str, frozenset[str]] = {}  # by the model that is not: one of these
        self.heard: Callable[[], object] = _unheard  # called whenever it was asked

    def watch(self, model: str, clocks: Clocks) -> Watch:
        """Tell the clocks when the model is in memory. The watch must be stopped."""
        return Watch(self, model, clocks)

    def known(self) -> Mapping[str, Facts] | None:
        """What was in memory lately. Whoever looks lets it be asked again, and does not wait."""
        if self._now() - self._asked_at >= _EVERY:
            self._ask_if_nobody_does()
        return self._known

    def memory(self) -> frozenset[str] | None:
        """The names of what is in memory, nothing where nobody has asked; None: it does not say."""
        self.known()
        return self._memory

    async def memory_now(self) -> frozenset[str] | None:
        """The same, asked anew where it is older than a second, and heard in as long."""
        self.known()
        if self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking], timeout=_PATIENCE)
        return self._memory

    def note(self, model: str) -> None:
        """It has brought content or was loaded, so it is in memory, unless it runs elsewhere."""
        if self._memory is not None and model not in self._memory and not named_remote(model):
            stay = (other for other in self._memory if self.together(other, model))
            self._memory = frozenset([model, *stay])
            self._asked_at = -math.inf  # what it took the place of is to be seen

    async def loads(self, model: str) -> None:
        """It was loaded, and may be listed by the name of another that has the same weights."""
        self.note(model)
        await self.loaded()  # which may have been asked before
        listed = await self.loaded()
        if listed and _found(listed, model) is None:
            self._listed_as[model] = frozenset(listed)

    def together(self, one: str, other: str) -> bool:
        """Whether both were in memory at the same time."""
        return any(one in memory and other in memory for memory in self._seen)

    async def loaded(self) -> Mapping[str, bool]:
        """What is listed, and of each whether it is there for sure: one asking for all who wait."""
        return await asyncio.shield(self._ask_if_nobody_does())

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def _ask_if_nobody_does(self) -> asyncio.Task[Mapping[str, bool]]:
        if self._asking is None or self._asking.done():
            self._asked_at = self._now()
            self._asking = asyncio.create_task(self._asked())
        return self._asking

    async def _asked(self) -> Mapping[str, bool]:
        before = self._known
        try:
            body = await self._ask(self._dialect.loaded_request())
            self._known = self._dialect.decode_loaded(body)
        except UpstreamError:
            self._known = self._memory = None
            self.heard()
            return {}  # unknown is not loaded: the longer clock holds
        stands = {name: _stands(facts, before, name) for name, facts in self._known.items()}
        self._memory = frozenset(self._there(stands, first=before is None))
        if len(stands) > 1 and self._memory not in self._seen:
            self._seen.append(self._memory)
        self.heard()
        return stands

    def _there(self, stands: Mapping[str, bool], *, first: bool) -> Iterator[str]:
        """The names of what is in memory; what just appeared is on its way into it."""
        for name, sure in stands.items():
            names = (name, name.removesuffix(":latest"))
            if first or sure or not (self._memory or frozenset()).isdisjoint(names):
                yield from names
        for model, others in self._listed_as.items():
            if not others.isdisjoint(stands):
                yield model


def _stands(facts: Facts, before: Mapping[str, Facts] | None, name: str) -> bool:
    earlier = before.get(name) if before else None
    return earlier is not None and earlier.leaves_at == facts.leaves_at


def _found(listed: Mapping[str, bool], model: str) -> bool | None:
    return listed.get(model, listed.get(f"{model}:latest"))


class Watch:
    """Asks once a second until the model is in memory or content has come.

    Most answers begin sooner, so there is no task before the first asking.
    """

    def __init__(self, loading: Loading, model: str, clocks: Clocks) -> None:
        self._loading = loading
        self._model = model
        self._clocks = clocks
        self._task: asyncio.Task[None] | None = None
        first = clocks.started + min(_EVERY, clocks.timeouts.first_token)
        self._alarm = clocks.alarms.set(first, self._begin)

    def stop(self) -> None:
        self._clocks.alarms.call_off(self._alarm)
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        if self._clocks.waits_for_content:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        since_start = True
        while not (sure := _found(await self._loading.loaded(), self._model)):
            since_start = since_start and sure is not None
            await asyncio.sleep(_EVERY)
            if not self._clocks.waits_for_content:
                return
        self._clocks.loaded(since_start)
