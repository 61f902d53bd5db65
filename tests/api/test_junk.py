"""Junk from either side is somebody's fault, and never a failure of ours.

Drawn at random, but the same on each run: a request with two fields replaced, an upstream's
answer with some of its values replaced, lines of it lost, and lines that are no JSON.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from adapters.wire import ChatRequest, CompletionRequest, EmbeddingRequest
from tests.api.asking import DONE, Answer, Json, ask, chat, error_of
from tests.api.serving import DIALECTS, Facade
from tests.fake_upstream import Reply, ToolCall

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUESTS: Final[dict[str, type[msgspec.Struct]]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/embeddings": EmbeddingRequest,
}
NATIVE: Final = ("options", "keep_alive", "think", "truncate", "raw", "top_k", "num_ctx", "shift")
UPSTREAM: Final = {
    "ollama": ("/api/chat", "/api/generate", "/api/embed"),
    "openai": tuple(REQUESTS),
}
SCALARS: Final = (
    *(None, True, False, 0, 1, -1, 2**64, 10**30, 0.5, -2.5, 1e300),
    *("", "x", "stop", "assistant", "tool", "text", "function", "auto", "\0", "\U0001f94a", "{}"),
)
KEYS: Final = ("type", "role", "content", "text", "function", "name", "arguments", "error", "$ref")
NO_LINES: Final = (
    *(b"\n", b"\xff\xfe\n", b"null\n", b"[]\n", b'{"done":true}\n', b"[" * 3000 + b"\n"),
    *(b"data: {\n\n", b"data: []\n\n", b"event: error\n\n", b"data: " + b"[" * 3000 + b"\n\n"),
)
SAID: Final = Reply("It is warm.", "Hm so.", (ToolCall("f", {"a": 1}), ToolCall("g")))


def junk(draw: Random, depth: int = 3) -> Any:  # noqa: ANN401 - JSON is anything
    kind = draw.randrange(4) if depth else 0
    if kind == 1:
        return [junk(draw, depth - 1) for _ in range(draw.randrange(3))]
    if kind == 2:
        return {draw.choice(KEYS): junk(draw, depth - 1) for _ in range(draw.randrange(4))}
    return draw.choice(SCALARS)


def assert_answered(answer: Answer) -> None:
    """The client has an answer, or an error that is not our bug's."""
    assert answer.complete
    if answer.status != 200:
        assert answer.error["code"] != "internal_error"
    elif answer.headers["content-type"].startswith("text/event-stream"):
        last = answer.events[-1]
        assert last == DONE or error_of(json.loads(last))["code"] != "internal_error"
    else:
        assert "error" not in answer.json


def _body(dialect: str, path: str, streamed: bool) -> Json:
    model = "nomic-embed-text" if path == "/v1/embeddings" else "llama3.1"
    both = {"prompt": "Hi", "input": ["a", "b"], "dimensions": 4, "stream": streamed}
    return {**chat(f"{dialect}/{model}"), **both}


@pytest.mark.parametrize("path", REQUESTS)
async def test_no_value_of_any_field_is_a_failure_of_ours(
    path: str, dialect: str, facade: Facade
) -> None:
    draw = Random(f"{path} {dialect}")
    names = [field.encode_name for field in msgspec.structs.fields(REQUESTS[path])]
    # The fake would give as many dimensions as it is asked for.
    names = [name for name in (*names, *NATIVE) if name not in {"model", "dimensions"}]
    for _ in range(100):
        body = _body(dialect, path, draw.random() < 0.5)
        body |= {draw.choice(names): junk(draw) for _ in range(2)}
        answer = await ask(facade, "POST", path, body)
        assert_answered(answer)
        assert answer.status != 500, body


def _mutated(draw: Random, value: Any, share: float) -> Any:  # noqa: ANN401 - JSON is anything
    """Some values are junk, some keys are lost."""
    if draw.random() < share:
        return junk(draw)
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if draw.random() > share / 2}
        return {name: _mutated(draw, each, share) for name, each in kept.items()}
    if isinstance(value, list):
        return [_mutated(draw, each, share) for each in value]
    return value


def _broken(draw: Random, line: bytes, share: float) -> bytes:
    """The line with junk in it, or one that is none at all."""
    if draw.random() < share / 4:
        return draw.choice(NO_LINES)
    event = b"data: " if line.startswith(b"data: ") else b""
    text = line.removeprefix(event)
    if text.startswith(b"[DONE]"):
        return line
    said = json.dumps(_mutated(draw, json.loads(text), share)).encode()
    return event + said + text[len(text.rstrip()) :]


@pytest.mark.parametrize(("place", "path"), list(enumerate(REQUESTS)))
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_nothing_that_an_upstream_says_is_a_failure_of_ours(
    dialect: str, place: int, path: str, facade: Facade
) -> None:
    draw, fake = Random(f"{path} {dialect}"), facade.fake
    asked = UPSTREAM[dialect][place]
    for _ in range(100):
        fake.reset()
        body = _body(dialect, path, draw.random() < 0.6)
        if path == "/v1/chat/completions":
            fake.script(asked, SAID)
            body |= draw.choice([{}, {"logprobs": True}, {"tools": [_TOOL]}, _FORCED])
        await ask(facade, "POST", path, body)
        request = fake.requests_to(asked)[-1]
        if path == "/v1/chat/completions":
            fake.script(asked, SAID)
        polite = fake._answer(request)
        share = draw.choice([0.02, 0.1, 0.4])
        lines = [line for line in polite.body if isinstance(line, bytes)]
        broken = tuple(_broken(draw, line, share) for line in lines)
        status = draw.choice([200, 200, 200, 400, 429, 500])
        fake.script(asked, replace(polite, status=status, body=broken, framing="chunked"))
        assert_answered(await ask(facade, "POST", path, body))


_TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
_FORCED: Final = {"tools": [_TOOL], "tool_choice": "required"}
