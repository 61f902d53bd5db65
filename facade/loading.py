"""What an upstream has in memory, asked while an answer is waited for; never by generating.

Nothing on the wire tells loading from thinking, so the clocks of an attempt hear it from here.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from adapters.dialect import Facts, ListsLoaded, UpstreamRequest
from adapters.errors import UpstreamError
from facade.deadlines import Clocks

_EVERY: Final = 1.0  # seconds


def _unheard() -> None:
    pass


class Loading:
    """One upstream's memory. `ask` sends a metadata request and gives the answer's body."""

    def __init__(
        self, dialect: ListsLoaded, ask: Callable[[UpstreamRequest], Awaitable[bytes]]
    ) -> None:
        self._dialect = dialect
        self._ask = ask
        self._asking: asyncio.Task[Mapping[str, Facts]] | None = None
        self._asked_at = -math.inf
        # When it was last asked; None: it did not say.
        self._known: Mapping[str, Facts] | None = None
        self._memory: frozenset[str] | None = frozenset()  # the same, and what was noted since
        self.heard: Callable[[], object] = _unheard  # called whenever it was asked

    def watch(self, model: str, clocks: Clocks) -> Watch:
        """Tell the clocks when the model is in memory. The watch must be stopped."""
        return Watch(self, model, clocks)

    def known(self) -> Mapping[str, Facts] | None:
        """What was in memory lately. Whoever looks lets it be asked again, and does not wait."""
        if asyncio.get_running_loop().time() - self._asked_at >= _EVERY:
            self._ask_if_nobody_does()
        return self._known

    def memory(self) -> frozenset[str] | None:
        """The names of what is in memory, nothing where nobody has asked; None: it does not say."""
        self.known()
        return self._memory

    async def memory_now(self) -> frozenset[str] | None:
        """The same, asked anew where it is older than a second."""
        if asyncio.get_running_loop().time() - self._asked_at >= _EVERY or self._asking:
            await self.loaded()
        return self._memory

    def note(self, model: str) -> None:
        """It has brought content, so it is in memory."""
        if self._memory is not None and model not in self._memory:
            self._memory |= {model}

    async def loaded(self) -> Mapping[str, Facts]:
        """What is in memory: one asking at a time, for all who wait."""
        return await asyncio.shield(self._ask_if_nobody_does())

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def _ask_if_nobody_does(self) -> asyncio.Task[Mapping[str, Facts]]:
        if self._asking is None or self._asking.done():
            self._asked_at = asyncio.get_running_loop().time()
            self._asking = asyncio.create_task(self._asked())
        return self._asking

    async def _asked(self) -> Mapping[str, Facts]:
        try:
            body = await self._ask(self._dialect.loaded_request())
            known = self._known = self._dialect.decode_loaded(body)
            self._memory = frozenset([*known, *(name.removesuffix(":latest") for name in known)])
        except UpstreamError:
            self._known = None
            self._memory = None
        self.heard()
        return self._known or {}  # unknown is not loaded: the longer clock holds


class Watch:
    """Asks once a second until the model is in memory or content has come.

    Most answers begin sooner, so there is no task before the first asking.
    """

    def __init__(self, loading: Loading, model: str, clocks: Clocks) -> None:
        self._loading = loading
        self._names = {model, f"{model}:latest"}
        self._clocks = clocks
        self._task: asyncio.Task[None] | None = None
        first = min(_EVERY, clocks.timeouts.first_token)
        self._timer = asyncio.get_running_loop().call_later(first, self._begin)

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        if self._clocks.waits_for_content:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        since_start = True
        while self._names.isdisjoint(await self._loading.loaded()):
            since_start = False
            await asyncio.sleep(_EVERY)
            if not self._clocks.waits_for_content:
                return
        self._clocks.loaded(since_start)
