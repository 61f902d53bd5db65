"""An answer that is told to whoever listens, now or later, each from its beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from facade.waits import Wait
from facade.wire.answer import AnswerWriter


class Recording:
    """An AnswerWriter to all who listen, each from the beginning. `size` in bytes.

    `grown` is called with each piece that is kept, and may call `forget`.
    """

    def __init__(self, grown: Callable[[int], None]) -> None:
        self.headers: dict[str, str] = {}
        self.status = 0
        self.started = False
        self.ended = False
        self.listeners: list[AnswerWriter] = []
        self.kept = True
        self._whole = False
        self._pieces: list[bytes] = []
        self._grown = grown
        self._room: Wait[None] | None = None

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._whole = self.ended = True
        self._begin(status, headers)
        for answer in self.listeners:
            self._tell_whole(answer, body)
        self._keep(body)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self._begin(status, headers)
        for answer in self.listeners:
            self._tell_start(answer)

    def write(self, data: bytes) -> None:
        for answer in self.listeners:
            answer.write(data)
        self._keep(data)

    def drained(self) -> Wait[None] | None:
        """As long as one of them has room, or nobody is there, it goes on."""
        rooms = [answer.drained() for answer in self.listeners]
        if not rooms or None in rooms:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
            for room in rooms:
                if room is not None:
                    room.add_done_callback(self._go_on)
        return self._room

    def end(self) -> None:
        self.ended = True
        for answer in self.listeners:
            answer.end()

    def listen(self, answer: AnswerWriter) -> None:
        """Give it what there is, and what comes."""
        self.listeners.append(answer)
        if self._whole:
            self._tell_whole(answer, b"".join(self._pieces))
        elif self.started:
            self._tell_start(answer)
            answer.write(b"".join(self._pieces))
            if self.ended:
                answer.end()
        self._go_on()

    def leave(self, answer: AnswerWriter) -> None:
        self.listeners.remove(answer)
        self._go_on()

    def forget(self) -> None:
        """Keep nothing any more: who listens gets the rest, nobody else can."""
        self.kept = False
        self._pieces.clear()

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.started = status, True
        self.headers |= headers

    def _tell_start(self, answer: AnswerWriter) -> None:
        answer.start(self.status, self.headers)

    def _tell_whole(self, answer: AnswerWriter, body: bytes) -> None:
        answer.whole(self.status, self.headers, body)

    def _keep(self, data: bytes) -> None:
        if self.kept:
            self._pieces.append(data)
            self._grown(len(data))

    def _go_on(self, _: object = None) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
