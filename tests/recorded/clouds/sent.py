"""Whether what reached the upstream means what was recorded.

The facade may rename what a vendor calls otherwise, and must count tokens; nothing that was
said may be lost or changed on the way.
"""

from __future__ import annotations

from typing import Any, Final

from tests.recorded.clouds.asking import Asked
from tests.recorded.clouds.exchanges import Json

_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_SEEDS: Final = ("seed", "random_seed")
_SIZES: Final = ("dimensions", "output_dimension")
# What is a matter of the wire: each has its own check, or none to be made.
_WIRE: Final = ("stream", "stream_options", "encoding_format", *_LIMITS, *_SEEDS, *_SIZES)
_HOLDS_ANYWAY: Final = {"n": 1}  # what may be left unsaid
_ROLES: Final = {"developer": "system"}


def check_sent(asked: Asked, came: Json) -> None:
    """Raises AssertionError with the field that was lost, changed or made up."""
    said = {name: value for name, value in asked.fields.items() if value is not None}
    expected = _comparable(said) | {"model": asked.model}
    arrived = _comparable({name: value for name, value in came.items() if value is not None})
    for name in (expected.keys() | arrived.keys()) - _as_text(said):
        if expected.get(name) != arrived.get(name):
            told, ours = arrived.get(name), expected.get(name)
            raise AssertionError(f"sent upstream: {name} is {told!r:.200}, not {ours!r:.200}")
    options = came.get("stream_options")  # none where usage comes unasked
    if asked.streamed and options is not None and not options["include_usage"]:
        raise AssertionError("sent upstream: tokens are not counted")


def _as_text(said: Json) -> set[str]:
    """Token ids may go as the text that they are."""
    given = said.get("input")
    numbers = isinstance(given, list) and not all(isinstance(each, str) for each in given)
    return {"input"} if numbers else set()


def _comparable(request: Json) -> Json:
    """The request without what may differ: spelling, and the identity of tool calls."""
    told = {
        name: value
        for name, value in request.items()
        if name not in _WIRE and value != _HOLDS_ANYWAY.get(name)
    }
    for names in (_LIMITS, _SEEDS, _SIZES):
        told[names[0]] = next((request[name] for name in names if name in request), None)
    if told.get("tool_choice") == "required":
        told["tool_choice"] = "any"
    if isinstance(told.get("messages"), list):
        ids: dict[str, int] = {}
        told["messages"] = [_message(message, ids) for message in told["messages"]]
    return told


def _message(message: Json, ids: dict[str, int]) -> Json:
    said = {name: value for name, value in message.items() if value is not None}
    role = said.get("role", "")
    said["role"] = _ROLES.get(role, role)
    if role == "tool":
        said.pop("name", None)  # the id says whose result it is
    content = said.get("content")
    if isinstance(content, list) and all({*part} == {"type", "text"} for part in content):
        said["content"] = "".join(part["text"] for part in content)
    if "tool_calls" in said:
        said["tool_calls"] = [_numbered(call, "id", ids) for call in said["tool_calls"]]
    return _numbered(said, "tool_call_id", ids) if "tool_call_id" in said else said


def _numbered(said: Json, name: str, ids: dict[str, int]) -> Json:
    """An id as the number of its first appearance: who answers whom is what it means."""
    value: Any = said.get(name)
    return said | {name: ids.setdefault(value, len(ids))}
