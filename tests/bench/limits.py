"""`python -m tests.bench.limits`: what a take and its settling cost, in memory and shared.

Microseconds of both together, of one bucket and of six; the server is on this machine.
"""

from __future__ import annotations

import asyncio
import time

from facade.limits.buckets import Bucket, Lease, Store, Tokens
from facade.limits.grammar import parse
from facade.limits.memory import MemoryStore
from facade.limits.shared import SharedStore, connected
from facade.waits import result_of
from tests.facade.limits import server

SIX = tuple(
    Bucket(scope, "x", parse(limit))
    for scope in ("key", "ip")
    for limit in ("1000000/second", "1000000 tokens/second", "1000 concurrent")
)
RESERVE = Tokens()


async def _requests(store: Store, buckets: tuple[Bucket, ...], times: int) -> None:
    for _ in range(times):
        lease = Lease(buckets, RESERVE)
        assert await result_of(store.take(lease)) is None
        store.settle(lease, 1)


async def _report(name: str, store: Store, times: int, at_once: int) -> None:
    for buckets in (SIX[:1], SIX):
        start = time.perf_counter()
        await asyncio.gather(*(_requests(store, buckets, times) for _ in range(at_once)))
        each = (time.perf_counter() - start) / times / at_once * 1e6
        print(f"{name}, {at_once} at once, {len(buckets)} buckets: {each:.1f} us a request")


async def main() -> None:
    """Print the figures."""
    await _report("memory", MemoryStore(time.monotonic), 50_000, 1)
    with server.running() as url:
        async with connected(url) as client:
            store = SharedStore(client)
            await _report("shared", store, 2000, 1)
            await _report("shared", store, 100, 64)
            await store.close()


if __name__ == "__main__":
    asyncio.run(main())
