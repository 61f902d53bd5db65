"""What a live model answers through the facade, where its server alone would mislead a client."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Final

import pytest

from tests.clients.sdks import Failed, Json
from tests.live.conftest import WINDOW, Live

pytestmark = pytest.mark.ollama

CREATE: Final = "chat.completions.create"
COMPLETE: Final = "completions.create"
EMBED: Final = "embeddings.create"
STREAM: Final = "chat.completions.stream"
TOO_LONG: Final = "word " * WINDOW
FIXED: Final[Json] = {"temperature": 0, "seed": 1}
PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def schema(definition: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": definition}}


def only(text: str) -> Json:
    """A request to which there is one answer: this text, as JSON."""
    form = schema({"type": "string", "enum": [text]})
    return {"messages": [user("Hi")], "response_format": form, **FIXED}


def the_one(answer: Json) -> Json:
    (choice,) = answer["choices"]
    found: Json = choice
    return found


def refused(live: Live, method: str, **request: object) -> tuple[int, str, str]:
    """Status, code and param of a refusal."""
    with pytest.raises(Failed) as failed:
        live.one(method, **request)
    error = failed.value.error
    return error["status"], error["code"], error["param"]


def test_a_chat_longer_than_the_window_is_refused(live: Live, chat_model: str) -> None:
    expected = (400, "context_length_exceeded", "messages")
    assert expected == refused(live, CREATE, model=chat_model, messages=[user(TOO_LONG)])


@pytest.mark.parametrize("given", [TOO_LONG, ["short", TOO_LONG]], ids=["one", "of-several"])
def test_a_text_too_long_to_embed_is_refused(
    live: Live, embedding_model: str, given: str | list[str]
) -> None:
    expected = (400, "context_length_exceeded", "input")
    assert expected == refused(live, EMBED, model=embedding_model, input=given)


def test_an_image_for_a_model_without_eyes_is_refused(live: Live, chat_model: str) -> None:
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    expected = (400, "unsupported_value", "messages[0].content[1]")
    assert expected == refused(live, CREATE, model=chat_model, messages=messages)


def test_a_suffix_for_a_model_that_cannot_insert_is_refused(live: Live, chat_model: str) -> None:
    expected = (400, "unsupported_parameter", "suffix")
    assert expected == refused(live, COMPLETE, model=chat_model, prompt="1 2", suffix="4")


def test_the_bytes_of_the_logprobs_are_the_content(live: Live, chat_model: str) -> None:
    text = "🎉 日本 ü"
    choice = the_one(live.one(CREATE, model=chat_model, logprobs=True, **only(text)))
    content = choice["message"]["content"]
    tokens = choice["logprobs"]["content"]
    assert text == json.loads(content)
    assert content.encode() == b"".join(bytes(token["bytes"]) for token in tokens)
    assert {True} == {token["logprob"] <= 0 for token in tokens}


def test_the_bytes_of_streamed_logprobs_are_each_chunks_content(
    live: Live, chat_model: str
) -> None:
    text = "🎉 ü"
    chunks = live.all(CREATE, model=chat_model, logprobs=True, stream=True, **only(text))
    said = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0].get("logprobs")]
    assert text == json.loads("".join(choice["delta"]["content"] for choice in said))
    for choice in said:
        tokens = choice["logprobs"]["content"]
        spelled = b"".join(bytes(token["bytes"]) for token in tokens)
        assert choice["delta"]["content"].encode() == spelled


def test_an_answer_ends_before_its_stop(live: Live, chat_model: str) -> None:
    answer = live.one(CREATE, model=chat_model, stop=["beta"], **only("alpha beta gamma"))
    choice = the_one(answer)
    assert ('"alpha ', "stop") == (choice["message"]["content"], choice["finish_reason"])


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_an_answer_has_no_more_tokens_than_asked(live: Live, chat_model: str, limit: str) -> None:
    request = only("alpha beta gamma delta") | {limit: 3}
    answer = live.one(CREATE, model=chat_model, **request)
    assert "length" == the_one(answer)["finish_reason"]
    assert 3 == answer["usage"]["completion_tokens"]


def test_an_answer_keeps_the_order_of_its_schema(live: Live, chat_model: str) -> None:
    names = ["zeta", "alpha", "mid"]
    properties = {name: {"type": "integer", "enum": [number]} for number, name in enumerate(names)}
    form = schema({"type": "object", "properties": properties, "required": names})
    request = {"messages": [user("Hi")], "response_format": form, **FIXED}
    answer = live.one(CREATE, model=chat_model, max_tokens=80, **request)
    content = json.loads(the_one(answer)["message"]["content"])
    assert [("zeta", 0), ("alpha", 1), ("mid", 2)] == list(content.items())


def tool(city: Json) -> Json:
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    function = {"name": "get_weather", "description": "weather", "parameters": parameters}
    return {"type": "function", "function": function}


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}],
    ids=["required", "named"],
)  # fmt: skip
@pytest.mark.parametrize("method", [CREATE, STREAM])
def test_a_forced_tool_is_called_by_any_model(
    live: Live, chat_model: str, method: str, choice: object
) -> None:
    rome = tool({"type": "string", "enum": ["Rome"]})
    request = {"messages": [user("Weather in Rome?")], "tools": [rome], "tool_choice": choice}
    answer = the_one(live.one(method, model=chat_model, max_tokens=80, **request, **FIXED))
    assert "tool_calls" == answer["finish_reason"]
    (call,) = answer["message"]["tool_calls"]
    assert "get_weather" == call["function"]["name"]
    assert {"city": "Rome"} == json.loads(call["function"]["arguments"])


def calls(*cities: str) -> Json:
    asked = [
        {
            "id": f"call_{city.lower()}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": json.dumps({"city": city})},
        }
        for city in cities
    ]
    return {"role": "assistant", "content": None, "tool_calls": asked}


PAIRS: Final = (("Rome", "Bonn"), ("Oslo", "Kiev"))
TWO_CALLS: Final[Json] = {
    "messages": [
        message
        for pair in PAIRS
        for message in (user(f"Weather in {pair[0]} and {pair[1]}?"), calls(*pair))
    ]
    + [user("Weather in Paris and London?")],
    "tools": [tool({"type": "string"})],
    "max_tokens": 80,
    **FIXED,
}


def test_parallel_calls_are_streamed_apart(live: Live, tools_model: str) -> None:
    chunks = live.all(CREATE, model=tools_model, stream=True, **TWO_CALLS)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls") or ()]
    named = [piece for piece in pieces if "id" in piece]
    assert [0, 1] == [piece["index"] for piece in named]
    assert 2 == len({piece["id"] for piece in named})
    arguments = [
        "".join(piece["function"]["arguments"] for piece in pieces if piece["index"] == index)
        for index in (0, 1)
    ]
    assert [{"city": "Paris"}, {"city": "London"}] == [json.loads(text) for text in arguments]
    assert "tool_calls" == chunks[-1]["choices"][0]["finish_reason"]


def thought(text: str, answer: str) -> Json:
    return {"role": "assistant", "reasoning_content": text, "content": answer}


SUMS: Final[Json] = {
    "messages": [
        user("What is 2+2?"),
        thought("Two and two is four.", "4"),
        user("What is 3+3?"),
        thought("Three and three is six.", "6"),
        user("What is 5+5?"),
        thought("Five and five is ten.", "10"),
        user("What is 4+4?"),
    ],
    **FIXED,
}


def test_a_thought_is_apart_from_the_answer(live: Live, thinking_model: str) -> None:
    message = the_one(live.one(CREATE, model=thinking_model, max_tokens=400, **SUMS))["message"]
    assert re.search(r"\d", message["content"])  # a small model need not reckon
    assert "think>" not in message["content"]
    assert message["reasoning_content"]
    assert message["reasoning_content"] == message["reasoning"]


def test_a_thought_is_streamed_before_the_answer(live: Live, thinking_model: str) -> None:
    chunks = live.all(CREATE, model=thinking_model, max_tokens=400, stream=True, **SUMS)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    thoughts = [at for at, delta in enumerate(deltas) if delta.get("reasoning_content")]
    words = [at for at, delta in enumerate(deltas) if delta.get("content")]
    assert max(thoughts) < min(words)
    assert re.search(r"\d", "".join(deltas[at]["content"] for at in words))


def test_a_completion_may_repeat_its_prompt(live: Live, chat_model: str) -> None:
    request = {"prompt": "1 2 3", "echo": True, "max_tokens": 2, **FIXED}
    answer = live.one(COMPLETE, model=chat_model, **request)
    choice = the_one(answer)
    assert choice["text"].startswith("1 2 3")
    assert len(choice["text"]) > len("1 2 3")
    assert 2 == answer["usage"]["completion_tokens"]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


def test_what_is_alike_is_near(live: Live, embedding_model: str) -> None:
    texts = ["a cat", "a dog", "the tax return of a limited company"]
    answer = live.one(EMBED, model=embedding_model, input=texts)
    cat, dog, tax = [item["embedding"] for item in answer["data"]]
    assert cosine(cat, dog) > cosine(cat, tax)


def test_packed_embeddings_are_the_same_numbers(live: Live, embedding_model: str) -> None:
    packed = live.one(EMBED, model=embedding_model, input="a cat")  # the SDK asks for base64
    plain = live.one(EMBED, model=embedding_model, input="a cat", encoding_format="float")
    numbers = packed["data"][0]["embedding"]
    assert numbers == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)


def test_every_model_is_found_by_its_name(live: Live) -> None:
    names = [model["id"] for model in live.all("models.list")]
    assert {model.name for model in live.ollama.models} <= set(names)
    for name in names:
        for wanted in {name, name.removesuffix(":latest")}:
            assert wanted == live.one("models.retrieve", model=wanted)["id"]
