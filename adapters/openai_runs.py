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
_MARK: Final = 16  # bytes before a text to find it by: far longer is slower to find
_string = msgspec.json.Decoder(str)


class _Around(NamedTuple):
    before: bytes
    after: bytes

    def found(self, data: bytes) -> list[bytes]:
        """What the texts of `data` are, if it is events of these: `put` shows whether it is."""
        before, after = self
        if not data.startswith(before):
            return []
        if data.find(b"\n", len(before)) == len(data) - len(_END):  # one event, as most reads are
            return [data[len(before) : -len(after)]]
        *texts, last = data[len(before) :].split(before[-_MARK:])
        between = len(after) + len(before[:-_MARK])
        text, ended, _ = last.partition(after)
        return [text[:-between] for text in texts] + ([text] if ended else [])

    def put(self, texts: list[bytes]) -> bytes:
        """An event of each text."""
        return self.before + (self.after + self.before).join(texts) + self.after


class Run(NamedTuple):
    """The events taken, as one chunk, and the bytes that follow them."""

    chunk: Chunk
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
        came = _around(json)
        goes = came if chunk.raw is json else _around(chunk.raw)
        if came and goes:
            self._came, self._goes, self._like = came, goes, chunk

    def take(self, data: bytes) -> Run | None:
        """The events at the start of `data` that fit; `data` begins where an event does."""
        if self._came is None:
            return None
        texts = self._came.found(data)
        while texts:
            events = self._came.put(texts)
            said = _said(texts) if data.startswith(events) else None
            if said is not None:
                self._misses = 0
                return Run(self._chunk(said, texts, events), data[len(events) :])
            texts = texts[: len(texts) // 2]  # the first of them may fit
        self._misses += 1
        return None

    def _chunk(self, text: str, texts: list[bytes], events: bytes) -> Chunk:
        if self._goes is not self._came:
            events = self._goes.put(texts)
        raw = events[len(_EVENT) : -len(_END)]
        if self._like.reasoning:
            return Chunk(choice=self._like.choice, reasoning=text, raw=raw)
        return Chunk(choice=self._like.choice, content=text, raw=raw)


def _only_adds_text(chunk: Chunk) -> bool:
    others = (chunk.role, chunk.refusal, chunk.tool_calls, chunk.finish, chunk.usage)
    return bool(chunk.content) is not bool(chunk.reasoning) and not any(others)


def _around(json: bytes) -> _Around | None:
    """What stands around the text of an event; None where more than one could be it."""
    found = list(_TEXT.finditer(json))
    if len(found) != 1:
        return None
    return _Around(_EVENT + json[: found[0].start(1)], json[found[0].end(1) :] + _END)


def _said(texts: list[bytes]) -> str | None:
    """The texts, strings of JSON without their quotes, as one; None if one of them is not.

    A space between them keeps the end of one and the start of the next from making sense together.
    """
    try:
        _string.decode(b'"' + b" ".join(texts) + b'"')
        return _string.decode(b'"' + b"".join(texts) + b'"')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
