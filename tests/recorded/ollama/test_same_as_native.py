"""The same question put to a live Ollama directly and through the facade has the same answer.

Each question is a native request; what Ollama answers is read as if it were recorded, and what
the SDK gets through the facade must be that. Temperature 0 and short answers, so that a model
says the same thing twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

import httpx
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.parts import ollama_url
from tests.recorded.ollama import observed, oracle
from tests.recorded.ollama.comparing import abridged, in_mode, matched
from tests.recorded.ollama.exchanges import Exchange, Json
from tests.recorded.ollama.oracle import Failure, Told, Vectors
from tests.recorded.ollama.requests import asked
from tests.recorded.ollama.serving import client_of

pytestmark = [pytest.mark.ollama, pytest.mark.asyncio(loop_scope="module")]

_WAIT: Final = 120.0  # seconds; a model may have to be loaded


class Question(NamedTuple):
    """A native request, without its model: the first that `can` do this, and cannot do that."""

    path: str
    can: str
    cannot: str
    body: Json


def _chat(text: str, tokens: int = 8, can: str = "completion", **more: object) -> Question:
    options = {"temperature": 0, "seed": 1, "num_predict": tokens}
    cannot = "" if can == "thinking" else "thinking"
    return Question("/api/chat", can, cannot, _user(text) | {"options": options} | more)


def _user(text: str) -> Json:
    return {"messages": [{"role": "user", "content": text}]}


def _options(**more: object) -> Json:
    return {"temperature": 0, "seed": 1, "num_predict": 8} | more


_SCHEMA: Final = {
    "$defs": {"P": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}},
    "type": "object",
    "properties": {"z": {"enum": ["\u2028<&>"]}, "a": {"$ref": "#/$defs/P"}},
    "required": ["z", "a"],
}
_EMOJI: Final = {"type": "string", "enum": ["\U0001f389\U0001f1ef\U0001f1f5 \u65e5\u672c"]}
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_RAW: Final = {"prompt": "The capital of France is", "raw": True, "options": _options()}
QUESTIONS: Final[Mapping[str, Question]] = {
    "a system message": _chat(
        "",
        messages=[
            {"role": "system", "content": "Answer in French."},
            {"role": "user", "content": "Hello"},
        ],
    ),
    "stop": _chat("What is the capital of France?", options=_options(stop=["of", "Paris"])),
    "penalties": _chat(
        "Repeat: cat cat cat cat cat cat",
        options=_options(num_predict=12, frequency_penalty=2.0, presence_penalty=1.0),
    ),
    "log probabilities": _chat("Hello", logprobs=True, top_logprobs=2),
    "split characters": _chat("Party", tokens=24, format=_EMOJI, logprobs=True),
    "a schema": _chat("Answer as JSON", tokens=30, format=_SCHEMA),
    "a schema without its end": _chat("Answer as JSON", tokens=3, format=_SCHEMA),
    "thinking": _chat("What is 2+2?", can="thinking"),
    "thinking switched off": _chat("What is 2+2?", can="thinking", think=False),
    "tools that are not called": _chat("Hello", can="tools", tools=[_TOOL], logprobs=True),
    "no tools": Question("/api/chat", "completion", "tools", _user("Hello") | {"tools": [_TOOL]}),
    "no thinking": Question("/api/chat", "completion", "thinking", _user("Hi") | {"think": True}),
    "no chat": Question("/api/chat", "embedding", "completion", _user("Hello")),
    "a bad schema": _chat("Hello", format={"type": "nonsense"}),
    "a bad duration": _chat("Hello", keep_alive="nonsense"),
    "a raw prompt": Question("/api/generate", "completion", "thinking", _RAW),
    "a completion with log probabilities": Question(
        "/api/generate", "completion", "thinking", _RAW | {"logprobs": True, "top_logprobs": 2}
    ),
    "no insertion": Question("/api/generate", "completion", "insert", _RAW | {"suffix": "."}),
    "two texts": Question(
        "/api/embed", "embedding", "", {"input": ["a cat", "\u65e5\u672c \U0001f389"]}
    ),
    "fewer dimensions": Question("/api/embed", "embedding", "", {"input": "a", "dimensions": 64}),
    "too many dimensions": Question(
        "/api/embed", "embedding", "", {"input": "a", "dimensions": 99999}
    ),
}


class Sides(NamedTuple):
    """Ollama itself, the facade in front of it, and what each model can do."""

    native: httpx.AsyncClient
    sdk: AsyncOpenAI
    models: Mapping[str, frozenset[str]]

    def pick(self, question: Question) -> str:
        for name, abilities in self.models.items():
            if question.can in abilities and question.cannot not in abilities:
                return name
        pytest.skip(f"lacks: ollama (no model for {question.can} without {question.cannot})")

    async def exchange(self, question: Question) -> Exchange:
        """What Ollama answers when it is asked directly, in a stream like the facade's."""
        body = {"model": self.pick(question)} | question.body
        answer = await self.native.post(question.path, json=body)
        return Exchange(
            "live",
            "POST",
            question.path,
            body,
            answer.status_code,
            answer.headers,
            answer.content,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides() -> AsyncIterator[Sides]:
    url = ollama_url()
    async with httpx.AsyncClient(base_url=url, timeout=_WAIT) as native, client_of(url) as sdk:
        models = {}
        for listed in (await native.get("/api/tags")).json()["models"]:
            shown = await native.post("/api/show", json={"model": listed["name"]})
            if "remote_model" not in listed:
                models[listed["name"]] = frozenset(shown.json()["capabilities"])
        yield Sides(native, sdk.with_options(timeout=_WAIT), models)


def said(told: Told) -> Told:
    """The answer without what is another each time: when, under which id, how sure."""
    calls = tuple(call._replace(id="") for call in told.calls)
    tokens = told.tokens and tuple(
        token._replace(logprob=round(token.logprob), top=()) for token in told.tokens
    )
    return told._replace(created=None, calls=calls, tokens=tokens)


SPOKEN: Final = [name for name, each in QUESTIONS.items() if each.path != "/api/embed"]
EMBEDDED: Final = [name for name in QUESTIONS if name not in SPOKEN]


@pytest.mark.parametrize("name", SPOKEN)
async def test_an_answer_is_the_native_one(name: str, sides: Sides) -> None:
    exchange = await sides.exchange(QUESTIONS[name])
    expected = in_mode(oracle.told(exchange), streamed=True)
    answered = await observed.ask(sides.sdk, asked(exchange), streamed=True)
    assert said(expected) == said(matched(expected, answered.told))


@pytest.mark.parametrize("name", EMBEDDED)
async def test_embeddings_are_the_native_ones(name: str, sides: Sides) -> None:
    exchange = await sides.exchange(QUESTIONS[name])
    expected = oracle.embedded(exchange)
    for encoding in ("float", "base64"):
        answered = await observed.embed(sides.sdk, asked(exchange), encoding)
        if isinstance(expected, Failure):
            assert isinstance(answered, Failure)
            assert expected == abridged(expected, answered)
        else:
            assert isinstance(answered, Vectors)
            assert expected.prompt == answered.prompt
            for vector, other in zip(expected.vectors, answered.vectors, strict=True):
                assert vector == pytest.approx(other, abs=1e-4)
