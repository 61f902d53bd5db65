"""What an OpenAI client must get of a recorded answer: read here anew, without the adapters.

Only the recording and the mapping of Ollama's fields onto OpenAI's are known to this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from tests.recorded.ollama.exchanges import Exchange, Json

_CALLER: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_INPUTS: Final = {"/api/chat": "messages", "/api/generate": "prompt", "/api/embed": "input"}


class Failure(NamedTuple):
    """The four keys of an error, and its status; the message is one that holds this one."""

    status: int
    type: str
    code: str | None
    param: str | None
    message: str = ""


class Token(NamedTuple):
    """A token that was spoken. `top` are its alternatives: text and log probability."""

    text: str
    logprob: float
    bytes: bytes
    top: tuple[tuple[str, float], ...] = ()


class Counts(NamedTuple):
    prompt: int
    completion: int
    reasoning: int | None = None
    cached: int | None = None


class Call(NamedTuple):
    """A tool call; "" for an id that the facade has to make up."""

    id: str
    name: str
    arguments: Json


class Told(NamedTuple):
    """An answer as far as it came; with a failure it has no finish and no counts."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    tokens: tuple[Token, ...] | None = None
    finish: str | None = None
    counts: Counts | None = None
    created: int | None = None
    failure: Failure | None = None

    @property
    def begun(self) -> bool:
        """Whether anything came that commits to a 200."""
        return bool(self.content or self.reasoning or self.calls or self.finish)


class Vectors(NamedTuple):
    vectors: tuple[tuple[float, ...], ...]
    prompt: int


# -- answers -------------------------------------------------------------------------------


def told(exchange: Exchange) -> Told:
    """What is told of an answer of /api/chat or /api/generate."""
    if exchange.status != 200:
        return Told(failure=failure(exchange.status, exchange.body, exchange.path))
    lines: list[Json] = []
    for line in exchange.lines:
        if "error" in line:
            said = json.dumps(line).encode()
            return _spoken(exchange, lines)._replace(failure=failure(500, said, exchange.path))
        lines.append(line)
        if line["done"]:
            return _finished(exchange, lines)
    return _spoken(exchange, lines)._replace(
        failure=Failure(502, _SERVER, "upstream_incomplete", None)
    )


def _spoken(exchange: Exchange, lines: Sequence[Json]) -> Told:
    messages = [_message(line) for line in lines]
    calls = [
        Call(call.get("id", ""), call["function"]["name"], call["function"]["arguments"])
        for message in messages
        for call in message.get("tool_calls", ())
    ]
    return Told(
        content="".join(message.get("content", "") for message in messages),
        reasoning="".join(message.get("thinking", "") for message in messages),
        calls=tuple(calls),
        tokens=_asked_tokens(exchange, lines),
        created=unix_time(lines[0]["created_at"]) if lines else None,
    )


def _finished(exchange: Exchange, lines: Sequence[Json]) -> Told:
    spoken, last = _spoken(exchange, lines), lines[-1]
    thoughts = sum(
        len(line.get("logprobs", "1")) for line in lines if _message(line).get("thinking")
    )
    # Constrained after thinking is generated twice, and Ollama counts the second time only.
    uncounted = thoughts if "format" in exchange.request else 0
    ended = "length" if last.get("done_reason") == "length" else "stop"
    return spoken._replace(
        finish="tool_calls" if spoken.calls and ended == "stop" else ended,
        counts=Counts(
            prompt=last.get("prompt_eval_count", 0),
            completion=last.get("eval_count", 0) + uncounted,
            reasoning=thoughts or None,
            cached=last.get("prompt_eval_cached_count"),
        ),
    )


def _message(line: Json) -> Json:
    if "message" in line:
        message: Json = line["message"]
        return message
    return {"content": line.get("response", ""), "thinking": line.get("thinking", "")}


def unix_time(stamp: str) -> int:
    """RFC 3339 with any number of digits, as Unix seconds."""
    whole = re.sub(r"\.\d+", "", stamp).replace("Z", "+00:00")
    return int(datetime.fromisoformat(whole).timestamp())


# -- log probabilities ---------------------------------------------------------------------


def _asked_tokens(exchange: Exchange, lines: Sequence[Json]) -> tuple[Token, ...] | None:
    if not exchange.request.get("logprobs"):
        return None
    tokens = _tokens(lines)
    if exchange.path == "/api/generate":  # text completions say no bytes
        return tuple(token._replace(bytes=b"") for token in tokens)
    return tokens


def _tokens(lines: Sequence[Json]) -> tuple[Token, ...]:
    """The tokens of the content: not those of thinking, nor those that became a tool call."""
    found: list[Token] = []
    waiting: list[Json] = []
    for line in lines:
        message = _message(line)
        waiting += line.get("logprobs", ())
        if message.get("content"):
            found += _cut(waiting, message["content"].encode())
        if any(message.get(kind) for kind in ("content", "thinking", "tool_calls")):
            waiting = []
    return tuple(found)


