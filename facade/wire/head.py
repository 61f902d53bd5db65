"""What is known of a request before its body; and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from facade.wire.connection import Connection

ABORT: Final = "facade.abort"  # an extension of ASGI's scope: closes the client's socket


class Headers(Mapping[str, str]):
    """A request's headers by their names in lower case; of one that stands twice the last.

    Clients send many and we ask for few, so none is decoded before it is asked for. `pairs` are
    all of them as they came, `last` the same as a dictionary.
    """

    __slots__ = ("_last", "pairs")

    def __init__(
        self, pairs: Sequence[tuple[bytes, bytes]], last: dict[bytes, bytes] | None = None
    ) -> None:
        self.pairs = pairs
        self._last = dict(pairs) if last is None else last

    def __getitem__(self, name: str) -> str:
        return self._last[name.encode("latin-1")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._last)

    def __len__(self) -> int:
        return len(self._last)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as its parent
        """As its parent's, which would raise and catch a KeyError for most that is asked."""
        value = self._last.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.encode("latin-1") in self._last


class Head(Struct, frozen=True):
    """`peer` is the other end's address, "" if it has none; `scheme` is http or https."""

    method: str
    path: str
    headers: Headers
    peer: str
    scheme: str


Entered = Callable[[bytes, Connection], Coroutine[Any, Any, object]]  # from its body on


class Busy(Protocol):
    """A path that is asked for all the time. `most`: bytes of a body."""

    most: int

    def enter(self, head: Head) -> Entered | None:
        """Let a request in. None: it is refused, which ASGI is to tell."""
