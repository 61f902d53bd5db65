"""What is kept of requests with an Idempotency-Key: how long, how much; by the test's clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from facade import idempotency
from facade.auth import Caller
from facade.edge import Handle, Request
from facade.errors import FacadeError, Stopping
from facade.idempotency import KEPT, OUTLIVES, Idempotency
from facade.wire.answer import AnswerWriter
from facade.wire.connected_answer import ConnectedAnswer
from facade.wire.head import Headers
from tests.facade.slow_client import SlowConnection
from tests.facade.virtual_time import run

BODY: Final = b"x" * 100


class Face:
    """A handler that counts, and takes so many seconds."""

    def __init__(self, takes: float = 0.0, pieces: int = 1) -> None:
        self.calls = 0
        self.ended: list[float] = []
        self._takes = takes
        self._pieces = pieces

    async def handle(self, _: Request, answer: AnswerWriter) -> None:
        self.calls += 1
        try:
            answer.start(200, {"x": "y"})
            for _piece in range(self._pieces):
                await asyncio.sleep(self._takes)
                answer.write(BODY)
            answer.end()
        finally:
            self.ended.append(asyncio.get_running_loop().time())


def _client() -> tuple[SlowConnection, ConnectedAnswer]:
    client = SlowConnection()
    client.take()
    return client, client.answered(1e6)


async def _ask(once: Handle, key: str, caller: str = "ann") -> tuple[bytes, str | None]:
    """The body that the client of this request gets, and whether it is a replay."""
    client, answer = _client()
    headers = Headers([(b"idempotency-key", key.encode())])
    request = Request("POST", "/", headers, b"{}", Caller(caller))
    await once(request, answer)
    await answer.sent()
    return client.body, answer.headers.get("idempotent-replayed")


async def _asked_for(once: Handle, key: str, seconds: float) -> None:
    """A client that leaves after so long."""
    asking = asyncio.ensure_future(_ask(once, key))
    await asyncio.wait([asking], timeout=seconds)
    asking.cancel()
    await asyncio.wait([asking])


def timed(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def timed() -> None:
        run(test())

    timed.__name__ = test.__name__
    return timed


@timed
async def test_an_answer_is_kept_for_its_time_and_no_longer() -> None:
    face, table = Face(), Idempotency()
    once = table(face.handle)
    assert (BODY, None) == await _ask(once, "k")
    await asyncio.sleep(KEPT - 1)
    assert (BODY, "true") == await _ask(once, "k")
    await asyncio.sleep(2)
    assert {} == table._ended
    assert 0 == table._bytes
    assert (BODY, None) == await _ask(once, "k")
    assert 2 == face.calls
    await table.close()


@timed
async def test_answers_expire_each_at_its_time() -> None:
    face, table = Face(), Idempotency()
    once = table(face.handle)
    for key in ("one", "two"):
        await _ask(once, key)
        await asyncio.sleep(10)
    await asyncio.sleep(KEPT - 15)
    assert ["two"] == [key for _, key in table._ended]
    await asyncio.sleep(10)
    assert {} == table._ended
    await table.close()


@timed
async def test_a_request_outlives_its_client_for_its_time_and_no_longer() -> None:
    face, table = Face(takes=100), Idempotency()
    once = table(face.handle)
    await _asked_for(once, "k", 5)
    await asyncio.sleep(OUTLIVES + 1)
    assert [5 + OUTLIVES] == face.ended
    assert {} == table._running
    await table.close()


@timed
async def test_a_client_that_comes_back_has_its_whole_patience_again() -> None:
    face, table = Face(takes=200), Idempotency()
    once = table(face.handle)
    await _asked_for(once, "k", 5)
    await asyncio.sleep(OUTLIVES - 5)
    await _asked_for(once, "k", 60)
    await asyncio.sleep(OUTLIVES - 1)
    assert [] == face.ended
    assert (BODY, "true") == await _ask(once, "k")
    assert 1 == face.calls
    await table.close()


@timed
async def test_what_ends_without_a_client_is_kept() -> None:
    face, table = Face(takes=10, pieces=2), Idempotency()
    once = table(face.handle)
    await _asked_for(once, "k", 5)
    await asyncio.sleep(20)
    assert (2 * BODY, "true") == await _ask(once, "k")
    await table.close()


@timed
async def test_who_listens_to_what_is_given_up_is_told_to_try_again() -> None:
    face, table = Face(takes=100), Idempotency()
    asking = asyncio.ensure_future(_ask(table(face.handle), "k"))
    await asyncio.sleep(1)
    await table.close()
    with pytest.raises(Stopping):
        await asking


def test_of_too_many_answers_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_ANSWERS", 3)

    async def test() -> None:
        face, table = Face(), Idempotency()
        once = table(face.handle)
        for key in "abcd":
            await _ask(once, key)
        assert ["b", "c", "d"] == [key for _, key in table._ended]
        assert 3 * len(BODY) == table._bytes
        await table.close()

    run(test())


def test_where_as_many_run_as_may_the_next_is_an_ordinary_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "MOST_ANSWERS", 1)

    async def test() -> None:
        face, table = Face(takes=10), Idempotency()
        once = table(face.handle)
        asking = asyncio.ensure_future(_ask(once, "a"))
        await asyncio.sleep(1)
        assert (BODY, None) == await _ask(once, "b")
        assert (BODY, None) == await asking
        assert ["a"] == [key for _, key in table._ended]
        await table.close()

    run(test())


def test_of_too_many_bytes_the_oldest_answers_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_BYTES", 2 * len(BODY))

    async def test() -> None:
        face, table = Face(), Idempotency()
        once = table(face.handle)
        for key in "abc":
            await _ask(once, key)
        assert ["b", "c"] == [key for _, key in table._ended]
        assert 2 * len(BODY) == table._bytes
        await table.close()

    run(test())


@pytest.mark.parametrize("name", ["MOST_BYTES", "MOST_OF_ONE"])
def test_an_answer_that_is_too_large_reaches_its_clients_and_is_not_kept(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, name, 2 * len(BODY))

    async def test() -> None:
        face, table = Face(takes=10, pieces=5), Idempotency()
        once = table(face.handle)
        asking = [asyncio.ensure_future(_ask(once, "a"))]
        await asyncio.sleep(15)
        asking.append(asyncio.ensure_future(_ask(once, "a")))
        assert [(5 * BODY, None), (5 * BODY, "true")] == await asyncio.gather(*asking)
        assert ({}, {}, 0) == (table._running, table._ended, table._bytes)
        await table.close()

    run(test())


def test_what_is_too_large_ends_with_its_last_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_OF_ONE", len(BODY))

    async def test() -> None:
        face, table = Face(takes=10, pieces=5), Idempotency()
        once = table(face.handle)
        await _asked_for(once, "left-late", 25)
        assert [25] == face.ended
        await _asked_for(once, "left-soon", 5)
        await asyncio.sleep(OUTLIVES)
        assert [25, 45] == face.ended
        assert ({}, {}, 0) == (table._running, table._ended, table._bytes)
        await table.close()

    run(test())


def test_a_failure_that_nobody_hears_is_logged_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(_: Request, answer: AnswerWriter) -> None:
        await asyncio.sleep(10)
        raise FacadeError("words of the prompt")

    async def test() -> None:
        table = Idempotency()
        await _asked_for(table(fails), "k", 5)
        await asyncio.sleep(10)
        assert ({}, 0) == (table._running, table._bytes)
        await table.close()

    with caplog.at_level(logging.WARNING):
        run(test())
    assert ["failed when its client had left: FacadeError"] == caplog.messages


@timed
async def test_a_request_without_a_key_costs_a_look_into_its_headers() -> None:
    face, table = Face(), Idempotency()
    _, answer = _client()
    called = table(face.handle)(Request("POST", "/", Headers([])), answer)
    assert called.__qualname__ == "Face.handle"  # type: ignore[attr-defined] # a coroutine has one
    await called
