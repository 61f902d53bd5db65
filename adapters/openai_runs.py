"""Runs of events that differ in nothing but the text they add: most of every stream.

Strategy: what stands around the text of one event, as it came and as it went out, is the
template of those that follow. So a whole read of them is checked and taken by a handful of
operations on bytes; what does not fit goes the long way, event by event.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from adapters.wire import Chunk

# A text that is added; or the padding that hides how long it is from who sees only lengths.
_SLOT: Final = re.compile(
    rb'"(?:content|text|reasoning|reasoning_content)":\s*"(?P<text>(?:[^"\\]|\\.)+)"'
    rb'|"(?:obfuscation|p)":\s*"(?P<padding>(?:[^"\\]|\\.)*)"'
)
_EVENT: Final = b"data: "
_END: Final = b"\n\n"
_MISSES: Final = 8  # in a row: this upstream's events differ in more than their text
_MARK: Final = 16  # bytes before a text to find it by: far longer is slower to find
_string = msgspec.json.Decoder(str)


class _Template(NamedTuple):
    """An event around its inside: the text, or the text, `between` and the padding."""

    before: bytes
    between: bytes
    after: bytes

    def found(self, data: bytes, at: int) -> tuple[list[bytes], bytes, str] | None:
        """The insides of as many events of these as come from `at` on, the events, and their text.

        None where there is none.
        """
        before, _, after = self
        if not data.startswith(before, at):
            return None
        begin = at + len(before)
        if data.find(b"\n", begin) == len(data) - len(_END):  # one event, as most reads are
            insides = [data[begin : -len(after)]]
        else:
            insides = self._insides(data[begin:])
        while insides:
            events = before + (after + before).join(insides) + after
            text = self._text(insides) if data.startswith(events, at) else None
            if text is not None:
                return insides, events, text
            insides = insides[: len(insides) // 2]  # the first of them may fit
        return None

    def put(self, insides: list[bytes]) -> bytes:
        """An event of each."""
        return self.before + (self.after + self.before).join(insides) + self.after

    def _insides(self, data: bytes) -> list[bytes]:
        """What stands where those of many events would, the first of which `data` begins with."""
        *begun, last = data.split(self.before[-_MARK:])
        up_to = itemgetter(slice(-len(self.after) - len(self.before[:-_MARK])))
        inside, ended, _ = last.partition(self.after)
        return [*map(up_to, begun), *([inside] if ended else ())]

    def _text(self, insides: list[bytes]) -> str | None:
        """The texts as one; None if one, or a padding, is no string of JSON without its quotes.

        A space between them keeps the end of one and the start of the next from making sense
        together.
        """
        texts = strings = insides
        if self.between:
            strings = [string for inside in insides for string in inside.split(self.between, 1)]
            texts = strings[::2]
            if len(strings) != 2 * len(insides):
                return None
        try:
            text = _string.decode(b'"%b"' % b" ".join(strings))
            return text if len(strings) == 1 else _string.decode(b'"%b"' % b"".join(texts))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


class Runs:
    """The template of a stream's events, learned from them."""

    def __init__(self) -> None:
        self._came: _Template | None = None
        self._goes = _Template(b"", b"", b"")
        self._like = Chunk()
        self._misses = 0
        self.over = False  # nothing is taken any more

    def learn(self, json: bytes, chunks: list[Chunk]) -> None:
        """Take an event, and what was made of it, as the template.

        From the end of a choice on there is none: there, what says nothing is left out. `chunks`
        is empty where the event is of several choices, one of which may have ended.
        """
        if not chunks or chunks[-1].finish:
            self._end()
        elif not self.over and len(chunks) == 1 and _only_adds_text(chunks[0]):
            chunk = chunks[0]
            came = _template(json)
            goes = came if chunk.raw is json else _template(chunk.raw)
            if came and goes and came.between == goes.between:
                self._came, self._goes, self._like = came, goes, chunk

    def take(self, data: bytes, at: int) -> tuple[Chunk, int] | None:
        """The events of `data` that fit, as one chunk, and where they end; one begins `at`."""
        came = self._came
        if came is None:
            return None
        found = came.found(data, at)
        if found:
            self._misses = 0
            insides, events, text = found
            end = at + len(events)
            if self._goes is not came:
                events = self._goes.put(insides)
            raw = events[len(_EVENT) : -len(_END)]
            if self._like.reasoning:
                return Chunk(choice=self._like.choice, reasoning=text, raw=raw), end
            return Chunk(choice=self._like.choice, content=text, raw=raw), end
        self._misses += 1
        if self._misses == _MISSES:
            self._end()
        return None

    def _end(self) -> None:
        self.over, self._came = True, None


def _only_adds_text(chunk: Chunk) -> bool:
    others = (chunk.role, chunk.refusal, chunk.tool_calls, chunk.finish, chunk.usage)
    return bool(chunk.content) is not bool(chunk.reasoning) and not any(others)


def _template(json: bytes) -> _Template | None:
    """That of an event; None where more than one string could be the text, or the padding."""
    slots = list(_SLOT.finditer(json))
    if [slot.lastgroup for slot in slots] not in (["text"], ["text", "padding"]):
        return None
    text, last = slots[0], slots[-1]
    between = json[text.end("text") : last.start("padding")] if last is not text else b""
    before, after = json[: text.start("text")], json[last.end() - 1 :]
    return _Template(_EVENT + before, between, after + _END)
