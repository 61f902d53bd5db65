"""Models that are brought into memory while another target answers (`cold = "next"`).

Strategy: whoever finds a model cold is sent on, and one load is begun, by a request without a
prompt: it waits in line for a slot as any call. What was loaded so stays for a while before another
takes its place, and a load that fails is not tried again as soon: two models that do not fit side
by side would push each other out with every request.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Final

from adapters.dialect import LoadsModels, Target, named_remote
from adapters.errors import UpstreamError
from facade.admission import Admission
from facade.deadlines import Timeouts
from facade.errors import Cold, LimitsUnavailable, NoSlot
from facade.held import Held
from facade.turns import Asker
from facade.upstreams import Upstream
from facade.waits import result_of

STAYS: Final = 60.0  # seconds
_TAKES: Final = 10.0  # seconds of a load, as a guess
_log = logging.getLogger(__name__)


class Warming:
    """One upstream's."""

    def __init__(self, upstream: Upstream, dialect: LoadsModels, queue: Admission | None) -> None:
        self._upstream = upstream
        self._dialect = dialect
        self._queue = queue
        self._load: asyncio.Task[None] | None = None
        self._loads = ""  # the model that is being loaded
        self._loaded_at = -math.inf

    async def check(self, target: Target) -> None:
        """Raises Cold where the model is not in memory, as far as is known; then it is loaded.

        One that runs elsewhere is never in memory here.
        """
        if target.facts.remote or named_remote(target.model):
            return
        if target.model != self._loads:
            loading = self._upstream.loading
            memory = await loading.memory_now() if loading else None
            if memory is None or target.model in memory:
                return
            stays = asyncio.get_running_loop().time() - self._loaded_at < STAYS
            if self._load is None and not stays:
                self._load = asyncio.create_task(self._run(target))
        raise Cold(
            f"'{target.model}' is not in the memory of '{target.upstream}': try again later",
            retry_after=_TAKES,
        )

    def close(self) -> None:
        """End a load that is under way."""
        if self._load is not None:
            self._load.cancel()

    async def _run(self, target: Target) -> None:
        most = self._upstream.traits.timeouts.load
        try:
            with Held() as held:
                if self._queue is not None:
                    await _take_slot(self._queue, target.model, most, held)
                self._loads = target.model
                within = Timeouts(load=most, first_token=most, idle=most, total=most)
                await self._upstream.ask(self._dialect.load_request(target), within)
                if self._upstream.loading:
                    await self._upstream.loading.loads(target.model)
        except (NoSlot, LimitsUnavailable, UpstreamError) as error:
            _log.warning("%s: a model was not loaded: %s", target.upstream, error)
        finally:
            self._load = None
            self._loads = ""
            self._loaded_at = asyncio.get_running_loop().time()


async def _take_slot(queue: Admission, model: str, patience: float, held: Held) -> None:
    """As any call does: see facade.slots."""
    asker = Asker("", "normal", "generation", model, patience)
    held.add((await result_of(queue.enter(asker))).release)
    if places := queue.places.get(asker.lane):
        await places.take(held, patience)


def warmings(
    upstreams: Mapping[str, Upstream], queues: Mapping[str, Admission]
) -> Mapping[str, Warming]:
    """Those of the upstreams whose dialect can load a model."""
    return {
        name: Warming(upstream, upstream.dialect, queues.get(name))
        for name, upstream in upstreams.items()
        if isinstance(upstream.dialect, LoadsModels)
    }
