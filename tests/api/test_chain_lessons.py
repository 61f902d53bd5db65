"""Chains, and what others got wrong: each test has the number of its lesson in its name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from facade import breaker
from tests.api.asking import DONE, ask, chat, error_of, opened, rest_of
from tests.api.chains import ALIAS, Link, Pair, calls, chain, provenance, serving_chain, text_of
from tests.api.serving import serving
from tests.fake_upstream import FakeUpstream, Reply, faults, sse

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
COMPLETE: Final = '"complete"'
ROLE: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1767225600,
    "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
}


# -- lesson 12: a stream that was cut is an error ------------------------------------------


@pytest.mark.parametrize("cut", [faults.CutAfter(500), faults.NoEnd()], ids=str)
async def test_12_a_cut_after_content_is_an_error_and_no_other_target_is_asked(
    cut: faults.Fault, dialect: str, pair: Pair
) -> None:
    pair.one.fault(cut)
    async with pair.serving(dialect=dialect) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, stream=True))
    assert (200, ("one", "1", None)) == (answer.status, provenance(answer))
    assert DONE not in answer.events
    assert "upstream_incomplete" == error_of(json.loads(answer.events[-1]))["code"]
    assert 0 == calls(pair.two)


@pytest.mark.parametrize("cut", [faults.CutAfter(500), faults.NoEnd()], ids=str)
async def test_12_a_cut_starts_anew_unseen_where_the_answer_is_held_back(
    cut: faults.Fault, dialect: str, pair: Pair
) -> None:
    pair.one.fault(cut, times=None)
    async with pair.serving(dialect=dialect, commit=COMPLETE) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, stream=True))
    assert (200, "You said: Hi") == (answer.status, text_of(answer))
    assert ("two", "4", "cut") == provenance(answer)
    roles = [c["delta"].get("role") for each in answer.chunks for c in each["choices"]]
    assert 1 == roles.count("assistant")


async def test_12_what_is_too_long_to_hold_back_goes_on_and_ends_in_an_error(pair: Pair) -> None:
    long = Reply(f"{'w' * 20_000} " * 100)
    pair.one.script(CHAT, long, long)
    pair.one.fault(faults.NoEnd())
    async with pair.serving(commit=COMPLETE) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, stream=True))
        assert ("one", "1", None) == provenance(answer)
        assert "upstream_incomplete" == error_of(json.loads(answer.events[-1]))["code"]
        again = await ask(facade, "POST", CHAT, chat(ALIAS, stream=True))
        assert long.text.strip() == text_of(again).strip()


async def test_nothing_is_written_of_an_answer_that_is_held_back(pair: Pair) -> None:
    pair.one.fault(faults.HangAfter(2))
    async with (
        pair.serving(commit=COMPLETE) as facade,
        opened(facade, "POST", CHAT, chat(ALIAS, stream=True)) as client,
    ):
        request = await pair.one.came(path=CHAT)
        await facade.until(lambda: request.written > 300)
        head = asyncio.ensure_future(client.head())
        assert not (await asyncio.wait([head], timeout=0.05))[0]
        pair.one.release()
        assert 200 == (await head)[0]


# -- lesson 13: commit on content, not on the first chunk ----------------------------------


@pytest.mark.parametrize(
    "ending",
    [[], [{"error": {"message": "overloaded", "type": "server_error"}}], [b"data: {broken\n\n"]],
    ids=["cut", "error", "garbage"],
)
async def test_13_a_role_chunk_does_not_commit(ending: list[Any], pair: Pair) -> None:
    pair.one.script(CHAT, *[sse(ROLE, *ending, done=False)] * 3)
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, stream=True))
    assert ("You said: Hi", "two") == (text_of(answer), answer.headers["x-facade-upstream"])
    assert "4" == answer.headers["x-facade-attempts"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "fault", [faults.EmptyObject(), faults.ErrorLine(), faults.Html()], ids=str
)
async def test_a_200_that_is_no_answer_moves_on(
    fault: faults.Fault,
    streamed: bool,
    dialect: str,
    pair: Pair,
) -> None:
    pair.one.fault(fault, times=None)
    async with pair.serving(dialect=dialect) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, stream=streamed))
    assert ("You said: Hi", "two") == (text_of(answer), answer.headers["x-facade-upstream"])


# -- lesson 15: attempts are bounded, and nothing is continued -----------------------------


async def test_15_nothing_already_said_is_sent_to_the_next_target(pair: Pair) -> None:
    pair.one.fault(faults.CutAfter(500), times=None)
    async with pair.serving(commit=COMPLETE) as facade:
        await ask(facade, "POST", CHAT, chat(ALIAS, stream=True))
    first, *_ = pair.one.requests_to(CHAT)
    (last,) = pair.two.requests_to(CHAT)
    assert first.json["messages"] == last.json["messages"]


async def test_15_all_that_always_fails_ends(pair: Pair) -> None:
    for each in (pair.one, pair.two):
        each.fault(faults.ErrorLine(1), times=None)
    async with pair.serving(retries="3") as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (5, "5") == (calls(pair.one) + calls(pair.two), answer.headers["x-facade-attempts"])
    assert 500 <= answer.status


# -- lesson 16: the answer names who gave it -----------------------------------------------


async def test_16_the_served_model_and_upstream_are_named(pair: Pair) -> None:
    pair.one.fault(faults.Status(500, headers={"x-ratelimit-remaining-requests": "7"}), times=None)
    said = chain(pair.folder, Link(pair.one.url), Link(pair.two.url, "ollama"))
    async with serving(said, pair.one) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert ("llama3.1", "llama3.1") == (answer.json["model"], answer.headers["x-facade-model"])
    assert "two" == answer.headers["x-facade-upstream"]
    assert "x-ratelimit-remaining-requests" not in answer.headers


# -- lesson 22: Retry-After ----------------------------------------------------------------


async def test_22_a_short_retry_after_is_waited_for(pair: Pair) -> None:
    pair.one.fault(faults.Status(429, headers={"retry-after-ms": "300"}))
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    first, again = pair.one.requests_to(CHAT)
    assert again.came_at - first.came_at >= 0.3
    assert ("one", "2", None) == provenance(answer)


async def test_22_a_long_retry_after_cools_the_target_down(pair: Pair) -> None:
    pair.one.fault(faults.Status(429, headers={"retry-after": "30"}))
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
        assert ("two", "2", "rate_limited") == provenance(answer)
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
        assert ("two", "1", "rate_limited") == provenance(answer)
    assert (1, 2) == (calls(pair.one), calls(pair.two))


async def test_22_all_limited_is_a_429_with_the_shortest_wait(pair: Pair) -> None:
    pair.one.fault(faults.Status(429, headers={"retry-after": "30"}))
    pair.two.fault(faults.Status(429, headers={"retry-after": "50"}))
    async with pair.serving() as facade:
        for asked in ((1, 1), (1, 1)):  # then all cool down, and none is asked
            answer = await ask(facade, "POST", CHAT, chat(ALIAS))
            assert (429, "rate_limit_exceeded") == (answer.status, answer.error["code"])
            assert answer.headers["retry-after"] in {"29", "30"}
            assert asked == (calls(pair.one), calls(pair.two))


async def test_22_all_limited_without_a_word_still_says_how_long(pair: Pair) -> None:
    for each in (pair.one, pair.two):
        each.fault(faults.Status(429), times=None)
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (429, "2") == (answer.status, answer.headers["retry-after"])


# -- lesson 23: who fails fast must not attract traffic ------------------------------------


async def test_23_who_fails_at_once_is_left_alone_then_probed_by_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST", 0.3)
    pair.one.fault(faults.Status(503, headers={"retry-after": "0.01"}), times=breaker.CONSECUTIVE)
    async with pair.serving() as facade:
        for _ in range(6):
            assert 200 == (await ask(facade, "POST", CHAT, chat(ALIAS))).status
        assert breaker.CONSECUTIVE == calls(pair.one)
        pair.one.fault(faults.HangBeforeHeaders())
        await asyncio.sleep(0.35)
        asking = [asyncio.ensure_future(ask(facade, "POST", CHAT, chat(ALIAS))) for _ in range(5)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        others = [answer async for answer in _first(asking, 4)]
        assert {("two", "1", "breaker_open")} == {provenance(answer) for answer in others}
        assert breaker.CONSECUTIVE + 1 == calls(pair.one)
        pair.one.release()
        await asyncio.wait(asking)
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
        assert ("one", "1", None) == provenance(answer)


async def _first(asking: Sequence[asyncio.Future[Any]], count: int) -> AsyncIterator[Any]:
    for done, each in enumerate(asyncio.as_completed(asking), 1):
        yield await each
        if done == count:
            return


async def test_23_a_chain_that_is_left_alone_is_a_503_that_says_how_long(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.fault(faults.Status(500), times=None)
    async with serving_chain(tmp_path, fake, retries="4") as facade:
        assert 500 == (await ask(facade, "POST", CHAT, chat(ALIAS))).status
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (503, "upstream_unavailable") == (answer.status, answer.error["code"])
    assert answer.headers["retry-after"] in {"4", "5"}
    assert 5 == calls(fake)


async def test_23_a_probe_whose_client_leaves_is_given_back(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST", 0.05)
    pair.one.fault(faults.Status(500), times=5)
    async with serving_chain(pair.folder, pair.one, retries="4") as facade:
        await ask(facade, "POST", CHAT, chat(ALIAS))
        await asyncio.sleep(0.1)
        pair.one.fault(faults.HangBeforeHeaders())
        async with opened(facade, "POST", CHAT, chat(ALIAS)) as client:
            request = await pair.one.came(6, path=CHAT)
            client.leave()
            await pair.one.hung_up(request, within=1)
        await facade.idle()
        assert 200 == (await ask(facade, "POST", CHAT, chat(ALIAS))).status


async def test_23_a_probe_that_streams_holds_nobody_else_back(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST", 0.05)
    fake.fault(faults.Status(500), times=5)
    async with serving_chain(tmp_path, fake, retries="4") as facade:
        await ask(facade, "POST", CHAT, chat(ALIAS))
        await asyncio.sleep(0.1)
        fake.fault(faults.HangAfter(2))
        async with opened(facade, "POST", CHAT, chat(ALIAS, stream=True)) as client:
            assert 200 == (await client.head())[0]
            assert 200 == (await ask(facade, "POST", CHAT, chat(ALIAS))).status
            fake.release()
            assert (await rest_of(client)).endswith(b"[DONE]\n\n")


# -- lesson 28: health costs nothing -------------------------------------------------------


async def test_28_nothing_is_ever_generated_to_learn_of_health(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST", 0.02)
    pair.one.fault(faults.Status(500), times=None)
    async with pair.serving(dialect="ollama") as facade:
        await ask(facade, "GET", "/readyz")
        await ask(facade, "GET", "/v1/models")
        assert (0, 0) == (calls(pair.one), calls(pair.two))
        asked = [await ask(facade, "POST", CHAT, chat(ALIAS)) for _ in range(3)]
        await asyncio.sleep(0.1)  # the breaker rests and would probe
    counted = sum(int(answer.headers["x-facade-attempts"]) for answer in asked)
    assert counted == calls(pair.one) + calls(pair.two)
