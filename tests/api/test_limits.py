"""Limits through the front door: who is held back, by which limit, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from openai import RateLimitError

from tests.api.asking import ask, chat
from tests.api.limited import CHAT, Limited, asked, left
from tests.api.serving import both, serving, settings
from tests.fake_upstream import Answer as Told
from tests.fake_upstream import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETION: Final = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}'
)


# -- whom a limit holds --------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["key", "model", "near"])
async def test_each_scope_has_its_own_limit_and_is_named_tensorzero_3678(
    scope: str, limited: Limited
) -> None:
    names = {"key": "key 'agents'", "model": "model 'assistant'", "near": "ip '127.0.0.1'"}
    said: Any = {scope: '"1/hour"'}
    async with limited.serving(**said) as facade:
        assert 200 == (await asked(facade, "assistant")).status
        answer = await asked(facade, "assistant")
        assert (429, "rate_limit_error", "rate_limit_exceeded") == (
            answer.status,
            answer.error["type"],
            answer.error["code"],
        )
        told = f"{names[scope]} is limited to 1/hour, and no requests are left now; try again in "
        assert answer.error["message"].startswith(told)
        seconds = int(answer.headers["retry-after"])
        assert 3590 < seconds <= 3600
        assert seconds * 1000 - 1000 < int(answer.headers["retry-after-ms"]) <= seconds * 1000
        assert "false" == answer.headers["x-should-retry"], "the wait is over a minute"
        assert ("1", "0") == (
            answer.headers["x-ratelimit-limit-requests"],
            answer.headers["x-ratelimit-remaining-requests"],
        )
        other = await ask(facade, "POST", CHAT, chat("helper"), authorization="Bearer sk-o")
        assert (429 if scope == "near" else 200) == other.status
        assert (2 if scope != "near" else 1) == len(limited.fake.requests_to(CHAT)) + len(
            limited.fake.requests_to("/api/chat")
        )


async def test_a_request_that_one_bucket_refuses_takes_nothing_of_the_others(
    limited: Limited,
) -> None:
    async with limited.serving(key='"10/year"', model='"1/year"') as facade:
        assert 9 == left(await asked(facade), "requests")
        await asked(facade, "assistant")
        for _ in range(3):
            assert 429 == (await asked(facade, "assistant")).status
        assert 7 == left(await asked(facade), "requests")


async def test_a_pattern_has_one_bucket_for_all_names_that_it_matches(limited: Limited) -> None:
    more = '[models."gpt-*"]\ntargets = ["openai/llama3.1"]\nlimits = ["1/year"]\n'
    async with limited.serving(more=more) as facade:
        assert 200 == (await asked(facade, "gpt-4o")).status
        assert 429 == (await asked(facade, "gpt-4.1")).status


async def test_without_limits_nothing_is_told_of_any(limited: Limited) -> None:
    async with limited.serving() as facade:
        answer = await asked(facade)
        assert not [name for name in answer.headers if "ratelimit" in name]


async def test_the_sdk_reads_a_429_as_its_own(limited: Limited) -> None:
    async with limited.serving(key='"1/minute"') as facade, facade.sdk() as sdk:
        sdk.api_key = "sk-agents"
        raw = await sdk.chat.completions.with_raw_response.create(**chat("helper"))
        assert "0" == raw.headers["x-ratelimit-remaining-requests"]
        with pytest.raises(RateLimitError, match="key 'agents' is limited to 1/minute"):
            await sdk.chat.completions.create(**chat("helper"))


# -- what is told --------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_the_tighter_of_our_limit_and_the_upstreams_is_told(
    streamed: bool, limited: Limited
) -> None:
    told = {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-limit-tokens": "60000",
        "x-ratelimit-remaining-tokens": "59999",
    }
    async with limited.serving(key='"10/year", "1000 tokens/year"') as facade:
        limited.fake.script(CHAT, Told(headers=told, body=(COMPLETION,)))
        answer = await asked(facade, "assistant")
        assert ("100", "1") == (
            answer.headers["x-ratelimit-limit-requests"],
            answer.headers["x-ratelimit-remaining-requests"],
        )
        assert ("1000", "993") == (
            answer.headers["x-ratelimit-limit-tokens"],
            answer.headers["x-ratelimit-remaining-tokens"],
        )
        other = await asked(facade, "helper", stream=streamed)
        assert "10" == other.headers["x-ratelimit-limit-requests"], (
            "the other upstream said nothing"
        )


async def test_a_request_that_is_refused_before_it_is_sent_shows_the_limits(
    limited: Limited,
) -> None:
    async with limited.serving(key='"10/year"') as facade:
        answer = await asked(facade, "ollama/llama3.1", tools=[], logit_bias={"1": 5})
        assert (400, 10) == (answer.status, left(answer, "requests"))


async def test_addresses_are_told_apart_and_those_of_one_ipv6_network_are_not(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    """A client has 2**64 addresses of IPv6. What cannot be read is one address for all."""
    text = f'[server]\nip_limits = ["1/year"]\ntrusted_proxies = ["127.0.0.1"]\n{both(fake)}'

    async def status(address: str) -> int:
        body = chat("openai/llama3.1")
        return (await ask(facade, "POST", CHAT, body, x_forwarded_for=address)).status

    async with serving(settings(tmp_path, text), fake) as facade:
        assert [200, 200] == [await status("192.0.2.1"), await status("192.0.2.2")]
        assert 429 == await status("::ffff:192.0.2.1")
        assert [200, 429] == [await status("2001:db8::1"), await status("2001:db8::ffff:0:0:1")]
        assert 200 == await status("2001:db8:0:1::1")
        assert [200, 429] == [await status("somebody"), await status("anybody else")]
