"""Recorded answers of OpenAI-shaped upstreams: whatever they sent, what goes out keeps the rules.

The checks are those of the SDKs, written without the dialect's code. Answers that cannot be
one (an error inside, a file that holds two answers) are named.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from adapters import openai_answers, openai_stream
from adapters.dialect import Reply
from adapters.errors import UpstreamError
from adapters.wire import ChatRequest, Message, StreamOptions
from facade.faces.chat import ChatFace
from tests.parts import corpus

pytestmark = pytest.mark.corpus

REPLY: Final = Reply(id="0" * 24, created=1700000000, model="m")
REQUEST: Final = ChatRequest(
    model="m",
    messages=[Message(role="user")],
    stream=True,
    stream_options=StreamOptions(include_usage=True),
)
ENDS: Final = {"stop", "length", "tool_calls", "content_filter", "function_call"}
TWO_ANSWERS: Final = {"cerebras-009"}
Json = dict[str, Any]


class Recorded(NamedTuple):
    id: str
    stream: bool
    body: bytes


def recorded() -> Iterator[Recorded]:
    for path in sorted(corpus().glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            kept = json.loads(line)
            if kept["wire"] == "openai-chat" and kept["status"] == 200:
                stream = kept["body"].lstrip().startswith(("data:", "event:", ":"))
                yield Recorded(kept["id"], stream, kept["body"].encode())


ALL: Final = [one for one in recorded() if one.id not in TWO_ANSWERS]
STREAMS: Final = [one for one in ALL if one.stream]
WHOLES: Final = [one for one in ALL if not one.stream]


def streamed(body: bytes, size: int) -> list[Json]:
    decoder = openai_stream.OpenAIStream(openai_stream.CHAT, REPLY)
    face = ChatFace(REQUEST, REPLY)
    written = b""
    for start in range(0, len(body), size):
        written += face.render(decoder.feed(body[start : start + size]))
    written += face.render(decoder.close()) + face.end()
    *events, done = written.decode().removesuffix("\n\n").split("\n\n")
    assert "data: [DONE]" == done
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("size", [7, 1 << 30], ids=["in slices of 7", "at once"])
@pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.id)
def test_a_stream_keeps_the_rules(one: Recorded, size: int) -> None:
    sent = [json.loads(line) for line in data_lines(one.body)]
    try:
        events = streamed(one.body, size)
    except UpstreamError:
        assert any(event.get("error") for event in sent), "no error was sent"
        return
    check_events(events)
    assert words(sent) == words(events)


@pytest.mark.parametrize("one", WHOLES, ids=lambda one: one.id)
def test_a_whole_answer_keeps_the_rules(one: Recorded) -> None:
    sent = json.loads(one.body)
    if not sent.get("choices"):
        with pytest.raises(UpstreamError):
            openai_answers.completion(openai_answers.CHAT, one.body, REPLY)
        return
    body = openai_answers.completion(openai_answers.CHAT, one.body, REPLY).body
    answer = json.loads(body)
    assert answer["id"]
    assert "chat.completion" == answer["object"]
    assert sent.keys() <= answer.keys()
    check_usage(answer.get("usage"))
    for index, choice in enumerate(answer["choices"]):
        assert (index, "assistant") == (choice["index"], choice["message"]["role"])
        assert choice["finish_reason"] in ENDS
        assert isinstance(choice["message"].get("content"), str | None)
        for call in choice["message"].get("tool_calls") or ():
            assert call["id"]
            assert json.loads(call["function"]["arguments"]) is not None
    assert answer != sent or body == one.body, "changed without a reason"


def data_lines(body: bytes) -> Iterator[bytes]:
    for line in body.splitlines():  # of bytes: only CR and LF end them
        if line.startswith(b"data:") and b"[DONE]" not in line:
            yield line[5:]


def words(events: list[Json]) -> dict[tuple[int, str], str]:
    """The text of each choice, by field."""
    said: dict[tuple[int, str], str] = defaultdict(str)
    for choice in (choice for event in events for choice in event.get("choices") or ()):
        for field, value in fields(choice.get("delta") or {}):
            if field != "role" and value:
                said[choice["index"], field] += value
    return said


def fields(delta: Json) -> Iterator[tuple[str, str]]:
    """The texts of a delta; what is a list of parts at some upstreams is text and thoughts."""
    for field, value in delta.items():
        if isinstance(value, str):
            yield field, value
    for part in delta["content"] if isinstance(delta.get("content"), list) else ():
        if part["type"] == "text":
            yield "content", part["text"]
        else:
            yield "reasoning_content", "".join(inner["text"] for inner in part["thinking"])


def check_events(events: list[Json]) -> None:
    names = {(event["id"], event["created"], event["model"]) for event in events}
    assert 1 == len(names)
    assert all(names.pop())
    assert {"chat.completion.chunk"} == {event["object"] for event in events}
    assert not any(event.get("usage") for event in events[:-1])
    if events[-1].get("usage"):
        check_usage(events[-1]["usage"])
        assert [] == events.pop()["choices"]
    choices: dict[int, list[Json]] = defaultdict(list)
    for event in events:
        for choice in event["choices"]:
            choices[choice["index"]].append(choice)
    assert list(range(len(choices))) == sorted(choices)
    for said in choices.values():
        check_choice(said)


def check_usage(usage: Json | None) -> None:
    if not usage:
        return
    counts = [usage[f"{name}_tokens"] for name in ("prompt", "completion", "total")]
    assert all(type(count) is int for count in counts)
    assert counts[0] + counts[1] <= counts[2]
    assert not proves_uncounted_reasoning(usage)


def proves_uncounted_reasoning(usage: Json) -> bool:
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    told = int(usage["prompt_tokens"] + usage["completion_tokens"])
    return bool(reasoning) and told + reasoning == usage["total_tokens"]


def check_choice(said: list[Json]) -> None:
    roles = [choice["delta"].get("role") for choice in said]
    assert "assistant" == roles[0]
    assert not any(roles[1:])
    ends = [choice.get("finish_reason") for choice in said]
    assert ends[-1] in ENDS
    assert not any(ends[:-1])
    check_calls([call for choice in said for call in choice["delta"].get("tool_calls") or ()])


def check_calls(fragments: list[Json]) -> None:
    arguments: dict[int, str] = {}
    for fragment in fragments:
        index = fragment["index"]
        if index in arguments:
            assert not {"id", "type"} & fragment.keys()
            assert "name" not in fragment["function"]
        else:
            assert len(arguments) == index
            assert (fragment["type"], True) == ("function", bool(fragment["id"]))
            assert fragment["function"]["name"]
            arguments[index] = ""
        arguments[index] += fragment["function"]["arguments"]
    for text in arguments.values():
        assert isinstance(json.loads(text), dict)
