"""The slots of an upstream that several processes share: places in their store.

Strategy: each process has a queue of its own, and whom that grants a slot stands in line for a
place too. Nobody is told when it is his turn: he looks, and who does not look any more has left.
So no more look than there are slots, those of one process come in its queue's order, and the
processes come in turn.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, Protocol

from facade.errors import Busy, WaitedOut
from facade.held import Held
from facade.limits.buckets import Bucket, Lease, Said
from facade.limits.grammar import parse
from facade.waits import Wait

LOOKS: Final = 0.05  # seconds between two


class Standing(Protocol):
    """The store, as far as places are concerned; see facade.limits.shared."""

    def stand(self, lease: Lease) -> Wait[Said]: ...

    def leave(self, lease: Lease) -> None: ...


class Places:
    """Those of one lane of an upstream, which everywhere has the same `name`."""

    def __init__(self, store: Standing, name: str, slots: int) -> None:
        self._store = store
        self._buckets = (Bucket("slots", name, parse(f"{slots} concurrent")),)

    async def take(self, held: Held, patience: float) -> None:
        """Hold a place. Raises WaitedOut when none was free for so many seconds, Busy for none."""
        now = asyncio.get_running_loop().time
        until = now() + patience
        lease = Lease(self._buckets)
        held.add(partial(self._store.leave, lease))
        while await self._store.stand(lease) is not None:
            if patience <= 0:
                raise Busy("other processes have all slots: try again later", retry_after=1.0)
            if now() >= until:
                raise WaitedOut(
                    f"other processes had all slots for {patience:g} s: try again later",
                    retry_after=1.0,
                )
            await asyncio.sleep(LOOKS)
