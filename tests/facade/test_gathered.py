"""Small writes wait for the next turn, and go together; nothing is lost or overtaken."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from facade.waits import Cohort
from facade.wire.gathered import _AT_ONCE, Gathered
from tests.facade.virtual_time import run


class _Transport:
    """Notes what happens to it, in a log that several may share."""

    def __init__(self, log: list[object]) -> None:
        self.log = log
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.log.append(data)

    def close(self) -> None:
        self.closed = True
        self.log.append("closed")

    def abort(self) -> None:
        self.closed = True
        self.log.append("aborted")

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 7

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what else a transport has
        return lambda *_: None


def _gathered(log: list[object], cohort: Cohort | None = None) -> tuple[Gathered, _Transport]:
    transport = _Transport(log)
    return Gathered(cast(asyncio.Transport, transport), cohort or Cohort()), transport


async def test_what_is_written_in_a_turn_goes_in_the_next_as_one() -> None:
    log: list[object] = []
    gathered, _ = _gathered(log)
    gathered.write(b"a")
    gathered.write(b"b")
    assert [] == log
    await asyncio.sleep(0)
    assert [b"ab"] == log


async def test_all_write_in_the_same_turn() -> None:
    log: list[object] = []
    cohort = Cohort()
    for data in (b"a", b"b", b"c"):
        _gathered(log, cohort)[0].write(data)
    assert [] == log
    await asyncio.sleep(0)
    assert [b"a", b"b", b"c"] == log


async def test_much_goes_at_once_behind_what_waited() -> None:
    log: list[object] = []
    gathered, _ = _gathered(log)
    gathered.write(b"a")
    gathered.write(b"b" * _AT_ONCE)
    assert [b"a" + b"b" * _AT_ONCE] == log
    gathered.write(b"c")
    await asyncio.sleep(0)
    assert [b"a" + b"b" * _AT_ONCE, b"c"] == log


async def test_who_is_closed_has_written_what_it_held() -> None:
    log: list[object] = []
    gathered, _ = _gathered(log)
    gathered.write(b"a")
    gathered.close()
    await asyncio.sleep(0)
    assert [b"a", "closed"] == log


async def test_who_is_aborted_writes_nothing_more() -> None:
    log: list[object] = []
    gathered, _ = _gathered(log)
    gathered.write(b"a")
    gathered.abort()
    await asyncio.sleep(0)
    assert ["aborted"] == log


async def test_nothing_is_written_to_a_peer_that_has_gone() -> None:
    log: list[object] = []
    gathered, transport = _gathered(log)
    gathered.write(b"a")
    transport.closed = True
    await asyncio.sleep(0)
    gathered.write(b"b")
    await asyncio.sleep(0)
    assert [] == log
    assert 7 == gathered.get_write_buffer_size()  # nothing of it is kept


async def test_what_waits_counts_as_not_yet_sent() -> None:
    gathered, _ = _gathered([])
    gathered.write(b"abc")
    assert 10 == gathered.get_write_buffer_size()
    await asyncio.sleep(0)
    assert 7 == gathered.get_write_buffer_size()


_STEPS = st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=9), st.just(b"x" * 20_000)))


@given(_STEPS)
def test_whatever_is_written_arrives_in_order(steps: list[bytes | None]) -> None:
    """None: a turn of the loop."""

    async def test() -> None:
        log: list[object] = []
        gathered, _ = _gathered(log)
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
                assert 7 == gathered.get_write_buffer_size()
            else:
                gathered.write(step)
        gathered.close()
        assert "closed" == log.pop()
        assert b"".join(filter(None, steps)) == b"".join(cast(list[bytes], log))

    run(test())
