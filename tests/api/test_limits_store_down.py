"""The store of the limits is gone, or hangs: what is limited is a 503 soon, and all comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.api.asking import Answer, ask, chat, opened
from tests.api.limited import CHAT, KEY
from tests.api.serving import Facade, serving, settings, upstream
from tests.facade.limits import server
from tests.facade.limits.server import Server
from tests.fake_upstream import FakeUpstream, faults

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.store]

OTHER: Final = {"authorization": "Bearer sk-other"}
SOON: Final = 5.0  # seconds; the store has half of one


@pytest.fixture
def store() -> Iterator[Server]:
    with server.ending() as store:
        yield store


@pytest_asyncio.fixture(loop_scope="module")
async def facade(store: Server, fake: FakeUpstream, tmp_path: Path) -> AsyncIterator[Facade]:
    text = (
        f'[store]\nurl = "{store.url}"\n{upstream("openai", fake.url)}'
        '[keys.agents]\nsecret = "sk-agents"\nlimits = ["100/year", "2 concurrent"]\n'
        '[keys.other]\nsecret = "sk-other"\n'
    )
    async with serving(settings(tmp_path, text), fake) as facade:
        yield facade


async def asked(facade: Facade) -> Answer:
    return await ask(facade, "POST", CHAT, chat("llama3.1"), **KEY)


def check(answer: Answer) -> None:
    assert (503, "server_error", "limits_unavailable") == (
        answer.status,
        answer.error["type"],
        answer.error["code"],
    )
    assert ("1", "1000") == (answer.headers["retry-after"], answer.headers["retry-after-ms"])
    assert "without it nothing that is limited is let through" in answer.error["message"]


async def test_a_store_that_is_gone_lets_nothing_through_that_is_limited_and_comes_back(
    facade: Facade, store: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert 200 == (await asked(facade)).status
    store.end()
    for answer in await asyncio.gather(*(asked(facade) for _ in range(20))):
        check(answer)
    assert 1 == len(facade.fake.requests_to(CHAT))
    assert 200 == (await ask(facade, "POST", CHAT, chat("llama3.1"), **OTHER)).status
    assert not [record for record in caplog.records if record.exc_info], "no traceback for each"
    store.start()
    assert 200 == (await asked(facade)).status
    said = [record.message for record in caplog.records if "limits.shared" in record.name]
    assert 2 == len(said), "once when it goes, once when it comes"
    assert said[0].startswith("the store of the limits does not answer: ")
    assert "the store of the limits answers again" == said[1]


async def test_a_store_that_hangs_holds_nobody_for_long(facade: Facade, store: Server) -> None:
    assert 200 == (await asked(facade)).status
    store.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    for answer in await asyncio.gather(*(asked(facade) for _ in range(20))):
        check(answer)
    assert time.monotonic() - began < SOON


async def test_a_store_that_hung_keeps_no_place_of_those_who_were_refused(
    facade: Facade, store: Server
) -> None:
    """It still does what it was asked before it stopped, and each of them asked for a place."""
    assert 200 == (await asked(facade)).status
    store.process.send_signal(signal.SIGSTOP)
    await asyncio.gather(*(asked(facade) for _ in range(20)))
    store.process.send_signal(signal.SIGCONT)
    both = await asyncio.gather(asked(facade), asked(facade))
    assert [200, 200] == [answer.status for answer in both]


async def test_who_leaves_while_a_store_hangs_is_gone_at_once(
    facade: Facade, store: Server
) -> None:
    store.process.send_signal(signal.SIGSTOP)
    async with opened(facade, "POST", CHAT, chat("llama3.1"), **KEY) as client:
        await facade.until(lambda: facade.requests == 1)
        client.leave()
        await facade.idle()
    store.process.send_signal(signal.SIGCONT)
    assert [] == facade.fake.requests_to(CHAT)


async def test_a_request_whose_store_dies_meanwhile_is_answered(
    facade: Facade, store: Server
) -> None:
    facade.fake.fault(faults.HangBeforeContent())
    async with opened(facade, "POST", CHAT, chat("llama3.1"), **KEY) as client:
        await facade.fake.came(path=CHAT)
        store.end()
        facade.fake.release()
        status, _ = await client.head()
        assert 200 == status
        assert await client.piece()
    await facade.idle()
    store.start()
    for _ in range(3):
        assert 200 == (await asked(facade)).status
