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
_LONGEST: Final = 16 * 1024  # bytes of a head that is remembered


class Headers(dict[str, str]):
    """A request's headers by their names in lower case; of one that stands twice the last.

    `pairs` are all of them as they came.
    """

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__((str(name, "latin-1"), str(value, "latin-1")) for name, value in pairs)
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
    """A head that came in one read with its body: the next one is mostly the same.

    Clients say the same of every request of a connection, but for the length of its body.
    """

    def __init__(self, busy: Busy, entered: Entered, before: bytes, after: bytes) -> None:
        self.busy = busy
        self.entered = entered
        self._before = before  # the length
        self._after = after  # it, to the end of the head

    def body(self, data: bytes) -> bytes | None:
        """The body of a whole request with this head; None: `data` is something else."""
        before, after = self._before, self._after
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(after, start, start + _MOST_DIGITS + len(after))
        length = data[start:end]
        if end < 0 or not length.isdigit() or length.startswith(b"0"):
            return None
        body = data[end + len(after) :]
        return body if len(body) == int(length) <= self.busy.most else None


def remembered(busy: Busy, entered: Entered, data: bytes, body: bytes) -> Remembered | None:
    """What to remember of a request that was read whole: `data` is it, if nothing stands behind.

    The parser has read it, so it has one length, and its lines end as they should.
    """
    head = data[: len(data) - len(body)]
    if len(head) > _LONGEST or head.find(_END) + len(_END) != len(head):
        return None
    found = _LENGTH.search(head)
    if found is None or int(found[1]) != len(body):
        return None
    return Remembered(busy, entered, head[: found.start(1)], head[found.end(1) :])
