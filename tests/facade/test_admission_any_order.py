"""Any interleaving of what can happen to the queue, against a model that is plain and slow."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facade.admission import Admission, Room
from facade.auth import Band
from facade.errors import Busy, QueueFull, UpstreamRemoved, WaitedOut
from facade.held import Held
from facade.line import Slot
from facade.turns import MOST_LOADED_IN_A_ROW, STANDS_BACK, Asker, Lane
from facade.waits import Wait
from tests.facade.virtual_time import VirtualLoop

T = TypeVar("T")

LANES: Final[tuple[Lane, ...]] = ("generation", "embedding")
MODELS: Final = ("llama", "qwen", "phi")
ASKERS: Final = st.builds(
    Asker,
    caller=st.sampled_from("abc"),
    band=st.sampled_from([*STANDS_BACK]),
    lane=st.sampled_from(["generation", "generation", "embedding"]),
    model=st.sampled_from(MODELS),
    patience=st.sampled_from([0.0, 20.5, 90.5, 1000.5]),  # never at a whole second
    weight=st.sampled_from([1, 1, 2]),
)
SLOTS: Final = st.one_of(st.integers(1, 4), st.none())
ROOMS: Final = st.builds(Room, slots=SLOTS, embedding_slots=SLOTS, most_waiting=st.integers(0, 12))


class Waiting:
    """One who waits, as the model knows it."""

    def __init__(self, asker: Asker, arrived: float, tag: float, wait: Wait[Slot]) -> None:
        self.asker = asker
        self.arrived = arrived
        self.tag = tag
        self.wait = wait
        self.rank = arrived + STANDS_BACK[asker.band]


class Model:
    """One lane: a list in the order of arrival, looked through from end to end each time."""

    def __init__(self) -> None:
        self.line: list[Waiting] = []
        self.used: list[Slot] = []
        self.loading: dict[Slot, str] = {}
        self._serving = dict.fromkeys(STANDS_BACK, 0.0)
        self._in_a_row = dict.fromkeys(STANDS_BACK, 0)

    def enter(self, asker: Asker, now: float, wait: Wait[Slot]) -> None:
        tags = [one.tag for one in self._of(asker.band) if one.asker.caller == asker.caller]
        tag = max([self._serving[asker.band], *tags]) + 1 / asker.weight
        self.line.append(Waiting(asker, now, tag, wait))

    def take(self, loaded: set[str]) -> Waiting:
        highest, *lower = (band for band in STANDS_BACK if self._ready(band))
        fair = sorted(self._ready(highest), key=lambda one: one.tag)
        ready = [one for one in fair if one.asker.model in loaded]
        spent = self._in_a_row[highest] >= MOST_LOADED_IN_A_ROW
        chosen = fair[0] if spent or not ready else ready[0]
        chosen = min([chosen, *(self._ready(band)[0] for band in lower)], key=lambda one: one.rank)
        band = chosen.asker.band
        self._serving[band] = min(one.tag for one in self._of(band))
        self._in_a_row[band] = self._in_a_row[band] + 1 if chosen.asker.model in loaded else 0
        self.line.remove(chosen)
        return chosen

    def use(self, slot: Slot, model: str, *, loads: bool) -> None:
        self.used.append(slot)
        if loads:
            self.loading[slot] = model

    def may_go(self) -> bool:
        return any(self._ready(band) for band in STANDS_BACK)

    def _ready(self, band: Band) -> list[Waiting]:
        return [one for one in self._of(band) if one.asker.model not in self.loading.values()]

    def _of(self, band: Band) -> list[Waiting]:
        return [one for one in self.line if one.asker.band == band]


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.faults: list[str] = []
        self.loop.set_exception_handler(lambda _, fault: self.faults.append(str(fault)))
        self.loaded: set[str] = set()
        self.room = Room(2, 1, 8)
        self.queue = Admission("local", self.room, self.loop.time, lambda: self.loaded)
        self.lanes = {lane: Model() for lane in LANES}
        self.ends = dict.fromkeys(("entered", "granted", "refused", "cancelled"), 0)

    def now(self, step: Callable[[], T]) -> T:
        """The step inside the loop, which then has one tick."""

        async def inside() -> T:
            return step()

        return self.loop.run_until_complete(inside())

    def slots(self, lane: Lane) -> float:
        slots = self.room.slots if lane == "generation" else self.room.embedding_slots
        return math.inf if slots is None else slots

    def follow(self, lane: Lane) -> None:
        """Let the model grant what is free, and see that the queue did the same."""
        model = self.lanes[lane]
        while model.may_go() and len(model.used) < self.slots(lane):
            chosen = model.take(self.loaded)
            assert chosen.wait.done(), f"it was the turn of {chosen.asker}"
            asked = chosen.asker.model
            model.use(chosen.wait.result(), asked, loads=self.loads(lane, asked))
            self.ends["granted"] += 1

    def loads(self, lane: Lane, model: str) -> bool:
        """Whether a call would bring its model into memory, and others would wait for that."""
        return 1 < self.slots(lane) < math.inf and model not in self.loaded

    @rule(asker=ASKERS)
    def enter(self, asker: Asker) -> None:
        model = self.lanes[asker.lane]
        self.ends["entered"] += 1
        expected: type[Exception] | None = None
        waits = len(model.used) >= self.slots(asker.lane) or asker.model in model.loading.values()
        if waits:
            full = len(model.line) >= self.room.most_waiting
            expected = Busy if asker.patience == 0 else QueueFull if full else None
        if expected is not None:
            with pytest.raises(expected):
                self.now(lambda: self.queue.enter(asker))
            self.ends["refused"] += 1
            return
        asked = self.now(lambda: self.queue.enter(asker))
        if isinstance(asked, Slot):
            assert not waits
            assert not model.may_go()
            model.use(asked, asker.model, loads=self.loads(asker.lane, asker.model))
            self.ends["granted"] += 1
        else:
            assert waits
            model.enter(asker, self.loop.time(), asked)

    @precondition(lambda self: any(model.used for model in self.lanes.values()))
    @rule(data=st.data(), fails=st.booleans(), twice=st.booleans())
    def end(self, data: st.DataObject, fails: bool, twice: bool) -> None:
        """A call ends, well or with an error."""
        lane = data.draw(st.sampled_from([lane for lane in LANES if self.lanes[lane].used]))
        used = self.lanes[lane].used
        slot = used.pop(data.draw(st.integers(0, len(used) - 1)))
        self.lanes[lane].loading.pop(slot, None)

        def call() -> None:
            with contextlib.suppress(ZeroDivisionError), Held() as held:
                held.add(slot.release)
                if twice:
                    held.add(slot.release)
                if fails:
                    raise ZeroDivisionError

        self.now(call)
        self.follow(lane)

    @precondition(lambda self: any(model.loading for model in self.lanes.values()))
    @rule(data=st.data())
    def content_comes(self, data: st.DataObject) -> None:
        """So the model is in memory, and the others who ask for it may go."""
        lane = data.draw(st.sampled_from([lane for lane in LANES if self.lanes[lane].loading]))
        slot = data.draw(st.sampled_from([*self.lanes[lane].loading]))
        self.loaded = self.loaded | {self.lanes[lane].loading.pop(slot)}
        self.now(slot.begun)
        self.follow(lane)

    @precondition(lambda self: any(model.line for model in self.lanes.values()))
    @rule(data=st.data(), twice=st.booleans())
    def hang_up(self, data: st.DataObject, twice: bool) -> None:
        lane = data.draw(st.sampled_from([lane for lane in LANES if self.lanes[lane].line]))
        line = self.lanes[lane].line
        left = line.pop(data.draw(st.integers(0, len(line) - 1)))
        assert self.now(left.wait.cancel)
        if twice:
            self.now(left.wait.cancel)
        self.ends["cancelled"] += 1

    @precondition(lambda self: any(m.line and m.used for m in self.lanes.values()))
    @rule(data=st.data())
    def hang_up_in_the_tick_of_the_grant(self, data: st.DataObject) -> None:
        """As a task does it: its slot is there, but it will never see it."""
        full = [lane for lane in LANES if self.lanes[lane].line and self.lanes[lane].used]
        lane = data.draw(st.sampled_from(full))
        model = self.lanes[lane]
        slot = model.used.pop()
        model.loading.pop(slot, None)
        free = len(model.used) < self.slots(lane) and model.may_go()
        chosen = model.take(self.loaded) if free else None

        def both() -> None:
            slot.release()
            if chosen is not None:
                assert chosen.wait.done()
                chosen.wait.cancel()

        self.now(both)
        self.ends["cancelled"] += chosen is not None
        self.follow(lane)

    @rule(seconds=st.sampled_from([1, 10, 31, 121]))
    def time_passes(self, seconds: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for model in self.lanes.values():
            for one in list(model.line):
                if one.arrived + one.asker.patience < self.loop.time():
                    assert isinstance(one.wait.exception(), WaitedOut)
                    model.line.remove(one)
                    self.ends["refused"] += 1

    @rule(room=ROOMS)
    def the_room_changes(self, room: Room) -> None:
        self.room = room
        self.now(lambda: self.queue.resize(room))
        for lane in LANES:
            self.follow(lane)

    @rule(loaded=st.sets(st.sampled_from(MODELS), max_size=2))
    def other_models_are_loaded(self, loaded: set[str]) -> None:
        self.loaded = loaded

    @invariant()
    def the_queue_and_the_model_hold_the_same(self) -> None:
        for lane, state in self.queue.snapshot().items():
            model = self.lanes[lane]
            assert state.in_use == len(model.used)
            assert state.waiting == len(model.line)
            assert not any(one.wait.done() for one in model.line)

    @invariant()
    def no_slot_is_idle_while_somebody_waits(self) -> None:
        for lane, state in self.queue.snapshot().items():
            assert state.in_use >= self.slots(lane) or not self.lanes[lane].may_go()

    @invariant()
    def one_call_loads_a_model_at_a_time(self) -> None:
        for model in self.lanes.values():
            assert len(model.loading) == len({*model.loading.values()})

    @invariant()
    def no_timer_fires_for_one_who_is_gone(self) -> None:
        assert not self.faults

    def teardown(self) -> None:
        """The upstream is removed; then everything ends."""
        self.now(self.queue.close)
        for model in self.lanes.values():
            for one in model.line:
                assert isinstance(one.wait.exception(), UpstreamRemoved)
                self.ends["refused"] += 1
            for slot in model.used:
                slot.release()
        states = self.queue.snapshot().values()
        assert not any(state.in_use or state.waiting for state in states)
        entered = self.ends.pop("entered")
        assert entered == sum(self.ends.values()), "somebody was lost"
        self.loop.close()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