def _cut(entries: Sequence[Json], text: bytes) -> list[Token]:
    """The entries that spell the text, each with its own bytes of it.

    Before them may stand markup that became no text; a stop sequence may have cut the last.
    """
    for first in range(len(entries)):
        found: list[Token] = []
        start = 0
        for entry in entries[first:]:
            size = _spelled(entry["token"], text[start:])
            if size is None or start == len(text):
                break
            top = tuple((one["token"], one["logprob"]) for one in entry.get("top_logprobs", ()))
            cut = text[start : start + size]
            found.append(Token(entry["token"], entry["logprob"], cut, top))
            start += len(cut)
        if start == len(text):
            return found
    raise AssertionError("the log probabilities do not spell the content")


def _spelled(token: str, text: bytes) -> int | None:
    """How many bytes of the text's beginning the token is; None if it is not its beginning.

    A byte of a character that spans tokens is written as one U+FFFD, which may also be itself.
    """
    size = 0
    for sign in token:
        spelled = sign.encode()
        if sign == "\ufffd" and not text[size:].startswith(spelled):
            spelled = text[size : size + 1]
        if not spelled.startswith(text[size : size + len(spelled)]):
            return None
        size += len(spelled)
    return size


# -- embeddings ----------------------------------------------------------------------------


def embedded(exchange: Exchange) -> Vectors | Failure:
    """What is told of an answer of /api/embed."""
    if exchange.status != 200:
        return failure(exchange.status, exchange.body, exchange.path)
    (answer,) = exchange.lines
    vectors = tuple(tuple(vector) for vector in answer["embeddings"])
    texts = exchange.request["input"]
    if len(vectors) != (1 if isinstance(texts, str) else len(texts)):
        return Failure(502, _SERVER, "upstream_broken", None)
    wanted = exchange.request.get("dimensions")
    if wanted is not None and any(len(vector) != wanted for vector in vectors):
        return Failure(400, _CALLER, "invalid_value", "dimensions")
    return Vectors(vectors, answer.get("prompt_eval_count", 0))


# -- errors --------------------------------------------------------------------------------

_INPUT: Final = "the field that holds the input"
# What is said, in lower case: code and param of a 400.
_REJECTED: Final = {
    "exceed_context_size_error": ("context_length_exceeded", _INPUT),
    "exceeds the available context": ("context_length_exceeded", _INPUT),
    "input length exceeds the context length": ("context_length_exceeded", _INPUT),
    "prompt is longer than the context": ("context_length_exceeded", _INPUT),
    "prompt too long; exceeded max context": ("context_length_exceeded", _INPUT),
    "does not support tools": ("unsupported_parameter", "tools"),
    "does not support thinking": ("unsupported_value", "reasoning_effort"),
    "think value": ("unsupported_value", "reasoning_effort"),
    "does not support insert": ("unsupported_parameter", "suffix"),
    "does not support chat": ("unsupported_model", "model"),
    "does not support generate": ("unsupported_model", "model"),
    "does not support embeddings": ("unsupported_model", "model"),
    "top_logprobs must be": ("invalid_value", "top_logprobs"),
    "model is required": (None, "model"),
    "invalid model name": (None, "model"),
    "invalid format:": ("invalid_value", "response_format"),
    "invalid json schema in format": ("invalid_value", "response_format"),
    "illegal base64 data": ("invalid_image", "messages"),
    "image: unknown format": ("invalid_image", "messages"),
    "failed to load image": ("invalid_image", "messages"),
    "time: missing unit": ("invalid_value", "keep_alive"),
    "time: invalid duration": ("invalid_value", "keep_alive"),
}
_BY_STATUS: Final = {
    401: (502, _SERVER, "upstream_auth", None),
    403: (502, _SERVER, "upstream_auth", None),
    404: (404, _CALLER, "model_not_found", "model"),
    429: (429, "rate_limit_error", "rate_limit_exceeded", None),
    500: (500, _SERVER, "upstream_error", None),
    502: (502, _SERVER, "bad_gateway", None),
    503: (503, _SERVER, "server_overloaded", None),
}


def failure(status: int, body: bytes, path: str) -> Failure:
    """What is told of an error's answer, or of an error's line (then the status is 500)."""
    text = _said(body)
    option = re.search(r'option "(\w+)" must be of type', text)
    if option:
        return Failure(400, _CALLER, "invalid_type", option[1], text)
    for needle, (code, param) in _REJECTED.items():
        if status in (400, 500, 501) and needle in text.lower():
            return Failure(400, _CALLER, code, _INPUTS[path] if param == _INPUT else param, text)
    if "NaN" in text:
        return Failure(500, _SERVER, "upstream_error", None, text)
    if "requires more system memory" in text:
        return Failure(503, _SERVER, "server_overloaded", None, text)
    if status == 400:
        return Failure(400, _CALLER, None, None, text)
    return Failure(*_BY_STATUS[status], text)


def _said(body: bytes) -> str:
    """The innermost message: newer servers write an error object into the error's string."""
    text = body.decode()
    while text.startswith("{"):
        error = json.loads(text)["error"]
        text = error if isinstance(error, str) else error.get("message", "")
    return text.replace("registry.ollama.ai/library/", "")
