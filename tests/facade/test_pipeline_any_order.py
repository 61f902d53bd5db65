"""Any interleaving of requests, failures and hang-ups through the pipeline itself.

Whatever happens in whatever order: a slot is in use for each call that runs at its upstream and
for no other, nobody is lost, and the line goes by priority and age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import Struct

from adapters.errors import Kind, UpstreamError
from facade.admission import Room
from facade.errors import NoSlot
from tests.facade.pipelines import BANDS, Call, Client, How, Rig
from tests.facade.virtual_time import VirtualLoop

T = TypeVar("T")

ROOM: Final = Room(slots=2, embedding_slots=1, most_waiting=4)
KINDS: Final = (Kind.FAILED, Kind.TIMEOUT, Kind.UNREACHABLE, Kind.RATE_LIMITED, Kind.REJECTED)
HOWS: Final = st.builds(
    How,
    band=st.sampled_from(BANDS),
    streamed=st.booleans(),
    choices=st.integers(1, 2),
    patience=st.sampled_from([0.0, 7.5, 1000.0]),
)
TICKS: Final = 20
LONG_ENOUGH: Final = 40  # rounds, each of which ends every call that runs


class Asked(Struct, frozen=True):
    client: Client
    task: asyncio.Task[None]


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.faults: list[str] = []
        self.loop.set_exception_handler(lambda _, fault: self.faults.append(str(fault)))
        self.rig = self.now(lambda: Rig(ROOM))
        self.asked: list[Asked] = []
        self.left: set[asyncio.Task[None]] = set()

    def now(self, step: Callable[[], T]) -> T:
        """The step inside the loop, and what follows from it without time passing."""

        async def inside() -> T:
            result = step()
            for _ in range(TICKS):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(inside())

    def running(self) -> list[Call]:
        return [call for played in self.rig.upstreams.values() for call in played.running()]

    def under_way(self) -> list[Asked]:
        return [each for each in self.asked if not each.task.done()]

    @rule(model=st.sampled_from(["one", "two", "wait", "next"]), how=HOWS)
    def ask(self, model: str, how: How) -> None:
        client = Client()
        self.asked.append(Asked(client, self.now(lambda: self.rig.ask(client, model, how))))

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def a_call_goes_on(self, data: st.DataObject) -> None:
        """Its first content comes, or its end."""
        call = data.draw(st.sampled_from(self.running()))
        self.now(call.go_on)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def a_call_fails(self, data: st.DataObject, kind: Kind) -> None:
        call = data.draw(st.sampled_from(self.running()))
        error = UpstreamError(kind, "as the test says")
        self.now(lambda: call.fail(error))

    @precondition(lambda self: self.under_way())
    @rule(data=st.data())
    def a_client_leaves(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self.under_way()))
        self.left.add(asked.task)
        self.now(asked.task.cancel)

    @precondition(lambda self: self.running() and self.under_way())
    @rule(data=st.data())
    def one_leaves_in_the_tick_in_which_another_ends(self, data: st.DataObject) -> None:
        """Perhaps the one whose turn has just come."""
        call = data.draw(st.sampled_from(self.running()))
        asked = data.draw(st.sampled_from(self.under_way()))
        self.left.add(asked.task)

        async def both() -> None:
            call.go_on()
            for _ in range(data.draw(st.integers(0, 4))):
                await asyncio.sleep(0)
            asked.task.cancel()

        self.loop.run_until_complete(both())
        self.now(lambda: None)

    @precondition(lambda self: self.under_way())
    @rule(data=st.data())
    def a_client_sticks_or_reads(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(self.under_way()))
        self.now(data.draw(st.sampled_from([asked.client.sticks, asked.client.reads])))

    @rule(seconds=st.sampled_from([1, 31, 121]))
    def time_passes(self, seconds: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.now(lambda: None)

    @invariant()
    def a_slot_is_in_use_for_each_call_that_runs_and_for_no_other(self) -> None:
        for name, queue in self.rig.queues.items():
            in_use = queue.snapshot()["generation"].in_use
            assert in_use == len(self.rig.upstreams[name].running()) <= 2

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        for queue in self.rig.queues.values():
            lane = queue.snapshot()["generation"]
            assert not lane.waiting or lane.in_use == 2

    @invariant()
    def slots_go_by_priority_and_age(self) -> None:
        for queue in self.rig.queues.values():
            assert all(wait.done() for wait in queue.due)

    @invariant()
    def nothing_is_lost_or_forgotten(self) -> None:
        assert not self.faults

    def teardown(self) -> None:
        """Every call ends well, and every client reads: then everybody has an answer."""
        for _ in range(LONG_ENOUGH):
            for call in self.running():
                self.now(call.finish)
            for each in self.asked:
                self.now(each.client.reads)
            self.loop.run_until_complete(asyncio.sleep(3))  # what waits to try again
        for each in self.asked:
            assert each.task.done(), "somebody was lost"
            self._ended(each)
        for queue in self.rig.queues.values():
            lane = queue.snapshot()["generation"]
            assert (0, 0) == (lane.in_use, lane.waiting)
        self.loop.close()

    def _ended(self, each: Asked) -> None:
        if each.task.cancelled():
            assert each.task in self.left
        elif (error := each.task.exception()) is not None:
            assert isinstance(error, NoSlot | UpstreamError), repr(error)
        else:
            assert each.client.ended


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
