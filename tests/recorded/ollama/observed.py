"""What the official SDK makes of the facade's answers, and that streams keep the rules."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, NamedTuple

from openai import APIError, APIStatusError, AsyncOpenAI

from tests.recorded.ollama.exchanges import Json
from tests.recorded.ollama.oracle import Call, Counts, Failure, Token, Told, Vectors
from tests.recorded.ollama.requests import Ask

IN_STREAM: Final = 200  # the status of a failure that came in a stream
_CHUNKS: Final = {"/api/chat": "chat.completion.chunk", "/api/generate": "text_completion"}


class Observed(NamedTuple):
    """What the client was told, and the headers it came with (none of a failure)."""

    told: Told
    headers: Mapping[str, str]


async def ask(sdk: AsyncOpenAI, question: Ask, *, streamed: bool) -> Observed:
    """Ask for a chat or a completion."""
    faces: dict[str, Any] = {"/api/chat": sdk.chat.completions, "/api/generate": sdk.completions}
    create = faces[question.verb].with_raw_response.create
    fields = question.fields
    if streamed:
        fields = fields | {"stream": True, "stream_options": {"include_usage": True}}
    try:
        answer = await create(**fields)
    except APIStatusError as error:
        return Observed(Told(failure=failure(error, error.status_code)), {})
    if streamed:
        return Observed(await _streamed(answer.parse(), question.verb), answer.headers)
    return Observed(_whole(answer.parse().model_dump(exclude_unset=True)), answer.headers)


def failure(error: APIError, status: int) -> Failure:
    """The error object, which has all four keys."""
    body = error.body
    assert isinstance(body, dict)
    assert {"message", "type", "param", "code"} == body.keys()
    return Failure(status, body["type"], body["code"], body["param"], body["message"])


# -- whole answers -------------------------------------------------------------------------


def _whole(answer: Json) -> Told:
    (choice,) = answer["choices"]
    message = choice.get("message") or {"content": choice["text"]}
    assert 0 == choice["index"]
    return Told(
        content=message["content"] or "",
        reasoning=message.get("reasoning_content", ""),
        calls=tuple(_call(call) for call in message.get("tool_calls", ())),
        tokens=_tokens(choice["logprobs"]),
        finish=choice["finish_reason"],
        counts=_counts(answer["usage"]),
        created=answer["created"],
    )


def _call(call: Json) -> Call:
    assert {"id", "type", "function"} == call.keys()
    assert "function" == call["type"]
    return Call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))


def _counts(usage: Json) -> Counts:
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    assert prompt + completion == usage["total_tokens"]
    return Counts(
        prompt,
        completion,
        usage.get("completion_tokens_details", {}).get("reasoning_tokens"),
        usage.get("prompt_tokens_details", {}).get("cached_tokens"),
    )


def _tokens(logprobs: Json | None) -> tuple[Token, ...] | None:
    if logprobs is None:
        return None
    if "content" not in logprobs:
        return _older(logprobs)
    return tuple(
        Token(
            token["token"],
            token["logprob"],
            bytes(token["bytes"]),
            tuple((top["token"], top["logprob"]) for top in token["top_logprobs"]),
        )
        for token in logprobs["content"]
    )


def _older(logprobs: Json) -> tuple[Token, ...]:
    """Log probabilities of text completions, which have no bytes."""
    return tuple(
        Token(text, logprob, b"", tuple((top or {}).items()))
        for text, logprob, top in zip(
            logprobs["tokens"],
            logprobs["token_logprobs"],
            logprobs["top_logprobs"],
            strict=True,
        )
    )


# -- streams -------------------------------------------------------------------------------


async def _streamed(stream: AsyncIterator[Any], verb: str) -> Told:
    chunks: list[Json] = []
    failed = None
    try:
        async for chunk in stream:
            said: Json = chunk.model_dump(exclude_unset=True)
            chunks.append(said)
    except APIError as error:
        failed = failure(error, IN_STREAM)
    counts = None if failed else _counts(_last(chunks))
    _check_heads(chunks, _CHUNKS[verb])
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert {0} == {choice["index"] for choice in choices}
    deltas = [choice["delta"] if "delta" in choice else _delta(choice) for choice in choices]
    if verb == "/api/chat":
        _check_roles(deltas)
    known = [choice["logprobs"] for choice in choices if choice["logprobs"] is not None]
    return Told(
        content="".join(delta.get("content") or "" for delta in deltas),
        reasoning="".join(delta.get("reasoning_content", "") for delta in deltas),
        calls=_gathered(piece for delta in deltas for piece in delta.get("tool_calls", ())),
        tokens=tuple(token for each in known for token in _tokens(each) or ()) if known else None,
        finish=_finish(choices, failed),
        counts=counts,
        created=chunks[0]["created"],
        failure=failed,
    )


def _delta(choice: Json) -> Json:
    """A piece of a text completion as if it were one of a chat."""
    return {"content": choice["text"]}


def _last(chunks: list[Json]) -> Json:
    """Usage stands in the last chunk alone, which has no choices; null in all before."""
    *before, last = chunks
    assert [] == last["choices"]
    assert all(chunk["choices"] and chunk["usage"] is None for chunk in before)
    chunks.pop()
    usage: Json = last["usage"]
    assert {"id", "created", "model"} <= last.keys()
    assert last["id"] == before[0]["id"]
    return usage


def _check_heads(chunks: list[Json], kind: str) -> None:
    """One identity over the whole stream."""
    heads = {(each["id"], each["created"], each["model"], each["object"]) for each in chunks}
    ((id_, _, _, object_),) = heads
    assert kind == object_
    assert len(id_.partition("-")[2]) >= 24


def _check_roles(deltas: list[Json]) -> None:
    """The role stands in the first chunk, and only there."""
    assert ["assistant"] == [delta["role"] for delta in deltas if "role" in delta]
    assert "role" in deltas[0]


def _finish(choices: list[Json], failed: Failure | None) -> str | None:
    """One finish, in the last chunk; none in a stream that failed."""
    reasons = [choice["finish_reason"] for choice in choices]
    assert not any(reasons[:-1])
    assert (reasons[-1] is None) == (failed is not None)
    last: str | None = reasons[-1]
    return last


def _gathered(pieces: Iterable[Json]) -> tuple[Call, ...]:
    """The calls: indexes without a gap, the identity in the first piece and nowhere else."""
    calls: list[Json] = []
    for piece in pieces:
        if "id" in piece:
            assert len(calls) == piece["index"]
            assert {"index", "id", "type", "function"} == piece.keys()
            calls.append(piece | {"function": dict(piece["function"])})
            continue
        assert {"index", "function"} == piece.keys()
        assert {"arguments"} == piece["function"].keys()
        assert len(calls) - 1 == piece["index"]
        calls[-1]["function"]["arguments"] += piece["function"]["arguments"]
    return tuple(_call({key: call[key] for key in ("id", "type", "function")}) for call in calls)


# -- embeddings ----------------------------------------------------------------------------


async def embed(sdk: AsyncOpenAI, question: Ask, encoding: str | None) -> Vectors | Failure:
    """Ask for embeddings; without an encoding the SDK takes base64 and unpacks it itself."""
    create: Any = sdk.embeddings.create
    more = {} if encoding is None else {"encoding_format": encoding}
    try:
        answer = await create(**question.fields, **more)
    except APIStatusError as error:
        return failure(error, error.status_code)
    assert list(range(len(answer.data))) == [one.index for one in answer.data]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens
    vectors = [
        _unpacked(one.embedding) if encoding == "base64" else tuple(one.embedding)
        for one in answer.data
    ]
    return Vectors(tuple(vectors), answer.usage.prompt_tokens)


def _unpacked(text: str) -> tuple[float, ...]:
    packed = base64.b64decode(text, validate=True)
    return struct.unpack(f"<{len(packed) // 4}f", packed)
