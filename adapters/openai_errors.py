"""Errors of OpenAI-shaped upstreams, in whatever shape: status first, codes next, prose last.

Besides OpenAI's `{"error": {message, type, param, code}}` these occur: the same without the
outer object, a string as `error`, `detail` (a string, or a list of `{loc, msg}`), numbers as
`code`, HTML, plain text, nothing.
Source: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from adapters.errors import Kind, UpstreamError

_KINDS: Final = {
    401: Kind.CREDENTIAL,
    402: Kind.PAYMENT,
    403: Kind.CREDENTIAL,
    408: Kind.TIMEOUT,
    429: Kind.RATE_LIMITED,
    502: Kind.GATEWAY,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
_CODES: Final = {  # values of `code`, or of `type`, that say more than the status
    "context_length_exceeded": Kind.CONTEXT_LENGTH,
    "exceed_context_size_error": Kind.CONTEXT_LENGTH,
    "insufficient_quota": Kind.PAYMENT,
    "model_not_found": Kind.MODEL_NOT_FOUND,
}
_REFINED: Final = (Kind.REJECTED, Kind.RATE_LIMITED, Kind.FAILED)
_CALLERS: Final = (Kind.REJECTED, Kind.CONTEXT_LENGTH, Kind.MODEL_NOT_FOUND)
_TOO_LONG: Final = re.compile(r"context (length|size|window)|too many tokens", re.IGNORECASE)
_NO_MODEL: Final = re.compile(r"\bmodel\b.*(not found|not exist)", re.IGNORECASE | re.DOTALL)
_SECRET: Final = re.compile(r"\bsk-[\w*.-]+")
_LIKE_SECRET: Final = re.compile(r"(?=[\w*-]*[\d*])[\w*-]{16,}")  # only where a key is refused

_Said = dict[str, object]
_json = msgspec.json.Decoder()


def decode(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The error of an answer with this status."""
    said = _said(body)
    message = _sentence(said) or f"the upstream answered {status} without saying why"
    return _error(status, message, said, _retry_after(headers))


def told(json: bytes) -> UpstreamError:
    """The error that a 200, or an event of a stream, tells. Its status, if any, is in it."""
    said = _said(json)
    numbers = (said.get(name) for name in ("status_code", "status", "code"))
    status = next((int(n) for n in map(str, numbers) if re.fullmatch("[45][0-9][0-9]", n)), None)
    return _error(status, _sentence(said) or "the upstream failed without saying why", said, None)


def _error(
    status: int | None, message: str, said: _Said, retry_after: float | None
) -> UpstreamError:
    type_, code, param = (_text(said.get(name)) for name in ("type", "code", "param"))
    kind = _kind(status, param, message)
    if kind in _REFINED:
        kind = _CODES.get(code or "") or _CODES.get(type_ or "") or kind
    own = kind is Kind.REJECTED  # else our table says it better
    message = _SECRET.sub("***", message)
    if kind is Kind.CREDENTIAL:
        message = _LIKE_SECRET.sub("***", message)
    return UpstreamError(
        kind,
        message,
        status=status,
        type=type_ if own else None,
        param=param if kind in _CALLERS else None,
        code=code if own else None,
        retry_after=retry_after,
    )


def _kind(status: int | None, param: str | None, message: str) -> Kind:
    if status is None:
        return Kind.FAILED
    if status == 404 and (param == "model" or _NO_MODEL.search(message)):
        return Kind.MODEL_NOT_FOUND
    if status in {400, 413, 422} and _TOO_LONG.search(message):
        return Kind.CONTEXT_LENGTH
    return _KINDS.get(status, Kind.REJECTED if status < 500 else Kind.FAILED)


def _said(body: bytes) -> _Said:
    """The object that holds the error's fields; an empty one for HTML and the like."""
    try:
        outer = _json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(outer, dict):
        return {}
    inner = outer.get("error")
    return inner if isinstance(inner, dict) else outer


def _sentence(said: object) -> str:
    """The words of an error, however they are wrapped."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return "; ".join(text for text in map(_sentence, said) if text)
    if not isinstance(said, dict):
        return ""
    words = (_sentence(said.get(name)) for name in ("message", "msg", "detail", "error"))
    text = next((text for text in words if text), "")
    place = said.get("loc")
    return f"{'.'.join(map(str, place))}: {text}" if isinstance(place, list) else text


def _text(value: object) -> str | None:
    """`code` is a number at some upstreams; OpenAI's is a string."""
    return str(value) if isinstance(value, str | int) and value != "" else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms`, or `retry-after` as seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds:
        return milliseconds / 1000
    said = headers.get("retry-after")
    seconds = _number(said)
    return seconds if seconds is not None else _until(said, headers.get("date"))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(then: str | None, now: str | None) -> float | None:
    """The seconds between two HTTP dates; the upstream's own clock says what time it is."""
    try:
        wait = parsedate_to_datetime(then or "") - parsedate_to_datetime(now or "")
    except (TypeError, ValueError):
        return None
    return max(wait.total_seconds(), 0.0)
