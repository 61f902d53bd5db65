"""Slots and the line before them, through the front door: who is asked when, who is told what."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import Answer, ask, chat, opened
from tests.api.chains import Link, Pair, calls, chain, provenance
from tests.api.queues import CHAT, OLLAMA, in_line, prompts, said
from tests.api.serving import Facade, serving, settings, upstream
from tests.fake_upstream import FakeUpstream, Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS: Final = "".join(
    f'[keys.{band}]\nsecret = "sk-{band}"\npriority = "{band}"\n'
    for band in ("interactive", "normal", "batch")
)


@asynccontextmanager
async def one_slot(
    fake: FakeUpstream, folder: Path, more: str = "", **keys: str
) -> AsyncIterator[Facade]:
    async with serving(
        settings(folder, upstream("ollama", fake.url, **keys) + more), fake
    ) as facade:
        yield facade


def narrow(pair: Pair, **alias: str) -> AbstractAsyncContextManager[Facade]:
    """A facade whose alias means two upstreams of one slot and no line."""
    links = [Link(fake.url, more="slots = 1\nqueue = 0") for fake in (pair.one, pair.two)]
    return serving(chain(pair.folder, *links, **alias), pair.one)


async def status_of(answer: Awaitable[Answer]) -> int:
    return (await answer).status


async def test_one_at_a_time_is_asked_and_who_waited_is_told_how_long(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.fault(faults.HangBeforeContent(), times=None)
    async with one_slot(fake, tmp_path) as facade:
        first = await in_line(facade, said("first"))
        await fake.came(path=OLLAMA)
        second = await in_line(facade, said("second", stream=True))
        fake.release()
        assert "x-facade-queue-ms" not in (await first).headers
        assert ["first"] == prompts(fake)[:1]
        await fake.came(2, path=OLLAMA)
        fake.release()
        assert int((await second).headers["x-facade-queue-ms"]) >= 0
    assert ["first", "second"] == prompts(fake)


async def test_the_most_urgent_goes_first(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    async with one_slot(fake, tmp_path, KEYS) as facade:
        asked: list[asyncio.Task[Answer]] = []
        for band in ("normal", "batch", "normal", "interactive"):
            body = said(f"{band} {len(asked)}")
            asked.append(await in_line(facade, body, authorization=f"Bearer sk-{band}"))
            await fake.came(path=OLLAMA)
        fake.release()
        assert [200] * 4 == [await status_of(each) for each in asked]
    assert ["normal 0", "interactive 3", "normal 2", "batch 1"] == prompts(fake)


async def test_a_key_with_many_waiting_gets_no_more_turns_than_one_with_few(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    """litellm#31830: one caller's backlog is everybody's."""
    keys = "".join(
        f'[keys.{name}]\nsecret = "sk-{name}"\nweight = {weight}\n'
        for name, weight in {"greedy": 1, "modest": 1, "heavy": 2}.items()
    )
    fake.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    async with one_slot(fake, tmp_path, keys) as facade:
        asked: list[asyncio.Task[Answer]] = []
        for name in ("greedy",) * 5 + ("modest",) * 2 + ("heavy",) * 4:
            asked.append(await in_line(facade, said(name), authorization=f"Bearer sk-{name}"))
            await fake.came(path=OLLAMA)
        fake.release()
        assert [200] * 11 == [await status_of(each) for each in asked]
    served = prompts(fake)[1:]  # the first had nobody before it
    assert {"greedy": 2, "modest": 2, "heavy": 4} == {
        name: served[:8].count(name) for name in ("greedy", "modest", "heavy")
    }
    assert ["greedy", "greedy"] == served[8:]


