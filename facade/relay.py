"""One target's answer on its way to the client: open its calls, then give what comes.

    a stream        its chunks as they come, after the first content
    gathered        the chunks of an upstream that only streams, as one JSON answer
    in one piece    the upstream's own JSON answer

What is taken for a call is let go when its answer is read.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Final

from msgspec import Struct

from adapters.dialect import Encoded, Reply
from adapters.wire import Chunk
from facade.admission import Admission
from facade.ask import Attempt, Face
from facade.faces import sse
from facade.held import Held
from facade.limits.charges import Counted
from facade.slots import take_slot
from facade.upstreams import Answering, Upstream
from facade.waits import next_stage
from facade.wire.answer import warn

JSON: Final = {"content-type": "application/json"}


class Asked(Struct, frozen=True):
    """What a target is asked: its upstream, whose slots are taken (None: it has as many as come).

    `reply`: the answer's identity, until the upstream tells its own. `local_only`: see Upstream.
    """

    upstream: Upstream
    queue: Admission | None
    calls: Sequence[Encoded]
    reply: Reply
    local_only: bool


def answered_by(asked: Asked, attempt: Attempt) -> Coroutine[object, object, None]:
    """The target's answer is the client's. Raises what an attempt may fail with."""
    if attempt.ask.streamed:
        return _stream(attempt, asked)
    return _in_one_piece(attempt, asked) if asked.calls[0].whole else _gathered(attempt, asked)


async def _open(call: Encoded, asked: Asked, attempt: Attempt, held: Held) -> Answering | Counted:
    """What has begun; good or bad, its answer shows what is left of the target's limits."""
    upstream, reply = asked.upstream, asked.reply
    slot = None
    if asked.queue is not None:
        slot = await take_slot(asked.queue, reply.model, attempt, held)
    if attempt.charge is not None:
        await attempt.charge.enter()
    try:
        answering = await upstream.open(
            call, reply, held, attempt.until, local_only=asked.local_only
        )
        if slot is not None:
            slot.begun()
        if attempt.stopwatch:
            attempt.stopwatch()
        return answering if attempt.charge is None else Counted(answering, attempt.charge)
    finally:
        limits = upstream.limits(reply.model)
        if attempt.charge is not None:
            attempt.charge.tell(limits, streamed=attempt.ask.streamed)
        elif limits is not None:
            attempt.answer.headers |= limits.headers()


async def _stream(attempt: Attempt, asked: Asked) -> None:
    """All calls of the attempt as one stream, one after the other."""
    answer = attempt.answer
    face: Face | None = None
    for call in asked.calls:
        with Held() as held:
            answering = await _open(call, asked, attempt, held)
            if face is None:
                face = attempt.ask.face(answering.reply)
                attempt.begun()
                attempt.meter.begins()
                answer.start(200, sse.HEADERS)
            await _relay(answering, face, attempt)
    if attempt.charge is not None:
        attempt.charge.settle()
    if face is not None:
        answer.write(face.end())
    answer.end()


async def _gathered(attempt: Attempt, asked: Asked) -> None:
    """All calls of the attempt as one JSON answer; any failure fails it."""
    answer, reply = attempt.answer, asked.reply
    chunks: list[Chunk] = []
    for call in asked.calls:
        with Held() as held:
            answering = await _open(call, asked, attempt, held)
            while (more := await answering.chunks()) is not None:
                chunks += more
                attempt.meter.see(more)
        reply = answering.reply
    if attempt.charge is not None:
        attempt.charge.settle()
        attempt.charge.show()
    if any(chunk.usage and chunk.usage.partial for chunk in chunks):
        warn(answer.headers, "the upstream did not count all tokens: usage is incomplete")
    answer.whole(200, JSON, attempt.ask.face(reply).whole(chunks))


async def _in_one_piece(attempt: Attempt, asked: Asked) -> None:
    (call,) = asked.calls
    assert call.whole is not None  # noqa: S101 - see answered_by
    with Held() as held:
        answering = await _open(call, asked, attempt, held)
        whole = call.whole(await answering.whole(), asked.reply)
    if attempt.charge is not None:
        attempt.charge.whole(whole)
        await next_stage()
    attempt.meter.used(whole.usage)
    attempt.answer.whole(200, JSON, whole.body)


async def _relay(answering: Answering | Counted, face: Face, attempt: Attempt) -> None:
    """Chunks to the client until the upstream's end; no reading ahead of a slow client.

    What is over waits for no client: its slot is free.
    """
    answer = attempt.answer
    over = False
    while (chunks := await answering.chunks()) is not None:
        attempt.meter.see(chunks)
        if not over:  # else nothing was read for them
            await next_stage()
        answer.write(face.render(chunks))
        over = answering.over
        room = None if over else answer.drained()
        if room is not None:
            await room
