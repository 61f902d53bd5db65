"""Every golden conversation, through the dialect and the face, in slices of every size.

Nothing here touches a network: the runner stands where the pipeline stands, encodes the
caller's request, compares it with what the upstream must see, feeds the upstream's answer
piece by piece, and compares what the caller gets. The format is told in `cases.py`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from adapters.dialect import (
    Amends,
    Completes,
    Dialect,
    Embeds,
    Encoded,
    Reply,
    Target,
    UpstreamRequest,
)
from adapters.errors import AdapterError, Incomplete, UpstreamError
from adapters.registry import DIALECTS, spoken
from adapters.wire import Chunk
from facade.errors import FacadeError, name_input, told
from facade.faces import requests, sse
from facade.faces.chat import ChatFace
from facade.faces.completions import CompletionFace
from tests.wire.cases import CHAT, FOLDER, Case, Exchange, read

COMPLETIONS: Final = "POST /v1/completions"
EMBEDDINGS: Final = "POST /v1/embeddings"
INPUTS: Final = {CHAT: "messages", COMPLETIONS: "prompt", EMBEDDINGS: "input"}
FORWARDS: Final = {"openai"}  # dialects whose bytes count, not only what the JSON means
PATHS: Final = sorted(path for path in FOLDER.glob("*/*.case") if path.parent.name in DIALECTS)
SIZES: Final = (1, 2, 3, 5, None)
Face = ChatFace | CompletionFace


class Answer(NamedTuple):
    status: int
    body: str  # JSON, or the events of a stream, one a line

    def laid_out(self) -> list[str]:
        return [f"status {self.status}", *_lines(self.body)]


class Asked(NamedTuple):
    """The caller's request as a dialect takes it."""

    encoded: Sequence[Encoded]
    face: Callable[[Reply], Face] | None
    stream: bool


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"slices of {size or 'all'}")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_conversation_goes_as_its_file_says(path: Path, size: int | None) -> None:
    case = read(path)
    actual = converse(case, size)
    expected = Answer(case.status, case.answer)
    _same("the caller's answer", expected.laid_out(), actual.laid_out())
    if case.dialect in FORWARDS:
        _same("the caller's answer, to the byte", [case.answer], [actual.body.strip()])


def converse(case: Case, size: int | None) -> Answer:
    """What the caller gets when the conversation is played."""
    try:
        asked = _ask(spoken(case.dialect, case.vendor), case)
    except (AdapterError, FacadeError) as error:
        return _failed(error, case)
    assert case.warnings == [text for encoded in asked.encoded for text in encoded.warnings]
    play = Play(case, size)
    if asked.stream:
        return _streamed(asked, play)
    try:
        return Answer(200, _whole(asked, play))
    except AdapterError as error:
        return _failed(error, case)
    finally:
        assert play.rest == [], "the upstream waits for calls that did not come"


def _ask(dialect: Dialect, case: Case) -> Asked:
    body, target = case.request, case.target
    if case.face == CHAT:
        chat = requests.chat(body)
        encoded = dialect.encode_chat(chat, target)
        return Asked(encoded, partial(ChatFace, chat.request), bool(chat.request.stream))
    if case.face == COMPLETIONS:
        assert isinstance(dialect, Completes)
        text = requests.completion(body)
        encoded = dialect.encode_completion(text, target)
        return Asked(encoded, partial(CompletionFace, text.request), bool(text.request.stream))
    assert case.face == EMBEDDINGS
    assert isinstance(dialect, Embeds)
    return Asked([dialect.encode_embeddings(requests.embedding(body), target)], None, stream=False)


