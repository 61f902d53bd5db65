"""Runs of lines that only add text: most of every streamed answer of /api/chat.

Strategy: such a line is written by the server in one way only, so one expression takes a whole
read of them apart; a line that is written otherwise goes the long way.
Source: https://github.com/ollama/ollama/blob/main/api/types.go (ChatResponse)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

# A quote ends a string unless a backslash is before it. Where that backslash is itself escaped,
# what would come after the quote is none of these lines.
_LINE: Final = re.compile(
    rb'\{"model":"[^"]*","created_at":"[^"]*","message":\{"role":"assistant","content":'
    rb'"([^"]+(?:(?<=\\)"[^"]*)*)"\},"done":false\}\n'
)
_strings = msgspec.json.Decoder(list[str])


class Run(NamedTuple):
    """What each line adds, and the bytes that follow the last of them."""

    texts: list[str]
    rest: bytes


def take(data: bytes) -> Run:
    """The lines at the start of `data` that only add text; `data` begins where a line does."""
    parts = _LINE.split(data)
    if len(parts) == 1:
        return Run([], data)
    between, texts = parts[:-1:2], parts[1::2]
    if any(between):
        return Run([], data)
    try:
        said = _strings.decode(b'["' + b'","'.join(texts) + b'"]')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Run([], data)
    return Run(said, parts[-1]) if len(said) == len(texts) else Run([], data)
