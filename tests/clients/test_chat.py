"""Chat as each official SDK sees it, over each upstream: whole, streamed, by the SDK's helpers."""

from __future__ import annotations

import json
from typing import Final, Literal

import pytest
from pydantic import BaseModel

from tests.clients.conftest import CHAT, Scripted, Upstream
from tests.clients.sdks import Failed, Json, Sdk
from tests.fake_upstream import Reply, ToolCall, faults

CREATE: Final = "chat.completions.create"
PARSE: Final = "chat.completions.parse"
STREAM: Final = "chat.completions.stream"


class Colour(BaseModel):
    colour: Literal["red", "green", "blue"]


TOOL: Final[Json] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CALLS: Final = (
    ToolCall("get_weather", {"city": "Rome"}, "call_rome0001"),
    ToolCall("get_weather", {"city": "Oslo"}, "call_oslo0001"),
)


def deltas(chunks: list[Json]) -> list[Json]:
    """What each chunk that has a choice adds to it."""
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]


def said(chunks: list[Json]) -> str:
    return "".join(delta.get("content") or "" for delta in deltas(chunks))


def finishes(chunks: list[Json]) -> list[str]:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def test_a_whole_chat(sdk: Sdk, upstream: Upstream) -> None:
    answer = sdk.one(upstream.url, CREATE, model=upstream.model, **CHAT)
    (choice,) = answer["choices"]
    assert "chat.completion" == answer["object"]
    assert upstream.model == answer["model"]
    assert upstream.says == choice["message"]["content"]
    assert ("assistant", 0, "stop") == (
        choice["message"]["role"],
        choice["index"],
        choice["finish_reason"],
    )
    assert upstream.usage.items() <= answer["usage"].items()


def test_a_streamed_chat(sdk: Sdk, upstream: Upstream) -> None:
    chunks = sdk.all(upstream.url, CREATE, model=upstream.model, stream=True, **CHAT)
    assert upstream.says == said(chunks)
    roles = [delta.get("role") for delta in deltas(chunks)]
    assert ["assistant"] == [role for role in roles if role]
    assert "assistant" == roles[0]
    assert ["stop"] == finishes(chunks)
    assert "stop" == chunks[-1]["choices"][0]["finish_reason"]
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in chunks}
    assert {(chunks[0]["id"], chunks[0]["created"])} == {
        (chunk["id"], chunk["created"]) for chunk in chunks
    }
    assert [] == [chunk["usage"] for chunk in chunks if chunk.get("usage")]


def test_a_stream_ends_with_its_usage_where_that_is_asked(sdk: Sdk, upstream: Upstream) -> None:
    options = {"include_usage": True}
    *chunks, last = sdk.all(
        upstream.url, CREATE, model=upstream.model, stream=True, stream_options=options, **CHAT
    )
    assert upstream.says == said(chunks)
    assert [] == last["choices"]
    assert upstream.usage.items() <= last["usage"].items()
    assert chunks[0]["id"] == last["id"]
    assert [] == [chunk["usage"] for chunk in chunks if chunk.get("usage")]


def test_the_stream_helper_puts_the_answer_together(sdk: Sdk, upstream: Upstream) -> None:
    options = {"include_usage": True}
    request = {"model": upstream.model, "stream_options": options, **CHAT}
    answer = sdk.one(upstream.url, STREAM, **request)
    (choice,) = answer["choices"]
    assert "stop" == choice["finish_reason"]
    assert ("assistant", upstream.says) == (
        choice["message"]["role"],
        choice["message"]["content"],
    )
    assert upstream.usage.items() <= answer["usage"].items()


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_an_answer_of_too_many_tokens_is_cut(sdk: Sdk, upstream: Upstream, limit: str) -> None:
    request = {name: value for name, value in CHAT.items() if name != "max_tokens"} | {limit: 2}
    answer = sdk.one(upstream.url, CREATE, model=upstream.model, **request)
    (choice,) = answer["choices"]
    assert "length" == choice["finish_reason"]
    assert upstream.says.startswith(choice["message"]["content"])
    assert 2 == answer["usage"]["completion_tokens"]


@pytest.mark.embedded
def test_an_answer_ends_before_its_stop(sdk: Sdk, over_embedded: Upstream) -> None:
    word = over_embedded.says.split()[2]
    chunks = sdk.all(
        over_embedded.url, CREATE, model=over_embedded.model, stream=True, stop=[word], **CHAT
    )
    assert over_embedded.says.partition(word)[0] == said(chunks)
    assert ["stop"] == finishes(chunks)


