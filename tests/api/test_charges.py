"""What a request costs of its limits, and what comes back of it."""

from __future__ import annotations

import pytest

from tests.api.asking import ask, chat, opened
from tests.api.limited import ALL, ANSWER, CHAT, KEY, PATHS, PROMPT, Limited, asked, left, standing
from tests.fake_upstream import Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

# -- what a request costs ------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["assistant", "helper"])
@pytest.mark.parametrize("bound", [{}, {"max_tokens": 300}])
async def test_what_was_reserved_beyond_the_usage_comes_back(
    model: str, streamed: bool, bound: dict[str, int], limited: Limited
) -> None:
    async with limited.serving(key='"1000 tokens/year"') as facade:
        limited.fake.script(CHAT, Reply(ANSWER))
        limited.fake.script("/api/chat", Reply(ANSWER))
        first = await asked(facade, model, stream=streamed, **bound)
        assert 200 == first.status
        reserved = PROMPT + bound.get("max_tokens", 512)
        if streamed:  # the head goes before the usage is known
            assert 1000 - reserved == left(first)
        else:
            assert 1000 - first.json["usage"]["total_tokens"] == left(first) == 995
        await facade.idle()
        limited.fake.script(CHAT, Reply("one"))
        limited.fake.script("/api/chat", Reply("one"))
        assert 995 - 2 == left(await asked(facade, model, max_tokens=1))


@pytest.mark.parametrize(
    ("path", "body", "cost"),
    [
        ("/v1/completions", {"prompt": ["Hi", "Hi"], "max_tokens": 4}, 2 + 8),
        ("/v1/embeddings", {"input": ["Hi", "you"]}, 2),
    ],
    ids=["completions", "embeddings"],
)
async def test_every_path_is_charged_alike_litellm_34728(
    path: str, body: dict[str, object], cost: int, limited: Limited
) -> None:
    async with limited.serving(key='"1000 tokens/year", "2/year"') as facade:
        limited.fake.script("/api/generate", Reply(ANSWER), Reply(ANSWER))
        body["model"] = "ollama/nomic-embed-text"
        answer = await ask(facade, "POST", path, body, **KEY)
        assert (200, 1) == (answer.status, left(answer, "requests"))
        assert cost == answer.json["usage"]["total_tokens"]
        assert 1000 - cost == left(answer)


async def test_each_choice_has_its_own_reserve_and_the_prompt_counts_once(
    limited: Limited,
) -> None:
    async with limited.serving(key='"1000 tokens/year"') as facade:
        limited.fake.script("/api/chat", *[Reply(ANSWER)] * 3)
        answer = await asked(facade, n=3, max_tokens=300, stream=True)
        assert 1000 - (PROMPT + 3 * 300) == left(answer)
        await facade.idle()
        assert 1000 - (1 + 3 * 4) - 2 == left(await asked(facade, max_tokens=1))
        answer = await asked(facade, n=4, max_tokens=300)
        assert (400, "request_larger_than_limit") == (answer.status, answer.error["code"])
        assert answer.error["message"].startswith(
            "this request needs at least 1200 tokens, and key 'agents' is limited to "
            "1000 tokens/year"
        )


async def test_a_prompt_that_is_surely_too_long_is_a_400_and_others_are_tried(
    limited: Limited,
) -> None:
    async with limited.serving(key='"1000 tokens/year"') as facade:
        said = [{"role": "user", "content": "x" * 8 * 1001}]
        assert 400 == (await asked(facade, messages=said)).status
        said = [{"role": "user", "content": "x" * 8 * 999}]
        assert 200 == (await asked(facade, messages=said)).status


async def test_a_small_key_serves_its_first_request_litellm_29193(limited: Limited) -> None:
    async with limited.serving(key='"100 tokens/year"') as facade:
        answer = await asked(facade)
        assert 200 == answer.status
        assert 100 - answer.json["usage"]["total_tokens"] == left(answer)


