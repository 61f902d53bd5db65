"""An upstream: a dialect, its connections, its clocks. `open` gives an answer that has begun.

`open` returns only with a good status and the first content in hand, so that whoever holds
an Answering may tell the caller 200. Foreign errors become UpstreamErrors here and nowhere
else. Everything opened is put on the caller's stack, to be released synchronously.
"""

from __future__ import annotations

import math
from asyncio import CancelledError
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Final

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
from facade.waits import Left, Wait
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
        loading = self.loading
        silent = encoded.stream is None or encoded.heartbeat is None
        clocks = Clocks(self.traits.timeouts, self._alarms, until, loading is not None, silent)
        held.add(clocks.stop)
        if loading is not None:
            held.add(loading.watch(reply.model, clocks).stop)
        error: UpstreamError | None = None
        try:
            exchange = await _send(self._connections, encoded.request, clocks, local_only)
            if exchange.status != 200:
                exchange, error = await self._refused(exchange, encoded.request, clocks, local_only)
        except (ConnectionFault, CancelledError) as end:
            _raise(end, clocks)
            raise
        if exchange.names(rate_limits.WORDS):
            self._limits.hear(reply.model, exchange.headers, self._alarms.time())
        if error is not None:
            raise error
        decoder = encoded.stream(reply) if encoded.stream else None
        answering = Answering(exchange, reply, clocks, decoder, encoded.heartbeat)
        if decoder is not None:
            await answering.begin()
        if loading is not None:
            loading.note(reply.model)
        return answering

    async def ask(self, request: UpstreamRequest, within: Timeouts | None = None) -> bytes:
        """The whole answer to a request that does not generate: quickly or not at all.

        `within` other times it has a connection such as calls have. Raises UpstreamError.
        """
        with Held() as held:
            clocks = Clocks(within or _METADATA, self._alarms, math.inf, False, True)
            held.add(clocks.stop)
            try:
                on = self._connections if within else self._metadata
                exchange = await _send(on, request, clocks, False)
                if exchange.status != 200:
                    raise await self._refusal(exchange, clocks)
            except (ConnectionFault, CancelledError) as end:
                _raise(end, clocks)
                raise
            return await _whole(exchange, clocks, _LONGEST_WHOLE, [])

    def loaded(self) -> Mapping[str, Facts] | None:
        """The models that were in memory lately; None: it cannot be known."""
        return self.loading.known() if self.loading else None

    def limits(self, model: str) -> RateLimits | None:
        """The rate limits that this model was last told to have, as far as they still hold."""
        return self._limits.of(model, self._alarms.time()) if self._limits.told else None

    async def close(self) -> None:
        if self.loading:
            self.loading.close()
        await self._connections.close()
        await self._metadata.close()

    async def _refused(
        self, exchange: Exchange, request: UpstreamRequest, clocks: Clocks, local_only: bool
    ) -> tuple[Exchange, UpstreamError | None]:
        """What is wrong; or a good exchange, where a second way to say it was: it is tried once."""
        error = await self._refusal(exchange, clocks)
        again = self._amends.amend(request, error) if self._amends else None
        if again is None:
            return exchange, error
        exchange.abort()
        exchange = await _send(self._connections, again, clocks, local_only)
        return exchange, await self._refusal(exchange, clocks) if exchange.status != 200 else None

    async def _refusal(self, exchange: Exchange, clocks: Clocks) -> UpstreamError:
        """What is wrong, where the status is not good."""
        if not 400 <= exchange.status < 600:
            return broken(f"the upstream answered {exchange.status}")
        body = await _error_body(exchange, clocks)
        headers = {"date": formatdate(usegmt=True), **exchange.headers}  # not every server says it
        return self.dialect.decode_error(exchange.status, headers, body)


class Answering(Struct):
    """An upstream's answer under way."""

    _exchange: Exchange
    _reply: Reply
    _clocks: Clocks
    _decoder: StreamDecoder | None  # None: the answer comes in one piece
    _heartbeat: bool | None
    _first: list[Chunk] | None = None
    _done: bool = False  # the decoder has its end
    _ended: bool = False  # its end was read

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
        first: list[Chunk] = []
        while not any(chunk.commits for chunk in first):
            if (chunks := await self.chunks()) is None:
                break
            first += chunks
            if self._heartbeat:
                self._clocks.content()
        self._first = first
        self._clocks.content()

    async def chunks(self) -> list[Chunk] | None:
        """The next chunks (perhaps none yet), first those before the commit; None at the end."""
        if self._first:
            first, self._first = self._first, None
            return first
        decoder = self._decoder
        if decoder is None or self._ended:
            return None
        if not self._done:
            clocks = self._clocks
            try:
                piece = self._exchange.read()
                if not isinstance(piece, bytes):
                    piece = await clocks.mind(piece)
            except (ConnectionFault, CancelledError) as end:
                _raise(end, clocks)
                raise
            if piece:
                chunks = decoder.feed(piece)
                if decoder.done:
                    self._done = True
                    self._exchange.release()
                return chunks
        self._ended = True
        return decoder.close()

    def whole(self) -> Coroutine[Any, Any, bytes]:
        """The body of an answer that comes in one piece."""
        return _whole(self._exchange, self._clocks, _LONGEST_WHOLE, [])


def _send(
    on: Connections, request: UpstreamRequest, clocks: Clocks, local_only: bool
) -> Wait[Exchange]:
    """Wait for a reply's head. Its exchange lasts until the clocks are stopped."""
    return clocks.mind(
        on.open(request.method, request.path, request.body, request.headers, local_only=local_only)
    )


async def _whole(exchange: Exchange, clocks: Clocks, most: int, pieces: list[bytes]) -> bytes:
    """The rest of a body, also in `pieces`. Raises UpstreamError, beyond `most` bytes too."""
    size = 0
    try:
        while True:
            piece = exchange.read()
            if not isinstance(piece, bytes):
                piece = await clocks.mind(piece)
            if not piece:
                return b"".join(pieces)  # no copy of a single one
            pieces.append(piece)
            size += len(piece)
            if clocks.waits_for_content and not piece.isspace():  # blanks are sent while it works
                clocks.flows()
            if size > most:
                raise broken(f"the upstream's answer is larger than {most} bytes")
    except (ConnectionFault, CancelledError) as end:
        _raise(end, clocks)
        raise


async def _error_body(exchange: Exchange, clocks: Clocks) -> bytes:
    """As much of an error's body as comes: one that breaks off has a status all the same."""
    pieces: list[bytes] = []
    with suppress(UpstreamError), Held() as held:
        patience = clocks.brief(_SLOWEST_ERROR)
        held.add(patience.stop)
        await _whole(exchange, patience, _LONGEST_ERROR, pieces)
    return b"".join(pieces)


def _raise(end: ConnectionFault | CancelledError, clocks: Clocks) -> None:
    """Raises what ended a wait as an UpstreamError, unless it was cancelled from outside."""
    if isinstance(end, ConnectionFault):
        raise _foreign(end) from end
    if not isinstance(end, Left):  # a clock may have run out in the same turn
        clocks.check()


def _foreign(fault: ConnectionFault) -> UpstreamError:
    """What a connection did wrong, as an UpstreamError."""
    if isinstance(fault, ConnectTimeout):
        return UpstreamError(Kind.TIMEOUT, str(fault))
    if isinstance(fault, NotLocal):
        return UpstreamError(Kind.CONFINED, str(fault))
    if fault.sent:
        return broken(str(fault)) if isinstance(fault, Garbled) else Incomplete(str(fault))
    return UpstreamError(Kind.UNREACHABLE, str(fault))
