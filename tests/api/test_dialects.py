"""What the pipeline makes of a dialect's own abilities: few of them, second tries, odd answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from adapters.dialect import Encoded, Reply, Target, UpstreamRequest
from adapters.errors import Kind, UpstreamError
from adapters.registry import DIALECTS
from adapters.wire import ChatCall, Chunk
from facade import upstreams
from facade.deadlines import Timeouts
from tests.api.asking import ask, chat
from tests.api.serving import Facade, serving, settings, upstream
from tests.fake_upstream import Answer, FakeUpstream, Pause, document, ndjson, sse
from tests.fake_upstream import Reply as Said

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"


class _Echo:
    """A stream decoder: the body is the answer, and its end the end of it."""

    def __init__(self, reply: Reply) -> None:
        self.done = False
        self.reply = reply

    def feed(self, data: bytes) -> list[Chunk]:
        return [Chunk(content=data.decode())]

    def close(self) -> list[Chunk]:
        return []


class Bare:
    """A dialect that can chat and nothing else."""

    slots: Final = None

    def encode_chat(self, call: ChatCall, target: Target) -> Sequence[Encoded]:
        return [Encoded(UpstreamRequest("POST", "/api/version"), stream=_Echo)]

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return UpstreamError(Kind.FAILED, "bare", status=status)


@pytest.fixture
def bare(fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(DIALECTS, "bare", Bare())
    return upstream("bare", fake.url)


async def test_a_dialect_that_can_only_chat_chats_and_refuses_the_rest(
    fake: FakeUpstream, tmp_path: Path, bare: str
) -> None:
    fake.script("/api/version", *[Answer(200, {}, (b"so it is",))] * 3)
    async with serving(settings(tmp_path, bare), fake) as facade:
        whole = await ask(facade, "POST", CHAT, chat("bare/m"))
        streamed = await ask(facade, "POST", CHAT, chat("bare/m", stream=True))
        for path, what in (("completions", "text completions"), ("embeddings", "embeddings")):
            body = {"model": "bare/m", "input": "a", "prompt": "a"}
            answer = await ask(facade, "POST", f"/v1/{path}", body)
            assert (400, "model", "unsupported_model") == (
                answer.status,
                answer.error["param"],
                answer.error["code"],
            )
            assert f"the upstream 'bare' has no {what}" == answer.error["message"]
        assert [] == (await ask(facade, "GET", "/v1/models")).json["data"]
        unlisted = await ask(facade, "POST", CHAT, chat("m"))
    assert "so it is" == unlisted.json["choices"][0]["message"]["content"]
    assert "so it is" == whole.json["choices"][0]["message"]["content"]
    assert "so it is" == streamed.chunks[0]["choices"][0]["delta"]["content"]


async def test_an_end_that_the_dialect_accepts_is_an_answer_though_nothing_was_said(
    fake: FakeUpstream, tmp_path: Path, bare: str
) -> None:
    fake.script("/api/version", Answer(200, {}, ()))
    async with serving(settings(tmp_path, bare), fake) as facade:
        assert [] == (await ask(facade, "POST", CHAT, chat("bare/m", stream=True))).chunks


# -- a second way to say a request ---------------------------------------------------------

_REFUSED: Final = {"error": 'think value "low" is not supported for this model'}


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_older_server_is_asked_in_its_own_words(facade: Facade, streamed: bool) -> None:
    facade.fake.script("/api/chat", document(_REFUSED, 400), Said("yes"))
    body = chat("ollama/llama3.1", reasoning_effort="low", stream=streamed)
    answer = await ask(facade, "POST", CHAT, body)
    assert 200 == answer.status
    first, second = facade.fake.requests_to("/api/chat")
    assert ("low", True) == (first.json["think"], second.json["think"])
    assert first.json | {"think": True} == second.json
    assert first.connection == second.connection


async def test_a_server_that_refuses_twice_is_believed(facade: Facade) -> None:
    facade.fake.script("/api/chat", *[document(_REFUSED, 400)] * 3)
    answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1", reasoning_effort="low"))
    assert (400, "reasoning_effort") == (answer.status, answer.error["param"])
    assert 2 == len(facade.fake.requests_to("/api/chat"))


# -- odd answers ---------------------------------------------------------------------------


async def test_an_answer_whose_tokens_were_not_counted_says_so(facade: Facade) -> None:
    stamp = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    line = stamp | {"message": {"content": "Hi"}, "done": True, "eval_count": 1}
    facade.fake.script("/api/chat", ndjson(line))
    answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))
    assert (
        "the upstream did not count all tokens: usage is incomplete"
        == answer.headers["x-facade-warning"]
    )
    assert {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1} == answer.json["usage"]


async def test_an_error_without_end_is_not_read_to_it(
    facade: Facade, path: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        upstreams, "_SLOWEST_ERROR", Timeouts(total=600)
    )  # it is its size that counts
    facade.fake.script(path, Answer(500, {}, (*(b"x" * 1000,) * 3000, Pause()), "chunked"))
    answer = await ask(facade, "POST", CHAT, chat(model))
    assert (500, "upstream_error") == (answer.status, answer.error["code"])
    assert 300 >= len(answer.error["message"])


async def test_what_the_listing_says_of_a_model_is_not_asked_again(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    listed = {"name": "eyes:latest", "digest": "d", "capabilities": ["completion", "vision"]}
    blind = {"name": "blind:latest", "digest": "e", "capabilities": ["completion"]}
    fake.script("/api/tags", document({"models": [listed, blind]}))
    fake.script("/api/chat", Said("I see"))
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    async with serving(settings(tmp_path, upstream("ollama", fake.url)), fake) as facade:
        for model, status in (("eyes", 200), ("blind:latest", 400)):
            body = chat(model, messages=[{"role": "user", "content": [part]}])
            answer = await ask(facade, "POST", CHAT, body)
            assert status == answer.status
    assert "messages[0].content[0]" == answer.error["param"]
    assert [] == fake.requests_to("/api/show")


async def test_what_is_behind_the_end_of_an_answer_is_not_part_of_it(
    facade: Facade, path: str, model: str
) -> None:
    """Lines after the end marker, and an upstream that does not close after it."""
    stamp = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    said = stamp | {"message": {"content": "Hi"}, "done": False}
    end = stamp | {"message": {"content": ""}, "done": True, "done_reason": "stop"}
    if path == "/api/chat":
        facade.fake.script(path, ndjson(said, end, said, {"error": "late"}))
    else:
        delta = {"id": "x", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
        finish = {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        stream = sse(delta, finish)
        late = b'data: {"error":{"message":"late"}}\n\n'
        facade.fake.script(path, replace(stream, body=(*stream.body, late)))
    answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
    texts = [c["delta"].get("content") for chunk in answer.chunks for c in chunk["choices"]]
    assert ["Hi"] == [text for text in texts if text]
