"""Runs of events are taken together, and give what they give one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters import openai_stream, wire
from adapters.dialect import Reply, StreamDecoder
from adapters.errors import UpstreamError
from adapters.ollama_answers import Expected, OllamaStream
from adapters.openai_stream import OpenAIStream
from adapters.wire import ChatRequest, Chunk
from facade.faces.chat import ChatFace

Json = dict[str, Any]
REPLY: Final = Reply("0123456789abcdef01234567", 1, "m")
ASKED: Final = ChatRequest(model="m", messages=[wire.Message("user", "Hi")], stream=True)


def _event(delta: Json, **others: object) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": None} | others
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | {
        "choices": [choice]
    }


def _padded(text: str, padding: str) -> Json:
    return _event({"content": text}, logprobs=None) | {"usage": None, "obfuscation": padding}


def _line(message: Json, **others: object) -> Json:
    said = {"role": "assistant", "content": ""} | message
    created = "2026-11-21T10:00:00.123456789Z"
    return {"model": "m", "created_at": created, "message": said, "done": False} | others


def _dumped(said: object, *, ascii_only: bool) -> str:
    return json.dumps(said, separators=(",", ":"), ensure_ascii=ascii_only)


def _played(decoder: StreamDecoder, slices: Iterable[bytes]) -> tuple[list[Chunk], str]:
    """What was given, and how it ended."""
    chunks: list[Chunk] = []
    try:
        for piece in slices:
            chunks += decoder.feed(piece)
        chunks += decoder.close()
    except UpstreamError as error:
        return chunks, str(error)
    return chunks, "complete"


def _rendered(chunks: Sequence[Chunk]) -> bytes:
    face = ChatFace(ASKED, REPLY)
    return face.render(chunks) + face.end()


def _in_slices(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    slices = []
    for size in sizes:
        slices.append(body[:size])
        body = body[size:]
    return [*slices, body]


END: Final = _event({}, finish_reason="stop")
TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
OPENAI: Final = st.one_of(
    TEXTS.map(lambda text: _event({"content": text})),
    TEXTS.map(lambda text: _event({"role": "assistant", "content": text})),
    TEXTS.map(lambda text: _event({"reasoning_content": text})),
    TEXTS.map(lambda text: _event({"content": text}, index=1)),
    st.tuples(TEXTS, TEXTS).map(lambda both: _padded(*both)),
    TEXTS.map(lambda text: _event({"content": text, "more": {"content": "x"}})),
    st.just(_event({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]})),
    st.just(END),
)
OLLAMA: Final = st.one_of(
    TEXTS.map(lambda text: _line({"content": text})),
    TEXTS.map(lambda text: _line({"thinking": text})),
    st.just(_line({"tool_calls": [{"function": {"name": "f", "arguments": {}}}]})),
    st.just(_line({}, error="broken")),
)
SIZES: Final = st.lists(st.integers(0, 400), max_size=12)


@example([_event({"content": text}) for text in "ab"] + [END, _event({"content": ""})], [], True)
@example([END, _event({"content": "a"}), _event({"content": ""})], [], True)
@settings(max_examples=300, deadline=None)
@given(st.lists(OPENAI, max_size=20), SIZES, st.booleans())
def test_a_stream_of_events_is_the_same_in_any_slices(
    events: list[Json], sizes: list[int], ascii_only: bool
) -> None:
    body = "".join(f"data: {_dumped(said, ascii_only=ascii_only)}\n\n" for said in events)
    _assert_same_in(body.encode() + b"data: [DONE]\n\n", sizes, dialect="openai")


@settings(max_examples=300, deadline=None)
@given(st.lists(OLLAMA, max_size=20), SIZES, st.booleans())
def test_a_stream_of_lines_is_the_same_in_any_slices(
    lines: list[Json], sizes: list[int], ascii_only: bool
) -> None:
    end = _line({}, done=True, done_reason="stop", eval_count=1, prompt_eval_count=1)
    body = "".join(f"{_dumped(said, ascii_only=ascii_only)}\n" for said in [*lines, end])
    _assert_same_in(body.encode(), sizes, dialect="ollama")


def _assert_same_in(body: bytes, sizes: list[int], dialect: str) -> None:
    def decoder() -> StreamDecoder:
        if dialect == "openai":
            return OpenAIStream(openai_stream.CHAT, REPLY)
        return OllamaStream(Expected(), REPLY)

    byte_by_byte, ended = _played(decoder(), [bytes([byte]) for byte in body])
    chunks, end = _played(decoder(), _in_slices(body, sizes))
    assert ended == end
    assert _rendered(byte_by_byte) == _rendered(chunks)
    for what in ("content", "reasoning"):
        texts = [
            "".join(getattr(chunk, what) for chunk in given) for given in (byte_by_byte, chunks)
        ]
        assert texts[0] == texts[1]


def test_a_read_of_plain_events_is_one_chunk() -> None:
    events = [_event({"role": "assistant", "content": ""})]
    events += [_event({"content": text}) for text in ("It", " is", " w\u00e4rm \u2028\n", '"', "")]
    body = "".join(f"data: {_dumped(said, ascii_only=False)}\n\n" for said in events)
    _, first, rest = OpenAIStream(openai_stream.CHAT, REPLY).feed(body.encode())
    assert ("It", ' is w\u00e4rm \u2028\n"') == (first.content, rest.content)
    assert 3 == rest.raw.count(b"\n\ndata: ")


def test_a_read_of_plain_lines_is_one_chunk() -> None:
    lines = [_line({"content": text}) for text in ("It", " is", ' w\u00e4rm \u2028\n"', "\\")]
    body = "".join(f"{_dumped(said, ascii_only=False)}\n" for said in lines)
    role, first, rest = OllamaStream(Expected(), REPLY).feed(body.encode())
    assert role.role
    assert ("It", ()) == (first.content, first.pieces)
    assert [" is", ' w\u00e4rm \u2028\n"', "\\"] == rest.pieces


def test_a_read_of_thoughts_is_one_chunk() -> None:
    lines = [_line({"content": "", "thinking": text}) for text in ("It", " is", ' w\u00e4rm "')]
    body = "".join(f"{_dumped(said, ascii_only=False)}\n" for said in lines)
    _, first, rest = OllamaStream(Expected(), REPLY).feed(body.encode())
    assert ("It", "", ()) == (first.reasoning, first.content, first.pieces)
    assert (' is w\u00e4rm "', "", [" is", ' w\u00e4rm "']) == (
        rest.reasoning,
        rest.content,
        rest.pieces,
    )


@pytest.mark.parametrize(
    "other",
    [
        _line({"content": ""}),
        _line({"content": "b", "thinking": "c"}),
        {"error": "broken"} | _line({"content": "b"}),
        {"logprobs": [{"token": "b", "logprob": -1.0}]} | _line({"content": "b"}),
        _line({"content": "b", "tool_calls": []}),
    ],
)
def test_a_line_that_says_more_or_less_is_not_taken_in_a_run(other: Json) -> None:
    lines = [_line({"content": "a"}), _line({"content": "a"}), other]
    body = "".join(f"{_dumped(said, ascii_only=False)}\n" for said in lines)
    chunks = OllamaStream(Expected(), REPLY).feed(body.encode())
    assert [()] * len(chunks) == [chunk.pieces for chunk in chunks]


def test_the_events_of_a_read_that_fit_are_one_chunk_up_to_one_that_does_not() -> None:
    deltas = [{"role": "assistant", "content": ""}, *[{"reasoning": text} for text in "abcd"]]
    deltas += [{"content": text} for text in "efgh"]
    body = "".join(f"data: {_dumped(_event(delta), ascii_only=True)}\n\n" for delta in deltas)
    given = OpenAIStream(openai_stream.CHAT, REPLY).feed(body.encode())
    assert ["", "a", "bcd", "", ""] == [chunk.reasoning for chunk in given]
    assert ["", "", "", "e", "fgh"] == [chunk.content for chunk in given]


@pytest.mark.parametrize("known", [True, False])
def test_events_with_padding_of_any_length_are_one_chunk(known: bool) -> None:
    texts, paddings = ("It", " is", '"', "", " warm"), ("x", "xyz", "", '"', "xy")
    events = [_padded(*both) for both in zip(texts, paddings, strict=True)]
    if not known:
        events = [event | {"object": "chunk"} for event in events]
    events[0]["choices"][0]["delta"]["role"] = "assistant"
    body = "".join(f"data: {_dumped(said, ascii_only=True)}\n\n" for said in events)
    first, second, rest = OpenAIStream(openai_stream.CHAT, REPLY).feed(body.encode())
    assert ("It", " is", '" warm') == (first.content, second.content, rest.content)
    told = [json.loads(raw) for raw in rest.raw.split(b"\n\ndata: ")]
    assert [event | {"object": "chat.completion.chunk"} for event in events[2:]] == told


@pytest.mark.parametrize("padding", ["a", '"'])
def test_events_whose_strings_are_cut_at_the_wrong_places_are_not_taken_in_a_run(
    padding: str,
) -> None:
    decoder = OpenAIStream(openai_stream.CHAT, REPLY)
    first, second = (
        f"data: {_dumped(_padded(text, padding), ascii_only=True)}\n\n".encode() for text in "@#"
    )
    decoder.feed(first + second)
    before, after = second.split(b"#")
    between = after[: after.index(b'n":"') + 4]
    too_few, too_many = before + b'x"}\n\n', before + between.join([b"x"] * 3) + b'"}\n\n'
    assert "#" == "".join(chunk.content for chunk in decoder.feed(second + too_few + too_many))
    with pytest.raises(UpstreamError, match="no answer"):
        decoder.feed(second)


@pytest.mark.parametrize("reads", [1, 2])
def test_nothing_is_taken_after_the_end_mark(reads: int) -> None:
    counted = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    events = [_event({"role": "assistant", "content": ""}) | counted]
    events += [_event({"content": text}) for text in "abc"]
    *told, late = [f"data: {_dumped(said, ascii_only=True)}\n\n".encode() for said in events]
    body = b"".join(told) + b"data: [DONE]\n\n"
    slices = [body + late] if reads == 1 else [body, late]
    chunks, ended = _played(OpenAIStream(openai_stream.CHAT, REPLY), slices)
    assert ("ab", "complete") == ("".join(chunk.content for chunk in chunks), ended)


def test_the_events_and_lines_after_a_cut_are_one_chunk() -> None:
    events = [_event({"role": "assistant", "content": ""})]
    events += [_event({"content": text}) for text in "abcd"]
    body = "".join(f"data: {_dumped(said, ascii_only=True)}\n\n" for said in events).encode()
    openai = OpenAIStream(openai_stream.CHAT, REPLY)
    assert "a" == openai.feed(body[: len(body) // 2])[-1].content
    assert ["b", "cd"] == [chunk.content for chunk in openai.feed(body[len(body) // 2 :])]

    lines = [_dumped(_line({"content": text}), ascii_only=True) for text in "abcd"]
    body = "".join(f"{line}\n" for line in lines).encode()
    ollama = OllamaStream(Expected(), REPLY)
    assert "a" == ollama.feed(body[: len(body) // 3])[-1].content
    assert ["b", "cd"] == [chunk.content for chunk in ollama.feed(body[len(body) // 3 :])]


@pytest.mark.parametrize("text", [b"\\", b'"', b"\xff", b"\x01", b"\\x", b"\\ud800"])
def test_what_is_no_string_is_not_taken_in_a_run(text: bytes) -> None:
    ollama = _dumped(_line({"content": "@"}), ascii_only=True).encode() + b"\n"
    openai = b"data: " + _dumped(_event({"content": "@"}), ascii_only=True).encode() + b"\n\n"
    decoders = (
        (OllamaStream(Expected(), REPLY), ollama),
        (OpenAIStream(openai_stream.CHAT, REPLY), openai),
    )
    for decoder, plain in decoders:
        decoder.feed(plain)
        good = decoder.feed(plain + plain + plain.replace(b"@", text) + plain)
        assert "@@" == "".join(chunk.content for chunk in good)
        with pytest.raises(UpstreamError, match="no answer"):
            decoder.feed(plain)


def test_events_that_never_fit_are_no_longer_tried() -> None:
    decoder = OpenAIStream(openai_stream.CHAT, REPLY)
    for number in range(20):
        said = _event({"content": "x"}) | {"number": number}
        (chunk,) = decoder.feed(f"data: {_dumped(said, ascii_only=True)}\n\n".encode())
        assert "x" == chunk.content
    assert decoder._runs.over
