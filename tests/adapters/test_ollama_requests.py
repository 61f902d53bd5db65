"""Requests that mean harm, or mean nothing: a 400 that names its field, never a failure of ours."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialect import Facts, Target, UpstreamRequest
from adapters.errors import InvalidRequest, Kind, UpstreamError
from adapters.wire import ChatCall, ChatRequest, CompletionCall, CompletionRequest
from facade.faces import requests
from tests.adapters.ollama_calls import (
    DIALECT,
    TOOL,
    Json,
    able,
    asked,
    encoded,
    messages_of,
    options_of,
    refused,
    sent,
)

TARGET = Target("up", "m")


def raw(tail: bytes) -> ChatCall:
    """A call whose last member is written by hand."""
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],' + tail + b"}"
    return ChatCall(body, msgspec.json.decode(body, type=ChatRequest))


def test_a_deep_schema_of_a_format_goes_as_it_is() -> None:
    schema = '{"enum":' + "[" * 400 + "]" * 400 + "}"
    wanted = '"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":%s}}'
    (call,) = DIALECT.encode_chat(raw((wanted % schema).encode()), TARGET)
    assert f'"format":{schema}'.encode() in call.request.body


def test_the_keys_of_a_format_keep_their_order() -> None:
    schema = '{"type":"object","properties":{"z":{"type":"string"},"a":{"minimum":1.0e5}}}'
    wanted = '"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":%s}}'
    (call,) = DIALECT.encode_chat(raw((wanted % schema).encode()), TARGET)
    assert f'"format":{schema}'.encode() in call.request.body


def test_the_name_comes_before_the_parameters_in_a_forced_call() -> None:
    (call,) = encoded(asked(tools=[TOOL], tool_choice="required"))
    schema = b'"properties":{"name":{"type":"string","enum":["now"]},"parameters":'
    assert schema in call.request.body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("options", 5),
        ("options", {"stop": [{}]}),
        ("keep_alive", {}),
        ("think", 5),
        ("truncate", "no"),
        ("top_k", "many"),
        ("min_p", "x"),
        ("repeat_penalty", []),
        ("num_ctx", 1.5),
        ("shift", 1),
    ],
)
def test_an_extra_field_of_a_wrong_type_is_refused_by_its_name(field: str, value: object) -> None:
    error = refused(asked(**{field: value}))
    assert (400, "invalid_type", True) == (
        error.status,
        error.code,
        str(error.param).startswith(field),
    )


def test_completions_and_embeddings_refuse_extra_fields_of_a_wrong_type_too() -> None:
    text = requests.completion(b'{"model":"m","prompt":"x","top_k":"many"}')
    with pytest.raises(InvalidRequest, match="top_k"):
        DIALECT.encode_completion(text, TARGET)
    vector = requests.embedding(b'{"model":"m","input":"x","keep_alive":[]}')
    with pytest.raises(InvalidRequest, match="keep_alive"):
        DIALECT.encode_embeddings(vector, TARGET)


def test_arguments_may_be_anything_that_is_json() -> None:
    def message(arguments: str) -> Json:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
        return {"role": "assistant", "tool_calls": [call]}

    def native(arguments: str) -> object:
        (found,) = messages_of(asked(messages=[message(arguments)]))
        (call,) = msgspec.convert(found["tool_calls"], list[Json])
        return msgspec.convert(call["function"], Json)["arguments"]

    assert {"value": [1, 2]} == native(" [1, 2] ")
    assert {"value": "x"} == native('"x"')
    assert {"value": False} == native("false")
    assert {} == native(" null ")
    assert {"a": "\u2028"} == native('{"a":"\u2028"}')
    for text in ("{", "nul", "{'a':1}", '{"a":"\\ud800"}', "{" * 10):
        error = refused(asked(messages=[message(text)]))
        assert "messages[0].tool_calls[0].function.arguments" == error.param


def test_very_many_results_find_their_calls() -> None:
    """Each message looks its call up, instead of searching all those before it."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "content": "x"}
    called = {"role": "assistant", "tool_calls": [call]}
    found = messages_of(asked(messages=[called, *[result] * 50_000]))
    assert 50_001 == len(found)
    assert {"role": "tool", "content": "x", "tool_name": "f", "tool_call_id": "c"} == found[-1]


