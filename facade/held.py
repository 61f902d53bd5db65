"""What one request holds: a slot, a socket, a timer. Every release is synchronous."""

from __future__ import annotations

from collections.abc import Callable


class Held:
    """Lets go of what was taken, the latest first, however its block ends.

    A plain list where contextlib's ExitStack wraps each release twice: it stands on every
    request. A release does not raise; if one does all the same, the others still follow.
    """

    def __init__(self) -> None:
        self._releases: list[Callable[[], object]] = []
        self.add = self._releases.append

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            while self._releases:
                self._releases.pop()()
        finally:
            if self._releases:
                self.__exit__()
