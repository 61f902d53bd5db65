"""What happens to a request, in order. Read this first.

    plan the route -> know the target -> encode -> open (first content) -> stream or whole

A stage returns its result or a Wait. What is taken stands on a Held, whose releases
are synchronous. Nothing is written before the first content is in hand: until then a
failure keeps its own status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from adapters.dialect import Dialect, Encoded, Reply, Target
from adapters.errors import UpstreamError
from adapters.wire import Chunk
from facade.discovery import Discovery
from facade.errors import BadRequest, name_input
from facade.faces import sse
from facade.held import Held
from facade.routing import Route, Routing
from facade.upstreams import Answering, Upstream
from facade.waits import Wait
from facade.wire.answer import AnswerWriter

JSON: Final = {"content-type": "application/json"}


class Face(Protocol):
    """Chunks in the form the caller speaks."""

    def render(self, chunks: Sequence[Chunk]) -> bytes: ...

    def end(self) -> bytes: ...

    def whole(self, chunks: Sequence[Chunk]) -> bytes: ...


Encode = Callable[[Dialect, Target], Sequence[Encoded] | Wait[Sequence[Encoded]]]


class Ask(Struct, frozen=True):
    """A request, as far as the pipeline is concerned.

    `input` is the field that may be too long; `media`: it carries images or audio.
    """

    model: str
    input: str
    encode: Encode
    face: Callable[[Reply], Face]  # not called where the upstream answers whole
    streamed: bool = False
    media: bool = False


class Identity(Struct, frozen=True):
    """What makes an answer one of a kind; see Reply."""

    id: str
    created: int


class Pipeline:
    def __init__(
        self, routing: Routing, discovery: Discovery, upstreams: Mapping[str, Upstream]
    ) -> None:
        self._routing = routing
        self._discovery = discovery
        self._upstreams = upstreams

    async def run(self, ask: Ask, identity: Identity, answer: AnswerWriter) -> None:
        """Answer one request. Raises FacadeError, InvalidRequest or UpstreamError."""
        planned = self._routing.plan(ask.model)
        route = planned if isinstance(planned, Route) else await planned
        upstream = self._upstreams[route.upstream]
        answer.headers["x-facade-upstream"] = upstream.name
        answer.headers["x-facade-model"] = route.model
        known = self._discovery.listings[route.upstream].target(route.model, describe=ask.media)
        target = known if isinstance(known, Target) else await known
        calls = await _encoded(ask, upstream.dialect, target)
        answer.headers["x-facade-attempts"] = "1"
        for warning in calls[0].warnings:
            _warn(answer, warning)
        reply = Reply(identity.id, identity.created, target.model, target.fingerprint)
        answering = _stream if ask.streamed else _whole
        try:
            await answering(ask, answer, (upstream, calls, reply))
        except UpstreamError as error:
            name_input(error, ask.input)
            raise


async def _encoded(ask: Ask, dialect: Dialect, target: Target) -> Sequence[Encoded]:
    try:
        encoded = ask.encode(dialect, target)
        return await encoded if isinstance(encoded, Wait) else encoded
    except RecursionError:  # a dialect reads more of the body than a face does
        raise BadRequest("the body is nested too deeply", code="invalid_json") from None


Attempt = tuple[Upstream, Sequence[Encoded], Reply]


async def _open(
    upstream: Upstream, call: Encoded, reply: Reply, answer: AnswerWriter, held: Held
) -> Answering:
    """What has begun; good or bad, its answer shows what is left of the target's limits."""
    try:
        return await upstream.open(call, reply, held)
    finally:
        limits = upstream.limits(reply.model)  # a bucket of ours that is tighter belongs here
        if limits is not None:
            answer.headers |= limits.headers()


async def _stream(ask: Ask, answer: AnswerWriter, attempt: Attempt) -> None:
    """All calls of the attempt as one stream, one after the other."""
    upstream, calls, reply = attempt
    face: Face | None = None
    for call in calls:
        with Held() as held:
            answering = await _open(upstream, call, reply, answer, held)
            if face is None:
                face = ask.face(answering.reply)
                answer.start(200, sse.HEADERS)
            await _relay(answering, face, answer)
    if face is not None:
        answer.write(face.end())
    answer.end()


async def _whole(ask: Ask, answer: AnswerWriter, attempt: Attempt) -> None:
    """All calls of the attempt as one JSON answer; any failure fails it."""
    upstream, calls, reply = attempt
    chunks: list[Chunk] = []
    for call in calls:
        with Held() as held:
            answering = await _open(upstream, call, reply, answer, held)
            if call.whole:
                answer.whole(200, JSON, call.whole(await answering.whole(), reply).body)
                return
            while (more := await answering.chunks()) is not None:
                chunks += more
        reply = answering.reply
    if any(chunk.usage and chunk.usage.partial for chunk in chunks):
        _warn(answer, "the upstream did not count all tokens: usage is incomplete")
    answer.whole(200, JSON, ask.face(reply).whole(chunks))


async def _relay(answering: Answering, face: Face, answer: AnswerWriter) -> None:
    """Chunks to the client until the upstream's end; no reading ahead of a slow client."""
    while (chunks := await answering.chunks()) is not None:
        answer.write(face.render(chunks))
        room = answer.drained()
        if room is not None:
            await room


def _warn(answer: AnswerWriter, warning: str) -> None:
    known = answer.headers.get("x-facade-warning")
    answer.headers["x-facade-warning"] = f"{known}; {warning}" if known else warning
