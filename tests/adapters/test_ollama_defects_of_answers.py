"""Defects of other translations of Ollama's answers: each has a test that it would fail.

The rest of the forty stands in `test_ollama_defects`.
"""

from __future__ import annotations

import base64
import json
import struct

import msgspec
import pytest

from adapters.dialect import Reply, Target
from adapters.errors import InvalidRequest, Kind, UpstreamError
from facade.errors import told
from facade.faces import requests
from facade.faces.chat import ChatFace
from tests.adapters.ollama_calls import (
    DIALECT,
    REPLY,
    TOOL,
    Json,
    answer,
    asked,
    body,
    body_of,
    called,
    chunks_of,
    deltas,
    done,
    encoded,
    events,
    failed,
    finish_of,
    line,
    message_of,
    sent,
    token,
)


def embedding(**fields: object) -> Json:
    """What is sent for an embedding."""
    request = {"model": "m", "input": "a cat"} | fields
    call = requests.embedding(json.dumps(request).encode())
    encoded = DIALECT.encode_embeddings(call, Target("up", "m"))
    assert encoded.request.path == "/api/embed"
    return body_of(encoded)


def embedded(reply: bytes, **fields: object) -> Json:
    """The caller's answer to an embedding."""
    request = {"model": "m", "input": "a cat"} | fields
    call = requests.embedding(json.dumps(request).encode())
    whole = DIALECT.encode_embeddings(call, Target("up", "m")).whole
    assert whole
    return msgspec.json.decode(whole(reply, REPLY).body, type=Json)


def test_an_error_in_the_stream_is_an_error_of_the_server() -> None:
    """Defect 3: a mid-stream error becomes an empty content chunk, or the caller's 400."""
    (call,) = encoded(asked(stream=True))
    assert call.stream
    decoder = call.stream(REPLY)
    words = decoder.feed(body(line("a"), {"error": "unexpected EOF"}))
    assert ["a"] == [chunk.content for chunk in words if chunk.content]
    with pytest.raises(UpstreamError) as caught:
        decoder.close()
    error = told(caught.value)
    assert (Kind.FAILED, 500) == (caught.value.kind, error.status)
    assert "server_error" == error.type


def test_an_answer_without_its_end_is_not_complete() -> None:
    """Defect 4: a body that ends without a done line is complete, with an invented stop."""
    with pytest.raises(UpstreamError) as caught:
        chunks_of(asked(), line("a"), line("a"))
    assert (502, "upstream_incomplete") == (told(caught.value).status, told(caught.value).code)


def test_parallel_calls_of_a_stream_have_their_own_index() -> None:
    """Defect 13: parallel calls in lines of their own all have index 0, and are glued together."""
    lines = [line(tool_calls=[called("now", {})]), line(tool_calls=[called("now", {})]), done()]
    found = [msgspec.convert(delta["tool_calls"], list[Json]) for delta in deltas(asked(), *lines)]
    assert [0, 0, 1, 1] == [call["index"] for (call,) in found]


def test_the_servers_ids_of_calls_are_kept() -> None:
    """Defect 14: the ids of calls are replaced by fresh ones."""
    lines = [line(tool_calls=[called("now", {}, id="call_gd09ixtr")]), done()]
    (call,) = msgspec.convert(message_of(asked(), *lines)["tool_calls"], list[Json])
    assert "call_gd09ixtr" == call["id"]


def test_a_turn_of_calls_that_was_cut_says_length() -> None:
    """Defect 15: a truncated tool turn is reported as tool_calls."""
    lines = [line(tool_calls=[called("now", {})]), done(done_reason="length")]
    assert "length" == finish_of(asked(), *lines)


def test_a_think_tag_in_an_answer_is_text() -> None:
    """Defect 16: a literal <think> in an answer is eaten, or moved to the reasoning."""
    message = message_of(asked(), line("use <think> tag"), done())
    assert "use <think> tag" == message["content"]
    assert "reasoning_content" not in message


def test_all_chunks_have_one_id() -> None:
    """Defect 18: every chunk has another id."""
    found = events(asked(), line("a"), line("b"), line("c"), done())
    assert ["chatcmpl-" + "0" * 24] * 5 == [event["id"] for event in found]


