"""What an OpenAI client must get of a recorded answer: read here anew, without the adapters.

Only the recording and OpenAI's own words are known to this module. What upstreams call
otherwise stands in the tables.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from tests.recorded.clouds.exchanges import EMBEDDINGS, Exchange, Json, events_of, json_of
from tests.recorded.clouds.failures import Failure, failure

# What ends a choice, in OpenAI's words.
FINISH: Final = {
    "stop": "stop",
    "": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "function_call",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
}
FAILED: Final = {  # what ends a choice that failed: the status of that
    "error": 500,
    "insufficient_system_resource": 503,
    "malformed_function_call": 500,
}

_CACHED: Final = ("cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens")


class Call(NamedTuple):
    """A tool call; "" for an id that the facade has to make up. Arguments as JSON, or text."""

    id: str
    name: str
    arguments: Any


class Choice(NamedTuple):
    content: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    function: Call | None = None  # the older form of a call
    finish: str | None = None


class Counts(NamedTuple):
    prompt: int
    completion: int
    total: int
    cached: int | None
    reasoning: int | None


class Told(NamedTuple):
    """An answer as far as it came."""

    choices: tuple[Choice, ...] = ()
    counts: Counts | None = None
    failure: Failure | None = None

    @property
    def begun(self) -> bool:
        """Whether anything came that commits to a 200."""
        return any(choice != Choice() for choice in self.choices)


class Vectors(NamedTuple):
    vectors: tuple[tuple[float, ...], ...] = ()
    prompt: int = 0
    failure: Failure | None = None


def told(exchange: Exchange, body: bytes) -> Told:
    """What is told of a chat's answer, whose body may have lost its tail."""
    if exchange.status != 200:
        return Told(failure=failure(exchange.status, body))
    return _streamed(body) if exchange.streamed else _whole(body)


# -- whole answers -------------------------------------------------------------------------


def _whole(body: bytes) -> Told:
    answer = json.loads(body)
    if failed := _failed(answer):
        return Told(failure=failed)
    choices = [
        _choice([_numbered(choice.get("message") or {})], choice.get("finish_reason") or "")
        for choice in answer["choices"]
    ]
    return Told(tuple(choices), _counts(answer.get("usage")))


def _numbered(message: Json) -> Json:
    """Each call of a whole message is one of its own."""
    calls = enumerate(message.get("tool_calls") or ())
    return message | {"tool_calls": [call | {"index": place} for place, call in calls]}


# -- streams -------------------------------------------------------------------------------


def _streamed(body: bytes) -> Told:
    events = [said for event in events_of(body) if (said := json_of(event)) is not None]
    deltas: dict[int, list[Json]] = {}
    finish: dict[int, str] = {}
    usage: Json | None = None
    failed = None
    for event in events:
        failed = _failed(event)
        if failed:
            break
        usage = event.get("usage") or (event.get("x_groq") or {}).get("usage") or usage
        for choice in event.get("choices") or ():
            index = choice.get("index", 0)
            deltas.setdefault(index, []).append(choice.get("delta") or {})
            if choice.get("finish_reason"):
                finish.setdefault(index, choice["finish_reason"])
    counted = usage is not None and b"[DONE]" in body
    choices = tuple(
        _choice(said, finish.get(index, "" if counted and not failed else None))
        for index, said in sorted(deltas.items())
    )
    if failed is None and (not choices or any(choice.finish is None for choice in choices)):
        failed = Failure(502, "upstream_incomplete" if events else "upstream_broken")
    return Told(choices, None if failed else _counts(usage), failed)


def _failed(answer: Json) -> Failure | None:
    """An error that stands in an answer, or in a choice of it."""
    for said in (answer, *(answer.get("choices") or ())):
        if said.get("error"):
            return failure(None, json.dumps(said).encode())
        word = str(said.get("finish_reason") or "").lower()
        if word in FAILED:
            return Failure(FAILED[word])
    return None


