"""The port to the client: where an answer is written. Every call is synchronous.

Written bytes are held until the client takes them; who writes a stream asks `drained`
and stops reading the upstream while it is a Wait. One implementation stands under ASGI
(`facade.wire.asgi`), another over a connection of our own server (`connected_answer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from adapters.rate_limits import SHOWN
from facade.waits import Wait

READ_AHEAD: Final = 1024 * 1024  # bytes written for a client that has not taken them yet


class AnswerWriter(Protocol):
    """One answer. Either `whole` once, or `start`, any number of `write`, and `end`.

    `headers` go with whatever answer comes, an error too; those of `whole` and `start` join.
    """

    headers: dict[str, str]

    @property
    def started(self) -> bool:
        """Whether the head is written: from then on a failure can only be told in the body."""

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None: ...

    def start(self, status: int, headers: Mapping[str, str]) -> None: ...

    def write(self, data: bytes) -> None: ...

    def drained(self) -> Wait[None] | None:
        """None while less than READ_AHEAD is held; else a Wait until it is less again."""

    def end(self) -> None: ...


class Answer(AnswerWriter, Protocol):
    """An answer on its way to its client, who may leave: what gives it is cancelled then.

    `ended`: nothing more will be written; `complete`: nothing is left to be sent; `left`: the
    client is gone, or took nothing for too long and was cut.
    """

    status: int | None
    ended: bool
    complete: bool
    left: bool

    async def sent(self) -> None:
        """Wait until the client has been given everything."""

    def given_up(self) -> bool:
        """Of an answer whose work was cancelled: whether nobody is there for a last word."""

    def close(self) -> None:
        """End without finishing: what was not sent is not sent. Harmless after the end."""


def warn(headers: dict[str, str], warning: str) -> None:
    """Add a warning to the headers of an answer."""
    known = headers.get("x-facade-warning")
    headers["x-facade-warning"] = f"{known}; {warning}" if known else warning


def forget(headers: dict[str, str]) -> None:
    """What an earlier attempt said of itself is not true of this one."""
    for name in ("x-facade-warning", *SHOWN):
        headers.pop(name, None)
