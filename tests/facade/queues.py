"""An admission queue to try, and who asks it for a slot."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from facade.admission import Admission, Room
from facade.auth import Band
from facade.line import Slot
from facade.turns import Asker, Lane
from facade.waits import Wait

ONE: Final = Room(slots=1, embedding_slots=1, most_waiting=100)


def admission(room: Room = ONE, loaded: Collection[str] | None = None) -> Admission:
    return Admission("local", room, asyncio.get_running_loop().time, lambda: loaded)


def asker(
    caller: str = "key",
    band: Band = "normal",
    lane: Lane = "generation",
    patience: float = 60.0,
) -> Asker:
    return Asker(caller, band, lane, "llama", patience)


def given(queue: Admission, who: Asker | None = None) -> Slot:
    slot = queue.enter(who or asker())
    assert isinstance(slot, Slot)
    return slot


def waiting(queue: Admission, who: Asker | None = None) -> Wait[Slot]:
    wait = queue.enter(who or asker())
    assert isinstance(wait, Wait)
    return wait


def in_use(queue: Admission, lane: Lane = "generation") -> int:
    return queue.snapshot()[lane].in_use
