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

from adapters.errors import Kind, UpstreamError

_REJECTED: Final = (400, 500, 501)
_ANY: Final = tuple(range(400, 600))
_BUSY_RETRY: Final = 2.0  # seconds; Ollama names none when its queue is full


class _Row(Struct, frozen=True):
    statuses: tuple[int, ...]
    needles: tuple[str, ...]
    kind: Kind
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = 400
    retry_after: float | None = None


_ROWS: Final = (
    _Row(
        _REJECTED,
        (
            "exceed_context_size_error",
            "exceeds the available context",
            "input length exceeds",
            "prompt is longer than the context",
            "prompt too long; exceeded max context length",
        ),
        Kind.CONTEXT_LENGTH,
        param="messages",
    ),
    _Row(
        _REJECTED,
        ("does not support tools",),
        Kind.REJECTED,
        code="unsupported_parameter",
        param="tools",
    ),
    _Row(
        _REJECTED,
        ("does not support thinking", "think value", "invalid think"),
        Kind.REJECTED,
        code="unsupported_value",
        param="reasoning_effort",
    ),
    _Row(
        _REJECTED,
        ("does not support",),
        Kind.REJECTED,
        code="unsupported_model",
        param="model",
    ),
    _Row(
        _REJECTED,
        ("top_logprobs must be",),
        Kind.REJECTED,
        code="invalid_value",
        param="top_logprobs",
    ),
    _Row(
        _REJECTED,
        ("model is required", "invalid model name"),
        Kind.REJECTED,
        param="model",
    ),
    _Row(
        _REJECTED,
        ("invalid format", "invalid JSON schema in format"),
        Kind.REJECTED,
        code="invalid_value",
        param="response_format",
    ),
    _Row(
        _REJECTED,
        (
            "illegal base64 data",
            "image: unknown format",
            "Failed to load image",
            "failed to decode image",
            "failed to process image",
            "image input is not supported",
            "invalid image",
        ),
        Kind.REJECTED,
        code="invalid_image",
        param="messages",
    ),
    _Row(
        _REJECTED,
        ("time: invalid duration", "time: missing unit", "time: unknown unit"),
        Kind.REJECTED,
        code="invalid_value",
        param="keep_alive",
    ),
    _Row(_REJECTED, ("NaN",), Kind.FAILED, status=500),
    _Row(
        _ANY,
        ("out of memory", "requires more system memory", "cudaMalloc failed"),
        Kind.OVERLOADED,
        status=None,
        retry_after=_BUSY_RETRY,
    ),
    _Row(
        _ANY,
        ("server busy", "maximum pending requests"),
        Kind.OVERLOADED,
        status=None,
        retry_after=_BUSY_RETRY,
    ),
)
_KINDS: Final = {
    401: Kind.CREDENTIAL,
    402: Kind.PAYMENT,
    403: Kind.CREDENTIAL,
    404: Kind.MODEL_NOT_FOUND,
    408: Kind.TIMEOUT,
    429: Kind.RATE_LIMITED,
    499: Kind.GATEWAY,
    502: Kind.GATEWAY,
    503: Kind.OVERLOADED,
    504: Kind.GATEWAY,
}
_OPTION: Final = re.compile(r'option "([^"]+)" must be of type')


class _Body(Struct, frozen=True):
    error: msgspec.Raw = msgspec.Raw(b'""')
    message: str = ""
    signin_url: str = ""


_body = msgspec.json.Decoder(_Body)


def decode(
    status: int, headers: Mapping[str, str], body: bytes, param: str = "messages"
) -> UpstreamError:
    """The error of an answer with this status. `param` names the field that holds the input."""
    text, signin_url = _unwrapped(body)
    if not text:
        text = f"Ollama answered {status} without saying why"
    if signin_url:
        text = f"{text} (sign in: {signin_url})"
    retry_after = _seconds(headers.get("retry-after"))
    match = _OPTION.search(text)
    if match:
        return UpstreamError(
            Kind.REJECTED, text, status=400, code="invalid_type", param=match.group(1)
        )
    for row in _ROWS:
        if status in row.statuses and any(needle in text for needle in row.needles):
            return UpstreamError(
                row.kind,
                text,
                status=row.status or status,
                type=row.type,
                code=row.code,
                param=param if row.param == "messages" else row.param,
                retry_after=retry_after or row.retry_after,
            )
    kind = _KINDS.get(status, Kind.REJECTED if status < 500 else Kind.FAILED)
    if status == 404 and not text.startswith("model"):
        kind = Kind.GATEWAY
    model = "model" if kind is Kind.MODEL_NOT_FOUND else None
    busy = _BUSY_RETRY if kind is Kind.OVERLOADED else None
    return UpstreamError(kind, text, status=status, param=model, retry_after=retry_after or busy)


def _unwrapped(body: bytes) -> tuple[str, str]:
    """The words of an error, however deep they are wrapped, and a sign-in address."""
    try:
        read = _body.decode(body)
        error = msgspec.json.decode(read.error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _plain(body), ""
    if isinstance(error, dict):  # a newer server relays its engine's own error object
        error = error.get("message")
    text = error if isinstance(error, str) else ""
    if text.startswith("{"):
        inner, _ = _unwrapped(text.encode())
        kind = "exceed_context_size_error"  # the type says it, whatever the words are
        text = f"{inner} ({kind})" if kind in text and kind not in inner else inner or text
    return (text or read.message).replace("registry.ollama.ai/library/", ""), read.signin_url


def _plain(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") else text


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None
