"""Answers as they arrive: where they end, what an end without a marker is, what is counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dialect import Reply, StreamDecoder
from adapters.errors import Incomplete, Kind, UpstreamError
from adapters.ollama_answers import unix_time
from adapters.wire import Chunk, Usage
from facade.errors import told
from tests.adapters.ollama_calls import (
    REPLY,
    TOOL,
    Json,
    asked,
    body,
    body_of,
    called,
    chunks_of,
    done,
    encoded,
    line,
    message_of,
    token,
)


def decoder(**fields: object) -> StreamDecoder:
    (call,) = encoded(asked(**fields))
    assert call.stream
    return call.stream(REPLY)


def read_out(reading: StreamDecoder, text: bytes) -> None:
    """The whole of a body that has no end marker."""
    reading.feed(text)
    reading.close()


def words(chunks: list[Chunk]) -> str:
    return "".join(chunk.content for chunk in chunks)


def usage_of(chunks: list[Chunk]) -> Usage:
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    return usage


def test_it_is_done_at_the_end_marker_and_not_before() -> None:
    reading = decoder()
    assert "a" == words(reading.feed(body(line("a"))))
    assert not reading.done
    last = reading.feed(body(done()) + b"never read")
    assert (True, ["stop"]) == (reading.done, [chunk.finish for chunk in last if chunk.finish])
    assert [] == reading.feed(b"\n{}\n")
    assert [] == reading.close()


def test_words_before_an_error_come_out_before_it() -> None:
    reading = decoder()
    lines = body(line("a"), line("b"), {"error": "boom"}, line("c"))
    assert ("ab", True) == (words(reading.feed(lines)), reading.done)
    for again in (reading.close, lambda: reading.feed(b"x")):
        with pytest.raises(UpstreamError, match="boom"):
            again()


def test_an_error_before_anything_is_raised_at_once() -> None:
    reading = decoder()
    with pytest.raises(UpstreamError, match="boom"):
        reading.feed(body({"error": "boom"}))
    assert reading.done


def test_a_last_line_may_lack_its_line_end() -> None:
    reading = decoder()
    chunks = reading.feed(body(line("a"), done()).removesuffix(b"\n"))
    assert not reading.done
    chunks += reading.close()
    assert ("a", True) == (words(chunks), reading.done)


@pytest.mark.parametrize("rest", [b'{"model":"m","mess', b"{", b'{"error":"bo'])
def test_a_line_that_the_end_of_the_body_cut_is_a_cut(rest: bytes) -> None:
    reading = decoder()
    assert "a" == words(reading.feed(body(line("a")) + rest))
    with pytest.raises(Incomplete):
        reading.close()


def test_an_error_on_a_last_line_without_a_line_end_is_that_error() -> None:
    reading = decoder()
    assert [] == reading.feed(b'{"error":"boom"}')
    with pytest.raises(UpstreamError, match="boom"):
        reading.close()


def test_a_broken_last_line_after_which_words_stand_is_raised_at_the_close() -> None:
    reading = decoder(tools=[TOOL])
    bad = line("a", tool_calls=[called("now", "{")])
    assert [] == reading.feed(body(bad).removesuffix(b"\n"))
    with pytest.raises(Incomplete):
        reading.close()


@pytest.mark.parametrize("rest", [b"<html>", b"Ollama is running", b"\xff\xfe"])
def test_a_page_is_broken_with_and_without_a_line_end(rest: bytes) -> None:
    for text in (rest, rest + b"\n"):
        with pytest.raises(UpstreamError) as caught:
            read_out(decoder(), text)
        assert Kind.BROKEN is caught.value.kind


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "5",
        '"a"',
        "null",
        '{"done":5}',
        '{"message":"a","done":false}',
        '{"message":{"content":5},"done":false}',
        '{"message":{"content":"a","tool_calls":{}},"done":false}',
        '{"message":{"content":"a","tool_calls":[{"function":{}}]},"done":false}',
        '{"message":{},"done":true,"eval_count":"5"}',
        '{"message":{},"done":true,"eval_count":5.5}',
        '{"logprobs":{},"done":false}',
        '{"message":{"content":"\\ud800"},"done":false}',
        '{"message":{"content":"a"},"done":false',
        '{"x":' + "[" * 100_000 + "]" * 100_000 + ',"done":false}',
        '{"message":{"tool_calls":[{"function":{"name":"f","arguments":'
        + "[" * 100_000
        + "]" * 100_000
        + '}}]},"done":false}',
    ],
    ids=range(16),
)
def test_a_line_of_another_shape_is_broken(text: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        decoder().feed(text.encode() + b"\n")
    assert Kind.BROKEN is caught.value.kind
    assert 502 == told(caught.value).status


@given(st.binary())
def test_any_bytes_are_an_answer_or_an_upstreams_error(data: bytes) -> None:
    with pytest.raises(UpstreamError):  # random bytes are never a done line
        read_out(decoder(), data)


@given(st.text(), st.text())
def test_any_text_goes_through(content: str, thinking: str) -> None:
    message = message_of(asked(), line(thinking=thinking), line(content), done())
    assert (content, thinking) == (message["content"], message.get("reasoning", ""))


def test_line_separators_and_brackets_are_text() -> None:
    text = "\u2028\u2029<b>&\u0000\U0001f389"
    assert text == message_of(asked(), line(text), done())["content"]
    call = line(tool_calls=[called("now", {"a": "\u2028"})])
    (found,) = [d for c in chunks_of(asked(), call, done()) for d in c.tool_calls if d.arguments]
    assert {"a": "\u2028"} == json.loads(found.arguments)


def test_calls_after_the_first_are_discarded_up_to_a_cap() -> None:
    reading = decoder(tools=[TOOL], parallel_tool_calls=False)
    heard = reading.feed(body(line(tool_calls=[called("now", {})], logprobs=[token("}")])))
    assert 1 == len([d for chunk in heard for d in chunk.tool_calls if d.id])
    three = [token("x")] * 3
    heard = reading.feed(body(*[line(logprobs=three)] * 340, *[line()] * 4))
    assert ([], False) == (heard, reading.done)
    last = reading.feed(body(line(tool_calls=[called("now", {})]), line("never read"), done()))
    assert ["tool_calls"] == [chunk.finish for chunk in last if chunk.finish]
    assert (True, Usage(0, 0, partial=True)) == (reading.done, usage_of(last))


def test_tokens_of_thinking_are_counted_exactly_where_they_are_told() -> None:
    lines = [
        line(thinking="Hm, well", logprobs=[token("Hm"), token(","), token(" well")]),
        line(thinking="!"),
        line("a"),
        done(eval_count=9),
    ]
    assert Usage(10, 9, reasoning_tokens=4) == usage_of(chunks_of(asked(), *lines))


def test_a_second_pass_is_known_by_its_count() -> None:
    request = asked(response_format={"type": "json_object"})
    lines = [line(thinking="a"), line("{"), line("}")]
    assert 3 == usage_of(chunks_of(request, *lines, done(eval_count=2))).completion_tokens
    assert 3 == usage_of(chunks_of(request, *lines, done(eval_count=3))).completion_tokens
    assert 2 == usage_of(chunks_of(asked(), *lines, done(eval_count=2))).completion_tokens


def test_thinking_and_words_on_one_line_have_the_tokens_of_the_words() -> None:
    mixed = line("4", thinking="Hm", logprobs=[token("Hm"), token("</think>"), token("4")])
    (chunk,) = [chunk for chunk in chunks_of(asked(logprobs=True), mixed, done()) if chunk.content]
    assert ["4"] == [each.token for each in chunk.logprobs or ()]


def test_tokens_that_do_not_spell_the_words_are_those_of_their_own_lines() -> None:
    lines = [
        line(thinking="Hm", logprobs=[token("Hm")]),
        line(logprobs=[token("</think>")]),
        line("a", logprobs=[token("b")]),
        line("c", logprobs=[token("d")]),
    ]
    chunks = chunks_of(asked(logprobs=True), *lines, done())
    told = [[each.token for each in chunk.logprobs or ()] for chunk in chunks if chunk.content]
    assert [["</think>", "b"], ["d"]] == told


def test_ids_that_are_missing_or_come_twice_are_replaced() -> None:
    calls = [
        called("f", {}, id="a"),
        called("f", {}, id="a"),
        called("f", {}),
        called("f", {}, id=""),
    ]
    found = chunks_of(asked(), line(tool_calls=calls), done())
    ids = [delta.id for chunk in found for delta in chunk.tool_calls if delta.id]
    ours = [f"call_{'0' * 20}00{number:02d}" for number in (1, 2, 3)]
    assert ["a", *ours] == ids


def test_choices_have_ids_of_their_own() -> None:
    ids = []
    for call in encoded(asked(n=2, tools=[TOOL])):
        assert call.stream
        reading = call.stream(Reply("x" * 24, 1, "m"))
        for chunk in reading.feed(body(line(tool_calls=[called("now", {})]), done())):
            ids += [delta.id for delta in chunk.tool_calls if delta.id]
    assert [f"call_{'x' * 17}0000000", f"call_{'x' * 17}0001000"] == ids


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-21T08:12:58Z", 1795248778),
        ("2026-11-21T08:12:58.043502869Z", 1795248778),
        ("2026-11-21T08:12:58.9+00:00", 1795248778),
        ("2026-11-21T10:12:58.1+02:00", 1795248778),
        ("2026-11-21T02:42:58-05:30", 1795248778),
        ("2026-11-21T08:12:58", None),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("soon", None),
        ("", None),
    ],
)
def test_dates_are_in_whole_seconds_or_not_known(text: str, seconds: int | None) -> None:
    assert seconds == unix_time(text)


def test_the_answers_date_is_that_of_its_first_line() -> None:
    reading = decoder()
    reading.feed(body(line("a", created_at="2026-11-21T08:12:58Z")))
    reading.feed(body(done(created_at="2030-01-01T00:00:00Z")))
    assert Reply("0" * 24, 1795248778, "m", "fp_1") == reading.reply


def test_an_older_or_other_server_may_leave_out_what_it_likes() -> None:
    lines: list[Json] = [
        {"done": False},
        {"message": None, "done": False, "logprobs": None, "error": None, "created_at": None},
        {"message": {"content": None, "thinking": None, "tool_calls": None}, "done": False},
        {"message": {"content": "a", "tool_calls": [{"id": None, "function": {"name": "f"}}]}},
    ]
    lines[-1]["done"] = False
    chunks = chunks_of(asked(), *lines, {"done": True, "done_reason": None})
    assert ("a", Usage(0, 0, partial=True)) == (words(chunks), usage_of(chunks))
    assert ["", "{}"] == [delta.arguments for chunk in chunks for delta in chunk.tool_calls]


def test_calls_are_encoded_when_their_turn_comes() -> None:
    calls = encoded(asked(n=3, seed=5))
    assert 3 == len(calls)
    options = [body_of(call)["options"] for call in calls]
    assert [{"seed": 5}, {"seed": 6}, {"seed": 7}] == options
    assert options[1:] == [body_of(call)["options"] for call in calls[1:]]
