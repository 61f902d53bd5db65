"""A face's two forms say the same: what a stream adds up to is the whole answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.dialect import Reply
from adapters.wire import (
    ChatRequest,
    Chunk,
    CompletionRequest,
    Function,
    Message,
    StreamOptions,
    TokenChance,
    TokenLogprob,
    ToolDelta,
    Usage,
)
from facade.faces.chat import ChatFace
from facade.faces.completions import CompletionFace
from facade.faces.usage import total
from tests.api.asking import DONE, Json, events

REPLY: Final = Reply("a" * 24, 1, "m", "fp_1")
CHOICES: Final = 3
TEXT: Final = st.text(min_size=1, max_size=4)
WITH_USAGE: Final = StreamOptions(include_usage=True)


def _token(text: str) -> TokenLogprob:
    return TokenLogprob(text, -0.5, list(text.encode()), [TokenChance(text, -0.5, [])])


_spoken = st.builds(
    lambda text, told: Chunk(content=text, logprobs=(_token(text),) if told else None),
    TEXT,
    st.booleans(),
)
_thought = TEXT.map(lambda text: Chunk(reasoning=text))
_refused = TEXT.map(lambda text: Chunk(refusal=text))


@st.composite
def _calls(draw: st.DrawFn) -> list[Chunk]:
    """Calls one after the other, each in pieces; several pieces may share a chunk."""
    deltas: list[ToolDelta] = []
    for index in range(draw(st.integers(0, 2))):
        deltas.append(ToolDelta(index, draw(st.sampled_from(["", "{"])), f"call_{index}", "f"))
        deltas += [ToolDelta(index, text) for text in draw(st.lists(TEXT, max_size=3))]
    return [
        Chunk(tool_calls=tuple(deltas[start : start + 2])) for start in range(0, len(deltas), 2)
    ]


@st.composite
def _choice(draw: st.DrawFn, index: int) -> list[Chunk]:
    """All chunks of one choice, in order."""
    chunks = [Chunk(role=True)]
    for part in (_thought, _spoken, _refused):
        chunks += draw(st.lists(part, max_size=3))
    chunks += draw(_calls())
    chunks.append(Chunk(finish=draw(st.sampled_from(["stop", "length", "tool_calls"]))))
    if draw(st.booleans()):
        counts = st.one_of(st.none(), st.integers(0, 9))
        chunks.append(Chunk(usage=Usage(3, draw(st.integers(0, 9)), draw(counts), draw(counts))))
    return [replace(chunk, choice=index) for chunk in chunks]


@st.composite
def answers(draw: st.DrawFn) -> list[list[Chunk]]:
    """The chunks of several choices, mingled, in batches as they may be rendered."""
    left = [draw(_choice(index)) for index in range(draw(st.integers(1, CHOICES)))]
    batches: list[list[Chunk]] = []
    while any(left):
        source = draw(st.sampled_from([chunks for chunks in left if chunks]))
        size = draw(st.integers(1, 4))
        batches.append(source[:size])
        del source[:size]
    return batches


def _streamed(face: ChatFace | CompletionFace, batches: Sequence[Sequence[Chunk]]) -> list[Json]:
    *said, end = events(b"".join(map(face.render, batches)) + face.end())
    assert DONE == end
    return [json.loads(event) for event in said]


def _add(message: Json, delta: Json) -> None:
    """As OpenAI's clients accumulate: texts are joined, calls by their index."""
    for name in ("content", "reasoning_content", "refusal"):
        message[name] = (message.get(name) or "") + (delta.get(name) or "")
    for call in delta.get("tool_calls", ()):
        if "id" in call:
            assert call["index"] == len(message["tool_calls"])
            function = dict(call["function"])
            message["tool_calls"].append(
                {"id": call["id"], "type": "function"} | {"function": function}
            )
        else:
            message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"][
                "arguments"
            ]


def _folded(chunks: Sequence[Json]) -> list[Json]:
    choices: dict[int, Json] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        folded = choices.setdefault(
            choice["index"], {"message": {"tool_calls": []}, "finish": [], "logprobs": []}
        )
        _add(folded["message"], choice["delta"])
        folded["finish"] += [choice["finish_reason"]] if choice["finish_reason"] else []
        folded["logprobs"] += choice["logprobs"]["content"] if choice["logprobs"] else []
    return [choices[index] for index in sorted(choices)]


def _plain(choice: Json) -> Json:
    """A choice of a whole answer, in the form of a folded one."""
    message = choice["message"]
    texts = {name: message.get(name) or "" for name in ("content", "reasoning_content", "refusal")}
    return {
        "message": {"tool_calls": message.get("tool_calls", []), **texts},
        "finish": [choice["finish_reason"]],
        "logprobs": choice["logprobs"]["content"] if choice["logprobs"] else [],
    }