async def test_a_full_line_is_503_at_once_with_the_time_to_come_again(
    fake: FakeUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.fault(faults.HangBeforeHeaders())
    async with one_slot(fake, tmp_path, queue="1") as facade:
        asked = [await in_line(facade, said("runs"))]
        await fake.came(path=OLLAMA)
        asked.append(await in_line(facade, said("waits")))
        with caplog.at_level(logging.WARNING, "facade.requests"):
            refused = await ask(facade, "POST", CHAT, said("refused"))
        fake.release()
        assert [200, 200] == [await status_of(each) for each in asked]
    assert (503, "server_error", "queue_full") == (
        refused.status,
        refused.error["type"],
        refused.error["code"],
    )
    assert int(refused.headers["retry-after"]) >= 1
    assert int(refused.headers["retry-after-ms"]) >= 1000
    (record,) = caplog.records  # an expected refusal is one line of the log, not a traceback
    assert f"{refused.headers['x-request-id']}: queue_full" == record.getMessage()
    assert record.exc_info is None
    assert ["runs", "waits"] == prompts(fake)


async def test_where_the_line_is_full_the_next_target_answers(pair: Pair) -> None:
    pair.one.fault(faults.HangBeforeHeaders())
    async with narrow(pair) as facade:
        running = await in_line(facade, chat("assistant"))
        await pair.one.came()
        moved = await ask(facade, "POST", CHAT, chat("assistant"))
        pair.one.release()
        assert 200 == await status_of(running)
    assert (200, ("two", "1", "queue_full")) == (moved.status, provenance(moved))
    assert (1, 1) == (calls(pair.one), calls(pair.two))


async def test_where_all_lines_are_full_the_shortest_wait_is_told(pair: Pair) -> None:
    for each in (pair.one, pair.two):
        each.fault(faults.HangBeforeHeaders())
    async with narrow(pair) as facade:
        running = []
        for each in (pair.one, pair.two):
            running.append(await in_line(facade, chat("assistant")))
            await each.came()
        refused = await ask(facade, "POST", CHAT, chat("assistant"))
        for each in (pair.one, pair.two):
            each.release()
        assert [200, 200] == [await status_of(each) for each in running]
    assert (503, "queue_full") == (refused.status, refused.error["code"])
    assert "5" == refused.headers["retry-after"]  # what is guessed before one has ended


async def test_embeddings_do_not_wait_for_chats(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    async with one_slot(fake, tmp_path) as facade:
        running = await in_line(facade, said("runs"))
        await fake.came(path=OLLAMA)
        body = {"model": "ollama/nomic-embed-text", "input": "Hi"}
        assert 200 == (await ask(facade, "POST", "/v1/embeddings", body)).status
        fake.release()
        assert 200 == await status_of(running)


@pytest.mark.parametrize("streamed", [False, True])
async def test_each_choice_has_a_slot_of_its_own(
    streamed: bool, fake: FakeUpstream, tmp_path: Path
) -> None:
    """So that n choices do not keep others out for n answers."""
    fake.fault(faults.HangBeforeContent(), path=OLLAMA)
    async with one_slot(fake, tmp_path) as facade:
        first = await in_line(facade, said("two choices", n=2, stream=streamed))
        await fake.came(path=OLLAMA)
        second = await in_line(facade, said("between"))
        fake.release()
        assert 200 == (await first).status
        assert 200 == (await second).status
    assert ["two choices", "between", "two choices"] == prompts(fake)


async def test_a_slot_is_free_between_two_attempts(fake: FakeUpstream, tmp_path: Path) -> None:
    alias = '[models.again]\ntargets = ["ollama/llama3.1"]\nretries = 1\n'
    fake.fault(faults.Status(500), path=OLLAMA)
    fake.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    async with one_slot(fake, tmp_path, alias) as facade:
        first = await in_line(facade, {**said("fails first"), "model": "again"})
        await fake.came(path=OLLAMA)
        second = await in_line(facade, said("between"))
        fake.release()
        assert (200, "2") == ((await first).status, (await first).headers["x-facade-attempts"])
        assert 200 == (await second).status
    assert ["fails first", "between", "fails first"] == prompts(fake)


@pytest.mark.parametrize(
    "fault",
    [
        faults.Status(500),
        faults.Html(),
        faults.CutBeforeHeaders(),
        faults.CutAfter(200),
        faults.Garbage(1),
        faults.NoEnd(),
        faults.ErrorLine(1),
    ],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_whatever_fails_the_slot_is_free_again(
    fault: faults.Fault, streamed: bool, fake: FakeUpstream, tmp_path: Path
) -> None:
    """litellm#20256, #27955, #28160: counters of parallel requests leak with each error."""
    fake.fault(fault)
    fake.script(OLLAMA, Reply("a b c d e f g h i j " * 5))
    async with one_slot(fake, tmp_path, queue="0") as facade:
        await ask(facade, "POST", CHAT, said("fails", stream=streamed))
        assert 200 == (await ask(facade, "POST", CHAT, said("is well"))).status


async def test_who_leaves_the_line_is_never_asked_for(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.fault(faults.HangBeforeHeaders(), path=OLLAMA)
    async with one_slot(fake, tmp_path) as facade:
        running = await in_line(facade, said("runs"))
        await fake.came(path=OLLAMA)
        async with opened(facade, "POST", CHAT, said("leaves")) as client:
            await facade.until(lambda: facade.requests == 2)
            last = await in_line(facade, said("stays"))
            client.leave()
            await facade.until(lambda: facade.requests == 2)
        fake.release()
        assert [200, 200] == [await status_of(running), await status_of(last)]
    assert ["runs", "stays"] == prompts(fake)


async def test_a_cloud_is_asked_by_as_many_as_come(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.fault(faults.HangBeforeHeaders(), times=None)
    async with serving(settings(tmp_path, upstream("openai", fake.url)), fake) as facade:
        asked = [await in_line(facade, chat("openai/llama3.1")) for _ in range(20)]
        await fake.came(20, path=CHAT)
        for _ in asked:
            fake.release()
        answers = [await each for each in asked]
    assert [200] * 20 == [each.status for each in answers]
    assert not any("x-facade-queue-ms" in each.headers for each in answers)
