"""What an OpenAI client must be told of a recorded error: read here anew, without the adapters."""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

_AUTH: Final = (502, "upstream_auth")
_OVERLOADED: Final = (503, "server_overloaded")
_BY_STATUS: Final = {
    401: _AUTH,
    403: _AUTH,
    498: _OVERLOADED,
    502: (502, "bad_gateway"),
    503: _OVERLOADED,
    529: _OVERLOADED,
}
_TOO_LONG: Final = re.compile(
    r"maximum context length|max context length|available context|messages is too long"
)
_UNWANTED: Final = re.compile(r"violates usage guidelines")  # the prompt, not the key
_CAPACITY: Final = ("capacity_exceeded", "service_tier_capacity_exceeded")
_NO_MODEL: Final = re.compile(r"model.* (does not exist|not found)")
# What may be a key, whole or masked by the upstream: whether it is told is not looked at.
_SECRET: Final = re.compile(r"\bsk-[\w*.-]+|(?=[\w*-]*[\d*])[\w*-]{16,}|[\w*-]*\*{3}[\w*-]*")


class Failure(NamedTuple):
    """`words` all stand in the message. `code` "": any, if it is a text or null."""

    status: int
    code: str = ""
    words: tuple[str, ...] = ()


def failure(status: int | None, body: bytes) -> Failure:
    """What is told of an error's answer; without a status, of an error inside a 200."""
    said = _object(body)
    words = tuple(_words(said))
    if status is None:
        numbers = (said.get(name) for name in ("status_code", "status", "code"))
        status = next((int(each) for each in map(str, numbers) if each.isdigit()), 500)
    return Failure(*_told(status, said.get("type"), body.decode()), words)


def _told(status: int, kind: object, text: str) -> tuple[int, str]:
    """Status and code, by the most that is known."""
    if status == 400 and _TOO_LONG.search(text):
        return 400, "context_length_exceeded"
    if status == 404 and _NO_MODEL.search(text):
        return 404, "model_not_found"
    if status == 403 and _UNWANTED.search(text):
        return 403, ""
    if status == 402 or kind == "insufficient_quota":
        return status, "insufficient_quota"
    return _OVERLOADED if kind in _CAPACITY else _BY_STATUS.get(status, (status, ""))


def _object(body: bytes) -> dict[str, object]:
    try:
        outer = json.loads(body)
    except ValueError:
        return {}  # HTML: nothing of it need survive
    inner = outer.get("error")
    return inner if isinstance(inner, dict) else outer


def _words(said: object) -> list[str]:
    """The sentences of an error, wherever they stand in it."""
    if isinstance(said, str):
        return [part.strip() for part in _SECRET.split(said) if part.strip()]
    if isinstance(said, list):
        return [text for each in said for text in _words(each)]
    if not isinstance(said, dict):
        return []
    for name in ("message", "msg", "detail", "error"):
        if found := _words(said.get(name)):
            return found
    return []
