"""What a request is answered with: an `Answer` to the byte, or a `Reply` that its path renders.

An Answer is a value: a head, body pieces each written on its own, pauses between them, a framing
and an end. Everything that can go wrong on the wire is an Answer too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json; charset=utf-8"
SSE: Final = "text/event-stream"
TEXT: Final = "text/plain; charset=utf-8"


class Pause(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing for so many seconds; with none given, until `FakeUpstream.release`."""

    seconds: float | None = None


class Answer(Struct, frozen=True, tag="answer", forbid_unknown_fields=True):
    """One answer as it goes over the wire.

    `headers` are sent beside those of the framing. `chunked` makes each piece a chunk, `close` adds
    no framing at all (so pieces can break it by hand) and ends by closing. An answer that does not
    end `properly` has neither its last chunk nor all of the length it promised: `cut` closes,
    `reset` sends RST. `pause` comes before the head; `head=False` leaves the head out.
    `slices` writes every so many bytes of the wire on their own; 0 is one write a piece.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[bytes | Pause, ...] = ()
    framing: Literal["length", "chunked", "close"] = "length"
    ends: Literal["properly", "cut", "reset"] = "properly"
    pause: Pause = Pause(0)
    head: bool = True
    slices: int = 0


class ToolCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool; without an id it gets one."""

    name: str
    arguments: dict[str, object] = field(default_factory=dict)
    id: str = ""


class Reply(Struct, frozen=True, tag="reply", forbid_unknown_fields=True):
    """What the model says: its path makes it whole or a stream of words, as the request asks."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    end: Literal["stop", "length"] = "stop"

    def within(self, tokens: int | None) -> Reply:
        """The same reply cut at that many words, as a model is by its limit."""
        thinking, text = words(self.thinking), words(self.text)
        if tokens is None or tokens >= len(thinking) + len(text):
            return self
        text = text[: max(0, tokens - len(thinking))]
        return Reply("".join(text), "".join(thinking[:tokens]), end="length")

    @property
    def tokens(self) -> int:
        return len(words(self.thinking)) + len(words(self.text)) + len(self.tool_calls)


def words(text: str) -> list[str]:
    """The text in pieces that add up to it, each a word with the white space before it."""
    return re.findall(r"\s*\S+|\s+", text)


def document(content: object, status: int = 200) -> Answer:
    """One JSON document."""
    return Answer(status, {"content-type": JSON}, (msgspec.json.encode(content),))


def error_object(path: str, message: str) -> object:
    """An error in the shape of the path's dialect."""
    if not path.startswith("/v1/"):
        return {"error": message}
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


def error_answer(path: str, status: int, message: str) -> Answer:
    """A whole answer that is an error in the shape of the path's dialect."""
    return document(error_object(path, message), status)


def ndjson(*lines: object) -> Answer:
    """A stream of JSON lines; a Pause among them pauses, bytes go as they are."""
    body = tuple(_piece(line, b"", b"\n") for line in lines)
    return Answer(200, {"content-type": NDJSON}, body, "chunked")


def sse(*events: object, done: bool = True) -> Answer:
    """A stream of events, closed by [DONE]; a Pause among them pauses, bytes go as they are."""
    body = tuple(_piece(event, b"data: ", b"\n\n") for event in events)
    tail = (b"data: [DONE]\n\n",) if done else ()
    return Answer(200, {"content-type": SSE}, body + tail, "chunked")


def _piece(line: object, before: bytes, after: bytes) -> bytes | Pause:
    if isinstance(line, bytes | Pause):
        return line
    return before + msgspec.json.encode(line) + after
