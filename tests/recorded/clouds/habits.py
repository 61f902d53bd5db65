"""Habits of single upstreams, given to the recorded streams of all of them.

A rule that one recording taught is so tried on every other: what the oracle reads of the changed
recording must still be what the SDK gets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from tests.recorded.clouds.exchanges import Json, events_of, json_of

Habit = Callable[[bytes], bytes]
_FIRST: Final = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
_WORDS: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "tool_use"}


def _event(said: Json) -> bytes:
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def _events(change: Callable[[Json], list[Json]]) -> Habit:
    """Every event as the events that `change` makes of it."""

    def habit(body: bytes) -> bytes:
        changed = b""
        for event in events_of(body):
            said = json_of(event)
            changed += event if said is None else b"".join(map(_event, change(said)))
        return changed

    return habit


def _choices(change: Callable[[Json], object]) -> Habit:
    """`change` is done to every choice."""

    def changed(event: Json) -> list[Json]:
        for choice in event.get("choices") or ():
            choice["delta"] = choice.get("delta") or {}
            change(choice)
        return [event]

    return _events(changed)


def _calls(change: Callable[[Json], object]) -> Habit:
    """`change` is done to every piece of a call."""
    return _choices(
        lambda choice: [change(call) for call in choice["delta"].get("tool_calls") or ()]
    )


def _ends(event: Json) -> bool:
    return any(choice.get("finish_reason") for choice in event.get("choices") or ())


def _as_parts(choice: Json) -> None:
    text = choice["delta"].get("content")
    if text and isinstance(text, str):
        choice["delta"]["content"] = [{"type": "text", "text": text}]


def _thoughts_as_parts(choice: Json) -> None:
    delta = choice["delta"]
    thoughts = delta.pop("reasoning_content", None) or delta.pop("reasoning", None)
    if thoughts:
        text = [{"type": "text", "text": delta["content"]}] if delta.get("content") else []
        thinking = [{"type": "text", "text": thoughts}]
        delta["content"] = [{"type": "thinking", "thinking": thinking}, *text]


def _null_names(call: Json) -> None:
    for name in ("id", "type"):
        call.setdefault(name, None)
    call.get("function", {}).setdefault("name", None)


def _names_again(body: bytes) -> bytes:
    """A call says its id and name in every piece."""
    known: dict[int, Json] = {}

    def again(call: Json) -> None:
        said = call.setdefault("function", {})
        first = known.setdefault(call["index"], {"id": call.get("id"), "name": said.get("name")})
        call["id"], said["name"] = first["id"], first["name"]

    return _calls(again)(body)


def _finish_twice(event: Json) -> list[Json]:
    if not _ends(event):
        return [event]
    again = [
        choice | {"delta": {"role": "assistant", "content": ""}} for choice in event["choices"]
    ]
    return [event, event | {"choices": again}]


def _usage(where: Callable[[Json], bool]) -> Habit:
    """The last usage stands in the chunks that `where` names, and in no other."""

    def habit(body: bytes) -> bytes:
        said = [said for event in events_of(body) if (said := json_of(event))]
        counts = next((each["usage"] for each in reversed(said) if each.get("usage")), None)

        def moved(event: Json) -> list[Json]:
            without = {name: value for name, value in event.items() if name != "usage"}
            kept = without | {"usage": counts} if where(event) else without
            return [kept] if event.get("choices") else []

        return _events(moved)(body) if counts else body

    return habit


HABITS: Final[Mapping[str, Habit]] = {
    "lines end with CR LF": lambda body: re.sub(rb"\r?\n", b"\r\n", body),
    "no space after data:": lambda body: body.replace(b"data: ", b"data:"),
    "events have names": lambda body: body.replace(b"data:", b"event: message\nid: 1\ndata:"),
    "comments between events": lambda body: body.replace(b"\n\n", b"\n\n: busy\n\n"),
    "no [DONE]": lambda body: body.replace(b"data: [DONE]", b""),
    "a first chunk without choices": lambda body: _event(_FIRST) + body,
    "a role in every delta": _choices(lambda choice: choice["delta"].update(role="assistant")),
    "no role": _choices(lambda choice: choice["delta"].pop("role", None)),
    "content as parts": _choices(_as_parts),
    "thoughts as parts": _choices(_thoughts_as_parts),
    "nulls in pieces of calls": _calls(_null_names),
    "calls named in every piece": _names_again,
    "the end in other words": _choices(
        lambda choice: choice.update(
            finish_reason=_WORDS.get(choice.get("finish_reason") or "", choice.get("finish_reason"))
        )
    ),
    "the end said twice": _events(_finish_twice),
    "usage in every chunk": _usage(lambda _: True),
    "usage beside the end": _usage(_ends),
    "an error instead of the end": _events(
        lambda event: [{"error": {"code": 502, "message": "broken"}}] if _ends(event) else [event]
    ),
}
