"""uvicorn's HTTP protocol, with a shorter way for the paths that are asked for all the time.

Strategy: a POST to a busy path goes from the parser's callbacks to the application and back
without ASGI, whose cycle (a task, an event, a scope, two messages) costs more than a second
socket. What is unusual (a body without a length, one that is announced, requests in one packet, a
caller who is refused) goes uvicorn's way, as all other paths do, and is answered the same. A
request on the short way whose head is the last one's, but for the length of its body, is not
parsed: the parser stands between two requests while such come, and is given whatever is not exactly
that. Also here: a head has a size, and connections without a request share one timer.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from facade.waits import Cohort
from facade.wire.connection import Heads, Stalls
from facade.wire.gathered import Gathered
from facade.wire.head import ABORT, LONGEST_REMEMBERED, Busy, Head, Headers, Remembered, remembered
from facade.wire.stepped import Stepped
from facade.wire.visit import Reading, Visit, refusal

_LONGEST_HEAD: Final = 256 * 1024  # bytes, in whole reads; clients send some hundred
_MOST_UNSENT: Final = 64 * 1024  # bytes that the system holds for a client that does not take them
_MOST_IN_LINE: Final = 8  # requests of a connection behind the one that is answered
_LONGEST_PART: Final = 64 * 1024  # bytes of a request that are held back
_OFFER: Final = re.compile(rb"(?<=\r\n)(?=upgrade:)", re.IGNORECASE)


# What the connections of a server share: the timer of the idle ones, the heads, who is ready.
_shared: Final[WeakKeyDictionary[Config, tuple[Stalls, Heads, Cohort]]] = WeakKeyDictionary()


class Protocol(HttpToolsProtocol):
    """One connection. Of its requests one is answered at a time.

    While a head is remembered, the parser has seen all of its request, and nothing since.
    """

    chunked = True
    paused = False
    _head = 0  # bytes read since the last request's head was whole
    _in_head = True
    _between = True  # no request has begun that is not whole
    _first = b""  # of the reads since then
    _size = 0  # of all of them
    _reading: Reading | None = None
    _whole: Reading | None = None  # that has just been read
    _answering: Visit | None = None
    _running: Any = None  # the latest that ASGI answers; `cycle` is the last that stands in line
    _remembered: Remembered | None = None
    _part = b""  # of a request with that head
    _began = 0.0  # which came then, by time.perf_counter

    def __init__(self, config: Config, server_state: ServerState, *more: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(config, server_state, *more, **named)
        self._busy: Mapping[bytes, Busy] = getattr(self.app, "busy", {})
        new = (Stalls(config.timeout_keep_alive), Heads(), Cohort())
        self._idle, self._heads, self.cohort = _shared.setdefault(config, new)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as there
        """The system would take megabytes, and hide for a long time that a client moves."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not on Windows
            transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT
            )
        gathered = Gathered(transport, self.cohort)
        self.write, self.abort = gathered.write, gathered.abort
        super().connection_made(gathered)  # type: ignore[arg-type] # as far as it asks

    def data_received(self, data: bytes) -> None:
        """A request like the last one is not parsed; what there is of it waits for the rest."""
        same = self._remembered
        if same is None or self._answering is not None:
            self._parse(data)
            return
        if self._part:
            data = self._part + data
        else:
            self._began = time.perf_counter()
        start, end = same.body_in(data)
        self._part = data if len(data) < end <= _LONGEST_PART else b""
        if end == len(data):
            visit = Visit(self, same.busy.stalls)
            self.cycle = visit  # type: ignore[assignment]  # as far as uvicorn asks
            self._serve(visit, same.entered(data[start:], visit, self._began))
        elif not self._part:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._remembered = None
        if self._in_head:
            if self._head > _LONGEST_HEAD:
                self.send_400_response("the request's head is too large")
                return
            self._head += len(data)
        if self._between:
            self._first, self._size = data[:LONGEST_REMEMBERED], 0
        self._size += len(data)
        if self._in_head and data.lower().find(b"\r\nupgrade:") >= 0:
            self._first = b""
            self._pass_over_offers(data)
        else:
            super().data_received(data)
        if self._whole is not None:
            read, self._whole = self._whole, None
            self._answer(read)

    def _pass_over_offers(self, data: bytes) -> None:
        """Those in heads, as Java's client makes with all it asks: they would lose their bodies."""
        first, *others = _OFFER.split(data)
        super().data_received(first)
        for each in others:
            if not self.transport.is_closing():
                super().data_received(b"x-" + each if self._in_head else each)

    def _unsupported_upgrade_warning(self) -> None:
        """An offer that came in two reads: nobody knows any more where its body ends."""
        self.cycle.keep_alive = False

    def _answer(self, read: Reading) -> None:
        visit, body = read.visit, b"".join(read.pieces)
        head = self._first[: self._size - len(body)]
        self._first = b""
        if len(head) + len(body) == self._size:  # nothing stands behind it
            self._remembered = remembered(read.busy, read.entered, head)
        self._serve(visit, read.entered(body, visit, read.began))

    def _serve(self, visit: Visit, work: Coroutine[Any, Any, object]) -> None:
        self._answering = visit
        self.tasks.add(visit)  # type: ignore[arg-type]  # it is cancelled as a task is
        if self.paused:  # by the answer before it
            visit.pause()
        visit.begin(work)

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is told like every error, but not in the midst of an answer."""
        cycle = self._answering or self._running
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(refusal(msg, f"req_{secrets.token_hex(12)}"))
        self._close()

    # What the parser sees

    def on_message_begin(self) -> None:
        self._between = False
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        busy = self._busy.get(self.url)
        self._reading = self._entered(busy) if busy and self._free else None
        if self._reading is None:
            self._as_asgi()
        else:
            self.cycle = self._reading.visit  # type: ignore[assignment]  # the same

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading.pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = self._between = True
        if self._reading is not None:
            self._whole, self._reading = self._reading, None
        else:
            super().on_message_complete()

    @property
    def _free(self) -> bool:
        """Whether no request is being answered."""
        cycle: Any = self.cycle  # None at first, against its annotation
        return cycle is None or cycle.response_complete

    def _entered(self, busy: Busy) -> Reading | None:
        """The request on the short way, if it is one for that."""
        known = Headers(self.headers)
        length = known.pop("content-length", None)  # another, of the next one with this head
        unusual = length is None or int(length) > busy.most or "expect" in known
        if unusual or self.parser.get_method() != b"POST":
            return None
        peer = self.client[0] if self.client else ""
        entered = busy.enter(Head("POST", self.url.decode(), known, peer, str(self.scheme)))
        if entered is None:
            return None
        visit = Visit(self, busy.stalls)
        self.chunked = self.parser.get_http_version() != "1.0"
        visit.keep_alive = self.chunked and self.parser.should_keep_alive()
        return Reading(visit, busy, entered, time.perf_counter(), [])

    def _as_asgi(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()
        self._first = b""
        if 0 < len(self.pipeline) < _MOST_IN_LINE:
            self.flow.resume_reading()  # or nobody would see that the client leaves
        # The task that answers has been made, and runs when this read is taken apart.
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]  # ASGI: any

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - uvicorn's
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # What the transport tells

    def eof_received(self) -> bool:  # type: ignore[override] # as protocols may
        """Who says no more may still read what is answered at once: that takes two turns."""
        self.loop.call_soon(self.loop.call_soon, self._close)
        if self._answering:  # which might not hear of it while the system holds what was sent
            self.loop.call_soon(self.loop.call_soon, self._answering.leave)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.pipeline and self._running is not None:
            self.cycle = self._running  # which uvicorn tells
        super().connection_lost(exc)
        self._idle.end(self)
        if self._answering:
            self._answering.leave()

    def shutdown(self) -> None:
        if self._part:  # it will be whole, and is answered
            part, self._part = self._part, b""
            self._parse(part)
        super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused = True
        if self._answering:
            self._answering.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.paused = False
        if self._answering:
            self._answering.resume()

    # The Connection of the request that is answered

    def begin(self, status: int, headers: Mapping[str, str]) -> bytes:
        return self._heads.head(status, headers, self.server_state.default_headers)

    def finish(self, data: bytes) -> None:
        self.transport.write(data)
        visit, self._answering = self._answering, None
        if visit is not None and not visit.keep_alive:
            self._close()
        self.on_response_complete()

    def ended(self, visit: Stepped) -> None:
        self.tasks.discard(visit)
        if self._answering is visit:  # the client is gone, or we have failed it
            self._answering = None
            self._close()

    # A connection without a request

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
                return
        self._idle.begin(self)

    def stalled(self) -> None:
        """It is long since the last answer; the rest of a body that is not read may never come."""
        if self.transport.is_closing():  # and the client has not taken all
            self.transport.abort()
        elif self._free and not self._part and (self._between or not self._in_head):
            self._close()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self._idle.begin(self)
            self.transport.close()