def _choice(said: Sequence[Json], finish: str | None) -> Choice:
    """The choice that messages or deltas add up to. `finish` None: it never ended."""
    pieces = (call for each in said for call in each.get("tool_calls") or ())
    calls = tuple(_calls(pieces, ended=finish is not None))
    choice = Choice(
        content="".join(_texts(each.get("content"), "text") for each in said),
        reasoning="".join(map(_reasoning, said)),
        refusal="".join(each.get("refusal") or "" for each in said),
        calls=calls,
        function=_function(said),
    )
    if finish is None:
        return choice
    ended = FINISH[finish.lower()]
    if ended == "stop" and (calls or choice.function):
        ended = "tool_calls" if calls else "function_call"
    return choice._replace(finish=ended)


def _texts(content: object, kind: str) -> str:
    """The text of all parts of that kind; a content that is no list is one part of text."""
    if not isinstance(content, list):
        return str(content or "") if kind == "text" else ""
    parts = [part[kind] for part in content if part.get("type") == kind]
    return "".join(part if isinstance(part, str) else _texts(part, "text") for part in parts)


def _reasoning(said: Json) -> str:
    apart: str = said.get("reasoning_content") or said.get("reasoning") or ""
    return apart or _texts(said.get("content"), "thinking")


def _function(said: Iterable[Json]) -> Call | None:
    pieces = [each["function_call"] for each in said if each.get("function_call")]
    name = "".join(piece.get("name") or "" for piece in pieces)
    text = "".join(piece.get("arguments") or "" for piece in pieces)
    return Call("", name, parsed(text)) if name else None


def _calls(pieces: Iterable[Json], *, ended: bool) -> Iterator[Call]:
    """A piece with a name begins a call, unless it repeats that of the call it continues.

    Arguments that never came are none in an answer that ended: an empty object.
    """
    begun: list[Json] = []
    for piece in pieces:
        function = piece.get("function") or piece.get("custom") or {}
        place = piece.get("index")
        last = next((call for call in reversed(begun) if call["index"] == place), None)
        again = last is not None and piece.get("id") in (None, "", last["id"])
        if last is None or (function.get("name") and not again):
            last = {"index": place, "id": piece.get("id") or "", "said": []}
            last["name"] = function.get("name")
            begun.append(last)
        last["said"].append(function.get("arguments") or function.get("input") or "")
    for call in begun:
        objects = [said for said in call["said"] if isinstance(said, dict)]
        text = "" if objects else "".join(call["said"])
        arguments = objects[0] if objects else parsed(text or ("{}" if ended else ""))
        yield Call(call["id"], call["name"], arguments)


def parsed(text: str) -> object:
    """Arguments as JSON where they are; a limit may have cut them."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _counts(usage: Json | None) -> Counts | None:
    """`completion` includes reasoning: where the total says that it does not, it is added."""
    if not usage:
        return None
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is None:
        cached = next((usage[name] for name in _CACHED if usage.get(name) is not None), None)
    if usage["total_tokens"] == prompt + completion + (reasoning or 0):
        completion += reasoning or 0
    return Counts(prompt, completion, usage["total_tokens"], cached, reasoning)


# -- embeddings ----------------------------------------------------------------------------


def embedded(exchange: Exchange) -> Vectors:
    """What is told of an answer with embeddings."""
    if exchange.status != 200:
        return Vectors(failure=failure(exchange.status, exchange.body))
    answer = json.loads(exchange.body)
    assert exchange.wire == EMBEDDINGS
    asked = (exchange.request or {}).get("encoding_format")
    rows = sorted(answer["data"], key=lambda row: row["index"])
    vectors = tuple(_vector(row["embedding"], asked) for row in rows)
    return Vectors(vectors, (answer.get("usage") or {}).get("prompt_tokens") or 0)


def _vector(said: list[float] | str, asked: str | None) -> tuple[float, ...]:
    """Numbers; a text is base64 of float32 where that was asked, else of signed bytes."""
    if not isinstance(said, str):
        return tuple(said)
    packed = base64.b64decode(said, validate=True)
    if asked == "base64":
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    return tuple(map(float, struct.unpack(f"{len(packed)}b", packed)))
