"""The answer writer under ASGI: whatever the order of writes and sends, the bytes are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facade.errors import TooLarge
from facade.wire import asgi, written
from facade.wire.asgi import AsgiAnswer, read_body
from facade.wire.connection import raw_headers
from tests.facade.slow_client import SlowClient

Step = tuple[str, bytes | int]
READ_AHEAD: Final = 20
SLICE: Final = 8


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "READ_AHEAD", READ_AHEAD)
    monkeypatch.setattr(asgi, "SLICE", SLICE)


def _run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(bounded())


async def _give(answer: AsgiAnswer, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    failed: list[Exception] = []

    async def watched() -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - which a shell without tasks tells nobody
            failed.append(error)

    await answer.give(watched())
    if failed:
        raise failed[0]


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


WRITES: Final = st.tuples(st.just("write"), st.binary(max_size=3 * SLICE))
TAKES: Final = st.tuples(st.just("take"), st.integers(0, 4))
TURNS: Final = st.tuples(st.just("turn"), st.integers(0, 3))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(WRITES, TAKES, TURNS), max_size=20))
def test_any_interleaving_of_writing_and_sending_gives_every_byte_in_order(
    steps: list[Step],
) -> None:
    async def test() -> None:
        client = SlowClient()
        answer = client.answered()

        async def work() -> None:
            answer.start(200, {"x": "y"})
            for what, how in steps:
                if isinstance(how, bytes):
                    answer.write(how)
                elif what == "take":
                    client.take(how)
                else:
                    await _turns(how)
                # There is room exactly while less than that was written and not taken.
                assert (answer.drained() is None) == (answer._held < READ_AHEAD)
                assert answer._held >= 0
            answer.end()
            client.take()
            await answer.sent()
            answer.close()

        await _give(answer, work)
        assert answer.complete
        _check_sent(client, b"".join(how for _, how in steps if isinstance(how, bytes)))

    _run(test)


def _check_sent(client: SlowClient, body: bytes) -> None:
    head, *bodies = client.sent
    assert ("http.response.start", 200, [(b"x", b"y")]) == (
        head["type"],
        head["status"],
        head["headers"],
    )
    assert {"http.response.body"} == {message["type"] for message in bodies}
    assert [False] == [message["more_body"] for message in bodies][-1:]
    assert all(message["more_body"] for message in bodies[:-1])
    assert all(len(message["body"]) <= SLICE for message in bodies)
    assert body == client.body


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=5 * SLICE))
def test_a_whole_answer_is_sent_in_slices(body: bytes) -> None:
    async def test() -> None:
        client = SlowClient()
        client.take()
        answer = client.answered()

        async def work() -> None:
            answer.headers["x"] = "y"
            answer.whole(200, {}, body)
            await answer.sent()

        await _give(answer, work)
        length = (b"content-length", str(len(body)).encode())
        assert length == client.sent[0]["headers"].pop()
        _check_sent(client, body)
        assert answer.complete

    _run(test)


async def test_what_is_written_between_two_sends_leaves_in_one() -> None:
    client = SlowClient()
    answer = client.answered()

    async def work() -> None:
        answer.start(200, {})
        await _turns(2)
        for piece in (b"a", b"b", b"", b"c"):
            answer.write(piece)
        client.take(2)
        await _turns(5)

    await _give(answer, work)
    assert [b"abc"] == [message["body"] for message in client.sent[1:]]


async def test_who_waits_for_room_goes_on_when_there_is_some() -> None:
    client = SlowClient()
    answer = client.answered()

    async def work() -> None:
        answer.start(200, {})
        answer.write(b"x" * (READ_AHEAD + SLICE))
        room = answer.drained()
        assert room is not None
        assert answer.drained() is room
        client.take(2)  # the head, and a slice
        await _turns(5)
        assert not room.done()
        client.take(1)
        await _turns(5)
        assert room.done()
        assert answer.drained() is None

    await _give(answer, work)


async def test_who_waited_for_room_and_left_breaks_nothing() -> None:
    client = SlowClient()
    answer = client.answered()

    async def work() -> None:
        answer.start(200, {})
        answer.write(b"x" * READ_AHEAD)
        room = answer.drained()
        assert room is not None
        room.cancel()
        answer.end()
        client.take()
        await answer.sent()

    await _give(answer, work)
    assert READ_AHEAD == len(client.body)


async def test_a_body_that_is_cut_is_none() -> None:
    messages = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        return messages.pop(0)

    assert b"" == await read_body(receive, 2)


@pytest.mark.parametrize(("size", "fits"), [(4, True), (5, False)])
async def test_a_body_has_its_size(size: int, fits: bool) -> None:
    messages = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c" * (size - 2), "more_body": False},
    ]

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        return messages.pop(0)

    if fits:
        assert size == len(await read_body(receive, 4))
    else:
        with pytest.raises(TooLarge, match="larger than 4 bytes"):
            await read_body(receive, 4)


@given(st.text())
def test_any_text_can_stand_in_a_header(text: str) -> None:
    ((name, value),) = raw_headers({"x-facade-model": text})
    assert b"x-facade-model" == name
    assert len(value) == min(len(text), 4096)
    assert all(32 <= byte < 127 for byte in value)
