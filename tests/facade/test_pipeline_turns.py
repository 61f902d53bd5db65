"""Who waits for a slot in the pipeline, and what it is told: the orders that matter most."""

from __future__ import annotations

import asyncio
from typing import Final

from adapters.errors import Kind, UpstreamError
from facade.admission import Room
from facade.breaker import CONSECUTIVE
from facade.errors import NoSlot
from tests.facade.pipelines import Client, How, Rig
from tests.facade.virtual_time import run

STREAMED: Final = How(streamed=True)


def test_a_slot_is_free_when_the_upstream_has_ended_not_when_the_client_has_read() -> None:
    """Who reads slowly, or nothing, must not keep a GPU idle."""

    async def test() -> None:
        rig = Rig(Room(1, 1, 1))
        slow = Client()
        first = rig.ask(slow, "one", STREAMED)
        second = rig.ask(Client(), "one", STREAMED)
        await asyncio.sleep(1)
        (call,) = rig.upstreams["one"].calls
        call.finish()
        slow.sticks()
        await asyncio.sleep(1)
        assert not first.done()
        assert not rig.upstreams["one"].calls[1:]  # what came first is not read by its client
        slow.reads()
        slow.sticks()
        await asyncio.sleep(1)
        assert 2 == len(rig.upstreams["one"].calls)
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])
        assert 0 == rig.queues["one"].snapshot()["generation"].in_use

    run(test())


def test_the_deadline_of_a_request_includes_its_wait() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        rig = Rig(Room(1, 1, 1))
        first = rig.ask(Client(), "one")
        await asyncio.sleep(100)
        client = Client()
        second = rig.ask(client, "one")
        await asyncio.wait([first])
        assert 590.0 == loop.time()  # and its slot goes on
        await asyncio.wait([second])
        assert 690.0 == loop.time()
        assert "490000" == client.headers["x-facade-queue-ms"]
        assert 0 == rig.queues["one"].snapshot()["generation"].in_use
        assert all(isinstance(each.exception(), UpstreamError) for each in (first, second))

    run(test())


def test_who_waits_until_the_deadline_is_told_of_the_queue() -> None:
    async def test() -> None:
        rig = Rig(Room(1, 1, 1))
        first = rig.ask(Client(), "one")
        await asyncio.sleep(0)
        second = rig.ask(Client(), "one")
        await asyncio.sleep(1)
        rig.upstreams["one"].calls[0].begins.set_result(None)  # and it never ends
        await asyncio.wait([second])
        error = second.exception()
        assert isinstance(error, NoSlot)
        assert "queue_timeout" == error.code
        first.cancel()
        await asyncio.wait([first])
        assert 0 == rig.queues["one"].snapshot()["generation"].in_use

    run(test())


def test_a_request_that_leaves_in_the_tick_of_its_turn_passes_the_slot_on() -> None:
    """litellm#30020: who is cancelled just then keeps a slot for ever."""

    async def test() -> None:
        rig = Rig(Room(1, 1, 2))
        first, leaves, stays = (rig.ask(Client(), "one") for _ in range(3))
        await asyncio.sleep(1)
        rig.upstreams["one"].calls[0].finish()
        while rig.queues["one"].snapshot()["generation"].waiting == 2:  # noqa: ASYNC110 - a tick
            await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.sleep(1)
        assert first.done()
        assert leaves.cancelled()
        (call,) = rig.upstreams["one"].running()
        call.finish()
        await stays
        assert 0 == rig.queues["one"].snapshot()["generation"].in_use

    run(test())


def test_a_batch_request_is_not_starved_by_urgent_ones() -> None:
    async def test() -> None:
        rig = Rig(Room(1, 1, 100))
        batch = How(band="batch")
        urgent = How(band="interactive")
        tasks = [rig.ask(Client(), "one", urgent)]
        await asyncio.sleep(1)
        old = rig.ask(Client(), "one", batch)
        while not old.done():
            tasks.append(rig.ask(Client(), "one", urgent))
            tasks.append(rig.ask(Client(), "one", urgent))
            await asyncio.sleep(10)
            for call in rig.upstreams["one"].running():
                call.finish()
        assert 130 < asyncio.get_running_loop().time() < 300
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(test())


def test_who_waits_for_a_target_that_has_failed_meanwhile_goes_to_the_next() -> None:
    """Else each of a long line finds out for itself that it is gone, one after the other."""

    async def test() -> None:
        rig = Rig(Room(1, 1, 100))
        one, two = rig.upstreams.values()
        clients = [Client() for _ in range(12)]
        tasks = [rig.ask(client, "wait") for client in clients]
        for _ in range(CONSECUTIVE):
            await asyncio.sleep(0.01)
            (call,) = one.running()
            call.fail(UpstreamError(Kind.FAILED, "as the test says"))
        for _ in range(40):
            await asyncio.sleep(0.05)
            for call in two.running():
                call.finish()
        assert all(task.done() and task.exception() is None for task in tasks)
        assert CONSECUTIVE == len(one.calls)
        assert {"breaker_open"} <= {client.headers["x-facade-fallback"] for client in clients}

    run(test())
