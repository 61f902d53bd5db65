"""What a request may say: each field's type and range, null, and fields that are not ours.

Whatever is wrong is a 400 that names the field, before anything goes upstream.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from openai import AsyncOpenAI, BadRequestError

from adapters.wire import ChatRequest, CompletionRequest, EmbeddingRequest
from tests.api.asking import Json, ask, chat
from tests.api.serving import Facade

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
EMBED: Final = "/v1/embeddings"
TYPE, VALUE, MISSING = "invalid_type", "invalid_value", "missing_required_parameter"

_SAMPLING: Final = [
    ({"temperature": -0.1}, "temperature", VALUE),
    ({"temperature": 2.1}, "temperature", VALUE),
    ({"temperature": "1"}, "temperature", TYPE),
    ({"top_p": -0.1}, "top_p", VALUE),
    ({"top_p": 1.1}, "top_p", VALUE),
    ({"top_p": True}, "top_p", TYPE),
    ({"n": 0}, "n", VALUE),
    ({"n": 129}, "n", VALUE),
    ({"n": 1.5}, "n", TYPE),
    ({"seed": "1"}, "seed", TYPE),
    ({"seed": 0.5}, "seed", TYPE),
    ({"stop": 1}, "stop", TYPE),
    ({"stop": ["a", 1]}, "stop[1]", TYPE),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", VALUE),
    ({"frequency_penalty": -2.1}, "frequency_penalty", VALUE),
    ({"frequency_penalty": "2"}, "frequency_penalty", TYPE),
    ({"presence_penalty": 2.1}, "presence_penalty", VALUE),
    ({"presence_penalty": []}, "presence_penalty", TYPE),
    ({"logit_bias": []}, "logit_bias", TYPE),
    ({"stream": "true"}, "stream", TYPE),
    ({"stream": True, "stream_options": 1}, "stream_options", TYPE),
    (
        {"stream": True, "stream_options": {"include_usage": 1}},
        "stream_options.include_usage",
        TYPE,
    ),
    ({"stream_options": {"include_usage": True}}, "stream_options", VALUE),
    ({"user": 1}, "user", TYPE),
    ({"model": 1}, "model", TYPE),
    ({"model": None}, "model", TYPE),
    ({"model": ""}, "model", VALUE),
    ({"model": "openai/" + "x" * 506}, "model", VALUE),
]
_CHAT: Final = [
    ({"messages": "Hi"}, "messages", TYPE),
    ({"messages": None}, "messages", TYPE),
    ({"messages": []}, "messages", VALUE),
    ({"messages": [1]}, "messages[0]", TYPE),
    ({"messages": [{"content": "Hi"}]}, "messages[0].role", MISSING),
    ({"messages": [{"role": 1, "content": "Hi"}]}, "messages[0].role", TYPE),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", TYPE),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type", MISSING),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
        "messages[0].content[0].text",
        TYPE,
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
        "messages[0].tool_calls[0].function.name",
        MISSING,
    ),
    ({"messages": [{"role": "tool", "tool_call_id": 1}]}, "messages[0].tool_call_id", TYPE),
    ({"max_tokens": 0}, "max_tokens", VALUE),
    ({"max_tokens": "1"}, "max_tokens", TYPE),
    ({"max_completion_tokens": 0}, "max_completion_tokens", VALUE),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens", TYPE),
    ({"logprobs": 1}, "logprobs", TYPE),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", VALUE),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs", VALUE),
    ({"top_logprobs": 2}, "top_logprobs", VALUE),
    ({"logprobs": False, "top_logprobs": 0}, "top_logprobs", VALUE),
    ({"response_format": "json"}, "response_format", TYPE),
    ({"response_format": {}}, "response_format.type", MISSING),
    (
        {"response_format": {"type": "json_schema", "json_schema": 1}},
        "response_format.json_schema",
        TYPE,
    ),
    ({"tools": {}}, "tools", TYPE),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", MISSING),
    ({"tool_choice": 1}, "tool_choice", TYPE),
    ({"tool_choice": {"function": {"name": "f"}}}, "tool_choice.type", MISSING),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls", TYPE),
    ({"functions": [{}]}, "functions[0].name", MISSING),
    ({"function_call": 1}, "function_call", TYPE),
    ({"reasoning_effort": 1}, "reasoning_effort", TYPE),
    ({"modalities": "text"}, "modalities", TYPE),
    ({"store": 1}, "store", TYPE),
    ({"service_tier": 1}, "service_tier", TYPE),
    ({"verbosity": 1}, "verbosity", TYPE),
]
_TEXT: Final = [
    ({"prompt": 1}, "prompt", TYPE),
    ({"prompt": [{}]}, "prompt[0]", TYPE),
    ({"suffix": 1}, "suffix", TYPE),
    ({"echo": "yes"}, "echo", TYPE),
    ({"max_tokens": -1}, "max_tokens", VALUE),
    ({"logprobs": 6}, "logprobs", VALUE),
    ({"logprobs": True}, "logprobs", TYPE),
    ({"best_of": 0}, "best_of", VALUE),
    ({"best_of": 2}, "best_of", "unsupported_value"),
    ({"best_of": 3, "n": 2}, "best_of", "unsupported_value"),
]
_EMBED: Final = [
    ({"input": None}, "input", TYPE),
    ({"input": 1}, "input", TYPE),
    ({"input": ""}, "input", VALUE),
    ({"input": []}, "input", VALUE),
    ({"input": ["a", ""]}, "input[1]", VALUE),
    ({"input": [[1], []]}, "input[1]", VALUE),
    ({"input": ["a", 1]}, "input[1]", TYPE),
    ({"input": [1, "a"]}, "input[1]", TYPE),
    ({"input": ["a", [1]]}, "input[1]", TYPE),
    ({"input": [{}]}, "input[0]", TYPE),
    ({"input": ["a"] * 2049}, "input", VALUE),
    ({"input": [[1]] * 2049}, "input", VALUE),
    ({"dimensions": 0}, "dimensions", VALUE),
    ({"dimensions": "3"}, "dimensions", TYPE),
    ({"encoding_format": "int8"}, "encoding_format", VALUE),
    ({"encoding_format": 1}, "encoding_format", TYPE),
    ({"user": 1}, "user", TYPE),
    ({"model": []}, "model", TYPE),
]


def _plain(path: str, dialect: str) -> Json:
    """The smallest request there."""
    if path == EMBED:
        return {"model": f"{dialect}/nomic-embed-text", "input": "Hi"}
    model = f"{dialect}/llama3.1"
    return chat(model) if path == CHAT else {"model": model, "prompt": "Hi"}


WRONG: Final = [
    pytest.param(path, row, id=f"{path.removeprefix('/v1/')} {row[0]!s:.60}")
    for path, rows in ((CHAT, _SAMPLING + _CHAT), (TEXT, _SAMPLING + _TEXT), (EMBED, _EMBED))
    for row in rows
]


@pytest.mark.parametrize(("path", "wrong"), WRONG)
async def test_a_wrong_field_is_a_400_that_names_it_and_nothing_goes_upstream(
    path: str, wrong: tuple[Json, str, str], dialect: str, facade: Facade
) -> None:
    fields, param, code = wrong
    answer = await ask(facade, "POST", path, _plain(path, dialect) | fields)
    assert 400 == answer.status
    assert ("invalid_request_error", param, code) == (
        answer.error["type"],
        answer.error["param"],
        answer.error["code"],
    )
    assert answer.headers["x-request-id"].startswith("req_")
    assert [] == facade.fake.requests


@pytest.mark.parametrize(
    ("path", "missing"), [(CHAT, "messages"), (CHAT, "model"), (TEXT, "model"), (EMBED, "input")]
)
async def test_a_field_that_must_be_there_is_named_where_it_is_not(
    path: str, missing: str, facade: Facade
) -> None:
    body = {name: value for name, value in _plain(path, "ollama").items() if name != missing}
    answer = await ask(facade, "POST", path, body)
    assert (400, missing, MISSING) == (answer.status, answer.error["param"], answer.error["code"])


OPTIONAL: Final = [
    (path, field.encode_name)
    for path, request in ((CHAT, ChatRequest), (TEXT, CompletionRequest), (EMBED, EmbeddingRequest))
    for field in msgspec.structs.fields(request)
    if not field.required and (path, field.name) != (TEXT, "prompt")
]


@pytest.mark.parametrize(("path", "name"), OPTIONAL)
async def test_null_is_unset_for_every_optional_field(
    path: str, name: str, dialect: str, facade: Facade
) -> None:
    plain = _plain(path, dialect)
    unset = (await ask(facade, "POST", path, plain)).json
    null = await ask(facade, "POST", path, plain | {name: None})
    assert 200 == null.status
    assert _without_id(unset) == _without_id(null.json)
    if dialect == "ollama":
        first, second = facade.fake.requests
        assert first.json == second.json


def _without_id(said: Json) -> Json:
    return {name: value for name, value in said.items() if name != "id"}


async def test_null_is_unset_inside_a_message_too(facade: Facade, model: str) -> None:
    nulls = {
        "name": None,
        "refusal": None,
        "tool_calls": None,
        "tool_call_id": None,
        "function_call": None,
        "reasoning_content": None,
        "reasoning": None,
        "thinking": None,
    }
    message = {"role": "user", "content": "Hi"} | nulls
    answer = await ask(facade, "POST", CHAT, chat(model) | {"messages": [message]})
    assert 200 == answer.status
    assert "You said: Hi" == answer.json["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path", [CHAT, TEXT, EMBED])
async def test_a_field_that_is_not_known_is_accepted(
    path: str, dialect: str, facade: Facade
) -> None:
    unknown = {"x_vendor": {"deep": [1, {"a": None}]}, "prediction": {"type": "content"}, "": 0}
    answer = await ask(facade, "POST", path, _plain(path, dialect) | unknown)
    assert 200 == answer.status
    assert (unknown.items() <= facade.fake.last.json.items()) is (dialect == "openai")


async def test_2048_inputs_are_embedded(facade: Facade, dialect: str) -> None:
    model = f"{dialect}/nomic-embed-text"
    answer = await ask(
        facade, "POST", EMBED, {"model": model, "input": ["a"] * 2048, "dimensions": 2}
    )
    assert (200, 2048) == (answer.status, len(answer.json["data"]))


SDK_CALLS: Final[list[tuple[str, tuple[Json, str, str]]]] = [
    ("chat.completions", ({"messages": []}, "messages", VALUE)),
    ("completions", ({"prompt": "Hi", "best_of": 2}, "best_of", "unsupported_value")),
    ("embeddings", ({"input": ""}, "input", VALUE)),
]


@pytest.mark.parametrize(("method", "wrong"), SDK_CALLS)
async def test_the_sdk_raises_its_bad_request_error_with_all_that_was_said(
    method: str, wrong: tuple[Json, str, str], sdk: AsyncOpenAI, model: str
) -> None:
    fields, param, code = wrong
    called: Any = sdk
    for name in method.split("."):
        called = getattr(called, name)
    with pytest.raises(BadRequestError) as caught:
        await called.create(model=model, **fields)
    error = caught.value
    assert (400, param, code) == (error.status_code, error.param, error.code)
    assert "invalid_request_error" == error.type
    assert error.request_id == error.response.headers["x-request-id"]
