"""An exchange over the direct client: one request, and its reply as httptools takes it apart.

Strategy: the parser's callbacks only note what they saw; what follows is decided once per
read. Who waits has a Prompt, so nothing here needs a task, and goes on in the loop's next turn:
more may come until then, and lies here. Every reply has a parser of its own: nothing of one can
reach the next. Its head is kept as it came, and taken apart for those who ask for the headers: for
most replies nobody does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from httptools import HttpParserError, HttpResponseParser

from facade.waits import Prompt, Wait
from facade.wire.direct_line import Line
from facade.wire.direct_pool import Pool
from facade.wire.faults import cut, garbled, not_reached, overlong
from facade.wire.upstream import A_MOMENT, ConnectionFault, Exchange

T = TypeVar("T")

_END_OF_HEAD: Final = b"\r\n\r\n"
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_LONGEST_HEAD: Final = 64 * 1024  # bytes, in whole reads; also of all else without content
_READ_AHEAD: Final = 64 * 1024  # bytes, in whole reads, that may lie here until they are asked for


class _Wait(Prompt[T]):
    """A Wait of an exchange. Cancelled, it aborts the exchange, also in the tick in which it
    is done: so nothing stays open for a caller who is cancelled before the result gets there.
    """

    exchange: DirectExchange

    def cancel(self, msg: object = None) -> bool:
        cancelled = super().cancel(msg)  # done with a fault, it need not be heard any more
        if not self.exchange.over:
            self.exchange.abort()
        return cancelled


class DirectExchange:
    """One request. `bodiless`: its answer has no body, whatever its head says (HEAD)."""

    def __init__(self, pool: Pool, request: bytes, bodiless: bool) -> None:
        self._pool = pool
        self._request = request
        self._bodiless = bodiless
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._parser = HttpResponseParser(self)
        self.status = 0  # until the head is there
        self._head = b""  # without a status, what there is of it; empty until a byte came
        self._size = 0  # bytes that came since the last content was taken
        self._line: Line | None = None
        self._opening: _Wait[Exchange] | None = None
        self._reading: _Wait[bytes] | None = None
        self._fault: ConnectionFault | None = None
        self._giving_up: asyncio.TimerHandle | None = None  # since it was released
        self._kept = self._sent = False  # the line is a used one; the request is out
        self._complete = self._lasting = False  # the reply is; the line may be used again
        self.over = self._paused = False  # nothing is held any more; the line is not read

    @property
    def headers(self) -> Mapping[str, str]:
        return _headers(self._head)

    def names(self, words: Sequence[str]) -> bool:
        head = self._head.decode("latin-1").lower()
        for word in words:  # noqa: SIM110 - a generator costs more than the look
            if word in head:
                return True
        return False

    def open(self) -> Wait[Exchange]:
        opening: _Wait[Exchange] = _Wait(loop=self._pool.loop.get())
        opening.exchange = self
        self._opening = opening
        self._pool.take(self)
        return opening

    def read(self) -> bytes | Wait[bytes]:
        if self._pieces:
            return self._taken()
        if self._complete:
            return b""
        if self._fault is not None:
            raise self._fault
        reading: _Wait[bytes] = _Wait(loop=self._pool.loop.get())
        reading.exchange = self
        if self.over:
            reading.cancel()
        else:
            self._reading = reading
        return reading

    def abort(self) -> None:
        if self._giving_up is None and not self.over:
            self.drop()

    def release(self) -> None:
        if self.over or self._giving_up is not None:
            return
        self._taken()
        self._giving_up = self._pool.loop.get().call_later(A_MOMENT, self.drop)

    # What the pool and the line tell

    def start(self, line: Line) -> None:
        self._line = line
        self._kept = line.used
        self._sent = True
        line.listener = self
        line.transport.write(self._request)

    def refused(self, error: BaseException) -> None:
        self._fail(not_reached(self._pool.site, error, sent=self._sent))

    def drop(self) -> None:
        """Abort, released or not. What had come is still read first."""
        if self.over:
            return
        self._let_go()
        waiting = self._opening or self._reading
        self._opening = self._reading = None
        if waiting is not None:
            waiting.cancel()

    def received(self, _line: Line, data: bytes) -> None:
        self._size += len(data)
        if not self.status:
            self._head += data
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._lasting = False
            if not self._complete:
                self._fail(garbled(self._pool.site))
                return
        if self._complete:
            self._let_go()
        elif self._pieces:
            if self._giving_up is not None:
                self._taken()
        elif self._size > _LONGEST_HEAD:
            self._fail(overlong(self._pool.site, _LONGEST_HEAD))
            return
        self._tell()
        if self._size > _READ_AHEAD:
            self._hold_back()

    def ended(self, _line: Line, error: Exception | None) -> None:
        if self._kept and not self._head:
            self._line = None
            self._pool.connect(self)
        elif error is None and self._ends_with_its_line():
            self._complete = True
            self._let_go()
            self._tell()
        else:
            self._fail(cut(self._pool.site, error, answered=self._head != b""))

    # What the parser sees

    def on_message_begin(self) -> None:
        if self._complete:
            raise HttpParserError  # stops it: this is nothing we asked for

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        came = self._head.lstrip(b"\r\n")  # the parser passes over them too
        end = came.find(_END_OF_HEAD)
        if status >= 200:
            self.status = status
            self._head = came[:end]
            self._request = b""
            if self._bodiless:
                self.on_message_complete()
        elif status < 100 or status == 101:
            raise HttpParserError  # we asked for no other protocol
        elif status > 103 and not _FRAMING.isdisjoint(_headers(came[:end])):
            raise HttpParserError  # the parser would read a body that it must not have
        else:
            self._head = came[end + 2 :]  # never empty any more

    def on_message_complete(self) -> None:
        if self.status:
            self._complete = True
            self._lasting = self._parser.should_keep_alive()

    # What follows

    def _tell(self) -> None:
        """Whoever waits hears what there is: what came before a fault comes first."""
        if self._reading is not None:
            reading = self._reading
            if self._pieces or self._complete:
                self._reading = None
                reading.set_result(self._taken())
            elif self._fault is not None:
                self._reading = None
                reading.set_exception(self._fault)
        elif self._opening is not None:
            opening = self._opening
            if self.status:
                self._opening = None
                opening.set_result(self)
            elif self._fault is not None:
                self._opening = None
                opening.set_exception(self._fault)

    def _taken(self) -> bytes:
        """Everything that is here."""
        pieces = self._pieces
        piece = b"".join(pieces)  # no copy of a single one
        pieces.clear()
        self._size = 0
        if self._paused and self._line is not None:
            self._paused = False
            self._line.transport.resume_reading()
        return piece

    def _hold_back(self) -> None:
        """Leave the rest to the system where nobody reads."""
        if self._pieces and self._line is not None and not self._paused:
            self._paused = True
            self._line.transport.pause_reading()

    def _ends_with_its_line(self) -> bool:
        """Whether this reply's end is told by nothing else."""
        framed = self.headers.get("transfer-encoding", "").lower().endswith("chunked")
        return self.status > 0 and not framed and "content-length" not in self.headers

    def _fail(self, fault: ConnectionFault) -> None:
        self._fault = fault
        self._let_go()
        self._tell()

    def _let_go(self) -> None:
        """Hold nothing any more; a line that lasts is good for another request."""
        self.over = True
        if self._bodiless and self._pieces:
            self._lasting = False
            self._pieces.clear()
        del self._parser  # it knows us: together we would be left to the garbage collector
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._pieces.clear()
        line, self._line = self._line, None
        if line is None:
            self._pool.leave(self)
        elif self._lasting and not line.transport.get_write_buffer_size():
            if self._paused:
                line.transport.resume_reading()
            self._pool.give_back(self, line)
        else:
            line.close()
            self._pool.leave(self)


def _headers(head: bytes) -> dict[str, str]:
    """Those of a head that the parser took, by their names in lower case."""
    found: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
