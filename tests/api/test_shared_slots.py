"""The slots of an upstream are as many as there are, however many processes use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from valkey.asyncio import Valkey

from facade.limits.shared import connected
from tests.api.asking import answer_of, ask, chat, opened
from tests.api.elsewhere import Elsewhere, processes
from tests.api.serving import upstream
from tests.facade.limits import server
from tests.fake_upstream import FakeUpstream, faults

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.store]

CHAT: Final = "/v1/chat/completions"
OLLAMA: Final = "/api/chat"
LOAD: Final = "/api/generate"
BODY: Final = chat("ollama/llama3.1")
SPARED: Final = '[models.spared]\ntargets = ["ollama/llama3.1"]\nbusy = "next"\n'


@pytest.fixture
def store() -> Iterator[str]:
    with server.running() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def client(store: str) -> AsyncIterator[Valkey]:
    async with connected(store) as client:
        yield client


@pytest.fixture
def both(store: str, fake: FakeUpstream, tmp_path: Path) -> Iterator[list[Elsewhere]]:
    """Two processes before an upstream of one slot, which holds every answer until it is let go."""
    fake.fault(faults.HangBeforeHeaders(), times=None, path=OLLAMA)
    quiet = '[server]\nlog_level = "error"\n'
    text = f'{quiet}[store]\nurl = "{store}"\n{upstream("ollama", fake.url, slots="1")}{SPARED}'
    with processes(tmp_path, text, 2) as both:
        yield both


async def looked(client: Valkey, times: int) -> None:
    """Return when the store has been asked so many times more."""

    async def asked() -> int:
        stats = await client.info("commandstats")
        return int(stats.get("cmdstat_eval", {"calls": 0})["calls"])

    before = await asked()
    while await asked() < before + times:  # noqa: ASYNC110 - of a server
        await asyncio.sleep(0.01)


async def test_an_upstream_of_one_slot_is_asked_one_at_a_time_litellm_28160(
    both: list[Elsewhere], client: Valkey, fake: FakeUpstream
) -> None:
    """Both have some waiting until nearly the end: they come in turn."""
    asking = [asyncio.create_task(ask(each, "POST", CHAT, BODY)) for each in both * 4]
    for number in range(1, 9):
        await fake.came(number, path=OLLAMA)
        if number < 7:
            await looked(client, 3)
        assert number == len(fake.requests_to(OLLAMA)), "another came while this one was held"
        fake.release()
    assert [200] * 8 == [(await answer).status for answer in asking]


async def test_the_slot_of_who_leaves_is_free_for_another_process(
    both: list[Elsewhere], client: Valkey, fake: FakeUpstream
) -> None:
    async with opened(both[0], "POST", CHAT, BODY) as first:
        await fake.came(path=OLLAMA)
        async with opened(both[1], "POST", CHAT, BODY) as second:
            await looked(client, 3)
            first.leave()
            await fake.came(2, path=OLLAMA)
            fake.release()
            assert 200 == (await answer_of(second)).status


async def test_who_leaves_while_another_process_has_the_slot_takes_none(
    both: list[Elsewhere], client: Valkey, fake: FakeUpstream
) -> None:
    async with opened(both[0], "POST", CHAT, BODY):
        await fake.came(path=OLLAMA)
        async with opened(both[1], "POST", CHAT, BODY) as second:
            await looked(client, 3)
            second.leave()
    async with opened(both[0], "POST", CHAT, BODY):
        await fake.came(2, path=OLLAMA)


async def test_who_does_not_wait_is_told_that_other_processes_have_the_slots(
    both: list[Elsewhere], fake: FakeUpstream
) -> None:
    async with opened(both[0], "POST", CHAT, BODY):
        await fake.came(path=OLLAMA)
        answer = await ask(both[1], "POST", CHAT, BODY, x_facade_patience="0")
        assert (503, "busy") == (answer.status, answer.error["code"])
        assert "1" == answer.headers["retry-after"]


async def test_a_busy_target_that_is_the_only_one_is_waited_for_whoever_has_its_slot(
    both: list[Elsewhere], client: Valkey, fake: FakeUpstream
) -> None:
    async with opened(both[0], "POST", CHAT, BODY):
        await fake.came(path=OLLAMA)
        waiting = asyncio.create_task(ask(both[1], "POST", CHAT, chat("spared")))
        await looked(client, 3)
        fake.release()
        await fake.came(2, path=OLLAMA)
        fake.release()
        assert 200 == (await waiting).status


async def test_a_model_is_loaded_in_a_slot_that_no_other_process_has(
    store: str, client: Valkey, fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.models.loaded.clear()
    fake.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    local = upstream("ollama", fake.url, slots="1")
    targets = 'targets = ["ollama/qwen3", "openai/qwen3"]'
    alias = f'[models.cold]\n{targets}\ncold = "next"\n'
    text = f'[store]\nurl = "{store}"\n{local}{upstream("openai", fake.url)}{alias}'
    with processes(tmp_path, text, 2) as (one, other):
        async with opened(one, "POST", CHAT, BODY):
            await fake.came(path=OLLAMA)
            answer = await ask(other, "POST", CHAT, chat("cold"))
            assert "cold" == answer.headers["x-facade-fallback"]
            await looked(client, 3)
            assert [] == fake.requests_to(LOAD)
            fake.release()
            await fake.came(path=LOAD)
