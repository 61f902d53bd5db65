"""An upstream: a dialect, its connections, its clocks. `open` gives an answer that has begun.

`open` returns only with a good status and the first content in hand, so that whoever holds
an Answering may tell the caller 200. Foreign errors become UpstreamErrors here and nowhere
else. Everything opened is put on the caller's stack, to be released synchronously.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Final

from msgspec import Struct, field

from adapters import rate_limits
from adapters.dialect import (
    Amends,
    Dialect,
    Encoded,
    Facts,
    ListsLoaded,
    Reply,
    StreamDecoder,
    UpstreamRequest,
)
from adapters.errors import Incomplete, Kind, UpstreamError, broken
from adapters.rate_limits import RateLimits
from adapters.wire import Chunk
from facade.alarms import Alarms
from facade.deadlines import Clocks, Timeouts
from facade.held import Held
from facade.known_limits import KnownLimits
from facade.loading import Loading
from facade.wire.upstream import (
    ConnectionFault,
    Connections,
    ConnectTimeout,
    Exchange,
    Garbled,
    NotLocal,
)

_LONGEST_WHOLE: Final = 256 * 1024 * 1024  # bytes: 2,048 long vectors fit
_LONGEST_ERROR: Final = 1024 * 1024
_SLOWEST_ERROR: Final = Timeouts(total=5)  # for its body: who is refused need not wait
_METADATA: Final = Timeouts(load=10, first_token=10, idle=10, total=10)


class Traits(Struct, frozen=True):
    """What the operator says of an upstream."""

    timeouts: Timeouts = Timeouts()
    options: Mapping[str, object] = field(default_factory=dict)
    model_options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    keep_alive: str | int | None = None
    local: bool = False  # what is sent there stays with the operator


class Upstream:
    """One configured upstream, under the name it has in the configuration.

    `metadata` are connections apart for what never generates: answers that hold all the others
    must not keep anybody from asking what is loaded.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        traits: Traits,
        connections: Connections,
        metadata: Connections,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.traits = traits
        self._connections = connections
        self._metadata = metadata
        self._limits = KnownLimits()
        self._alarms = Alarms()
        # Asked once: looking a protocol's verbs up costs more than all else of a request.
        self._amends = dialect if isinstance(dialect, Amends) else None
        self.loading = Loading(dialect, self.ask) if isinstance(dialect, ListsLoaded) else None

    async def open(
        self, encoded: Encoded, reply: Reply, held: Held, until: float, *, local_only: bool
    ) -> Answering:
        """Send one call and wait for its first content. Raises UpstreamError.

        `until`: when the request's time is over, by the loop's time. `local_only`: it may be sent
        to local upstreams alone; where this is none, nothing is connected.
        """
        clocks = Clocks(
            self.traits.timeouts,
            self._alarms,
            loads=self.loading is not None,
            silent=encoded.stream is None or encoded.heartbeat is None,
            until=until,
        )
        held.add(clocks.stop)
        if self.loading:
            held.add(self.loading.watch(reply.model, clocks).stop)
        exchange = await self._exchange(encoded.request, reply.model, clocks, held, local_only)
        answering = Answering(exchange, encoded, reply, clocks)
        if encoded.stream:
            await answering.begin()
        if self.loading:
            self.loading.note(reply.model)
        return answering

    async def ask(self, request: UpstreamRequest, within: Timeouts | None = None) -> bytes:
        """The whole answer to a request that does not generate: quickly or not at all.

        `within` other times it has a connection such as calls have. Raises UpstreamError.
        """
        on = self._metadata if within is None else self._connections
        with Held() as held:
            clocks = Clocks(within or _METADATA, self._alarms, loads=False, silent=True)
            held.add(clocks.stop)
            exchange, error = await self._send(on, request, clocks, held, False)
            if error is not None:
                raise error
            return await read_whole(exchange, clocks, _LONGEST_WHOLE)

    def loaded(self) -> Mapping[str, Facts] | None:
        """The models that were in memory lately; None: it cannot be known."""
        return self.loading.known() if self.loading else None

    def limits(self, model: str) -> RateLimits | None:
        """The rate limits that this model was last told to have, as far as they still hold."""
        return self._limits.of(model, self._alarms.time())

    async def close(self) -> None:
        if self.loading:
            self.loading.close()
        await self._connections.close()
        await self._metadata.close()

    async def _exchange(
        self, request: UpstreamRequest, model: str, clocks: Clocks, held: Held, local_only: bool
    ) -> Exchange:
        """An exchange whose status is good; a second way to say it is tried once."""
        exchange, error = await self._send(self._connections, request, clocks, held, local_only)
        if error is not None and self._amends:
            again = self._amends.amend(request, error)
            if again is not None:
                exchange, error = await self._send(
                    self._connections, again, clocks, held, local_only
                )
        if exchange.names(rate_limits.WORDS):
            limits = rate_limits.read(exchange.headers, time.time())
            if limits is not None:
                self._limits.note(model, limits, self._alarms.time())
        if error is not None:
            raise error
        return exchange

    async def _send(
        self,
        on: Connections,
        request: UpstreamRequest,
        clocks: Clocks,
        held: Held,
        local_only: bool,
    ) -> tuple[Exchange, UpstreamError | None]:
        try:
            opening = on.open(
                request.method, request.path, request.body, request.headers, local_only=local_only
            )
            exchange = await clocks.guard(opening)
        except ConnectionFault as fault:
            raise _foreign(fault) from fault
        held.add(exchange.abort)
        if exchange.status == 200:
            return exchange, None
        if not 400 <= exchange.status < 600:
            return exchange, broken(f"the upstream answered {exchange.status}")
        body = await _read_error(exchange, clocks)
        headers = {"date": formatdate(usegmt=True), **exchange.headers}  # not every server says it
        return exchange, self.dialect.decode_error(exchange.status, headers, body)


