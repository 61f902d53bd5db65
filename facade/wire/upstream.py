"""The port to upstreams: one HTTP request, its reply's head, its body as it arrives.

Two implementations stand behind it (a client of our own, and httpx for what lies behind a
proxy), and one suite of tests runs over both. The port has no clocks: whoever waits aborts,
with the reason. Every error a connection can make is a ConnectionFault; nothing of a library
leaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct, field

from facade.waits import Wait

A_MOMENT: Final = 0.5  # seconds that a released body has to end
KEEP_ALIVE: Final = 120.0  # seconds; load balancers forget a connection in silence from 240 on


class ConnectionFault(Exception):
    """The connection failed. `sent`: whether the upstream may have seen the request."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class ConnectTimeout(ConnectionFault):
    """No connection, TLS included, within the endpoint's `connect_timeout`."""


class Garbled(ConnectionFault):
    """What came is no answer of HTTP, or one that has no end."""


class NotLocal(ConnectionFault):
    """The request may be sent to local upstreams only, and this is none. There was no socket."""


class Endpoint(Struct, frozen=True):
    """Where an upstream is and how its connections are made. Paths are absolute files.

    `query` (`api-version=1`) goes with every request. `local`: what is sent there stays with
    the operator.
    """

    base_url: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)  # credentials among them
    connect_timeout: float = 5.0  # seconds; the clock `connect`
    connections: int = 100
    proxy: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None  # one PEM file with certificate and key
    local: bool = False
    environment_proxies: bool = False  # HTTPS_PROXY and NO_PROXY: for clouds only


class Exchange(Protocol):
    """One request under way: its reply's head is here, its body is read piece by piece.

    `headers` has lower-case names. `read` gives the next piece, b"" at the proper end of
    the body, and raises ConnectionFault where the body was cut. Nothing is read from the
    socket while nobody calls `read` (beyond what the system buffers): that is back-pressure.
    """

    status: int

    @property
    def headers(self) -> Mapping[str, str]: ...

    def names(self, words: Sequence[str]) -> bool:
        """Whether a header may have one of the words in its name. Costs less than `headers`."""

    def read(self) -> bytes | Wait[bytes]: ...

    def abort(self) -> None:
        """Close the socket now. Harmless after the end, and when called twice.

        A pending `read` ends in CancelledError. A body read to its end has already given
        its connection back to the pool.
        """

    def release(self) -> None:
        """What is left of the body is of no use: whoever read it has the answer.

        The connection goes back to the pool if the body's end comes within a moment, else
        the socket is closed. `abort` after it does nothing.
        """


class Connections(Protocol):
    """The connections to one upstream.

    `open` waits for the reply's head. Cancelling its Wait closes the socket. A kept-alive
    connection that the upstream had closed is replaced by a fresh one, once, and only if
    not one byte of an answer had come. Redirects are not followed. 1xx are skipped.
    `open` raises NotLocal at once for a request that is `local_only`, where the endpoint is
    not: whoever chose the upstream was wrong.
    """

    def open(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        local_only: bool = False,
    ) -> Wait[Exchange]: ...

    async def close(self) -> None: ...