async def test_what_is_used_beyond_the_reserve_is_debt_litellm_18730(limited: Limited) -> None:
    async with limited.serving(key='"10 tokens/year"') as facade:
        limited.fake.script("/api/chat", Reply("word " * 500))
        assert 200 == (await asked(facade)).status
        answer = await asked(facade)
        assert (429, 0) == (answer.status, left(answer))
        assert "key 'agents' is limited to 10 tokens/year" in answer.error["message"]


# -- what comes back -----------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["openai/llama3.1", "ollama/llama3.1", "nowhere/llama3.1"])
@pytest.mark.parametrize(
    "fault", [faults.Status(429), faults.CutBeforeContent(), faults.Html(), faults.EmptyObject()]
)
async def test_what_fails_before_its_first_content_costs_nothing_and_says_so(
    fault: faults.Fault, model: str, streamed: bool, limited: Limited
) -> None:
    async with limited.serving(key=ALL) as facade:
        limited.fake.fault(fault)
        answer = await asked(facade, model, stream=streamed)
        assert 400 <= answer.status
        if not model.startswith("nowhere"):
            assert (9, 1000) == (left(answer, "requests"), left(answer))
        assert (9, 1000) == await standing(facade)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_who_leaves_before_the_first_content_is_charged_nothing_litellm_20256(
    streamed: bool, dialect: str, limited: Limited
) -> None:
    async with limited.serving(key=ALL) as facade:
        limited.fake.fault(faults.HangBeforeContent())
        body = chat(f"{dialect}/llama3.1", stream=streamed)
        async with opened(facade, "POST", CHAT, body, **KEY) as client:
            await limited.fake.came()
            held = await asked(facade)
            assert (429, "all its places are taken") == (
                held.status,
                held.error["message"].split("and ")[1].split(";")[0],
            )
            client.leave()
        assert (9, 1000) == await standing(facade)


async def test_who_leaves_in_mid_stream_is_charged_what_was_sent_envoy_1754(
    dialect: str, limited: Limited
) -> None:
    async with limited.serving(key=ALL) as facade:
        limited.fake.fault(faults.HangAfter(3))
        limited.fake.script(PATHS[dialect], Reply("one two three four five six"))
        body = chat(f"{dialect}/llama3.1", stream=True)
        async with opened(facade, "POST", CHAT, body, **KEY) as client:
            await client.head()
            await client.piece()
            client.leave()
        requests, tokens = await standing(facade)
        assert 8 == requests
        assert 1 <= 1000 - PROMPT - tokens <= 3


async def test_a_stream_that_is_cut_is_charged_what_came(dialect: str, limited: Limited) -> None:
    async with limited.serving(key=ALL) as facade:
        limited.fake.fault(faults.CutAfter(700))
        limited.fake.script(PATHS[dialect], Reply("one two three four five six"))
        answer = await asked(facade, f"{dialect}/llama3.1", stream=True)
        assert (200, True) == (answer.status, "error" in answer.events[-1])
        words = sum('"content":" ' in event or ':"one' in event for event in answer.events)
        assert 1 <= words < 6
        assert (8, 1000 - PROMPT - words) == await standing(facade)


async def test_an_attempt_that_failed_is_not_charged_beside_the_one_that_served(
    limited: Limited,
) -> None:
    more = '[models.chain]\ntargets = ["openai/llama3.1", "ollama/llama3.1"]\ncommit = "complete"\n'
    async with limited.serving(key=ALL, more=more) as facade:
        limited.fake.fault(faults.CutAfter(500), path=CHAT)
        limited.fake.script(CHAT, Reply("one two three four five six"), Reply(ANSWER))
        limited.fake.script("/api/chat", Reply(ANSWER))
        answer = await asked(facade, "chain", stream=True)
        assert (200, "2") == (answer.status, answer.headers["x-facade-attempts"])
        assert (8, 1000 - PROMPT - 4) == await standing(facade)
