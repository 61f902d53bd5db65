"""A stream in which nothing comes for long is kept open by comments: ingresses cut silent ones.

Strategy: a stream that is waited for is looked at now and then, by one timer for all of them; a
request that is answered quickly pays for two entries in a dictionary. The first comment takes the
head with it, as 200: from then on a failure can only be told in the stream. What the headers can
no longer tell goes into a comment before the content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from facade.faces import sse
from facade.held import Held
from facade.waits import Wait
from facade.wire.answer import AnswerWriter
from facade.wire.connection import raw_headers

_LOOKS: Final = 8  # at each stream, until its silence is too long


class Silences:
    """The streams under way. After `longest` seconds of silence comes a comment; 0: never."""

    def __init__(self, longest: float) -> None:
        self._period = longest / _LOOKS
        self._streams: dict[KeptAlive, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, answer: AnswerWriter, held: Held) -> AnswerWriter:
        """The writer of a stream that is not to be silent until `held` lets go."""
        if not self._period:
            return answer
        stream = KeptAlive(answer, self._streams)
        held.add(stream.close)
        if self._timer is None:
            self._look_later()
        return stream

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._period, self._look)

    def _look(self) -> None:
        self._timer = None
        for stream in self._streams:
            stream.looks += 1
            if stream.looks > _LOOKS:
                stream.comment()
        if self._streams:
            self._look_later()


class KeptAlive:
    """An AnswerWriter before another. It has started where content has, not where comments have.

    Until it is closed it is among the `streams`. `looks`: how often it was found silent since
    something was written.
    """

    __slots__ = ("_answer", "_streams", "headers", "looks", "started")

    def __init__(self, answer: AnswerWriter, streams: dict[KeptAlive, None]) -> None:
        streams[self] = None
        self._streams = streams
        self.headers: dict[str, str] = {}
        self.started = False
        self.looks = 0
        self._answer = answer

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        raise NotImplementedError("a stream is not answered whole")

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        if self._answer.started:
            self.write(_told_late(self.headers))
        else:
            self._answer.headers |= self.headers
            self._answer.start(status, headers)

    def write(self, data: bytes) -> None:
        self.looks = 0
        self._answer.write(data)

    def drained(self) -> Wait[None] | None:
        return self._answer.drained()

    def end(self) -> None:
        self._answer.end()

    def comment(self) -> None:
        """Break the silence, unless it is the client who does not take what was written."""
        if not self._answer.started:
            self._answer.start(200, sse.HEADERS)
        if self._answer.drained() is None:
            self.write(sse.comment(b"keep-alive"))

    def close(self) -> None:
        """What is known of an answer that has not started goes with the error it becomes."""
        del self._streams[self]
        if not self.started:
            self._answer.headers |= self.headers


def _told_late(headers: Mapping[str, str]) -> bytes:
    return sse.comment(b"; ".join(b"%b: %b" % header for header in raw_headers(headers)))
