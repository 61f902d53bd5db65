"""A connection is closed when it is long without a request, and only then."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from facade.wire.connection import Stalls
from tests.facade.one_connection import connected
from tests.facade.virtual_time import run

KEPT: Final = 40  # seconds
HEAD: Final = b"POST /busy HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n"
WHOLE: Final = HEAD + b"abc"
ELSEWHERE: Final = b"GET /other HTTP/1.1\r\nhost: a\r\n\r\n"
UNREAD: Final = HEAD.replace(b"busy", b"refused") + b"a"  # is answered before its body is whole


def _closed_after(*reads: bytes, then: float = 2 * KEPT) -> bool:
    """Whether it is closed in that time after these reads, which come with pauses."""

    async def test() -> bool:
        _, transport, connection = connected(KEPT)
        for read in reads:
            assert not transport.closed
            connection.data_received(read)
            await asyncio.sleep(KEPT / 2)
        await asyncio.sleep(then - KEPT / 2)
        closed = transport.closed
        connection.connection_lost(None)
        assert {} == connection._idle._since
        for task in list(connection.tasks):
            task.cancel()
        return closed

    return run(test())


@pytest.mark.parametrize(
    "reads",
    [
        [WHOLE],
        [WHOLE, WHOLE],
        [ELSEWHERE],
        [WHOLE, ELSEWHERE, WHOLE],
        [WHOLE, HEAD, b"abc"],
        [UNREAD],
        [WHOLE, UNREAD],
    ],
)
def test_one_that_asks_no_more_is_closed(reads: list[bytes]) -> None:
    assert not _closed_after(*reads, then=KEPT - 1)
    assert _closed_after(*reads)


@pytest.mark.parametrize(
    "reads",
    [
        [],
        [WHOLE, HEAD],
        [WHOLE, WHOLE, HEAD + b"a"],
        [WHOLE, HEAD[:30]],
        [WHOLE, ELSEWHERE[:30]],
    ],
)
def test_one_whose_request_is_under_way_is_not(reads: list[bytes]) -> None:
    assert not _closed_after(*reads)


def test_one_that_is_answered_for_long_is_not() -> None:
    long = WHOLE.replace(b"abc", b"zzz")
    assert not _closed_after(WHOLE, long)
    assert not _closed_after(WHOLE, long.replace(b"busy", b"other"))


def test_one_that_asks_again_but_does_not_take_the_last_answer_is_cut() -> None:
    async def test() -> None:
        application, transport, connection = connected(10 * KEPT)
        application.stalls = Stalls(KEPT)
        connection.data_received(WHOLE)
        await asyncio.sleep(1)
        connection.pause_writing()
        connection.data_received(WHOLE.replace(b"abc", b"zzz"))
        await asyncio.sleep(KEPT - 1)
        assert not transport.closed
        await asyncio.sleep(KEPT)
        assert transport.closed

    run(test())


def test_one_that_says_no_more_has_left_even_if_it_has_not_taken_all() -> None:
    async def test() -> None:
        _, transport, connection = connected()
        connection.data_received(WHOLE.replace(b"abc", b"zzz"))
        assert 1 == len(connection.tasks)
        assert connection.eof_received()
        await asyncio.sleep(1)
        assert transport.closed
        assert set() == connection.tasks

    run(test())


NOT_HTTP: Final = b"\x16\x03\x01\r\n\r\n"
LAST: Final = WHOLE.replace(b"host", b"connection: close\r\nhost")


@pytest.mark.parametrize("read", [WHOLE, NOT_HTTP, LAST, LAST.replace(b"busy", b"other"), b""])
def test_one_that_is_closed_and_does_not_take_the_rest_is_cut(read: bytes) -> None:
    async def test() -> None:
        _, transport, connection = connected(KEPT)
        if read:
            connection.data_received(read)
        else:
            connection.data_received(WHOLE)
            connection.eof_received()
        await asyncio.sleep(KEPT + 1 if read == WHOLE else 1)
        assert transport.closed
        await asyncio.sleep(KEPT - 2)
        cut_early = transport.aborted
        await asyncio.sleep(KEPT)
        assert (False, True) == (cut_early, transport.aborted)
        assert {} == connection._idle._since

    run(test())


def test_one_that_is_closed_and_gone_is_waited_for_by_nobody() -> None:
    async def test() -> None:
        _, transport, connection = connected(KEPT)
        connection.data_received(LAST)
        await asyncio.sleep(1)
        connection.connection_lost(None)
        assert {} == connection._idle._since
        assert not transport.aborted

    run(test())
