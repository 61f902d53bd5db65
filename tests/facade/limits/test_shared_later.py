"""What ends while the shared store does not answer is not forgotten."""

from __future__ import annotations

import asyncio

import pytest

from facade.errors import LimitsUnavailable
from facade.limits.buckets import Bucket, Lease, Refusal, Tokens
from facade.limits.grammar import parse
from facade.limits.shared import SharedStore, connected
from facade.waits import result_of
from tests.facade.limits import server

pytestmark = pytest.mark.store


async def test_what_ends_while_a_store_hangs_is_owed_when_it_works_again() -> None:
    tokens = parse("9 tokens/hour")
    early, late = Bucket("key", "early", tokens), Bucket("key", "late", tokens)
    with server.running() as url:
        async with connected(url) as client:
            store = SharedStore(client)
            leases = [Lease((bucket,), Tokens(1, 1, 1)) for bucket in (early, late)]
            for lease in leases:
                assert await result_of(store.take(lease)) is None
            await client.client_pause(1000)
            refused = store.take(Lease((Bucket("key", "c", tokens),)))
            await asyncio.sleep(0)
            store.settle(leases[0], 9)  # behind what is under way
            with pytest.raises(LimitsUnavailable):
                await result_of(refused)
            store.settle(leases[1], 9)  # when it is known that nothing is answered
            await client.client_unpause()
            assert await result_of(store.take(Lease((Bucket("key", "b", tokens),)))) is None
            await store.written()
            for bucket in (early, late):
                assert isinstance(await result_of(store.take(Lease((bucket,)))), Refusal)
            await store.close()
