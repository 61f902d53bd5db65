"""Runs of events that differ in nothing but the text they add: most of every stream.

Strategy: what stands around the text of one event, as it came and as it went out, is the
template of those that follow. So a whole read of them is checked and taken by a handful of
operations on bytes; what does not fit goes the long way, event by event.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from adapters.wire import Chunk

_TEXT: Final = re.compile(rb'"(?:content|text|reasoning|reasoning_content)":\s*"((?:[^"\\]|\\.)+)"')
_EVENT: Final = b"data: "
_END: Final = b"\n\n"
_MISSES: Final = 8  # in a row: this upstream's events differ in more than their text
_strings = msgspec.json.Decoder(list[str])


class _Around(NamedTuple):
    before: bytes
    after: bytes

    def put(self, texts: list[bytes]) -> bytes:
        """An event of each text."""
        return self.before + (self.after + self.before).join(texts) + self.after


class Run(NamedTuple):
    """The events taken, as one chunk, and the bytes that follow them."""

    chunk: Chunk | None
    rest: bytes


class Runs:
    """The template of a stream's events, learned from them."""

    def __init__(self) -> None:
        self._came: _Around | None = None
        self._goes = _Around(b"", b"")
        self._like = Chunk()
        self._misses = 0
        self._over = False

    @property
    def hopeless(self) -> bool:
        """Whether nothing fitted for so long that looking costs more than it gives."""
        return self._misses >= _MISSES

    def learn(self, json: bytes, chunks: list[Chunk]) -> None:
        """Take an event, and what was made of it, as the template.

        From the end of a choice on there is none: there, what says nothing is left out. `chunks`
        is empty where the event is of several choices, one of which may have ended.
        """
        if not chunks or chunks[-1].finish:
            self._over, self._came = True, None
        if self._over or len(chunks) != 1 or not _only_adds_text(chunks[0]):
            return
        chunk = chunks[0]
        came, goes = _around(json), _around(chunk.raw)
        if came and goes:
            self._came = _Around(_EVENT + came.before, came.after + _END)
            self._goes = _Around(_EVENT + goes.before, goes.after + _END)
            self._like = chunk

    def take(self, data: bytes) -> Run:
        """The events at the start of `data` that fit; `data` begins where an event does."""
        if self._came is None:
            return Run(None, data)
        before, after = self._came
        end = data.rfind(after) + len(after) if data.startswith(before) else 0
        events = data[:end]
        texts = [event[len(before) : 2 - len(after)] for event in events.split(_END)[:-1]]
        said = _said(texts) if events and events == self._came.put(texts) else []
        if not said:
            self._misses += 1
            return Run(None, data)
        self._misses = 0
        if self._goes != self._came:
            events = self._goes.put(texts)
        return Run(self._chunk("".join(said), events[len(_EVENT) : -len(_END)]), data[end:])

    def _chunk(self, text: str, raw: bytes) -> Chunk:
        if self._like.reasoning:
            return Chunk(choice=self._like.choice, reasoning=text, raw=raw)
        return Chunk(choice=self._like.choice, content=text, raw=raw)


def _only_adds_text(chunk: Chunk) -> bool:
    others = (chunk.role, chunk.refusal, chunk.tool_calls, chunk.finish, chunk.usage)
    return bool(chunk.content) is not bool(chunk.reasoning) and not any(others)


def _around(json: bytes) -> _Around | None:
    """What stands around the text; None where more than one could be it."""
    found = list(_TEXT.finditer(json))
    if len(found) != 1:
        return None
    return _Around(json[: found[0].start(1)], json[found[0].end(1) :])


def _said(texts: list[bytes]) -> list[str]:
    """The texts, which are strings of JSON without their quotes; none if one of them is not."""
    try:
        said = _strings.decode(b'["' + b'","'.join(texts) + b'"]')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    return said if len(said) == len(texts) else []