@given(st.text())
def test_any_text_of_a_user_goes_through(text: str) -> None:
    (message,) = messages_of(asked(messages=[{"role": "user", "content": text}]))
    assert {"role": "user", "content": text} == message


@given(st.integers())
def test_any_seed_is_one_that_the_server_takes(seed: int) -> None:
    found = options_of(asked(seed=seed))["seed"]
    assert isinstance(found, int)
    assert 0 <= found < 2**31


@pytest.mark.parametrize(
    ("effort", "version", "think"),
    [
        ("xhigh", None, "max"),
        ("xhigh", (0, 40), "max"),
        ("xhigh", (0, 24), "max"),
        ("xhigh", (0, 23, 9), "high"),
        ("max", (0, 5, 8), "high"),
        ("high", (0, 5, 8), "high"),
        ("none", (0, 5, 8), False),
    ],
)
def test_levels_follow_the_servers_version(
    effort: str, version: tuple[int, ...] | None, think: object
) -> None:
    target = Target("up", "m", version=version)
    assert think == sent(asked(reasoning_effort=effort), target)["think"]


def test_a_model_that_thinks_is_told_not_to() -> None:
    assert sent(asked(reasoning_effort="none"), able("completion", "thinking"))["think"] is False
    assert "think" not in sent(asked(reasoning_effort="none"), able("completion"))
    assert "think" not in sent(asked(), able("completion", "thinking"))


def test_a_refused_level_is_amended_once_and_nothing_else() -> None:
    def amended(body: bytes, message: str, kind: Kind = Kind.REJECTED) -> UpstreamRequest | None:
        error = UpstreamError(kind, message)
        return DIALECT.amend(UpstreamRequest("POST", "/api/chat", body), error)

    old = 'think value "low" is not supported for this model'
    again = amended(b'{"think":"low","x":1.0e5,"seed":123456789012345678901}', old)
    assert again
    assert b'{"think":true,"x":1.0e5,"seed":123456789012345678901}' == again.body
    assert amended(again.body, old) is None
    assert amended(b'{"think":false}', old) is None
    assert amended(b'{"model":"m"}', old) is None
    assert amended(b'{"think":"extreme"}', 'invalid think value: "extreme"') is None
    assert amended(b'{"think":"low"}', "something else") is None
    assert amended(b'{"think":"low"}', old, Kind.FAILED) is None


def test_the_heartbeat_says_what_a_line_proves() -> None:
    def heartbeat(target: Target, **fields: object) -> object:
        return encoded(asked(**fields), target)[0].heartbeat

    old = Target("up", "m", version=(0, 12, 10))
    assert heartbeat(TARGET) is False
    assert heartbeat(TARGET, tools=[TOOL]) is True
    assert heartbeat(old, tools=[TOOL]) is None
    assert heartbeat(old, tools=[TOOL], tool_choice="required") is True
    text = CompletionCall(b"{}", CompletionRequest(model="m", prompt="x"))
    assert DIALECT.encode_completion(text, TARGET)[0].heartbeat is False
    vector = requests.embedding(b'{"model":"m","input":"x"}')
    assert DIALECT.encode_embeddings(vector, TARGET).heartbeat is None


def test_an_older_server_refuses_log_probabilities_of_a_text() -> None:
    text = requests.completion(b'{"model":"m","prompt":"x","logprobs":0}')
    old = Target("up", "m", facts=Facts(), version=(0, 12, 0))
    with pytest.raises(InvalidRequest, match="log probabilities"):
        DIALECT.encode_completion(text, old)
    plain = requests.completion(b'{"model":"m","prompt":"x"}')
    (call,) = DIALECT.encode_completion(plain, old)
    assert "shift" not in json.loads(call.request.body)
