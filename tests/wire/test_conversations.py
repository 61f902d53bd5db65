"""Every golden conversation, through the dialect and the face, in slices of every size.

Nothing here touches a network: the runner stands where the pipeline stands, encodes the
caller's request, compares it with what the upstream must see, feeds the upstream's answer
piece by piece, and compares what the caller gets. The format is told in `cases.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
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
from adapters.errors import AdapterError, Incomplete
from adapters.registry import DIALECTS
from adapters.wire import (
    ChatCall,
    ChatRequest,
    Chunk,
    CompletionCall,
    CompletionRequest,
    EmbeddingCall,
    EmbeddingRequest,
)
from facade.errors import told
from facade.faces import sse
from facade.faces.chat import ChatFace
from facade.faces.completions import CompletionFace
from tests.wire.cases import CHAT, FOLDER, Case, Exchange, read

COMPLETIONS: Final = "POST /v1/completions"
EMBEDDINGS: Final = "POST /v1/embeddings"
FORWARDS: Final = {"openai"}  # dialects whose bytes count, not only what the JSON means
PATHS: Final = sorted(path for path in FOLDER.glob("*/*.case") if path.parent.name in DIALECTS)
SIZES: Final = (1, 2, 3, 5, None)
Face = ChatFace | CompletionFace


class Answer(NamedTuple):
    status: int
    body: str  # JSON, or the events of a stream, one a line


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
    assert (case.status, _lines(case.answer)) == (actual.status, _lines(actual.body))
    if case.dialect in FORWARDS:
        assert case.answer.split("\n") == actual.body.strip().split("\n")


def converse(case: Case, size: int | None) -> Answer:
    """What the caller gets when the conversation is played."""
    try:
        asked = _ask(DIALECTS[case.dialect], case)
    except AdapterError as error:
        return _failed(error)
    assert case.warnings == [text for encoded in asked.encoded for text in encoded.warnings]
    play = Play(case, size)
    if asked.stream:
        return _streamed(asked, play)
    try:
        return Answer(200, _whole(asked, play))
    except AdapterError as error:
        return _failed(error)
    finally:
        assert play.rest == [], "the upstream waits for calls that did not come"


def _ask(dialect: Dialect, case: Case) -> Asked:
    body, target = case.request, case.target
    if case.face == CHAT:
        chat = msgspec.json.decode(body, type=ChatRequest)
        encoded = dialect.encode_chat(ChatCall(body, chat), target)
        return Asked(encoded, lambda reply: ChatFace(chat, reply), bool(chat.stream))
    if case.face == COMPLETIONS:
        assert isinstance(dialect, Completes)
        text = msgspec.json.decode(body, type=CompletionRequest)
        encoded = dialect.encode_completion(CompletionCall(body, text), target)
        return Asked(encoded, lambda reply: CompletionFace(text, reply), bool(text.stream))
    assert case.face == EMBEDDINGS
    assert isinstance(dialect, Embeds)
    vectors = msgspec.json.decode(body, type=EmbeddingRequest)
    call = EmbeddingCall(body, vectors)
    return Asked([dialect.encode_embeddings(call, target)], None, stream=False)


class Play:
    """The upstream's side of a conversation; what is left of it is in `rest`."""

    def __init__(self, case: Case, size: int | None) -> None:
        self.rest = list(case.exchanges)
        self.reply = identity(case.target)
        self._dialect = DIALECTS[case.dialect]
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
        assert exchange.expected == f"{request.method} {request.path}"
        assert _lines(exchange.request.decode()) == _lines(request.body.decode())
        if self._exact:
            assert exchange.request == request.body
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
            return _failed(error)
        written += sse.error_event(told(error))
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


def _failed(error: AdapterError) -> Answer:
    answer = told(error)
    return Answer(answer.status, answer.body().decode())


def _events(stream: bytes) -> Iterator[str]:
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        assert event.startswith("data: "), f"no client could read {event!r}"
        yield event.removeprefix("data: ")


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
