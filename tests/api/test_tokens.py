"""Token ids through the front door: what LangChain's default client sends, and prompts."""

from __future__ import annotations

import base64
import struct
import sys
from pathlib import Path
from typing import Final

import pytest
from openai import AsyncOpenAI

from tests.api.asking import Json, ask, opened
from tests.api.serving import Facade, serving, settings, upstream
from tests.fake_upstream import FakeUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMBED: Final = "/v1/embeddings"
MODEL: Final = "ollama/nomic-embed-text"
HELLO_WORLD: Final = [15339, 1917]


def langchain(model: str = MODEL, **more: object) -> Json:
    """As its embeddings are asked for: two texts, in tokens, as base64."""
    return {"input": [HELLO_WORLD, [15339]], "model": model, "encoding_format": "base64", **more}


def unpacked(text: str) -> list[float]:
    packed = base64.b64decode(text)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


async def test_embeddings_of_tokens_are_those_of_the_text(facade: Facade) -> None:
    texts = {"model": MODEL, "input": ["hello world", "hello"]}
    expected = [
        each["embedding"] for each in (await ask(facade, "POST", EMBED, texts)).json["data"]
    ]
    answer = await ask(facade, "POST", EMBED, langchain())
    assert (200, ["hello world", "hello"]) == (answer.status, facade.fake.last.json["input"])
    assert [0, 1] == [each["index"] for each in answer.json["data"]]
    for each, vector in zip(answer.json["data"], expected, strict=True):
        assert vector == pytest.approx(unpacked(each["embedding"]), abs=1e-6)
    floats = (await ask(facade, "POST", EMBED, langchain(encoding_format="float"))).json["data"]
    assert expected == [each["embedding"] for each in floats]


async def test_the_sdk_gets_them(sdk: AsyncOpenAI, facade: Facade) -> None:
    answer = await sdk.embeddings.create(model=MODEL, input=HELLO_WORLD, dimensions=8)
    assert (["hello world"], 8) == (
        facade.fake.last.json["input"],
        facade.fake.last.json["dimensions"],
    )
    assert 8 == len(answer.data[0].embedding)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_prompt_of_tokens_is_completed(streamed: bool, facade: Facade) -> None:
    body = {"model": "ollama/llama3.1", "prompt": [HELLO_WORLD], "stream": streamed, "top_k": 3}
    answer = await ask(facade, "POST", "/v1/completions", body)
    sent = facade.fake.last.json
    assert (200, "hello world", 3) == (answer.status, sent["prompt"], sent["options"]["top_k"])


async def test_an_echo_of_tokens_is_their_text(facade: Facade) -> None:
    body = {"model": "ollama/llama3.1", "prompt": HELLO_WORLD, "echo": True}
    said = (await ask(facade, "POST", "/v1/completions", body)).json["choices"][0]["text"]
    assert "hello worldYou said: hello world" == said


async def test_the_vocabulary_is_that_of_the_model_that_was_asked(
    tmp_path: Path, fake: FakeUpstream
) -> None:
    text = upstream("ollama", fake.url) + '[models."gpt-4o"]\ntargets = ["ollama/llama3.1"]\n'
    async with serving(settings(tmp_path, text), fake) as facade:
        body = {"model": "gpt-4o", "prompt": [24912, 2375]}
        assert 200 == (await ask(facade, "POST", "/v1/completions", body)).status
    [sent] = fake.requests_to("/api/generate")
    assert ("llama3.1", "hello world") == (sent.json["model"], sent.json["prompt"])


async def test_an_upstream_that_takes_tokens_gets_them(facade: Facade) -> None:
    for path, body in (
        (EMBED, langchain("openai/nomic-embed-text")),
        ("/v1/completions", {"model": "openai/llama3.1", "prompt": [-1, 999999999]}),
    ):
        assert 200 == (await ask(facade, "POST", path, body)).status
        field = "input" if path == EMBED else "prompt"
        assert body[field] == facade.fake.last.json[field]


async def test_a_vendor_that_takes_text_only_gets_text(tmp_path: Path, fake: FakeUpstream) -> None:
    text = f'[upstreams.m]\nvendor = "mistral"\nbase_url = "{fake.url}/v1"\napi_key = "k"\n'
    async with serving(settings(tmp_path, text), fake) as facade:
        answer = await ask(facade, "POST", EMBED, langchain("m/nomic-embed-text", x_own=[1.0]))
    assert 200 == answer.status
    (sent,) = fake.requests_to(EMBED)
    assert (["hello world", "hello"], [1.0]) == (sent.json["input"], sent.json["x_own"])
    assert 2 == len([unpacked(each["embedding"]) for each in answer.json["data"]])


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([15339, -1], "input"),
        ([[15339], [100257]], "input[1]"),
        ([[15339], []], "input[1]"),
        ([[15339], "a"], "input[1]"),
        ([], "input"),
        ([[15339]] * 2049, "input"),
    ],
)
async def test_what_is_no_text_is_a_400_that_says_where(
    given: object, param: str, facade: Facade
) -> None:
    answer = await ask(facade, "POST", EMBED, {"model": MODEL, "input": given})
    assert (400, param) == (answer.status, answer.error["param"])
    assert [] == facade.fake.requests


async def test_without_the_extra_the_400_names_it(
    facade: Facade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bpe_openai", None)
    answer = await ask(facade, "POST", EMBED, langchain())
    assert (400, "input") == (answer.status, answer.error["param"])
    assert "`tokens` extra (`pip install bpe-openai`)" in answer.error["message"]
    assert 200 == (await ask(facade, "POST", EMBED, langchain("openai/nomic-embed-text"))).status


async def test_a_client_that_leaves_while_tokens_are_read_is_gone(facade: Facade) -> None:
    body = {"model": MODEL, "input": [[15339] * 8000] * 100}
    async with opened(facade, "POST", EMBED, body) as conversation:
        await facade.until(lambda: facade.requests == 1)
        conversation.leave(reset=True)
    await facade.idle()
