"""Ollama's errors, read: status first, then the sentences its versions are known to say.

Ollama has no error codes, so the table's needles are its words; a row matches only within
its statuses. Errors arrive as an HTTP status with `{"error": text}`, or as such a line in
the middle of a stream (then the status is taken as 500).
Source: https://github.com/ollama/ollama/blob/main/docs/api/errors.mdx
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from adapters import retry_after
from adapters.errors import Kind, UpstreamError

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # as JSON

_BUSY_RETRY: Final = 2.0  # seconds; Ollama names none when its queue is full
_REJECTING: Final = (400, 500, 501)


class _Row(Struct, frozen=True):
    """What an error is that holds one of `needles`. `statuses` None: whatever its status."""

    needles: tuple[str, ...]
    kind: Kind = Kind.REJECTED
    status: int = 400
    code: str | None = None
    param: str | None = None
    statuses: tuple[int, ...] | None = _REJECTING


_ROWS: Final = (
    _Row(
        (
            "exceed_context_size_error",
            "exceeds the available context",
            "input length exceeds",
            "prompt is longer than the context",
            "prompt too long; exceeded max context length",
        ),
        Kind.CONTEXT_LENGTH,
    ),
    _Row(("does not support tools",), code="unsupported_parameter", param="tools"),
    _Row(
        ("does not support thinking", "think value"),
        code="unsupported_value",
        param="reasoning_effort",
    ),
    _Row(("does not support insert",), code="unsupported_parameter", param="suffix"),
    _Row(("does not support",), code="unsupported_model", param="model"),
    _Row(("top_logprobs must be",), code="invalid_value", param="top_logprobs"),
    _Row(("model is required", "invalid model name"), param="model"),
    _Row(
        ("invalid format:", "invalid JSON schema in format"),
        code="invalid_value",
        param="response_format",
    ),
    _Row(
        (
            "illegal base64 data",
            "image: unknown format",
            "Failed to load image",
            "failed to decode image",
            "failed to process image",
            "image input is not supported",
            "invalid image",
        ),
        code="invalid_image",
        param="messages",
    ),
    _Row(
        ("time: invalid duration", "time: missing unit", "time: unknown unit"),
        code="invalid_value",
        param="keep_alive",
    ),
    _Row(("contains NaN", "unsupported value: NaN"), Kind.FAILED, status=500),
    _Row(
        (
            "out of memory",
            "requires more system memory",
            "cudaMalloc failed",
            "server busy",
            "maximum pending requests",
        ),
        Kind.OVERLOADED,
        status=503,
        statuses=None,
    ),
)
_KINDS: Final = {
    401: Kind.CREDENTIAL,
    402: Kind.PAYMENT,
    403: Kind.CREDENTIAL,
    404: Kind.MODEL_NOT_FOUND,
    405: Kind.GATEWAY,  # whatever answers there, it is no Ollama
    408: Kind.TIMEOUT,
    429: Kind.RATE_LIMITED,
    499: Kind.GATEWAY,
    502: Kind.GATEWAY,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
}
_OPTION: Final = re.compile(r'option "([^"]+)" must be of type')


def decode(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The error of an answer with this status."""
    text = _words(body) or f"Ollama answered {status} without saying why"
    option = _OPTION.search(text)
    row = _row(status, body.decode("utf-8", "replace"))
    if option:
        row = _Row((), code="invalid_type", param=option[1])
    elif row is None:
        row = _by_status(status, text)
    wait = retry_after.seconds(headers, {}, "") or None
    if row.kind is Kind.OVERLOADED:
        wait = wait or _BUSY_RETRY
    return UpstreamError(
        row.kind,
        text,
        status=row.status,
        code=row.code,
        param=row.param,
        retry_after=wait,
    )


def _row(status: int, said: str) -> _Row | None:
    for row in _ROWS:
        fits = row.statuses is None or status in row.statuses
        if fits and any(needle in said for needle in row.needles):
            return row
    return None


def _by_status(status: int, text: str) -> _Row:
    kind = _KINDS.get(status, Kind.REJECTED if status < 500 else Kind.FAILED)
    if kind is not Kind.MODEL_NOT_FOUND:
        return _Row((), kind, status)
    if "model" in text:
        return _Row((), kind, status, param="model")
    return _Row((), Kind.GATEWAY, status)  # a path it does not know: no Ollama, or not its root


def _words(body: bytes) -> str:
    """What an error says to a reader, and where to sign in if that is the trouble."""
    try:
        error = msgspec.json.decode(body)
    except UNREADABLE:
        return _plain(body)
    signin_url = error.get("signin_url") if isinstance(error, dict) else None
    text = _innermost(error).replace("registry.ollama.ai/library/", "") or _plain(body)
    return f"{text} (sign in: {signin_url})" if signin_url else text


def _innermost(error: object) -> str:
    """A newer server relays its engine's error object, as it is or written out in a string."""
    while True:
        if isinstance(error, dict):
            error = error.get("error") or error.get("message")
        elif isinstance(error, str) and error.startswith("{"):
            try:
                error = msgspec.json.decode(error)
            except UNREADABLE:
                return str(error)
        else:
            return error if isinstance(error, str) else ""


def _plain(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else text