class Answering:
    """An upstream's answer under way."""

    def __init__(self, exchange: Exchange, encoded: Encoded, reply: Reply, clocks: Clocks) -> None:
        self._exchange = exchange
        self._encoded = encoded
        self._reply = reply
        self._clocks = clocks
        self._decoder: StreamDecoder | None = encoded.stream(reply) if encoded.stream else None
        self._first: list[Chunk] = []
        self._done = self._ended = False  # the decoder has its end; its end was read

    @property
    def reply(self) -> Reply:
        """The answer's identity, as the upstream tells it."""
        return self._decoder.reply if self._decoder else self._reply

    @property
    def over(self) -> bool:
        """Whether nothing more is read from the upstream; further chunks need no waiting."""
        return self._done or self._ended

    async def begin(self) -> None:
        """Read up to the first content (of a stream; a whole answer is read by `whole`)."""
        while self._decoder and not any(chunk.commits for chunk in self._first):
            chunks = await self._read(self._decoder)
            if chunks is None:
                break
            self._first += chunks
        if self._decoder:
            self._clocks.content()

    async def chunks(self) -> list[Chunk] | None:
        """The next chunks (perhaps none yet), first those before the commit; None at the end."""
        if self._first:
            first, self._first = self._first, []
            return first
        return await self._read(self._decoder) if self._decoder else None

    async def whole(self) -> bytes:
        """The body of an answer that comes in one piece."""
        return await read_whole(self._exchange, self._clocks, _LONGEST_WHOLE)

    async def _read(self, decoder: StreamDecoder) -> list[Chunk] | None:
        if self._ended:
            return None
        if self._done:
            self._ended = True
            return decoder.close()
        received = await _next(self._exchange, self._clocks)
        if not received:
            self._ended = True
            return decoder.close()
        if self._encoded.heartbeat:
            self._clocks.content()
        chunks = decoder.feed(received)
        self._done = decoder.done
        if self._done:
            self._exchange.release()
        return chunks


async def _next(exchange: Exchange, clocks: Clocks) -> bytes:
    """The next piece. Raises UpstreamError."""
    try:
        piece = exchange.read()
        return piece if isinstance(piece, bytes) else await clocks.guard(piece, idle=True)
    except ConnectionFault as fault:
        raise _foreign(fault) from fault


async def read_whole(exchange: Exchange, clocks: Clocks, most: int) -> bytes:
    """The rest of a body. Raises UpstreamError beyond `most` bytes."""
    pieces: list[bytes] = []
    size = 0
    while True:
        piece = await _next(exchange, clocks)
        if not piece:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.append(piece)
        if clocks.waits_for_content and not piece.isspace():  # some send blanks while they work
            clocks.flows()
        size += len(piece)
        if size > most:
            raise broken(f"the upstream's answer is larger than {most} bytes")


async def _read_error(exchange: Exchange, clocks: Clocks) -> bytes:
    """As much of an error's body as comes: one that breaks off has a status all the same."""
    body = b""
    with suppress(UpstreamError), Held() as held:
        patience = clocks.brief(_SLOWEST_ERROR)
        held.add(patience.stop)
        while len(body) < _LONGEST_ERROR and (piece := await _next(exchange, patience)):
            body += piece
    return body


def _foreign(fault: ConnectionFault) -> UpstreamError:
    """What a connection did wrong, as an UpstreamError."""
    if isinstance(fault, ConnectTimeout):
        return UpstreamError(Kind.TIMEOUT, str(fault))
    if isinstance(fault, NotLocal):
        return UpstreamError(Kind.CONFINED, str(fault))
    if isinstance(fault, Garbled):
        return broken(str(fault))
    return Incomplete(str(fault)) if fault.sent else UpstreamError(Kind.UNREACHABLE, str(fault))
