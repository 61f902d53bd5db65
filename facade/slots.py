"""How a request comes by its slots: whom it asks, how long it waits, what it tells of that."""

from __future__ import annotations

import math

from facade.admission import Admission
from facade.ask import Attempt
from facade.attempts import Course
from facade.config import ModelSettings
from facade.held import Held
from facade.line import Slot
from facade.turns import Asker
from facade.waits import result_of


def sets_out(attempt: Attempt, course: Course, chain: ModelSettings) -> None:
    """What the next attempt of a chain may wait for, and what it tells of those before it."""
    ask = attempt.ask
    attempt.number = course.number
    attempt.patience = ask.patience - attempt.queued if course.patient else 0.0
    # What only embeds cannot be loaded by a request without a prompt.
    loads = chain.cold == "next" and ask.lane == "generation"
    attempt.warm = loads and not (course.again or ask.prefers_local)
    attempt.meter.fell_back = course.reason
    if course.reason:
        attempt.answer.headers["x-facade-fallback"] = course.reason
    else:
        attempt.answer.headers.pop("x-facade-fallback", None)


async def take_slot(queue: Admission, model: str, attempt: Attempt, held: Held) -> Slot:
    """A slot that is held, once one is free. Raises NoSlot.

    Who has had one waits for the next as long as it may.
    """
    ask, arrived = attempt.ask, queue.now()
    caller, patience = ask.caller, min(attempt.patience, attempt.until - arrived)
    asker = Asker(caller.name or "", caller.band, ask.lane, model, patience, caller.weight)
    asked, places = queue.enter(asker), queue.places.get(ask.lane)
    if isinstance(asked, Slot) and places is None:
        slot = asked
        held.add(slot.release)
    else:
        try:
            slot = await result_of(asked)
            held.add(slot.release)
            if places is not None:
                await places.take(held, patience - (queue.now() - arrived))
        finally:
            attempt.queued += queue.now() - arrived
            attempt.answer.headers["x-facade-queue-ms"] = str(round(attempt.queued * 1000))
        if not attempt.answer.started:
            attempt.still(queue.now())
    attempt.patience = math.inf
    return slot
