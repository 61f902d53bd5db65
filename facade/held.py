"""What one request holds: a slot, a socket, a timer. Every release is synchronous."""

from __future__ import annotations

from collections.abc import Callable


class Held(list[Callable[[], object]]):
    """Lets go of what was taken, the latest first, however its block ends.

    A plain list where contextlib's ExitStack wraps each release twice: it stands on every
    request. A release does not raise; if one does all the same, the others still follow.
    """

    __slots__ = ()
    add = list.append

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            while self:
                self.pop()()
        finally:
            if self:
                self.__exit__()
