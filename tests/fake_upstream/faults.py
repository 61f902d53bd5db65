"""The faults: each a name, its arguments, and what it makes of an Answer.

Lines are the pieces of a body: NDJSON lines, SSE events, or the one document of a whole answer.
The first line of a fault's docstring is its line in `--help`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final, get_args

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from tests.fake_upstream.answers import JSON, SSE, Answer, Pause, error_answer, error_object
from tests.fake_upstream.wire import chunk

Body = tuple[bytes | Pause, ...]
_END: Final = re.compile(rb'"done":\s*true|"finish_reason":\s*"|data: \[DONE\]')


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


class _Fault(Struct, frozen=True, tag=_kebab, tag_field="name", forbid_unknown_fields=True):
    def on(self, answer: Answer, path: str) -> Answer:
        """The answer with the fault in it; the path tells in which dialect an error is."""
        raise NotImplementedError


class Status(_Fault, frozen=True):
    """an error of this status instead; body and headers may be given"""

    code: int = 503
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def on(self, answer: Answer, path: str) -> Answer:
        error = error_answer(path, self.code, f"fake error {self.code}")
        body = error.body if self.body is None else (self.body.encode(),)
        return replace(error, headers={**error.headers, **self.headers}, body=body)


class ContextOverflow(_Fault, frozen=True):
    """a 400: the prompt does not fit into the window"""

    def on(self, answer: Answer, path: str) -> Answer:
        return error_answer(path, 400, "input length exceeds the maximum context length")


class DelayHeaders(_Fault, frozen=True):
    """so many seconds before the head"""

    seconds: float = 1.0

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, pause=Pause(self.seconds))


class DelayContent(_Fault, frozen=True):
    """so many seconds between the head and the body"""

    seconds: float = 1.0

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, body=(Pause(self.seconds), *answer.body))


class DelayLines(_Fault, frozen=True):
    """so many seconds between two lines"""

    seconds: float = 1.0

    def on(self, answer: Answer, path: str) -> Answer:
        paused = chain.from_iterable((Pause(self.seconds), piece) for piece in answer.body)
        return replace(answer, body=tuple(paused)[1:])


class CutBeforeHeaders(_Fault, frozen=True):
    """the connection is closed instead of an answer"""

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, head=False, body=(), ends="cut")


class CutBeforeContent(_Fault, frozen=True):
    """the connection is closed after the head"""

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, body=(), ends="cut")


class CutAfter(_Fault, frozen=True):
    """the connection is closed after so many bytes of the body"""

    bytes: int = 1

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, body=tuple(_first_bytes(answer.body, self.bytes)), ends="cut")


class Garbage(_Fault, frozen=True):
    """after so many lines (0), bytes that are no JSON; then a proper end"""

    after: int = 0

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, body=(*_lines(answer.body, self.after), b'\xff\xfe{"garbage\n'))


class MalformedChunks(_Fault, frozen=True):
    """after so many lines (0), a chunk whose size is no number"""

    after: int = 0

    def on(self, answer: Answer, path: str) -> Answer:
        good = (
            chunk(piece) if isinstance(piece, bytes) else piece
            for piece in _lines(answer.body, self.after)
        )
        headers = {**answer.headers, "transfer-encoding": "chunked"}
        body = (*good, b"size?\r\nmalformed\r\n")
        return replace(answer, headers=headers, body=body, framing="close")


class NoEnd(_Fault, frozen=True):
    """a clean end without the done line, or without finish_reason and [DONE]"""

    def on(self, answer: Answer, path: str) -> Answer:
        pieces = [piece for piece in answer.body if isinstance(piece, bytes)]
        ends = (number for number, piece in enumerate(pieces) if _END.search(piece))
        return replace(answer, body=_lines(answer.body, next(ends, len(pieces))))


class ErrorLine(_Fault, frozen=True):
    """after so many lines (0), an error in the 200; then a proper end"""

    after: int = 0
    message: str = "fake error in the answer"

    def on(self, answer: Answer, path: str) -> Answer:
        error = msgspec.json.encode(error_object(path, self.message))
        streams = answer.headers.get("content-type") == SSE
        line = b"data: %b\n\n" % error if streams else error + b"\n"
        return replace(answer, body=(*_lines(answer.body, self.after), line))


class HangBeforeHeaders(_Fault, frozen=True):
    """nothing at all, until released or the client leaves"""

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, pause=Pause())


class HangBeforeContent(_Fault, frozen=True):
    """nothing after the head, until released or the client leaves"""

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, body=(Pause(), *answer.body))


class HangAfter(_Fault, frozen=True):
    """nothing after so many lines (1), until released or the client leaves"""

    lines: int = 1

    def on(self, answer: Answer, path: str) -> Answer:
        first = _lines(answer.body, self.lines)
        return replace(answer, body=(*first, Pause(), *answer.body[len(first) :]))


class Slices(_Fault, frozen=True):
    """every so many bytes (1: byte by byte) written on their own, head and framing too"""

    size: int = 1

    def on(self, answer: Answer, path: str) -> Answer:
        return replace(answer, slices=self.size)


class Html(_Fault, frozen=True):
    """a page of HTML in a 200"""

    def on(self, answer: Answer, path: str) -> Answer:
        page = b"<!doctype html><title>Welcome</title><h1>It works</h1>\n"
        return Answer(200, {"content-type": "text/html"}, (page,))


class EmptyObject(_Fault, frozen=True):
    """{} in a 200"""

    def on(self, answer: Answer, path: str) -> Answer:
        return Answer(200, {"content-type": JSON}, (b"{}",))


Fault = (
    Status
    | ContextOverflow
    | DelayHeaders
    | DelayContent
    | DelayLines
    | CutBeforeHeaders
    | CutBeforeContent
    | CutAfter
    | Garbage
    | MalformedChunks
    | NoEnd
    | ErrorLine
    | HangBeforeHeaders
    | HangBeforeContent
    | HangAfter
    | Slices
    | Html
    | EmptyObject
)
FAULTS: Final[Mapping[str, type[Fault]]] = {_kebab(kind.__name__): kind for kind in get_args(Fault)}


def parse(text: str) -> Fault:
    """The fault of `NAME[:ARG]`, where ARG is its first argument; ValueError says what is wrong."""
    name, _, argument = text.partition(":")
    if name not in FAULTS:
        raise ValueError(f"no fault {name!r}; there are: {', '.join(FAULTS)}")
    first = argument_of(name)
    if argument and not first:
        raise ValueError(f"{name} takes no argument")
    given = {first: argument} if argument else {}
    return msgspec.convert(given | {"name": name}, FAULTS[name], strict=False)


def argument_of(name: str) -> str:
    """What the first argument of the fault is called, or "" where it takes none."""
    fields = msgspec.structs.fields(FAULTS[name])
    return fields[0].name if fields else ""


def _lines(body: Body, count: int) -> Body:
    """The body up to and with its line of that number."""
    ends = [index for index, piece in enumerate(body, 1) if isinstance(piece, bytes)]
    return body[: ends[min(count, len(ends)) - 1]] if count and ends else ()


def _first_bytes(body: Body, left: int) -> Iterator[bytes | Pause]:
    for piece in body:
        if left <= 0:
            return
        if isinstance(piece, bytes):
            yield piece[:left]
            left -= len(piece)
        else:
            yield piece
