"""Runs of lines that only add text, or thoughts: most of every streamed answer of /api/chat.

Strategy: a type that has nothing else tells them, for a whole read of them at a time; a line that
says more goes the long way.
Source: https://github.com/ollama/ollama/blob/main/api/types.go (ChatResponse)
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from adapters.ollama_errors import UNREADABLE
from adapters.wire import Chunk

_Said = Annotated[str, Meta(min_length=1)]


class _Text(Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: _Said


class _Thought(Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: Literal[""]
    thinking: _Said


Adds = TypeVar("Adds")


class _Line(Struct, Generic[Adds], gc=False):
    """What a line may also hold, and these do not."""

    message: Adds
    done: Literal[False]
    response: None = None
    thinking: None = None
    logprobs: None = None
    error: None = None


_MORE: Final = b'"done":false}\n'  # with which all lines but the last of an answer end
_texts: Final = msgspec.json.Decoder(_Line[_Text])
_thoughts: Final = msgspec.json.Decoder(_Line[_Thought])
_text: Final = attrgetter("message.content")
_thought: Final = attrgetter("message.thinking")


def take(data: bytes, choice: int) -> tuple[Chunk, int] | None:
    """The lines that `data` begins with, if all add text, or all thoughts; and where they end.

    `data` begins where a line does.
    """
    end = data.rfind(_MORE) + len(_MORE)
    if end < len(_MORE):
        return None
    lines = data[:end]
    try:
        if b'"thinking":' in lines:
            pieces = list(map(_thought, _thoughts.decode_lines(lines)))
            return Chunk(choice=choice, reasoning="".join(pieces), pieces=pieces), end
        pieces = list(map(_text, _texts.decode_lines(lines)))
    except UNREADABLE:
        return None
    return Chunk(choice=choice, content="".join(pieces), pieces=pieces), end
