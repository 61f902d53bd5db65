"""How a request comes by its slots: whom it asks, how long it waits, what it tells of that."""

from __future__ import annotations

import asyncio
import math

from facade.admission import Admission
from facade.ask import Attempt
from facade.held import Held
from facade.line import Slot
from facade.turns import Asker
from facade.waits import result_of


async def take_slot(queue: Admission, model: str, attempt: Attempt, held: Held) -> Slot:
    """A slot that is held, once one is free. Raises NoSlot.

    Who has had one waits for the next as long as it may.
    """
    now = asyncio.get_running_loop().time
    ask, arrived = attempt.ask, now()
    caller, patience = ask.caller, min(attempt.patience, attempt.until - arrived)
    asker = Asker(caller.name or "", caller.band, ask.lane, model, patience, caller.weight)
    try:
        slot = await result_of(queue.enter(asker))
        held.add(slot.release)
        if places := queue.places.get(ask.lane):
            await places.take(held, patience - (now() - arrived))
        attempt.patience = math.inf
        return slot
    finally:
        attempt.queued += now() - arrived
        if attempt.queued:
            attempt.answer.headers["x-facade-queue-ms"] = str(round(attempt.queued * 1000))
