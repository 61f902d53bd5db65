"""The answer writer over a connection: whatever the order, the bytes are the same."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facade.wire import connected_answer, written
from tests.facade.slow_client import SlowConnection

Step = tuple[str, bytes | int]
READ_AHEAD: Final = 20
SLICE: Final = 8


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "READ_AHEAD", READ_AHEAD)
    monkeypatch.setattr(connected_answer, "SLICE", SLICE)


WRITES: Final = st.tuples(st.just("write"), st.binary(max_size=3 * SLICE))
TAKES: Final = st.tuples(st.just("take"), st.integers(0, 4))
TURNS: Final = st.tuples(st.just("turn"), st.integers(0, 3))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(WRITES, TAKES, TURNS), max_size=20))
def test_any_interleaving_of_writing_and_taking_gives_every_byte_in_order(
    steps: list[Step],
) -> None:
    async def test() -> None:
        client = SlowConnection()
        answer = client.answered()
        answer.start(200, {"x": "y"})
        for what, how in steps:
            if isinstance(how, bytes):
                answer.write(how)
            elif what == "take":
                client.take(how)
            else:
                for _ in range(how):
                    await asyncio.sleep(0)
            assert (answer.drained() is None) == (answer._held < READ_AHEAD)
        answer.end()
        client.take()
        await answer.sent()
        assert answer.complete
        assert client.finished
        assert b"".join(how for _, how in steps if isinstance(how, bytes)) == client.body
        assert client.written[0].startswith(b"200 x=y|")

    asyncio.run(test())


async def test_what_is_written_goes_at_once_and_what_was_held_in_one_write() -> None:
    client = SlowConnection()
    client.take(2)
    answer = client.answered()
    answer.start(200, {})
    for piece in (b"a", b"b", b"", b"c", b"d"):
        answer.write(piece)
    assert [b"200 |a", b"b"] == client.written
    client.take(1)
    assert [b"200 |a", b"b", b"cd"] == client.written
    answer.close()


async def test_a_head_goes_in_the_turn_in_which_it_was_begun() -> None:
    client = SlowConnection()
    client.take()
    answer = client.answered()
    answer.start(200, {})
    await asyncio.sleep(0)
    assert [b"200 |"] == client.written
    answer.close()


async def test_who_pauses_with_what_went_at_once_is_watched() -> None:
    client = SlowConnection()
    client.take(1)
    answer = client.answered(0.04)
    answer.start(200, {})
    answer.write(b"a")
    async with asyncio.timeout(5):
        await client.gone.wait()
    assert (True, True) == (client.aborted, answer.left)
    answer.close()


async def test_an_answer_that_ends_in_the_turn_in_which_it_began_has_its_head_once() -> None:
    client = SlowConnection(chunked=True)
    client.take()
    answer = client.answered()
    answer.start(200, {})
    answer.write(b"ab")
    answer.end()
    assert [b"200 transfer-encoding=chunked|2\r\nab\r\n", b"0\r\n\r\n"] == client.written
    await answer.sent()


@pytest.mark.parametrize(
    ("chunked", "body"), [(True, b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"), (False, b"ab")]
)
async def test_a_stream_is_framed_as_its_client_reads_it(chunked: bool, body: bytes) -> None:
    client = SlowConnection(chunked=chunked)
    client.take()
    answer = client.answered()
    answer.start(200, {})
    for piece in (b"a", b"b"):
        answer.write(piece)
        await asyncio.sleep(0)
    answer.end()
    await answer.sent()
    assert body == client.body


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_whole_answer_is_one_write_with_its_length(chunked: bool) -> None:
    client = SlowConnection(chunked=chunked)
    client.take()
    answer = client.answered()
    answer.headers["x"] = "y"
    answer.whole(200, {"z": "1"}, b"ok")
    await answer.sent()
    assert [b"200 x=y z=1 content-length=2|ok"] == client.written
    assert client.finished


async def test_a_whole_answer_waits_for_a_client_that_takes_it_slowly() -> None:
    client = SlowConnection()
    client.take(1)
    answer = client.answered()
    answer.whole(200, {}, b"x" * 3 * SLICE)
    sent = asyncio.create_task(answer.sent())
    for _ in range(2):
        await asyncio.sleep(0)
        assert not sent.done()
        client.take(1)
    await sent
    assert 3 * SLICE == len(client.body)


async def test_who_waits_for_room_goes_on_when_there_is_some_or_leaves() -> None:
    client = SlowConnection()
    answer = client.answered()
    answer.start(200, {})
    answer.write(b"x" * (READ_AHEAD + 2 * SLICE))
    room = answer.drained()
    assert room is not None
    assert answer.drained() is room
    client.take(2)
    assert not room.done()
    client.take(1)
    assert room.done()
    answer.write(b"x" * READ_AHEAD)
    left = answer.drained()
    assert left is not None
    left.cancel()
    answer.end()
    client.take()
    await answer.sent()
    assert 2 * (READ_AHEAD + SLICE) == len(client.body)


async def test_an_answer_that_is_closed_writes_nothing_more() -> None:
    client = SlowConnection()
    client.paused = True
    answer = client.answered()
    answer.start(200, {})
    answer.write(b"x")
    answer.close()
    client.take()
    await asyncio.sleep(0)
    assert b"" == client.body
    assert not client.finished
