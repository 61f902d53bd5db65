"""The upstream's rate limits, shown to the client in OpenAI's form with every kind of answer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace
from openai import AsyncOpenAI

from adapters.rate_limits import SHOWN
from tests.api.asking import Answer as Answered
from tests.api.asking import ask, chat, opened
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import Answer, FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
TOLD: Final = {
    "x-ratelimit-limit-requests-day": "14400",
    "x-ratelimit-remaining-requests-day": "14399",
    "x-ratelimit-reset-requests-day": "24478.5",
    "x-ratelimit-limit-tokens-minute": "60000",
    "x-ratelimit-remaining-tokens-minute": "0",
    "x-ratelimit-reset-tokens-minute": "90",
}
LIMITS: Final = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-remaining-requests": "14399",
    "x-ratelimit-limit-tokens": "60000",
    "x-ratelimit-remaining-tokens": "0",
}


def shown(answer: Answered) -> dict[str, str]:
    """The rate limits of an answer, but for the resets, which a clock decides."""
    resets = {"x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"}
    limits = {name: text for name, text in answer.headers.items() if "ratelimit" in name}
    assert not limits or resets <= limits.keys()
    return {name: text for name, text in limits.items() if name not in resets}


class _Headers(faults.Status, frozen=True):
    """The same answer with these headers too."""

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, headers={**answer.headers, **self.headers})


class _HeadersAndNoMore(_Headers, frozen=True):
    """Then nothing comes after the first lines."""

    def on(self, answer: Answer, path: str) -> Answer:
        return faults.HangAfter(3).on(super().on(answer, path), path)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
async def test_a_good_answer_shows_them(
    dialect: str, path: str, streamed: bool, facade: Facade
) -> None:
    name = f"{dialect}/nomic-embed-text" if path.endswith("embeddings") else f"{dialect}/llama3.1"
    body = {**chat(name), "prompt": "Hi", "input": "Hi", "stream": streamed}
    facade.fake.fault(_Headers(headers=TOLD))
    answer = await ask(facade, "POST", path, body)
    assert (200, LIMITS) == (answer.status, shown(answer))
    assert answer.headers["x-ratelimit-reset-requests"].startswith("6h47m5")
    assert answer.headers["x-ratelimit-reset-tokens"].startswith(("1m30", "1m29"))


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_an_error_shows_them(model: str, streamed: bool, facade: Facade) -> None:
    facade.fake.fault(faults.Status(429, headers=TOLD))
    answer = await ask(facade, "POST", CHAT, chat(model, stream=streamed))
    assert (429, LIMITS) == (answer.status, shown(answer))


async def test_a_limit_used_up_says_how_long_to_wait(facade: Facade) -> None:
    facade.fake.fault(faults.Status(429, headers=TOLD))
    answer = await ask(facade, "POST", CHAT, chat("openai/llama3.1"))
    assert ("90", "false") == (answer.headers["retry-after"], answer.headers["x-should-retry"])


async def test_they_come_before_the_first_content(model: str, facade: Facade) -> None:
    facade.fake.fault(_HeadersAndNoMore(headers=TOLD))
    async with opened(facade, "POST", CHAT, chat(model, stream=True)) as conversation:
        status, headers = await conversation.head()
        assert (200, "0") == (status, headers["x-ratelimit-remaining-tokens"])


async def test_the_sdk_reads_them(sdk: AsyncOpenAI, model: str, facade: Facade) -> None:
    facade.fake.fault(_Headers(headers=TOLD))
    raw = await sdk.chat.completions.with_raw_response.create(**chat(model))
    assert "14399" == raw.headers["x-ratelimit-remaining-requests"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1"},
        {"x-ratelimit-limit-tokens": "many", "x-ratelimit-reset-tokens": "soon"},
        {"x-ratelimit-tokens-query-cost": "5"},
    ],
)
async def test_what_says_nothing_is_not_shown(
    headers: dict[str, str], tmp_path: Path, fake: FakeUpstream
) -> None:
    async with serving(settings(tmp_path, both(fake)), fake) as facade:
        fake.fault(_Headers(headers=headers))
        answer = await ask(facade, "POST", CHAT, chat("openai/llama3.1"))
    assert (200, {}) == (answer.status, shown(answer))


async def test_each_model_has_its_own(tmp_path: Path, fake: FakeUpstream) -> None:
    async with serving(settings(tmp_path, both(fake)), fake) as facade:
        fake.fault(_Headers(headers=TOLD))
        assert LIMITS == shown(await ask(facade, "POST", CHAT, chat("openai/llama3.1")))
        assert {} == shown(await ask(facade, "POST", CHAT, chat("openai/qwen3")))
        assert {} == shown(await ask(facade, "POST", CHAT, chat("ollama/llama3.1")))
        assert LIMITS == shown(await ask(facade, "POST", CHAT, chat("openai/llama3.1")))


async def test_a_browser_may_read_them(tmp_path: Path, fake: FakeUpstream) -> None:
    page = "http://page.test"
    text = f'[server]\ncors_allow_origins = ["{page}"]\n' + both(fake)
    async with serving(settings(tmp_path, text), fake) as facade:
        answer = await ask(facade, "POST", CHAT, chat("openai/llama3.1"), origin=page)
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {*SHOWN, "x-should-retry"} <= {*exposed}
