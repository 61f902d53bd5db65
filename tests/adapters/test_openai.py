"""The openai dialect, where a conversation of `tests/wire/openai` cannot show it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from adapters.dialect import Completes, Embeds, Encoded, ListsModels, Model, Reply, Target
from adapters.errors import Incomplete, Kind, UpstreamError
from adapters.openai import OpenAI
from adapters.openai_stream import CHAT, OpenAIStream
from adapters.patching import Inside, patched
from adapters.wire import NULL, ChatCall, ChatRequest, Chunk, Message, ToolDelta, Usage
from facade.errors import told

REPLY = Reply(id="0" * 24, created=1700000000, model="m")
HEAD = '{"id":"x","object":"chat.completion.chunk","created":5,"model":"m-1"'
OPENAI = OpenAI()


def event(delta: str, finish: str = "null", more: str = "") -> str:
    choice = f'{{"index":0,"delta":{delta},"finish_reason":{finish}}}'
    return f'{HEAD},"choices":[{choice}]{more}}}'


def sse(*events: str) -> bytes:
    return "".join(f"data: {one}\n\n" for one in events).encode()


def error(status: int, body: object, headers: Mapping[str, str] | None = None) -> UpstreamError:
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OPENAI.decode_error(status, headers or {}, said)


# -- what a chunk is said to hold --------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ('{"role":"assistant","content":""}', Chunk(role=True)),
        ('{"role":"assistant","content":"a"}', Chunk(role=True, content="a")),
        ('{"role":"assistant","content":null}', Chunk(role=True)),
        ('{"role":"assistant","content":[{"type":"text"}]}', Chunk(role=True)),
        ('{"role":"assistant","reasoning":"a"}', Chunk(role=True, reasoning="a")),
        ('{"role":"assistant","reasoning_content":"a"}', Chunk(role=True, reasoning="a")),
        ('{"role":"assistant","refusal":"a"}', Chunk(role=True, refusal="a")),
        (
            '{"role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function",'
            '"function":{"name":"f","arguments":"{"}}]}',
            Chunk(role=True, tool_calls=(ToolDelta(0, "{", "c", "f"),)),
        ),
        (
            '{"role":"assistant","function_call":{"name":"f","arguments":"{"}}',
            Chunk(role=True, tool_calls=(ToolDelta(0, "{"),)),
        ),
    ],
)
def test_a_chunk_says_what_is_in_its_raw_json(delta: str, expected: Chunk) -> None:
    json_ = event(delta)
    (chunk,) = OpenAIStream(CHAT, REPLY).feed(sse(json_))
    whole = {name: getattr(expected, name) for name in Chunk.__struct_fields__}
    assert Chunk(**whole | {"raw": json_.encode()}) == chunk


def test_a_chunk_with_several_choices_says_what_is_in_all_of_them() -> None:
    first = '{"index":0,"delta":{"role":"assistant","content":"a"}}'
    second = '{"index":1,"delta":{"role":"assistant","reasoning":"b"},"finish_reason":"stop"}'
    json_ = f'{HEAD},"choices":[{first},{second}]}}'
    (chunk,) = OpenAIStream(CHAT, REPLY).feed(sse(json_))
    assert Chunk(role=True, content="a", reasoning="b", finish="stop", raw=json_.encode()) == chunk


def test_only_content_and_an_end_commit() -> None:
    decoder = OpenAIStream(CHAT, REPLY)
    chunks = decoder.feed(
        sse(
            f'{HEAD},"choices":[],"prompt_filter_results":[]}}',
            event('{"role":"assistant"}'),
            event('{"content":"a"}'),
            event("{}", '"stop"'),
        )
    )
    assert [False, False, True, True] == [chunk.commits for chunk in chunks]


def test_usage_comes_last_and_typed_with_its_own_chunk() -> None:
    counts = (
        '{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":3},'
        '"completion_tokens_details":{"reasoning_tokens":2}}'
    )
    last = f'{HEAD},"choices":[],"usage":{counts}}}'
    decoder = OpenAIStream(CHAT, REPLY)
    chunks = decoder.feed(sse(event('{"role":"assistant"}', '"stop"'), last, "[DONE]"))
    expected = Chunk(usage=Usage(9, 4, cached_tokens=3, reasoning_tokens=2), raw=last.encode())
    assert expected == chunks[-1]
    assert decoder.done


@pytest.mark.parametrize("counts", ["{}", '{"prompt_tokens":0}', '{"completion_tokens":0}'])
def test_usage_that_counts_only_a_part_says_so(counts: str) -> None:
    end = event('{"role":"assistant"}', '"stop"', f',"usage":{counts}')
    chunks = OpenAIStream(CHAT, REPLY).feed(sse(end, "[DONE]"))
    assert Usage(0, 0, partial=True) == chunks[-1].usage


# -- the stream's end --------------------------------------------------------------------------


def test_the_reply_is_what_the_upstream_says_of_itself() -> None:
    decoder = OpenAIStream(CHAT, REPLY)
    decoder.feed(sse(event('{"role":"assistant"}')))
    assert Reply(id="0" * 24, created=5, model="m-1") == decoder.reply


def test_nothing_is_read_after_done() -> None:
    decoder = OpenAIStream(CHAT, REPLY)
    decoder.feed(sse(event('{"role":"assistant"}', '"stop"'), "[DONE]"))
    assert [] == decoder.feed(sse(event('{"content":"late"}')))
    assert [] == decoder.close()


def test_closing_a_complete_stream_without_done_ends_it() -> None:
    decoder = OpenAIStream(CHAT, REPLY)
    decoder.feed(sse(event('{"role":"assistant"}', '"stop"')))
    assert not decoder.done
    assert [] == decoder.close()
    assert decoder.done


def test_what_came_before_an_error_in_the_same_slice_is_given_first() -> None:
    decoder = OpenAIStream(CHAT, REPLY)
    chunks = decoder.feed(sse(event('{"role":"assistant","content":"a"}'), '{"error":"gone"}'))
    assert ["a"] == [chunk.content for chunk in chunks]
    for _ in range(2):
        with pytest.raises(UpstreamError, match="gone"):
            decoder.feed(b"\n")
    with pytest.raises(UpstreamError, match="gone"):
        decoder.close()


def test_an_error_in_a_last_event_without_its_end_is_told() -> None:
    decoder = OpenAIStream(CHAT, REPLY)
    decoder.feed(b'data: {"error":"gone"}')
    with pytest.raises(UpstreamError, match="gone") as raised:
        decoder.close()
    assert not isinstance(raised.value, Incomplete)


def test_only_the_head_of_a_body_without_events_is_kept() -> None:
    decoder = OpenAIStream(CHAT, REPLY)
    decoder.feed(b"<html>" + b" " * 10_000)
    decoder.feed(b"</html>")
    with pytest.raises(UpstreamError) as raised:
        decoder.close()
    assert Kind.BROKEN == raised.value.kind


# -- requests ----------------------------------------------------------------------------------


def chat_call(body: str, stream: bool) -> Encoded:
    request = ChatRequest(model="m", messages=[Message(role="user")], stream=stream)
    (encoded,) = OPENAI.encode_chat(ChatCall(body.encode(), request), Target("up", "m"))
    return encoded


def test_there_is_one_way_to_read_a_reply() -> None:
    streamed, whole = chat_call("{}", True), chat_call("{}", False)
    assert (True, False) == (streamed.stream is not None, streamed.whole is not None)
    assert (False, True) == (whole.stream is not None, whole.whole is not None)


def test_a_byte_of_a_reply_proves_nothing_before_content() -> None:
    assert chat_call("{}", True).heartbeat is False


def test_it_completes_embeds_and_lists() -> None:
    assert isinstance(OPENAI, Completes)
    assert isinstance(OPENAI, Embeds)
    assert isinstance(OPENAI, ListsModels)


# -- models ------------------------------------------------------------------------------------


def test_models_are_listed() -> None:
    request = OPENAI.list_request()
    assert ("GET", "/models", b"") == (request.method, request.path, request.body)
    listed = OPENAI.decode_models(
        b'{"object":"list","data":[{"id":"a","created":7,"owned_by":"o"},{"id":"b/c:d"}]}'
    )
    assert [Model("a", 7, "o"), Model("b/c:d", 0, "unknown")] == listed


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data":[{}]}', b'{"data":{}}'])
def test_a_listing_that_is_none_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamError) as raised:
        OPENAI.decode_models(body)
    assert Kind.BROKEN == raised.value.kind


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "no"}}, Kind.REJECTED),
        (401, {"detail": "Invalid API Key"}, Kind.CREDENTIAL),
        (402, {"error": {"message": "Empty", "code": "invalid_request_error"}}, Kind.PAYMENT),
        (403, {"error": {"message": "Not yours"}}, Kind.CREDENTIAL),
        (404, {"error": {"message": "m", "code": "model_not_found"}}, Kind.MODEL_NOT_FOUND),
        (404, {"error": {"message": "m", "param": "model"}}, Kind.MODEL_NOT_FOUND),
        (
            404,
            {"object": "error", "message": "The model `m` does not exist."},
            Kind.MODEL_NOT_FOUND,
        ),
        (404, {"error": {"message": "model 'm' not found"}}, Kind.MODEL_NOT_FOUND),
        (404, b"404 page not found", Kind.REJECTED),
        (408, {}, Kind.TIMEOUT),
        (409, {}, Kind.REJECTED),
        (413, {"error": {"message": "Request too large"}}, Kind.REJECTED),
        (422, {"detail": [{"loc": ["body", "store"], "msg": "Extra"}]}, Kind.REJECTED),
        (429, {"error": {"message": "slow", "type": "tokens"}}, Kind.RATE_LIMITED),
        (429, {"error": {"message": "q", "code": "insufficient_quota"}}, Kind.PAYMENT),
        (429, {"error": {"message": "q", "type": "insufficient_quota"}}, Kind.PAYMENT),
        (500, {"error": {"message": "oops"}}, Kind.FAILED),
        (501, b"", Kind.FAILED),
        (502, b"<html><h1>502 Bad Gateway</h1></html>", Kind.GATEWAY),
        (503, {"error": {"message": "Loading model", "code": 503}}, Kind.OVERLOADED),
        (504, b"", Kind.GATEWAY),
        (529, {"error": {"message": "busy"}}, Kind.OVERLOADED),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, Kind.CONTEXT_LENGTH),
        (400, {"error": {"type": "exceed_context_size_error"}}, Kind.CONTEXT_LENGTH),
        (400, {"message": "This model's maximum context length is 8"}, Kind.CONTEXT_LENGTH),
        (413, {"error": {"message": "Too many tokens in the request"}}, Kind.CONTEXT_LENGTH),
        (500, {"error": {"message": "cannot find the context length"}}, Kind.FAILED),
        (401, {"error": {"message": "m", "code": "model_not_found"}}, Kind.CREDENTIAL),
    ],
)
def test_the_kind_of_an_error(status: int, body: object, kind: Kind) -> None:
    assert kind == error(status, body).kind
    assert status == error(status, body).status


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "a"}, "a"),
        ({"error": "a", "message": "b"}, "b"),
        ({"code": "c", "error": "a"}, "a"),
        ({"message": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ({"detail": [{"loc": ["body", 0], "msg": "a"}, {"msg": "b"}, 7]}, "body.0: a; b"),
        ({"message": {"detail": [{"msg": "a"}]}}, "a"),
        ({"error": {"code": 400}}, "the upstream answered 400 without saying why"),
        (["a"], "the upstream answered 400 without saying why"),
        ("a", "the upstream answered 400 without saying why"),
        (b"<html>a</html>", "the upstream answered 400 without saying why"),
        (b"\xff\xfe", "the upstream answered 400 without saying why"),
        (b"", "the upstream answered 400 without saying why"),
    ],
)
def test_the_words_of_an_error(body: object, message: str) -> None:
    assert message == error(400, body).message


def test_a_rejected_request_is_told_in_the_upstreams_own_fields() -> None:
    said = {"error": {"message": "no", "type": "BadRequestError", "param": "stop", "code": 400}}
    answer = told(error(400, said))
    expected = {"message": "no", "type": "BadRequestError", "param": "stop", "code": "400"}
    assert (400, {"error": expected}) == (answer.status, json.loads(answer.body()))


def test_too_long_a_prompt_has_openais_code_whatever_the_upstream_says() -> None:
    said = {"message": "maximum context length is 8", "type": "BadRequestError", "code": 400}
    answer = told(error(400, said))
    assert ("invalid_request_error", "context_length_exceeded") == (answer.type, answer.code)


@pytest.mark.parametrize(
    ("status", "message", "shown"),
    [
        (401, "Incorrect key: sk-proj-ab_12*****yz.", "Incorrect key: ***"),
        (403, "Key 5bfd0532-8fa8-4e41-8eda-16a9a73a8d6d may not", "Key *** may not"),
        (401, "Key abcdefghij********* is unknown", "Key *** is unknown"),
        (400, "Incorrect key: sk-12", "Incorrect key: ***"),
        (400, "no model gpt-4o-mini-2024-07-18", "no model gpt-4o-mini-2024-07-18"),
        (401, "authentication-unsuccessful", "authentication-unsuccessful"),
    ],
)
def test_no_credential_is_shown(status: int, message: str, shown: str) -> None:
    assert shown == error(status, {"error": {"message": message}}).message


NOON = "Sat, 21 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "2", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "1", "retry-after-ms": "0"}, 1.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT", "date": NOON}, 90.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT", "date": NOON}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT"}, None),
        ({"retry-after": "21 Nov 2026 12:01:30 -0000", "date": NOON}, None),
        ({"retry-after": "soon", "date": NOON}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds == error(429, {}, headers).retry_after


# -- patching ----------------------------------------------------------------------------------


def test_patching_keeps_the_bytes_of_what_is_not_named() -> None:
    assert b'{"a":1.50,"c":{ "d" : [ ] },"e":2}' == patched(
        b' {"a": 1.50, "b": 1, "c": { "d" : [ ] }} ', Inside(b=None, e=2)
    )


def test_patching_goes_into_objects_and_arrays() -> None:
    changes = Inside(a=Inside({1: Inside(b=NULL), 0: None}), c=Inside(d=1), e=Inside(f=2))
    assert b'{"a":[{"b":null},3],"c":{"d":1},"e":{"f":2}}' == patched(
        b'{"a":[1,{"b":2},3],"c":null}', changes
    )


def test_without_changes_the_bytes_are_the_same() -> None:
    json_ = b' { "a" : 1 } '
    assert json_ is patched(json_, Inside())
