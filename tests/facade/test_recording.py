"""A recording: whoever listens, whenever, has every byte in order."""

from __future__ import annotations

import asyncio
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from facade.waits import Wait
from facade.wire.answer import READ_AHEAD
from facade.wire.connected_answer import ConnectedAnswer
from facade.wire.connection import SLICE
from facade.wire.recording import Recording
from tests.facade.slow_client import SlowConnection

WRITES: Final = st.tuples(st.just("write"), st.binary(max_size=8))
LISTENS: Final = st.tuples(st.just("listen"), st.none())
LEAVES: Final = st.tuples(st.just("leave"), st.integers(0, 3))


def _listener(takes: int = 1_000) -> tuple[SlowConnection, ConnectedAnswer]:
    client = SlowConnection()
    client.take(takes)
    return client, client.answered()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(WRITES, LISTENS, LEAVES), max_size=20), st.booleans(), st.booleans())
def test_whoever_listens_whenever_has_every_byte_in_order(
    steps: list[tuple[str, bytes | int | None]], early: bool, late: bool
) -> None:
    async def test() -> None:
        kept: list[int] = []
        recording = Recording(kept.append)
        all_of_them = [_listener()] if early else []
        for _, answer in all_of_them:
            recording.listen(answer)
        recording.start(200, {"x": "y"})
        for what, how in steps:
            if isinstance(how, bytes):
                recording.write(how)
            elif what == "listen":
                all_of_them.append(_listener())
                recording.listen(all_of_them[-1][1])
            elif recording.listeners:
                left = recording.listeners[int(how or 0) % len(recording.listeners)]
                recording.leave(left)
                all_of_them = [pair for pair in all_of_them if pair[1] is not left]
                left.close()  # type: ignore[attr-defined] # a ConnectedAnswer
            await asyncio.sleep(0)
        recording.end()
        if late:
            all_of_them.append(_listener())
            recording.listen(all_of_them[-1][1])
        body = b"".join(how for _, how in steps if isinstance(how, bytes))
        assert len(body) == sum(kept)
        for client, answer in all_of_them:
            await answer.sent()
            assert body == client.body
            assert b"200 x=y|" == client.written[0][:8]
            assert client.finished

    asyncio.run(test())


async def test_a_whole_answer_is_whole_for_who_comes_before_and_after() -> None:
    recording = Recording(lambda _: None)
    before, after = _listener(), _listener()
    recording.listen(before[1])
    recording.whole(200, {"x": "y"}, b"ok")
    recording.listen(after[1])
    for client, _ in (before, after):
        assert [b"200 x=y content-length=2|ok"] == client.written


def _full(answer: ConnectedAnswer, recording: Recording) -> Wait[None]:
    while (room := recording.drained()) is None:
        recording.write(b"x" * SLICE)
    assert answer.drained() is not None
    return room


async def test_it_waits_while_nobody_has_room() -> None:
    recording = Recording(lambda _: None)
    slow, answer = _listener(0)
    recording.listen(answer)
    recording.start(200, {})
    room = _full(answer, recording)
    assert recording.drained() is room
    assert READ_AHEAD <= answer._held
    slow.take(1)
    await asyncio.sleep(0)
    slow.take(1)
    await room
    assert recording.drained() is None
    answer.close()


async def test_it_goes_on_for_one_who_has_room() -> None:
    recording = Recording(lambda _: None)
    stuck, quick = _listener(0)[1], _listener()[1]
    recording.listen(stuck)
    recording.start(200, {})
    room = _full(stuck, recording)
    recording.listen(quick)
    await room
    await asyncio.sleep(0)
    assert recording.drained() is None
    for answer in (stuck, quick):
        answer.close()


async def test_it_goes_on_when_who_was_waited_for_leaves() -> None:
    recording = Recording(lambda _: None)
    _, stuck = _listener(0)
    recording.listen(stuck)
    recording.start(200, {})
    room = _full(stuck, recording)
    recording.leave(stuck)
    await room
    assert recording.drained() is None
    stuck.close()
