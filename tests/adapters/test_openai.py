"""The openai dialect, where a conversation of `tests/wire/openai` cannot show it."""

from __future__ import annotations

import pytest

from adapters import openai_glance as glance
from adapters.dialect import Completes, Embeds, Encoded, ListsModels, Model, Reply, Target
from adapters.errors import Incomplete, Kind, UpstreamError
from adapters.openai import OpenAI
from adapters.openai_choices import ChatChoice
from adapters.openai_stream import CHAT, OpenAIStream
from adapters.wire import ChatCall, ChatRequest, Chunk, Message, ToolDelta, Usage

REPLY = Reply(id="0" * 24, created=1700000000, model="m")
HEAD = '{"id":"x","object":"chat.completion.chunk","created":5,"model":"m-1"'
OPENAI = OpenAI()


def event(delta: str, finish: str = "null", more: str = "") -> str:
    choice = f'{{"index":0,"delta":{delta},"finish_reason":{finish}}}'
    return f'{HEAD},"choices":[{choice}]{more}}}'


def sse(*events: str) -> bytes:
    return "".join(f"data: {one}\n\n" for one in events).encode()


# -- what a chunk is said to hold --------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ('{"role":"assistant","content":""}', Chunk(role=True)),
        ('{"role":"assistant","content":"a"}', Chunk(role=True, content="a")),
        ('{"role":"assistant","content":null}', Chunk(role=True)),
        (
            '{"role":"assistant","audio":{"data":"AA==","transcript":"a"}}',
            Chunk(role=True, content="a"),
        ),
        ('{"role":"assistant","audio":{"data":"AA=="}}', Chunk(role=True, content="AA==")),
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
            "[DONE]",
        )
    )
    assert [False, False, True, True] == [chunk.commits for chunk in chunks]


def test_usage_comes_last_and_typed_with_its_own_chunk() -> None:
    counts = (
        '{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,'
        '"prompt_tokens_details":{"cached_tokens":3},'
        '"completion_tokens_details":{"reasoning_tokens":2}}'
    )
    last = f'{HEAD},"choices":[],"usage":{counts}}}'
    decoder = OpenAIStream(CHAT, REPLY)
    chunks = decoder.feed(sse(event('{"role":"assistant"}', '"stop"'), last, "[DONE]"))
    expected = Chunk(usage=Usage(9, 4, cached_tokens=3, reasoning_tokens=2), raw=last.encode())
    assert expected == chunks[-1]
    assert decoder.done


@pytest.mark.parametrize(
    "counts",
    [
        "{}",
        '{"prompt_tokens":0}',
        '{"completion_tokens":0}',
        '{"prompt_tokens":true,"completion_tokens":0}',
        '{"prompt_tokens":"1","completion_tokens":-1}',
    ],
)
def test_usage_that_counts_only_a_part_says_so(counts: str) -> None:
    end = event('{"role":"assistant"}', '"stop"', f',"usage":{counts}')
    chunks = OpenAIStream(CHAT, REPLY).feed(sse(end, "[DONE]"))
    assert Usage(0, 0, partial=True) == chunks[-1].usage


@pytest.mark.parametrize("end", ["stop", "eos"])  # one that is kept, one that is rewritten
def test_a_choice_flows_from_its_role_to_its_end(end: str) -> None:
    choice = ChatChoice(0, REPLY)
    plain = glance.Choice(index=0, delta=glance.Message(content="a"))
    flows = [choice.kept(plain, b"{}")]
    for delta, finish in ((glance.Message(role="assistant"), None), (glance.Message(), end)):
        said = glance.Choice(index=0, delta=delta, finish_reason=finish)
        if not choice.kept(said, b"{}"):
            choice.take(said)
        flows.append(choice.kept(plain, b"{}"))
    assert [None, Chunk(content="a", raw=b"{}"), None] == flows


def test_a_stream_may_end_its_lines_with_cr_and_lf() -> None:
    events = sse(event('{"role":"assistant","content":"a"}'), event("{}", '"stop"'), "[DONE]")
    decoder = OpenAIStream(CHAT, REPLY)
    assert decoder.feed(events) == OpenAIStream(CHAT, REPLY).feed(events.replace(b"\n", b"\r\n"))
    assert decoder.done


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
    assert ["stop"] == [chunk.finish for chunk in decoder.close()]
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


@pytest.mark.parametrize(
    "body",
    [
        b' [{"id":"a","created":"7","owned_by":"o"},{"object":"model"},{"name":"b","created":7.5}]',
        b'{"models":[{"name":"a","created":7.0,"owned_by":"o"},{"id":"b","created":"7"}]}',
    ],
)
def test_listings_of_other_forms_are_read(body: bytes) -> None:
    assert [Model("a", 7, "o"), Model("b", 7, "unknown")] == OPENAI.decode_models(body)


def test_a_time_that_is_none_is_unknown() -> None:
    listed = OPENAI.decode_models(b'[{"id":"a","created":"today"},{"id":"b","created":-1}]')
    assert [0, 0] == [model.created for model in listed]


@pytest.mark.parametrize(
    ("said", "window"),
    [
        ('"max_model_len":4096', 4096),
        ('"context_length":131072', 131072),
        ('"context_window":8192', 8192),
        ('"max_context_length":32768', 32768),
        ('"context_length":null', None),
        ('"context_length":"many"', None),
        ('"context_length":0', None),
        ('"max_model_len":[],"context_length":7', 7),
        ('"id":"a"', None),
    ],
)
def test_a_window_is_read_under_any_of_its_names(said: str, window: int | None) -> None:
    (model,) = OPENAI.decode_models(b'{"data":[{"id":"a",%s}]}' % said.encode())
    assert window == model.facts.window


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ('"supported_parameters":["tools"],"architecture":{"input_modalities":["text"]}', "tools"),
        (
            '"supported_parameters":[],"architecture":{"input_modalities":["text","image"]}',
            "vision",
        ),
        ('"capabilities":{"function_calling":true,"vision":false}', "tools"),
        ('"capabilities":{"function_calling":false,"vision":true,"x":1}', "vision"),
        ('"capabilities":{"function_calling":true}', None),
        ('"capabilities":["tools"]', None),
        ('"supported_parameters":["tools"]', None),
        ('"supported_parameters":["tools"],"architecture":"llama"', None),
        ('"id":"a"', None),
    ],
)
def test_tools_and_images_are_known_where_both_are_told(said: str, known: str | None) -> None:
    (model,) = OPENAI.decode_models(b'{"data":[{"id":"a",%s}]}' % said.encode())
    expected = frozenset(("completion", "embedding", known)) if known else None
    assert expected == model.facts.capabilities


def test_a_listing_may_be_empty() -> None:
    assert [] == OPENAI.decode_models(b'{"object":"list","data":[]}')


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"data":[{}]}', b'{"data":{}}', b"7", b"[7]", b"[", b""]
)
def test_a_listing_that_is_none_is_broken(body: bytes) -> None:
    with pytest.raises(UpstreamError) as raised:
        OPENAI.decode_models(body)
    assert Kind.BROKEN == raised.value.kind


def test_a_listing_that_is_an_error_says_why() -> None:
    with pytest.raises(UpstreamError, match="no such account"):
        OPENAI.decode_models(b'{"message":"no such account"}')
