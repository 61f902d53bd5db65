"""What is known of a request before its body; and who is told of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from facade.wire.answer import Answer
from facade.wire.connection import Stalls

ABORT: Final = "facade.abort"  # an extension of ASGI's scope: closes the client's socket
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,10})(?=\r\n)", re.IGNORECASE)
_MOST_DIGITS: Final = 10
_END: Final = b"\r\n\r\n"
LONGEST_REMEMBERED: Final = 16 * 1024  # bytes of a head


class Headers(dict[str, str]):
    """A request's headers by their names in lower case; of one that stands twice the last.

    `pairs` are all of them as they came.
    """

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__([(str(name, "latin-1"), str(value, "latin-1")) for name, value in pairs])
        self.pairs = pairs


class Head(Struct, frozen=True):
    """`peer` is the other end's address, "" if it has none; `scheme` is http or https."""

    method: str
    path: str
    headers: Headers
    peer: str
    scheme: str


Entered = Callable[[bytes, Answer, float], Coroutine[Any, Any, object]]
# what answers a request that was let in: its body, its answer, and when its head came


class Busy(Protocol):
    """A path that is asked for all the time. `most`: bytes of a body; `stalls`: of its answers."""

    most: int
    stalls: Stalls

    def enter(self, head: Head) -> Entered | None:
        """Let requests with this head in. None: they are refused, which ASGI is to tell."""


class Remembered:
    """The head of the last request: that of the next is mostly the same.

    Clients say the same of every request of a connection, but for the length of its body.
    """

    def __init__(self, busy: Busy, entered: Entered, before: bytes, after: bytes) -> None:
        self.busy = busy
        self.entered = entered
        self._before = before  # the length
        self._after = after  # it, to the end of the head
        self._shortest = len(before)
        self._longest = len(before) + _MOST_DIGITS + len(after)

    def body_in(self, data: bytes) -> tuple[int, int]:
        """Where the body of a request with this head begins and ends; (0, 0) if it is another."""
        if data.startswith(self._before):
            end = data.find(self._after, self._shortest, self._longest)
            length = data[self._shortest : end]
            if end > 0 and length.isdigit():
                start, size = end + len(self._after), int(length)
                if size <= self.busy.most:
                    return start, start + size
        return 0, 0


def remembered(busy: Busy, entered: Entered, head: bytes) -> Remembered | None:
    """The head of a request that the parser has read, if all of it is here.

    So it has one length, which is a number and no list, and its lines end as they should.
    """
    found = _LENGTH.search(head)
    if found is None or head.find(_END) + len(_END) != len(head):
        return None
    return Remembered(busy, entered, head[: found.start(1)], head[found.end(1) :])
