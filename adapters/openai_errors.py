"""Errors of OpenAI-shaped upstreams, in whatever shape they are written.

Besides OpenAI's `{"error": {message, type, param, code}}` these occur: the same without the
outer object or in an array, a string as `error`, `detail` (a string, or a list of
`{loc, msg}`), an object as `message`, numbers as `code`, the error of whoever is behind the
upstream in `metadata.raw`, HTML, plain text, nothing.
Source: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from adapters import openai_kinds, retry_after
from adapters.errors import FINAL, Kind, UpstreamError

_OWN: Final = (Kind.REJECTED, Kind.TOO_LARGE)  # told best in the upstream's own type and code
_CALLERS: Final = (*_OWN, Kind.CONTEXT_LENGTH, Kind.MODEL_NOT_FOUND)
_MORE: Final = ("innererror", "failed_generation")  # why it was rejected: clients read them
_SECRET: Final = re.compile(
    r"\b(?:sk-[\w*.-]+|(?:xai-|gsk_|pplx-|csk-|hf_|fw_|tgp_)[\w*.-]{12,})", re.ASCII
)
_LIKE_SECRET: Final = re.compile(r"(?=[\w*-]*[\d*])[\w*-]{16,}")  # only where a key is refused
_LONGEST_TEXT: Final = 300  # of what is not JSON

_Said = dict[str, object]
_json = msgspec.json.Decoder()


def decode(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The error of an answer with this status."""
    said = _said(body)
    message = (
        _sentence(said) or _plain(body) or f"the upstream answered {status} without saying why"
    )
    return _error(status, message, said, headers)


def told(json: bytes) -> UpstreamError:
    """The error that a 200, or an event of a stream, tells. Its status, if any, is in it."""
    said = _said(json)
    numbers = (_text(said.get(name)) or "" for name in ("status_code", "status", "code"))
    status = next((int(n) for n in numbers if re.fullmatch("[45][0-9][0-9]", n)), None)
    if status is None:
        status = openai_kinds.status_of((_text(said.get("code")), _text(said.get("type"))))
    return _error(status, _sentence(said) or "the upstream failed without saying why", said, {})


def _error(
    status: int | None, message: str, said: _Said, headers: Mapping[str, str]
) -> UpstreamError:
    type_, code, param = (_text(said.get(name)) for name in ("type", "code", "param"))
    kind = openai_kinds.kind_of(status, (code, type_), param, message)
    retry = _retry(kind, f"{message} {_quota(said.get('details'))}", headers)
    own = kind in _OWN  # else our table says it better
    return UpstreamError(
        kind,
        _without_secrets(message, keys=status in {401, 403} or kind is Kind.CREDENTIAL),
        status=status,
        type=type_ if own else None,
        param=param if kind in _CALLERS else None,
        code=code if own else None,
        retry_after=None
        if kind in FINAL and not retry
        else retry_after.seconds(headers, said, message),
        retry=retry,
        more={name: said[name] for name in _MORE if own and name in said},
    )


def _retry(kind: Kind, text: str, headers: Mapping[str, str]) -> bool | None:
    """What the upstream says of it, else what its words do; None: as the kind is."""
    said = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    return False if said is None and openai_kinds.lasting(kind, text) else said


def _quota(details: object) -> object:
    """Which quota is used up, as Google's error details name it."""
    for detail in details if isinstance(details, list) else ():
        violations = detail.get("violations") if isinstance(detail, dict) else None
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                return violation.get("quotaId")
    return None


def _without_secrets(message: str, *, keys: bool) -> str:
    """`keys`: the message is about one."""
    message = _SECRET.sub("***", message)
    return _LIKE_SECRET.sub("***", message) if keys else message


def _said(body: bytes) -> _Said:
    """The object that holds the error's fields; an empty one for HTML and the like."""
    outer = _decoded(body)
    if isinstance(outer, list):
        outer = next((each for each in outer if isinstance(each, dict)), None)
    if not isinstance(outer, dict):
        return {}
    inner = outer.get("error")
    return inner if isinstance(inner, dict) else outer


def _decoded(text: bytes | str) -> object:
    try:
        return _json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _sentence(said: object, depth: int = 10) -> str:
    """The words of an error, however they are wrapped (within reason: `depth`)."""
    if isinstance(said, str):
        return said.strip()
    if isinstance(said, list) and depth:
        return "; ".join(text for each in said if (text := _sentence(each, depth - 1)))
    if not isinstance(said, dict) or not depth:
        return ""
    places = (said.get(name) for name in ("message", "msg", "detail", "error"))
    text = next((text for each in places if (text := _sentence(each, depth - 1))), "")
    cause = _cause(said.get("metadata"))
    if cause and cause not in text:
        return f"{text}: {cause}" if text else cause
    place = said.get("loc")
    steps = place if isinstance(place, list) else ()
    path = ".".join(str(step) for step in steps if isinstance(step, str | int))
    return f"{path}: {text}" if path else text


def _cause(metadata: object) -> str:
    """What the one behind the upstream said, as JSON or as text."""
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return _sentence(_decoded(raw) or _plain(raw.encode()) if isinstance(raw, str) else raw)


def _plain(body: bytes) -> str:
    """A body that is a text; nothing of JSON or a page, which tell a reader nothing."""
    text = " ".join(body[:_LONGEST_TEXT].decode("utf-8", "ignore").split())
    return text if text.isprintable() and not text.startswith(("<", "{", "[")) else ""


def _text(value: object) -> str | None:
    """`code` is a number at some upstreams; OpenAI's is a string."""
    return str(value) if isinstance(value, str | int) and value != "" else None