def test_the_upstream_is_told_where_to_stop(sdk: Sdk, scripted: Scripted) -> None:
    sdk.one(scripted.url, CREATE, model=scripted.model, stop=["a", "b"], **CHAT)
    heard = scripted.heard
    assert ["a", "b"] == heard.get("options", heard)["stop"]


@pytest.mark.parametrize("method", [PARSE, STREAM])
def test_an_answer_by_schema_is_parsed(sdk: Sdk, upstream: Upstream, method: str) -> None:
    if isinstance(upstream, Scripted):
        upstream.will_say(Reply('{"colour": "blue"}'))
    question = [{"role": "user", "content": "What colour is the sky?"}]
    request = CHAT | {"messages": question, "response_format": Colour}
    answer = sdk.one(upstream.url, method, model=upstream.model, **request)
    (choice,) = answer["choices"]
    assert {"colour": "blue"} == choice["message"]["parsed"]
    assert "stop" == choice["finish_reason"]


def test_the_upstream_is_told_the_schema(sdk: Sdk, scripted: Scripted) -> None:
    scripted.will_say(Reply('{"colour": "blue"}'))
    sdk.one(scripted.url, PARSE, model=scripted.model, response_format=Colour, **CHAT)
    heard = scripted.heard
    schema = heard.get("format") or heard["response_format"]["json_schema"]["schema"]
    assert ["red", "green", "blue"] == schema["properties"]["colour"]["enum"]


@pytest.mark.parametrize("method", [PARSE, STREAM])
def test_calls_of_tools(sdk: Sdk, scripted: Scripted, method: str) -> None:
    scripted.will_say(Reply(tool_calls=CALLS))
    answer = sdk.one(scripted.url, method, model=scripted.model, tools=[TOOL], **CHAT)
    (choice,) = answer["choices"]
    assert "tool_calls" == choice["finish_reason"]
    assert not choice["message"].get("content")
    for asked, call in zip(CALLS, choice["message"]["tool_calls"], strict=True):
        assert ("function", asked.id) == (call["type"], call["id"])
        assert asked.name == call["function"]["name"]
        assert asked.arguments == json.loads(call["function"]["arguments"])
        assert asked.arguments == call["function"]["parsed_arguments"]


def test_streamed_calls_are_numbered_and_named_once(sdk: Sdk, scripted: Scripted) -> None:
    scripted.will_say(Reply(tool_calls=CALLS))
    chunks = sdk.all(scripted.url, CREATE, model=scripted.model, tools=[TOOL], stream=True, **CHAT)
    pieces = [piece for delta in deltas(chunks) for piece in delta.get("tool_calls") or ()]
    named = [piece for piece in pieces if "id" in piece]
    assert [(0, "call_rome0001"), (1, "call_oslo0001")] == [
        (piece["index"], piece["id"]) for piece in named
    ]
    assert ["get_weather", "get_weather"] == [
        piece["function"]["name"] for piece in pieces if "name" in piece["function"]
    ]
    assert ["function", "function"] == [piece["type"] for piece in pieces if "type" in piece]
    for index, call in enumerate(CALLS):
        arguments = [piece["function"]["arguments"] for piece in pieces if piece["index"] == index]
        assert call.arguments == json.loads("".join(arguments))
    assert ["tool_calls"] == finishes(chunks)


def test_a_result_of_a_tool_reaches_the_upstream(sdk: Sdk, scripted: Scripted) -> None:
    call = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    messages = [
        {"role": "user", "content": "Weather in Rome?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    request = CHAT | {"messages": messages, "tools": [TOOL]}
    answer = sdk.one(scripted.url, CREATE, model=scripted.model, **request)
    assert "You said: sunny" == answer["choices"][0]["message"]["content"]
    *_, asked, told = scripted.heard["messages"]
    assert "get_weather" == asked["tool_calls"][0]["function"]["name"]
    assert ("tool", "sunny") == (told["role"], told["content"])


def test_a_stream_whose_upstream_fails_raises(sdk: Sdk, scripted: Scripted) -> None:
    scripted.fake.fault(faults.ErrorLine(after=2))
    with pytest.raises(Failed) as failed:
        sdk.all(scripted.url, CREATE, model=scripted.model, stream=True, **CHAT)
    assert "APIError" == failed.value.error["kind"]
    assert "fake error in the answer" in failed.value.error["message"]
