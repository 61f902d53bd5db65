"""Every recorded exchange with an OpenAI-shaped upstream, replayed into the official SDK.

`python -m tests.recorded` says the same as a table, with what fails exchange by exchange.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from tests.recorded.clouds import oracle
from tests.recorded.clouds.exchanges import (
    CHAT,
    EMBEDDINGS,
    Exchange,
    Play,
    left_out,
    plays,
    replayed,
)
from tests.recorded.clouds.habits import HABITS
from tests.recorded.clouds.replay import mismatches
from tests.recorded.clouds.serving import Parts, serving

pytestmark = [pytest.mark.corpus, pytest.mark.asyncio(loop_scope="module")]

REPLAYED: Final = replayed()
STREAMS: Final = [one for one in REPLAYED if one.streamed and one.status == 200]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts() -> AsyncIterator[Parts]:
    async with serving(REPLAYED) as parts:
        yield parts


@pytest.mark.parametrize("exchange", REPLAYED, ids=lambda exchange: exchange.id)
async def test_a_recorded_exchange_is_told_in_full(exchange: Exchange, parts: Parts) -> None:
    assert [] == await mismatches(parts, exchange)


@pytest.mark.parametrize("habit", HABITS)
async def test_a_habit_of_one_upstream_is_understood_of_all(habit: str, parts: Parts) -> None:
    changed = [one._replace(body=HABITS[habit](one.body)) for one in STREAMS]
    assert changed != STREAMS
    found = {
        one.id: problems
        for one in changed
        if (problems := await mismatches(parts, one, [Play(habit, (one.body,), usage=True)]))
    }
    assert {} == found


async def test_a_stream_that_is_complete_is_also_played_without_its_finish() -> None:
    complete = [one for one in STREAMS if not oracle.told(one, one.body).failure]
    assert complete
    assert all(any(play.cut for play in plays(one)) for one in complete)


async def test_what_is_left_out_is_another_wire_or_is_explained() -> None:
    assert all(out.reason for out in left_out())
    assert {CHAT, EMBEDDINGS} == {exchange.wire for exchange in REPLAYED}