def test_missing_counts_are_not_guessed() -> None:
    """Defect 19: usage that is missing is guessed by a foreign tokenizer and presented as fact."""
    last = {"model": "m", "message": {"content": ""}, "done": True}
    chunks = chunks_of(asked(), line("a word or two"), last)
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert (0, 0, True) == (usage.prompt_tokens, usage.completion_tokens, usage.partial)


def test_embeddings_in_base64_are_as_long_as_in_floats() -> None:
    """Defect 20: base64 is refused, or gives vectors that are a quarter as long."""
    reply = b'{"embeddings":[[0.5,-1.0,0.25,2.0]],"prompt_eval_count":4}'
    (item,) = msgspec.convert(embedded(reply, encoding_format="base64")["data"], list[Json])
    packed = base64.b64decode(str(item["embedding"]))
    assert (0.5, -1.0, 0.25, 2.0) == struct.unpack("<4f", packed)


def test_embeddings_are_never_cut_in_silence() -> None:
    """Defect 21: more dimensions than there are, and an overflow, are truncated in silence."""
    request = embedding()
    assert request["truncate"] is False
    with pytest.raises(InvalidRequest) as caught:
        embedded(b'{"embeddings":[[1,2,3]]}', dimensions=9999)
    assert ("dimensions", "invalid_value") == (caught.value.param, caught.value.code)


def test_several_inputs_are_embedded_with_all_that_was_asked() -> None:
    """Defect 22: a deprecated path that takes one text, usage -1, only index 0, fields dropped."""
    request = embedding(input=["a", "b"], dimensions=2)
    assert {"model": "m", "input": ["a", "b"], "truncate": False, "dimensions": 2} == request
    reply = b'{"embeddings":[[1,2],[3,4]],"prompt_eval_count":8}'
    answered = embedded(reply, input=["a", "b"], dimensions=2)
    data = msgspec.convert(answered["data"], list[Json])
    assert [(0, [1, 2]), (1, [3, 4])] == [(item["index"], item["embedding"]) for item in data]
    assert {"prompt_tokens": 8, "total_tokens": 8} == answered["usage"]


def test_what_was_asked_reaches_the_model_and_the_caller() -> None:
    """Defect 23: thinking is set where nothing reads it; chunks lose usage and fingerprint."""
    assert "high" == sent(asked(reasoning_effort="high"))["think"]
    request = asked(stream=True, stream_options={"include_usage": True})
    found = events(request, line("a"), done())
    assert ["fp_1"] * 4 == [event["system_fingerprint"] for event in found]
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    assert usage == found[-1]["usage"]


def test_ids_do_not_collide() -> None:
    """Defect 24: ids are one of 999."""
    ids = []
    for number in range(2000):
        reply = Reply(id=f"{number:04d}" + "0" * 20, created=1, model="m")
        (call,) = encoded(asked())
        assert call.stream
        decoder = call.stream(reply)
        chunks = decoder.feed(body(line(tool_calls=[called("now", {})]), done())) + decoder.close()
        face = ChatFace(requests.chat(json.dumps(asked()).encode()).request, decoder.reply)
        whole = msgspec.json.decode(face.whole(chunks), type=Json)
        (delta,) = [d for chunk in chunks for d in chunk.tool_calls if d.id]
        ids += [whole["id"], delta.id]
    assert len(ids) == len(set(ids))


def test_errors_have_codes_and_keep_what_helps() -> None:
    """Defect 25: code always null, one type for all, the sign-in address and Retry-After lost."""
    missing = failed(404, b'{"error":"model \'nope\' not found"}')
    assert ("invalid_request_error", "model_not_found", "model") == (
        missing.type,
        missing.code,
        missing.param,
    )
    signin = failed(401, b'{"error":"unauthorized","signin_url":"https://ollama.com/connect"}')
    assert (502, "upstream_auth") == (signin.status, signin.code)
    assert "https://ollama.com/connect" in signin.message
    limited = failed(429, b'{"error":"slow down"}', {"retry-after": "7"})
    assert ("rate_limit_error", 7.0) == (limited.type, limited.retry_after)
    busy = failed(
        503, b'{"error":"server busy, please try again.  maximum pending requests exceeded"}'
    )
    assert ("server_overloaded", 2.0) == (busy.code, busy.retry_after)


