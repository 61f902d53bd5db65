"""A request on the short way of our server, and what uvicorn asks of one."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from facade.wire.connected_answer import ConnectedAnswer
from facade.wire.head import Busy, Entered


class _NoEvent:
    """Nobody waits for what comes of a request whose body is read before it is answered."""

    def set(self) -> None:
        pass


class Visit(ConnectedAnswer):
    """Its answer, and the work that gives it; to uvicorn, one of its cycles."""

    message_event: Final = _NoEvent()
    disconnected = False

    @property
    def response_complete(self) -> bool:
        return self.complete


class Reading(Struct):
    """A request whose body is read. `began`: when its head came, by time.perf_counter."""

    visit: Visit
    busy: Busy
    entered: Entered
    began: float
    pieces: list[bytes]
