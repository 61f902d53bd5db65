"""The two stores as the one suite sees them: with a clock that only the test moves."""

from __future__ import annotations

import asyncio
import re
from typing import Protocol

import pytest
from valkey.asyncio import Valkey

from facade.limits import shared
from facade.limits.buckets import Lease, Said, Store
from facade.limits.memory import MemoryStore
from facade.limits.shared import SharedStore
from facade.waits import result_of

_CLOCK = "test:clock"
_OURS = (  # what the scripts ask the server's clock for, and what of it would pass by itself
    ("redis.call('TIME')", f"{{0, redis.call('GET', '{_CLOCK}')}}"),
    (", 'PX', gone", ""),
)


class Subject(Protocol):
    """`lapse`: ms after which a place that is not renewed is given back; None: never."""

    @property
    def store(self) -> Store: ...
    @property
    def lapse(self) -> int | None: ...
    async def at(self, milliseconds: int) -> None: ...
    async def written(self) -> None: ...
    async def renew(self) -> None: ...
    async def close(self) -> None: ...


async def take(subject: Subject, lease: Lease) -> Said:
    """What the store says, after all that was settled before."""
    await subject.written()
    return await result_of(subject.store.take(lease))


class InMemory:
    lapse = None

    def __init__(self) -> None:
        self.now = 0
        self.store: Store = MemoryStore(lambda: (self.now + 0.5) / 1000)  # no ms is lost to a float

    async def at(self, milliseconds: int) -> None:
        self.now = milliseconds

    async def written(self) -> None: ...
    async def renew(self) -> None: ...
    async def close(self) -> None: ...


class Shared:
    lapse = int(shared.LAPSE * 1000)

    def __init__(self, client: Valkey) -> None:
        self.client = client
        self.store: SharedStore = self._by_our_clock()

    def _by_our_clock(self) -> SharedStore:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shared, "source", _ours)
            store = SharedStore(self.client)
        store._renewal = asyncio.ensure_future(asyncio.sleep(0))  # only the test renews
        return store

    async def at(self, milliseconds: int) -> None:
        await self.client.set(_CLOCK, milliseconds * 1000)

    async def written(self) -> None:
        await self.store.written()

    async def renew(self) -> None:
        self.store.renew()
        await self.store.written()

    async def close(self) -> None:
        await self.store.close()
        await self.client.aclose()


_SOURCE = shared.source


def _ours(verb: str) -> str:
    text = _SOURCE(verb)
    for theirs, ours in _OURS:
        text = text.replace(theirs, ours)
    text = re.sub(r"redis\.call\('PEXPIRE', [^()]*\)", "", text)
    assert "TIME" not in text
    assert "PEXPIRE" not in text
    return text


async def shared_subject(url: str) -> Shared:
    """On an emptied server, at 0."""
    client = shared.connected(url)
    await client.flushall()
    subject = Shared(client)
    await subject.at(0)
    return subject
