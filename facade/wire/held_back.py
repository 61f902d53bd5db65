"""An answer that is held back until it is complete, so that one that fails was never begun."""

from __future__ import annotations

from collections.abc import Mapping

from facade.waits import Wait
from facade.wire.answer import READ_AHEAD, AnswerWriter


class HeldBack:
    """An AnswerWriter before another: a stream goes on at its end, or at READ_AHEAD bytes."""

    def __init__(self, answer: AnswerWriter) -> None:
        self.headers = answer.headers
        self._answer = answer
        self._head: tuple[int, Mapping[str, str]] | None = None
        self._pieces: list[bytes] = []
        self._held = 0

    @property
    def started(self) -> bool:
        return self._answer.started

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._answer.whole(status, headers, body)

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        self._head = (status, headers)

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= READ_AHEAD:  # and stays so: from here on all goes on at once
            self._go_on()

    def drained(self) -> Wait[None] | None:
        return self._answer.drained()

    def end(self) -> None:
        self._go_on()
        self._answer.end()

    def _go_on(self) -> None:
        if self._head is not None:
            self._answer.start(*self._head)
            self._head = None
        self._answer.write(b"".join(self._pieces))
        self._pieces.clear()