def test_a_prompt_that_does_not_fit_is_told() -> None:
    """Defect 26: overflow drops the oldest messages in silence; a nested error is not unwrapped."""
    request = sent(asked())
    assert (False, False) == (request["truncate"], request["shift"])
    inner = {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}
    error = failed(400, json.dumps({"error": json.dumps(inner)}).encode())
    assert (400, "context_length_exceeded", "too long") == (error.status, error.code, error.message)


def test_log_probabilities_are_of_the_content_alone() -> None:
    """Defect 27: they hold reasoning tokens, lack bytes and alternatives, or the key itself."""
    lines = [
        line(thinking="Hm", logprobs=[token("Hm")]),
        line(logprobs=[token("</think>")]),
        line("Hi", logprobs=[token("Hi")]),
        done(),
    ]
    (choice,) = msgspec.convert(answer(asked(logprobs=True), *lines)["choices"], list[Json])
    expected = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    assert {"content": [expected], "refusal": None} == choice["logprobs"]
    (without,) = msgspec.convert(answer(asked(), *lines)["choices"], list[Json])
    assert without["logprobs"] is None


def test_usage_stands_in_the_last_chunk_and_is_null_in_the_others() -> None:
    """Defect 28: other chunks lack usage null, and there are no details."""
    request = asked(stream=True, stream_options={"include_usage": True})
    found = events(
        request, line(thinking="Hm"), line("a"), done(prompt_eval_cached_count=4, eval_count=9)
    )
    assert [None] * 4 == [event["usage"] for event in found[:-1]]
    usage = msgspec.convert(found[-1]["usage"], Json)
    assert {"cached_tokens": 4} == usage["prompt_tokens_details"]
    details = msgspec.convert(usage["completion_tokens_details"], Json)
    assert 1 == details["reasoning_tokens"]


def test_thinking_before_a_structured_answer_is_counted() -> None:
    """Defect 29: the usage of a structured answer excludes the reasoning."""
    lines = [line(thinking="a"), line(thinking="b"), line("{"), line("}"), done(eval_count=2)]
    request = asked(response_format={"type": "json_object"})
    usage = msgspec.convert(answer(request, *lines)["usage"], Json)
    assert 4 == usage["completion_tokens"]


def test_no_models_are_an_empty_list_and_names_keep_their_slashes() -> None:
    """Defect 30: data is null when there are no models; names with slashes lead nowhere."""
    assert [] == DIALECT.decode_models(b'{"models":null}')
    (model,) = DIALECT.decode_models(b'{"models":[{"name":"hf.co/a/b:Q4"}]}')
    assert ("hf.co/a/b:Q4", "hf.co/a") == (model.id, model.owned_by)


def test_formats_ids_and_thinking_are_what_they_are() -> None:
    """Defect 37: the whole wrapper as format, the name as id, thinking as a made-up tool call."""
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert schema == sent(asked(response_format=wanted))["format"]
    lines = [line(thinking="Hm"), line(tool_calls=[called("now", {})]), done()]
    message = message_of(asked(), *lines)
    (call,) = msgspec.convert(message["tool_calls"], list[Json])
    assert "call_" + "0" * 24 == call["id"]
    assert "Hm" == message["reasoning_content"]


def test_the_model_of_the_answer_is_the_one_that_was_asked() -> None:
    """Defect 39: the model is renamed in the answer."""
    assert "m" == answer(asked(), line("a"), done())["model"]


def test_streamed_calls_end_with_tool_calls() -> None:
    """Defect 40: the reason is stop after streamed tool calls."""
    found = events(asked(tools=[TOOL]), line(tool_calls=[called("now", {})]), done())
    (choice,) = msgspec.convert(found[-1]["choices"], list[Json])
    assert "tool_calls" == choice["finish_reason"]
