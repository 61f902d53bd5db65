"""Chains through the front door: which target is asked, how often, and what the client is told."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import ask, chat, opened
from tests.api.chains import ALIAS, Link, Pair, calls, chain, provenance, refused, text_of
from tests.api.serving import serving
from tests.fake_upstream import FakeUpstream, Reply, faults
from tests.fake_upstream.answers import error_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"


# -- which target, how often ---------------------------------------------------------------

MOVES: Final = [
    (faults.Status(401), "credential"),
    (faults.Status(403), "credential"),
    (faults.Status(402), "payment"),
    (faults.Status(404, body='{"error": "model \\"m\\" not found"}'), "model_not_found"),
]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("fault", "reason"), MOVES, ids=str)
async def test_what_another_target_need_not_have_moves_on_at_once(
    fault: faults.Fault,
    reason: str,
    streamed: bool,
    dialect: str,
    pair: Pair,
) -> None:
    pair.one.fault(fault, times=None)
    async with pair.serving(dialect=dialect) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, stream=streamed))
    assert (200, "You said: Hi") == (answer.status, text_of(answer))
    assert ("two", "2", reason) == provenance(answer)
    assert (1, 1) == (calls(pair.one), calls(pair.two))


async def test_insufficient_quota_moves_on_at_once(pair: Pair) -> None:
    empty = '{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    pair.one.fault(faults.Status(429, body=empty))
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert ("two", "2", "payment") == provenance(answer)


async def test_refused_moves_on_at_once(second: FakeUpstream, tmp_path: Path) -> None:
    said = chain(tmp_path, Link(refused()), Link(second.url))
    async with serving(said, second) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (200, ("two", "2", "unreachable")) == (answer.status, provenance(answer))


async def test_the_last_target_is_asked_again_where_it_refuses(tmp_path: Path) -> None:
    async with FakeUpstream() as fake:
        said = chain(tmp_path, Link(refused()), Link(refused()))
        async with serving(said, fake) as facade:
            answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (503, "upstream_unavailable") == (answer.status, answer.error["code"])
    assert ("two", "4", "unreachable") == provenance(answer)


@pytest.mark.parametrize("status", [400, 422])
async def test_a_plain_400_stays_where_it_is(status: int, dialect: str, pair: Pair) -> None:
    pair.one.fault(faults.Status(status), times=None)
    async with pair.serving(dialect=dialect) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (status, ("one", "1", None)) == (answer.status, provenance(answer))
    assert (1, 0) == (calls(pair.one), calls(pair.two))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again_within_one_budget(
    status: int, dialect: str, pair: Pair
) -> None:
    headers = {"retry-after": "0"} if dialect == "openai" else {"retry-after": "0.01"}
    pair.one.fault(faults.Status(status, headers=headers), times=None)
    pair.two.fault(faults.Status(500))
    async with pair.serving(dialect=dialect) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert ("two", "4") == provenance(answer)[:2]
    assert (500, 3, 1) == (answer.status, calls(pair.one), calls(pair.two))


async def test_a_retry_that_helps_stays_with_its_target(dialect: str, pair: Pair) -> None:
    pair.one.fault(faults.Status(500), times=2)
    async with pair.serving(dialect=dialect) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (200, ("one", "3", None)) == (answer.status, provenance(answer))
    assert 0 == calls(pair.two)


async def test_no_retries_go_to_the_next_target(pair: Pair) -> None:
    pair.one.fault(faults.Status(500), times=None)
    async with pair.serving(retries="0") as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (200, ("two", "2", "failed")) == (answer.status, provenance(answer))


async def test_a_name_of_an_upstreams_own_is_asked_once(pair: Pair) -> None:
    pair.one.fault(faults.Status(500))
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat("one/llama3.1"))
    assert (500, ("one", "1", None)) == (answer.status, provenance(answer))


async def test_a_target_that_cannot_express_the_request_is_passed_over(pair: Pair) -> None:
    said = chain(pair.folder, Link(pair.one.url, "ollama"), Link(pair.two.url))
    async with serving(said, pair.two) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, logit_bias={"1": 1}))
    assert (200, ("two", "1", "unsupported")) == (answer.status, provenance(answer))


async def test_what_no_target_can_express_is_the_clients(pair: Pair) -> None:
    async with pair.serving(dialect="ollama") as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, logit_bias={"1": 1}))
    assert (400, "logit_bias") == (answer.status, answer.error["param"])
    assert (0, 0) == (calls(pair.one), calls(pair.two))


async def test_who_could_answer_and_is_left_alone_is_no_fault_of_the_request(
    fake: FakeUpstream, second: FakeUpstream, tmp_path: Path
) -> None:
    second.fault(faults.Status(500), times=None)
    said = chain(tmp_path, Link(fake.url, "ollama"), Link(second.url), retries="4")
    async with serving(said, second) as facade:
        body = chat(ALIAS, logit_bias={"1": 1})
        assert 500 == (await ask(facade, "POST", CHAT, body)).status
        answer = await ask(facade, "POST", CHAT, body)
        assert (503, "upstream_unavailable") == (answer.status, answer.error["code"])
        assert "retry-after" in answer.headers


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "held back"])
async def test_a_choice_that_fails_fails_the_attempt(streamed: bool, pair: Pair) -> None:
    pair.one.script("/api/chat", Reply("A"), error_answer("/api/chat", 401, "no"))
    pair.two.script("/api/chat", Reply("C"), Reply("D"))
    async with pair.serving(dialect="ollama", commit='"complete"') as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, n=2, stream=streamed))
    assert (200, ("two", "2", "credential")) == (answer.status, provenance(answer))
    chunks = answer.chunks if streamed else [answer.json]
    said = b"".join(json.dumps(chunk["choices"]).encode() for chunk in chunks)
    assert (b'"A"' in said, b'"C"' in said, b'"D"' in said) == (False, True, True)


async def test_embeddings_and_completions_have_chains_too(dialect: str, pair: Pair) -> None:
    for path in ("/v1/embeddings", "/v1/completions"):
        pair.one.fault(faults.Status(401))
        async with pair.serving(dialect=dialect) as facade:
            answer = await ask(facade, "POST", path, {"model": ALIAS, "input": "a", "prompt": "a"})
        assert (200, ("two", "2", "credential")) == (answer.status, provenance(answer))


async def test_all_too_small_is_context_length_exceeded(pair: Pair) -> None:
    small = '{"error": {"message": "too long", "code": "context_length_exceeded"}}'
    for each in (pair.one, pair.two):
        each.fault(faults.Status(400, body=small))
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
        assert (400, "context_length_exceeded") == (answer.status, answer.error["code"])
        assert ("two", "2", "context_length") == provenance(answer)
        pair.one.fault(faults.Status(400, body=small))
        assert 200 == (await ask(facade, "POST", CHAT, chat(ALIAS))).status


async def test_the_deadline_bounds_all_attempts_together(pair: Pair) -> None:
    for each in (pair.one, pair.two):
        each.fault(faults.HangBeforeHeaders(), times=None)
    links = [Link(each.url) for each in (pair.one, pair.two)]
    said = chain(pair.folder, *links, clocks="{first_token = 0.3}", server="deadline = 0.4")
    async with serving(said, pair.one) as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS, stream=True))
    assert (504, "upstream_timeout") == (answer.status, answer.error["code"])
    assert (2, 0) == (calls(pair.one), calls(pair.two))


async def test_a_client_that_leaves_stops_the_chain(pair: Pair) -> None:
    pair.one.fault(faults.HangBeforeHeaders(), times=None)
    async with pair.serving() as facade:
        async with opened(facade, "POST", CHAT, chat(ALIAS)) as client:
            request = await pair.one.came(path=CHAT)
            client.leave()
            await pair.one.hung_up(request, within=1)
        await facade.idle()
    assert (1, 0) == (calls(pair.one), calls(pair.two))


async def test_a_client_that_leaves_during_a_wait_stops_the_chain(pair: Pair) -> None:
    pair.one.fault(faults.Status(429, headers={"retry-after": "4"}), times=None)
    async with pair.serving() as facade, opened(facade, "POST", CHAT, chat(ALIAS)) as client:
        request = await pair.one.came(path=CHAT)
        await facade.until(lambda: request.written > 0)
        client.leave()
        await facade.idle()
    assert (1, 0) == (calls(pair.one), calls(pair.two))


async def test_a_date_is_understood_of_an_upstream_that_does_not_tell_its_own(
    pair: Pair,
) -> None:
    later = formatdate(time.time() + 600, usegmt=True)
    pair.one.fault(faults.Status(429, headers={"retry-after": later}))
    async with pair.serving() as facade:
        answer = await ask(facade, "POST", CHAT, chat(ALIAS))
        assert ("two", "2", "rate_limited") == provenance(answer)
        await ask(facade, "POST", CHAT, chat(ALIAS))
    assert (1, 2) == (calls(pair.one), calls(pair.two))
