"""What the upstream answers, as bytes that are built once.

In the form of the real servers: a head with their fields, one HTTP chunk for each event or
line, and of Ollama a time in every line.
Sources: https://platform.openai.com/docs/api-reference/chat and
https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from tests.bench.rows import CHUNKS, FLOATS

_encode = msgspec.json.encode
_WORDS: Final = (
    *("At", " noon", " the", " light", " of", " the", " sun", " takes", " the", " short"),
    *(" way", " down", ";", " blue", " is", " sc", "attered", " most", " –", "."),
)
TOKENS: Final[Mapping[str, tuple[str, ...]]] = {
    "chat": _WORDS,
    "burst": _WORDS * (CHUNKS // len(_WORDS)),
    "paced": _WORDS * (CHUNKS // len(_WORDS)),
}
VECTOR: Final = tuple(round(math.sin(number + 1) / 20, 9) for number in range(FLOATS))
_DIGEST: Final = "3f1c" * 16
_DETAILS: Final = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "8.0B",
    "quantization_level": "Q4_K_M",
}
_TIMES: Final = {
    "total_duration": 860299723,
    "load_duration": 73013408,
    "prompt_eval_count": 81,
    "prompt_eval_duration": 446483999,
    "eval_duration": 331408957,
}


class _Options(Struct, frozen=True):
    include_usage: bool | None = None


class Asked(Struct, frozen=True):
    """What decides the answer. `model` names its kind."""

    model: str = ""
    stream: bool | None = None
    stream_options: _Options | None = None


Pieces = tuple[bytes, ...]  # what is written at a time


def answer(path: bytes, asked: Asked) -> Pieces:
    """The answer to a request, head and framing included."""
    kind = asked.model.rpartition("/")[2].partition(":")[0]
    options = asked.stream_options
    return _built(path, kind, asked.stream, bool(options and options.include_usage))


@functools.cache
def _built(path: bytes, kind: str, streamed: bool | None, counted: bool) -> Pieces:
    match path:
        case b"/v1/chat/completions" if kind in TOKENS:
            return _events(kind, counted) if streamed else _whole(_completion(kind))
        case b"/api/chat" if kind in TOKENS:
            return _whole(_said(kind)) if streamed is False else _lines(kind)
        case _ if path in _FIXED:
            return _whole(_FIXED[path]())
    return _whole({"error": "there is no such thing here"}, b"404 Not Found")


def _whole(body: object, status: bytes = b"200 OK") -> Pieces:
    json = _encode(body)
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n" % status
    return (head + b"content-length: %d\r\n\r\n" % len(json) + json,)


def _streamed(kind: str, media: bytes, said: Iterable[bytes]) -> Pieces:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % media
    framed = [b"%x\r\n%b\r\n" % (len(each), each) for each in said]
    framed[0] = head + framed[0]
    framed[-1] += b"0\r\n\r\n"
    return tuple(framed) if kind == "paced" else (b"".join(framed),)


# -- OpenAI ----------------------------------------------------------------------------------


def _head(form: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-CXWVTaBcDefGhIjKlMnOpQrStUvWx",
        "object": form,
        "created": 1795263021,
        "model": "gpt-bench-2026-08-06",
        "system_fingerprint": "fp_0123456789",
    }


def _usage(kind: str) -> dict[str, object]:
    count = len(TOKENS[kind])
    return {
        "prompt_tokens": 81,
        "completion_tokens": count,
        "total_tokens": 81 + count,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _completion(kind: str) -> dict[str, object]:
    text = "".join(TOKENS[kind])
    message: dict[str, object] = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = _head("chat.completion")
    return head | {"choices": [choice], "usage": _usage(kind), "service_tier": "default"}


def _events(kind: str, counted: bool) -> Pieces:
    head, unknown = _head("chat.completion.chunk"), {"usage": None} if counted else {}

    def event(delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: %b\n\n" % _encode(head | {"choices": [choice]} | unknown)

    said = [event({"role": "assistant", "content": "", "refusal": None})]
    said += [event({"content": token}) for token in TOKENS[kind]]
    said.append(event({}, "stop"))
    if counted:
        last = head | {"choices": [], "usage": _usage(kind)}
        said.append(b"data: %b\n\n" % _encode(last))
    said[-1] += b"data: [DONE]\n\n"
    return _streamed(kind, b"text/event-stream; charset=utf-8", said)


def _embeddings() -> dict[str, object]:
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": VECTOR}],
        "model": "text-embedding-bench",
        "usage": {"prompt_tokens": 14, "total_tokens": 14},
    }


# -- Ollama ----------------------------------------------------------------------------------


def _line(number: int, content: str) -> dict[str, object]:
    return {
        "model": "bench",
        "created_at": f"2026-11-21T08:12:58.{43502869 + 4711 * number:09}Z",
        "message": {"role": "assistant", "content": content},
    }


def _end(kind: str) -> dict[str, object]:
    return {"done": True, "done_reason": "stop", **_TIMES, "eval_count": len(TOKENS[kind]) + 1}


def _said(kind: str) -> dict[str, object]:
    return _line(0, "".join(TOKENS[kind])) | _end(kind)


def _lines(kind: str) -> Pieces:
    tokens = TOKENS[kind]
    said = [_line(number, token) | {"done": False} for number, token in enumerate(tokens)]
    said.append(_line(len(tokens), "") | _end(kind))
    return _streamed(kind, b"application/x-ndjson", [_encode(line) + b"\n" for line in said])


def _embedded() -> dict[str, object]:
    times = {"total_duration": 8602997, "load_duration": 730134, "prompt_eval_count": 14}
    return {"model": "bench", "embeddings": [VECTOR], **times}


def _listed(**more: object) -> dict[str, object]:
    return {
        "models": [
            {"name": name, "model": name, "digest": _DIGEST, "size": 4661224676}
            | {"details": _DETAILS, **more}
            for name in ("chat:latest", "embeddings:latest", "burst:latest", "paced:latest")
        ]
    }


_FIXED: Final[Mapping[bytes, Callable[[], object]]] = {
    b"/v1/embeddings": _embeddings,
    b"/v1/models": lambda: {"object": "list", "data": []},
    b"/api/embed": _embedded,
    b"/api/tags": lambda: _listed(modified_at="2026-11-21T08:11:27.46301299Z"),
    b"/api/ps": lambda: _listed(expires_at="2026-11-21T08:41:27.963073161Z", size_vram=0),
    b"/api/show": lambda: {"details": _DETAILS, "capabilities": ["completion", "tools"]},
    b"/api/version": lambda: {"version": "0.24.0"},
}
