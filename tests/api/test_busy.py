"""How long a target without a free slot is waited for: as its alias says, and the client."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest

from tests.api.asking import Answer, ask, chat
from tests.api.chains import ALIAS, Link, Pair, calls, chain, provenance, text_of
from tests.api.queues import CHAT, in_line
from tests.api.serving import Facade, serving
from tests.fake_upstream import FakeUpstream, Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEXT: Final = '"next"'


def slotted(
    pair: Pair, dialect: str = "openai", **alias: str
) -> AbstractAsyncContextManager[Facade]:
    """A facade whose alias means two upstreams of one slot each."""
    links = [Link(fake.url, dialect, more="slots = 1") for fake in (pair.one, pair.two)]
    return serving(chain(pair.folder, *links, **alias), pair.one)


async def held(facade: Facade, fake: FakeUpstream, name: str) -> asyncio.Task[Answer]:
    """The one slot of an upstream is in use, until the fake is told to release it."""
    fake.fault(faults.HangBeforeHeaders())
    running = await in_line(facade, chat(f"{name}/llama3.1"))
    await fake.came()
    return running


async def test_a_busy_target_is_waited_for(pair: Pair) -> None:
    async with slotted(pair) as facade:
        running = await held(facade, pair.one, "one")
        waiting = await in_line(facade, chat(ALIAS))
        pair.one.release()
        assert 200 == (await running).status
        assert ("one", "1", None) == provenance(await waiting)
    assert (2, 0) == (calls(pair.one), calls(pair.two))


async def test_a_busy_target_is_passed_over_where_the_alias_says_so(pair: Pair) -> None:
    async with slotted(pair, busy=NEXT) as facade:
        running = await held(facade, pair.one, "one")
        moved = await ask(facade, "POST", CHAT, chat(ALIAS))
        assert (200, ("two", "1", "busy")) == (moved.status, provenance(moved))
        assert "x-facade-queue-ms" not in moved.headers
        pair.one.release()
        assert 200 == (await running).status
        assert ("one", "1", None) == provenance(await ask(facade, "POST", CHAT, chat(ALIAS)))


async def test_what_a_busy_target_ignores_is_not_said_of_the_one_that_answers(pair: Pair) -> None:
    links = [Link(pair.one.url, "ollama", "slots = 1"), Link(pair.two.url)]
    async with serving(chain(pair.folder, *links, busy=NEXT), pair.one) as facade:
        running = await held(facade, pair.one, "one")
        moved = await ask(facade, "POST", CHAT, chat(ALIAS, store=True))
        assert ("two", "1", "busy") == provenance(moved)
        assert "x-facade-warning" not in moved.headers
        pair.one.release()
        assert 200 == (await running).status
        first = await ask(facade, "POST", CHAT, chat(ALIAS, store=True))
        assert "store is ignored: nothing is kept" == first.headers["x-facade-warning"]


async def test_where_all_are_busy_the_shortest_line_is_waited_in(pair: Pair) -> None:
    async with slotted(pair, busy=NEXT) as facade:
        asked = [await held(facade, pair.one, "one"), await held(facade, pair.two, "two")]
        asked.append(await in_line(facade, chat("one/llama3.1")))
        last = await in_line(facade, chat(ALIAS))
        pair.two.release()
        assert ("two", "1", "busy") == provenance(await last)
        assert int((await last).headers["x-facade-queue-ms"]) >= 0
        pair.one.release()
        assert [200] * 3 == [(await each).status for each in asked]


async def test_who_waits_for_the_first_target_after_all_tells_no_fallback(pair: Pair) -> None:
    async with slotted(pair, busy=NEXT) as facade:
        asked = [await held(facade, pair.one, "one"), await held(facade, pair.two, "two")]
        last = await in_line(facade, chat(ALIAS))
        pair.one.release()
        assert ("one", "1", None) == provenance(await last)
        pair.two.release()
        assert [200] * 2 == [(await each).status for each in asked]


async def test_a_busy_target_is_waited_for_where_the_next_one_fails(pair: Pair) -> None:
    async with slotted(pair, busy=NEXT, retries="0") as facade:
        running = await held(facade, pair.one, "one")
        pair.two.fault(faults.Status(500))
        last = await in_line(facade, chat(ALIAS))
        await pair.two.came()
        pair.one.release()
        assert (200, ("one", "2", None)) == ((await last).status, provenance(await last))
        assert 200 == (await running).status


async def test_the_second_choice_is_not_given_up_for_a_busy_slot(pair: Pair) -> None:
    """One answer comes from one target, and what has begun is not begun again elsewhere."""
    pair.one.script("/api/chat", Reply("one"), Reply("between"), Reply("two"))
    async with slotted(pair, "ollama", busy=NEXT) as facade:
        pair.one.fault(faults.HangBeforeHeaders())
        first = await in_line(facade, chat(ALIAS, n=2))
        await pair.one.came(path="/api/chat")
        second = await in_line(facade, chat("one/llama3.1"))
        pair.one.release()
        assert "between" == text_of(await second)
        said = [choice["message"]["content"] for choice in (await first).json["choices"]]
        assert ["one", "two"] == said
    assert 0 == calls(pair.two)


# -- the client's patience -----------------------------------------------------------------


@pytest.mark.parametrize(("patience", "code"), [("0", "busy"), ("0.05", "queue_timeout")])
async def test_who_has_no_patience_is_told_when_to_come_again(
    patience: str, code: str, pair: Pair
) -> None:
    async with slotted(pair) as facade:
        running = await held(facade, pair.one, "one")
        body = chat("one/llama3.1")
        refused = await ask(facade, "POST", CHAT, body, x_facade_patience=patience)
        pair.one.release()
        assert 200 == (await running).status
    assert (503, "server_error", code) == (
        refused.status,
        refused.error["type"],
        refused.error["code"],
    )
    assert "5" == refused.headers["retry-after"]
    waited = int(refused.headers.get("x-facade-queue-ms", 0))
    assert waited >= float(patience) * 1000 - 1


async def test_whose_patience_is_over_goes_to_the_next_target(pair: Pair) -> None:
    async with slotted(pair) as facade:
        running = await held(facade, pair.one, "one")
        moved = await ask(facade, "POST", CHAT, chat(ALIAS), x_facade_patience="0.05")
        assert (200, ("two", "1", "queue_timeout")) == (moved.status, provenance(moved))
        pair.one.release()
        assert 200 == (await running).status


async def test_patience_is_for_all_targets_together(pair: Pair) -> None:
    async with slotted(pair) as facade:
        asked = [await held(facade, pair.one, "one"), await held(facade, pair.two, "two")]
        refused = await ask(facade, "POST", CHAT, chat(ALIAS), x_facade_patience="0.05")
        pair.one.release()
        pair.two.release()
        assert [200] * 2 == [(await each).status for each in asked]
    assert (503, "queue_timeout") == (refused.status, refused.error["code"])


async def test_patience_costs_nothing_where_a_slot_is_free(pair: Pair) -> None:
    async with slotted(pair) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS), x_facade_patience="0")
    assert (200, ("one", "1", None)) == (answer.status, provenance(answer))


@pytest.mark.parametrize(
    "said", ["soon", "-1", "nan", "inf", "1e3", "0x10", "1_0", "1,5", ".", "1" * 1000]
)
@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings"])
async def test_a_patience_that_is_no_time_is_a_400(facade: Facade, path: str, said: str) -> None:
    body = {**chat("openai/llama3.1"), "prompt": "Hi", "input": "Hi"}
    answer = await ask(facade, "POST", f"/v1/{path}", body, x_facade_patience=said)
    assert (400, "invalid_request_error", "x-facade-patience", "invalid_value") == (
        answer.status,
        *(answer.error[key] for key in ("type", "param", "code")),
    )
    assert len(answer.error["message"]) < 200


@pytest.mark.parametrize("constraint", ["prefer_local", "local_only"])
async def test_who_wants_a_local_answer_waits_for_it(constraint: str, pair: Pair) -> None:
    async with slotted(pair, busy=NEXT) as facade:
        running = await held(facade, pair.one, "one")
        last = await in_line(facade, chat(ALIAS), x_facade_constraints=constraint)
        pair.one.release()
        assert ("one", "1", None) == provenance(await last)
        assert 200 == (await running).status
    assert 0 == calls(pair.two)