class Play:
    """The upstream's side of a conversation; what is left of it is in `rest`."""

    def __init__(self, case: Case, size: int | None) -> None:
        self.case = case
        self.rest = list(case.exchanges)
        self.reply = identity(case.target)
        self._dialect = spoken(case.dialect, case.vendor)
        self._exact = case.dialect in FORWARDS
        self._size = size

    def sent(self, request: UpstreamRequest) -> Exchange:
        """The exchange with a good status that answers this request, or its error."""
        exchange = self._next(request)
        if exchange.status == 200:
            return exchange
        error = self._dialect.decode_error(exchange.status, exchange.headers, exchange.body)
        if isinstance(self._dialect, Amends):
            amended = self._dialect.amend(request, error)
            if amended:
                return self.sent(amended)
        raise error

    def slices(self, body: bytes) -> Iterator[bytes]:
        size = self._size or len(body) or 1
        for start in range(0, len(body), size):
            yield body[start : start + size]

    def _next(self, request: UpstreamRequest) -> Exchange:
        assert self.rest, f"a call that the case has not: {request}"
        exchange = self.rest.pop(0)
        expected, actual = exchange.request.decode(), request.body.decode()
        called = f"{request.method} {request.path}"
        _same("the call", [exchange.expected, *_lines(expected)], [called, *_lines(actual)])
        if self._exact:
            _same("the call, to the byte", [expected], [actual])
        return exchange


def identity(target: Target) -> Reply:
    return Reply(id="0" * 24, created=1700000000, model=target.model)


class Decoding(NamedTuple):
    """A chunk, with the answer's identity as it is known at that moment."""

    reply: Reply
    chunk: Chunk


def _decoded(asked: Asked, play: Play) -> Iterator[Decoding]:
    """The chunks of all calls, one call after the other."""
    for encoded in asked.encoded:
        assert encoded.stream, "the dialect gives no way to read this as a stream"
        exchange = play.sent(encoded.request)
        decoder = encoded.stream(play.reply)
        for piece in play.slices(exchange.body):
            for chunk in decoder.feed(piece):
                yield Decoding(decoder.reply, chunk)
            if decoder.done:
                break
        if exchange.cut and not decoder.done:
            raise Incomplete
        for chunk in decoder.close():
            yield Decoding(decoder.reply, chunk)


def _streamed(asked: Asked, play: Play) -> Answer:
    assert asked.face
    written, committed, face = b"", False, None
    try:
        for reply, chunk in _decoded(asked, play):
            face = face or asked.face(reply)
            written += face.render([chunk])
            committed = committed or chunk.commits
        assert face, "an answer without a chunk must be an error"
        written += face.end()
    except AdapterError as error:
        if not committed:
            return _failed(error, play.case)
        written += sse.error_event(_told(error, play.case))
    return Answer(200, "\n".join(_events(written)))


def _whole(asked: Asked, play: Play) -> str:
    encoded = asked.encoded[0]
    if encoded.whole:
        exchange = play.sent(encoded.request)
        if exchange.cut:
            raise Incomplete
        return encoded.whole(exchange.body, play.reply).body.decode()
    assert asked.face
    decoded = list(_decoded(asked, play))
    chunks: Iterable[Chunk] = (chunk for _, chunk in decoded)
    return asked.face(decoded[0].reply).whole(chunks).decode()


def _told(error: Exception, case: Case) -> FacadeError:
    if isinstance(error, UpstreamError):
        name_input(error, INPUTS[case.face])
    return told(error)


def _failed(error: Exception, case: Case) -> Answer:
    answer = _told(error, case)
    return Answer(answer.status, answer.body().decode())


def _events(stream: bytes) -> Iterator[str]:
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        assert event.startswith("data: "), f"no client could read {event!r}"
        yield event.removeprefix("data: ")


def _same(what: str, expected: list[str], actual: list[str]) -> None:
    if expected != actual:
        lines = difflib.unified_diff(expected, actual, "the case", "what came", lineterm="")
        pytest.fail("\n".join([f"{what} differs:", *lines]), pytrace=False)


def _lines(text: str) -> list[str]:
    """One JSON text, or one a line, laid out so that a difference is seen at once."""
    try:
        return _laid_out(text)
    except json.JSONDecodeError:
        return [part for line in text.strip().split("\n") for part in _event_lines(line)]


def _event_lines(line: str) -> list[str]:
    return _laid_out(line) if line.startswith("{") else [line]


def _laid_out(text: str) -> list[str]:
    value = json.loads(text)
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).split("\n")
