"""What only a store apart has: it fails, it is slow, it forgets, and callers leave meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from valkey.asyncio import Valkey

from facade.errors import LimitsUnavailable
from facade.limits.buckets import Bucket, Lease, Refusal, Tokens
from facade.limits.grammar import parse
from facade.limits.shared import PREFIX, SharedStore, connected
from facade.waits import result_of
from tests.facade.limits import server
from tests.facade.limits.subjects import Shared, shared_subject, take

pytestmark = pytest.mark.store

PLACE = Bucket("key", "agents", parse("1 concurrent"))
HOURLY = Bucket("key", "agents", parse("1/hour"))


@pytest.fixture
async def shared(store_url: str) -> AsyncIterator[Shared]:
    subject = await shared_subject(store_url)
    yield subject
    await subject.close()


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Valkey]:
    async with connected(store_url) as client:
        await client.flushall()
        yield client


async def test_whoever_leaves_while_the_store_is_asked_holds_nothing_litellm_27955(
    shared: Shared,
) -> None:
    lease = Lease((PLACE, HOURLY))
    wait = shared.store.take(lease)
    assert isinstance(wait, asyncio.Future)
    wait.cancel()
    shared.store.settle(lease, None)
    await shared.written()
    assert await take(shared, Lease((PLACE, HOURLY))) is None


async def test_whoever_leaves_just_as_the_store_has_granted_holds_nothing(
    shared: Shared,
) -> None:
    lease = Lease((PLACE, HOURLY))

    async def request() -> None:
        try:
            wait = shared.store.take(lease)
            assert isinstance(wait, asyncio.Future)
            wait.add_done_callback(lambda _: asked.cancel())
            await wait
        finally:
            shared.store.settle(lease, None)

    asked = asyncio.ensure_future(request())
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert lease.taken
    assert await take(shared, Lease((PLACE, HOURLY))) is None


async def test_a_renewed_place_does_not_lapse_and_one_that_is_not_does(shared: Shared) -> None:
    lease = Lease((PLACE,))
    assert await take(shared, lease) is None
    for now in (20_000, 40_000):
        await shared.at(now)
        await shared.renew()
    await shared.at(69_999)
    assert isinstance(await take(shared, Lease((PLACE,))), Refusal)
    await shared.at(70_000)
    other = Lease((PLACE,))
    assert await take(shared, other) is None
    shared.store.settle(lease, None)
    await shared.renew()
    assert isinstance(await take(shared, Lease((PLACE,))), Refusal), "another's place"


async def test_a_place_that_lapsed_while_its_process_was_stopped_is_taken_again(
    shared: Shared,
) -> None:
    """Its request goes on, so nobody else is let in."""
    lease, other = Lease((PLACE,)), Lease((PLACE,))
    assert await take(shared, lease) is None
    await shared.at(30_000)
    assert await take(shared, other) is None
    await shared.renew()
    shared.store.settle(other, None)
    assert isinstance(await take(shared, Lease((PLACE,))), Refusal)
    shared.store.settle(lease, None)
    assert await take(shared, Lease((PLACE,))) is None


async def test_a_server_that_comes_back_empty_is_told_who_holds_a_place_before_all_else() -> None:
    with server.ending() as apart:
        store = SharedStore(connected(apart.url))
        held = Lease((PLACE,))
        assert await result_of(store.take(held)) is None
        apart.end()
        with pytest.raises(LimitsUnavailable):
            await result_of(store.take(Lease((PLACE,))))
        apart.start()
        assert isinstance(await result_of(store.take(Lease((PLACE,)))), Refusal)
        store.settle(held, None)
        assert await result_of(store.take(Lease((PLACE,)))) is None
        await store.close()


async def test_what_has_drained_is_not_kept_in_the_server(client: Valkey) -> None:
    store = SharedStore(client)
    await result_of(store.take(Lease((PLACE, HOURLY))))
    assert 3_590_000 < await client.pttl(PREFIX + HOURLY.key) <= 3_600_000
    assert 29_000 < await client.pttl(PREFIX + PLACE.key) <= 30_000
    await store.close()


async def test_a_server_that_forgot_the_scripts_is_given_them_again(client: Valkey) -> None:
    store = SharedStore(client)
    assert await result_of(store.take(Lease((HOURLY,)))) is None
    await client.script_flush()
    assert isinstance(await result_of(store.take(Lease((HOURLY,)))), Refusal)
    await store.close()


async def test_a_store_that_is_not_there_is_a_503_for_what_is_limited_only() -> None:
    async with connected("valkey://127.0.0.1:1") as client:
        store = SharedStore(client)
        lease = Lease((HOURLY,))
        with pytest.raises(LimitsUnavailable, match="does not answer") as raised:
            await result_of(store.take(lease))
        assert (503, 1.0) == (raised.value.status, raised.value.retry_after)
        store.settle(lease, None)
        assert await result_of(store.take(Lease(()))) is None
        await store.close()


async def test_the_log_says_why_a_store_does_not_do_what_it_is_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with server.running() as url:
        client = connected(url)
        store = SharedStore(client)
        await client.replicaof("127.0.0.1", 1)
        for _ in range(2):
            with pytest.raises(LimitsUnavailable):
                await result_of(store.take(Lease((HOURLY,))))
        await client.replicaof("NO", "ONE")
        assert await result_of(store.take(Lease((HOURLY,)))) is None
        await store.close()
    said, over = (record.message for record in caplog.records)
    assert "does not answer" in said
    assert "read only replica" in said
    assert "the store of the limits answers again" == over


async def test_a_store_that_refuses_all_it_is_asked_is_not_asked_without_end() -> None:
    """As one is that has become a replica; nothing is to be given up again of what it refused."""
    with server.running() as url:
        client = connected(url)
        store = SharedStore(client)
        held = Lease((Bucket("key", "other", parse("1 concurrent")),))
        assert await result_of(store.take(held)) is None
        await client.replicaof("127.0.0.1", 1)
        for _ in range(2):
            waits = [result_of(store.take(Lease((PLACE,)))) for _ in range(200)]
            refused = await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 10)
            assert {LimitsUnavailable} == {type(each) for each in refused}
            await asyncio.wait_for(store.written(), 10)
        asked = (await client.info("commandstats"))["cmdstat_eval"]
        assert asked["calls"] + asked["rejected_calls"] <= 1 + 2 * (200 + 2)
        await store.close()


async def test_a_store_that_hangs_is_a_503_soon_and_works_again_after() -> None:
    with server.running() as url:
        async with connected(url) as client:
            store = SharedStore(client)
            held = Lease((PLACE,))
            assert await result_of(store.take(held)) is None
            await client.client_pause(1000)
            with pytest.raises(LimitsUnavailable):
                await result_of(store.take(Lease((HOURLY,))))
            store.settle(held, 0)
            await store.written()
            await client.client_unpause()
            ample = Bucket("key", "agents", parse("9/hour"))
            assert await result_of(store.take(Lease((ample,)))) is None
            await store.close()


async def test_what_used_as_much_as_it_reserved_does_not_ask_the_server_again() -> None:
    with server.running() as url:
        client = connected(url)
        store = SharedStore(client)
        lease = Lease((Bucket("key", "agents", parse("9 tokens/hour")), HOURLY), Tokens(3, 3, 3))
        assert await result_of(store.take(lease)) is None
        store.settle(lease, 3)
        await store.written()
        assert 1 == (await client.info("commandstats"))["cmdstat_eval"]["calls"]
        await store.close()


async def test_a_closed_store_has_written_what_was_settled(client: Valkey) -> None:
    store = SharedStore(client)
    lease = Lease((PLACE, HOURLY))
    await result_of(store.take(lease))
    store.settle(lease, None)
    await store.close()
    assert [] == await client.keys()


# -- places that are stood in line for -----------------------------------------------------


async def stands(shared: Shared, *leases: Lease) -> list[bool]:
    """Who of them is let in, looking one after the other."""
    return [await shared.store.stand(lease) is None for lease in leases]


async def test_who_stands_in_line_comes_in_order_however_often_the_others_look(
    shared: Shared,
) -> None:
    first, second, third = (Lease((PLACE,)) for _ in range(3))
    assert [True, False, False] == await stands(shared, first, second, third)
    shared.store.leave(first)
    assert [False, False, True] == await stands(shared, third, third, second)
    shared.store.leave(second)
    assert [True] == await stands(shared, third)


async def test_who_does_not_look_any_more_keeps_nobody_out(shared: Shared) -> None:
    first, gone, third = (Lease((PLACE,)) for _ in range(3))
    assert [True, False, False] == await stands(shared, first, gone, third)
    shared.store.leave(first)
    await shared.at(499)
    assert [False] == await stands(shared, third)
    await shared.at(500)
    assert [True] == await stands(shared, third)


async def test_who_left_the_line_keeps_nobody_out(shared: Shared) -> None:
    first, *gone, last = (Lease((PLACE,)) for _ in range(5))
    assert [True, False, False, False] == await stands(shared, first, *gone)
    for lease in (*gone, first):
        shared.store.leave(lease)
        shared.store.leave(lease)
    assert [True] == await stands(shared, last)


async def test_as_many_are_let_in_as_there_are_places(shared: Shared) -> None:
    two = Bucket("slots", "gpu", parse("2 concurrent"))
    leases = [Lease((two,)) for _ in range(5)]
    assert [True, True, False, False, False] == await stands(shared, *leases)
    shared.store.leave(leases[0])
    shared.store.leave(leases[1])
    assert [False, True, True] == await stands(shared, leases[4], leases[3], leases[2])


async def test_the_place_of_who_was_killed_lapses_for_the_line(shared: Shared) -> None:
    assert [True] == await stands(shared, Lease((PLACE,)))
    await shared.at(29_999)
    other = Lease((PLACE,))
    assert [False] == await stands(shared, other)
    await shared.at(30_000)
    assert [True] == await stands(shared, other)


async def test_who_leaves_just_as_it_is_let_in_holds_nothing(shared: Shared) -> None:
    lease = Lease((PLACE,))
    wait = shared.store.stand(lease)
    wait.cancel()
    shared.store.leave(lease)
    await shared.written()
    assert [True] == await stands(shared, Lease((PLACE,)))
