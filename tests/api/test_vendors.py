"""A vendor end to end: its address, key, query and words upstream, and what the caller is told."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import ask, chat
from tests.api.serving import serving, settings, upstream
from tests.fake_upstream import FakeUpstream, document

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
ANSWER: Final = {
    "id": "x",
    "object": "chat.completion",
    "created": 5,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
    ],
}


def table(vendor: str, base_url: str) -> str:
    return f'[upstreams.up]\nvendor = "{vendor}"\nbase_url = "{base_url}"\napi_key = "sk-ours"\n'


async def test_a_deployment_is_asked_with_its_own_header_path_and_query(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script("/openai/deployments/gpt-4.1/chat/completions", document(ANSWER))
    said = settings(tmp_path, table("azure-deployments", fake.url))
    async with serving(said, fake) as facade:
        answer = await ask(facade, "POST", CHAT, chat("up/gpt-4.1"))
    assert "yes" == answer.json["choices"][0]["message"]["content"]
    (sent,) = fake.requests
    assert (
        sent.target == "/openai/deployments/gpt-4.1/chat/completions?api-version=2025-04-01-preview"
    )
    assert "sk-ours" == sent.headers["api-key"]
    assert "authorization" not in sent.headers


async def test_the_only_upstream_is_tried_where_nothing_is_listed(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script("/openai/v1/chat/completions", document(ANSWER))
    async with serving(settings(tmp_path, table("azure", fake.url)), fake) as facade:
        assert [] == (await ask(facade, "GET", "/v1/models")).json["data"]
        answer = await ask(facade, "POST", CHAT, chat("my-deployment"))
    assert (200, "up") == (answer.status, answer.headers["x-facade-upstream"])
    (sent,) = fake.requests
    assert ("/openai/v1/chat/completions", "my-deployment") == (sent.path, sent.json["model"])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_mistyped_name_carries_no_prompt_to_an_upstream_that_lists_nothing(
    streamed: bool, fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script("/openai/v1/chat/completions", document(ANSWER))
    said = table("azure", fake.url) + upstream("ollama", fake.url)
    async with serving(settings(tmp_path, said), fake) as facade:
        refused = await ask(facade, "POST", CHAT, chat("lama3.1", stream=streamed))
        retrieved = await ask(facade, "GET", "/v1/models/lama3.1")
        asked = {sent.path for sent in fake.requests}
        addressed = await ask(facade, "POST", CHAT, chat("up/my-deployment"))
    assert {"/api/tags", "/api/version"} == asked
    assert (404, "model", "model_not_found") == (
        refused.status,
        refused.error["param"],
        refused.error["code"],
    )
    assert refused.error == retrieved.error
    assert (
        "the model 'lama3.1' does not exist: GET /v1/models lists those there are; "
        "others are asked for as 'up/NAME', or by an alias in [models]"
    ) == refused.error["message"]
    assert (200, "up") == (addressed.status, addressed.headers["x-facade-upstream"])


async def test_a_name_is_tried_where_a_listing_fails_and_not_where_there_is_none(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script("/v1/models", document({}, status=500))
    said = table("azure", fake.url) + upstream("openai", fake.url)
    async with serving(settings(tmp_path, said), fake) as facade:
        answer = await ask(facade, "POST", CHAT, chat("llama3.1"))
    assert (200, "openai") == (answer.status, answer.headers["x-facade-upstream"])


async def test_what_a_vendor_does_not_know_is_told_in_a_header_or_refused_before_it_is_asked(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    async with serving(settings(tmp_path, table("mistral", f"{fake.url}/v1")), fake) as facade:
        body = chat("up/llama3.1", store=True, safety_identifier="a", max_completion_tokens=9)
        answer = await ask(facade, "POST", CHAT, body)
        before = len(fake.requests_to(CHAT))
        refused = await ask(facade, "POST", CHAT, chat("up/llama3.1", logit_bias={"5": 1}))
    assert 200 == answer.status
    warning = "store is ignored: this model's upstream does not know it"
    assert warning == answer.headers["x-facade-warning"]
    sent = fake.requests_to(CHAT)[0].json
    assert {"model", "messages", "max_tokens"} == sent.keys()
    assert (400, "logit_bias") == (refused.status, refused.error["param"])
    assert before == len(fake.requests_to(CHAT))
