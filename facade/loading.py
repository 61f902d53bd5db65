"""What an upstream has in memory, asked while an answer is waited for; never by generating.

Nothing on the wire tells loading from thinking, so the clocks of an attempt hear it from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from adapters.dialect import ListsLoaded, UpstreamRequest
from adapters.errors import UpstreamError
from facade.deadlines import Clocks

_EVERY: Final = 1.0  # seconds


class Loading:
    """One upstream's memory. `ask` sends a metadata request and gives the answer's body."""

    def __init__(
        self, dialect: ListsLoaded, ask: Callable[[UpstreamRequest], Awaitable[bytes]]
    ) -> None:
        self._dialect = dialect
        self._ask = ask
        self._asking: asyncio.Task[frozenset[str]] | None = None

    def watch(self, model: str, clocks: Clocks) -> Watch:
        """Tell the clocks when the model is in memory. The watch must be stopped."""
        return Watch(self, model, clocks)

    async def loaded(self) -> frozenset[str]:
        """What is in memory: one asking at a time, for all who wait."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._asked())
        return await asyncio.shield(self._asking)

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    async def _asked(self) -> frozenset[str]:
        try:
            return self._dialect.decode_loaded(await self._ask(self._dialect.loaded_request()))
        except UpstreamError:
            return frozenset()  # unknown is not loaded: the longer clock holds


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
        while not self._names & await self._loading.loaded():
            since_start = False
            await asyncio.sleep(_EVERY)
            if not self._clocks.waits_for_content:
                return
        self._clocks.loaded(since_start)
