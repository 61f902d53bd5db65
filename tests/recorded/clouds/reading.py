"""What the official SDK makes of the facade's answers, and that streams keep the rules.

What breaks a rule is an AssertionError that says which.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from typing import Any, Final

from openai import APIError, APIStatusError

from tests.recorded.clouds.asking import Asked, Client
from tests.recorded.clouds.exchanges import Json
from tests.recorded.clouds.failures import Failure
from tests.recorded.clouds.oracle import Call, Choice, Counts, Told, Vectors, parsed

IN_STREAM: Final = 200  # the status of a failure that came in a stream
_DONE: Final = b"data: [DONE]\n\n"


def holds(so: object, rule: str) -> None:
    """Raises AssertionError with the rule that is broken."""
    if not so:
        raise AssertionError(rule)


def failed(error: APIError) -> Failure:
    """The error object, which has all four keys."""
    body = error.body
    holds(isinstance(body, dict), "an error is an object")
    assert isinstance(body, dict)
    holds({"message", "type", "param", "code"} <= body.keys(), "an error has all four keys")
    holds(isinstance(body["message"], str) and body["message"], "an error says what it is")
    holds(body["type"] and isinstance(body["type"], str), "an error has a type")
    holds(isinstance(body["code"], str | None), "a code is a text or null")
    status = error.status_code if isinstance(error, APIStatusError) else IN_STREAM
    return Failure(status, body["code"] or "", (body["message"],))


async def chat(client: Client, asked: Asked) -> Told:
    """Ask for a chat, whole or as a stream."""
    try:
        answer = await client.chat(asked)
    except APIError as error:
        return Told(failure=failed(error))
    if not asked.streamed:
        return _whole(_json(answer))
    chunks: list[Json] = []
    failure = None
    try:
        async for chunk in answer:
            chunks.append(_json(chunk))  # noqa: PERF401 - those before an error count too
    except APIError as error:
        failure = failed(error)
    _check_lines(client.heard, ended=failure is None)
    return _streamed(chunks, failure, asked.usage)


async def embeddings(client: Client, asked: Asked, encoding: str | None) -> Vectors:
    """Ask for embeddings; without an encoding the SDK takes base64 and unpacks it itself."""
    try:
        answer = _json(await client.embed(asked, encoding))
    except APIError as error:
        return Vectors(failure=failed(error))
    rows = answer["data"]
    holds(list(range(len(rows))) == [row["index"] for row in rows], "the order is that of inputs")
    holds("list" == answer["object"], "an answer with embeddings is a list")
    vectors = tuple(_vector(row["embedding"]) for row in rows)
    return Vectors(vectors, answer["usage"]["prompt_tokens"])


def _vector(said: str | list[float]) -> tuple[float, ...]:
    if not isinstance(said, str):
        return tuple(said)
    packed = base64.b64decode(said, validate=True)
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def _json(model: Any) -> Json:  # noqa: ANN401 - any of the SDK's types
    said: Json = model.model_dump(exclude_unset=True, warnings=False)
    return said


# -- whole answers -------------------------------------------------------------------------


def _whole(answer: Json) -> Told:
    _check_head(answer, "chat.completion")
    indices = [choice["index"] for choice in answer["choices"]]
    holds(list(range(len(indices))) == indices, "choices are numbered from 0")
    choices = []
    for choice in answer["choices"]:
        message = choice["message"]
        holds("assistant" == message["role"], "the role of an answer is the assistant's")
        calls = tuple(_call(call) for call in message.get("tool_calls") or ())
        choices.append(_choice([message], calls, choice["finish_reason"]))
    return Told(tuple(choices), _counts(answer.get("usage")))


def _check_head(answer: Json, kind: str) -> None:
    holds(kind == answer.get("object"), f"the object is {kind}")
    for name in ("id", "created", "model"):
        holds(answer.get(name), f"an answer has its {name}")


def _choice(said: list[Json], calls: tuple[Call, ...], finish: str | None) -> Choice:
    return Choice(
        content=_added(said, "content"),
        reasoning="".join(
            each.get("reasoning_content") or each.get("reasoning") or "" for each in said
        ),
        refusal=_added(said, "refusal"),
        calls=calls,
        function=_function(said),
        finish=finish,
    )


def _added(said: list[Json], name: str) -> str:
    texts = [each.get(name) or "" for each in said]
    holds(all(isinstance(text, str) for text in texts), f"{name} is a text or null")
    return "".join(texts)


def _function(said: list[Json]) -> Call | None:
    pieces = [each["function_call"] for each in said if each.get("function_call")]
    if not pieces:
        return None
    name, text = (_added(pieces, key) for key in ("name", "arguments"))
    return Call("", name, parsed(text))


def _call(call: Json) -> Call:
    said = call[call["type"]]  # a function, or a custom tool
    text = said["arguments"] if call["type"] == "function" else said["input"]
    holds(isinstance(text, str), "arguments are a text")
    return Call(call["id"], said["name"], parsed(text))


def _counts(usage: Json | None) -> Counts | None:
    if usage is None:
        return None
    details = usage.get("completion_tokens_details") or {}
    return Counts(
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["total_tokens"],
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        details.get("reasoning_tokens"),
    )


# -- streams -------------------------------------------------------------------------------


def _check_lines(body: bytes, *, ended: bool) -> None:
    """Only data and comments; [DONE] at a proper end, and nowhere else."""
    holds(int(ended) == body.count(_DONE), "[DONE] stands at a proper end, once")
    holds(body.endswith(_DONE) or not ended, "nothing comes after [DONE]")
    holds(body.endswith(b"\n\n"), "every event is ended")
    lines = body.split(b"\n")
    holds(all(not line or line.startswith((b"data: ", b":")) for line in lines), "lines are data")


def _streamed(chunks: list[Json], failure: Failure | None, usage: bool) -> Told:
    counts = _counts(_last(chunks, usage)) if failure is None else None
    for chunk in chunks:
        _check_head(chunk, "chat.completion.chunk")
    heads = {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}
    holds(len(heads) == 1, "a stream has one id, created and model")
    said: dict[int, list[Json]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        said.setdefault(choice["index"], []).append(choice)
    holds(list(range(len(said))) == sorted(said), "choices are numbered from 0")
    told = tuple(_added_up(pieces) for _, pieces in sorted(said.items()))
    holds(failure or all(choice.finish for choice in told), "every choice ends")
    return Told(told, counts, failure)


def _last(chunks: list[Json], asked: bool) -> Json | None:
    """Usage stands in the last chunk alone, which has no choices, if it was asked."""
    given = [place for place, chunk in enumerate(chunks) if chunk.get("usage")]
    holds(not given or asked, "no usage that was not asked")
    if not given:
        return None
    holds(given == [len(chunks) - 1], "usage stands in the last chunk alone")
    last = chunks[-1]
    holds(last["choices"] == [], "the chunk with usage has no choices")
    usage: Json = last["usage"]
    return usage


def _added_up(pieces: list[Json]) -> Choice:
    deltas = [piece["delta"] for piece in pieces]
    roles = [delta.get("role") for delta in deltas]
    holds(roles[0] == "assistant", "the role stands in the first delta")
    holds(not any(roles[1:]), "the role stands in the first delta alone")
    ends = [piece["finish_reason"] for piece in pieces if piece.get("finish_reason")]
    holds(len(ends) <= 1, "a choice ends once")
    calls = _gathered(piece for delta in deltas for piece in delta.get("tool_calls") or ())
    return _choice(deltas, calls, ends[0] if ends else None)


def _gathered(pieces: Iterable[Json]) -> tuple[Call, ...]:
    """The calls: indexes without a gap, the identity in the first piece and nowhere else."""
    calls: list[Json] = []
    for piece in pieces:
        if piece["index"] == len(calls):
            holds(piece.get("id") and piece.get("type"), "a call begins with its id and type")
            calls.append(piece | {"function": dict(piece["function"])})
            continue
        holds(0 <= piece["index"] < len(calls), "calls are numbered from 0")
        holds(not {"id", "type"} & piece.keys(), "a call says its id and type once")
        holds("name" not in piece["function"], "a call says its name once")
        begun = calls[piece["index"]]["function"]
        begun["arguments"] = begun.get("arguments", "") + piece["function"]["arguments"]
    return tuple(_call(call) for call in calls)