def _chat(**more: Any) -> ChatRequest:  # noqa: ANN401 - fields of a request
    return ChatRequest(model="m", messages=[Message("user")], **more)


@settings(max_examples=300, deadline=None)
@given(answers())
def test_a_streamed_chat_adds_up_to_the_whole_one(batches: list[list[Chunk]]) -> None:
    chunks = [chunk for batch in batches for chunk in batch]
    said = _streamed(ChatFace(_chat(stream_options=WITH_USAGE), REPLY), batches)
    whole = json.loads(ChatFace(_chat(), REPLY).whole(chunks))
    assert [_plain(choice) for choice in whole["choices"]] == _folded(said)
    assert {("a" * 24, 1, "m", "fp_1")} == {
        (each["id"][-24:], each["created"], each["model"], each["system_fingerprint"])
        for each in [*said, whole]
    }
    told = [chunk["usage"] for chunk in said if chunk["usage"]]
    assert told == ([whole["usage"]] if "usage" in whole else [])
    if told:
        assert ([], told[0]) == (said[-1]["choices"], said[-1]["usage"])


@settings(max_examples=100, deadline=None)
@given(answers())
def test_without_being_asked_a_stream_tells_no_usage(batches: list[list[Chunk]]) -> None:
    for options in (None, StreamOptions(), StreamOptions(include_usage=False)):
        said = _streamed(ChatFace(_chat(stream_options=options), REPLY), batches)
        assert not any("usage" in chunk or not chunk["choices"] for chunk in said)


@settings(max_examples=100, deadline=None)
@given(answers())
def test_older_clients_are_told_of_one_function(batches: list[list[Chunk]]) -> None:
    asked = _chat(functions=[Function("f")])
    chunks = [chunk for batch in batches for chunk in batch]
    whole = json.loads(ChatFace(asked, REPLY).whole(chunks))
    streamed = _streamed(ChatFace(asked, REPLY), batches)
    assert "tool_calls" not in json.dumps([whole, streamed])
    called = {
        choice["index"]
        for chunk in streamed
        for choice in chunk["choices"]
        if "name" in choice["delta"].get("function_call", {})
    }
    for choice in whole["choices"]:
        assert (choice["index"] in called) == ("function_call" in choice["message"])


@settings(max_examples=300, deadline=None)
@given(answers(), st.booleans())
def test_a_streamed_completion_adds_up_to_the_whole_one(
    batches: list[list[Chunk]], echo: bool
) -> None:
    """Three prompts, one choice each."""
    asked = CompletionRequest(
        model="m", prompt=["one ", "two ", "three "], echo=echo, stream_options=WITH_USAGE
    )
    chunks = [chunk for batch in batches for chunk in batch]
    said = _streamed(CompletionFace(asked, REPLY), batches)
    whole = json.loads(CompletionFace(asked, REPLY).whole(chunks))
    folded: dict[int, Json] = {}
    for choice in (choice for chunk in said for choice in chunk["choices"]):
        one = folded.setdefault(choice["index"], {"text": "", "finish": None, "offsets": []})
        one["text"] += choice["text"]
        one["finish"] = choice["finish_reason"] or one["finish"]
        one["offsets"] += choice["logprobs"]["text_offset"] if choice["logprobs"] else []
    told = [chunk["usage"] for chunk in said if chunk["usage"]]
    assert told == ([whole["usage"]] if "usage" in whole else [])
    for choice in whole["choices"]:
        one = folded[choice["index"]]
        assert (choice["text"], choice["finish_reason"]) == (one["text"], one["finish"])
        assert one["text"].startswith(["one ", "two ", "three "][choice["index"]]) or not echo
        assert _all_told(chunks, choice) in (None, one["offsets"])


def _all_told(chunks: Sequence[Chunk], choice: Json) -> list[int] | None:
    """The offsets, where every piece of the text has its tokens."""
    spoken = [each for each in chunks if each.choice == choice["index"] and each.content]
    if not spoken or any(each.logprobs is None for each in spoken):
        return None
    offsets: list[int] = choice["logprobs"]["text_offset"]
    return offsets


def test_the_usage_of_several_calls_counts_a_shared_prompt_once() -> None:
    calls = [Usage(5, 2, cached_tokens=4, reasoning_tokens=1), Usage(5, 3, cached_tokens=5)]
    assert Usage(5, 5, cached_tokens=4, reasoning_tokens=1) == total(calls)
    assert total([]) is None
