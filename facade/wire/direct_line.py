"""A line: one connection to an upstream, from its making to its end, and who listens on it.

Strategy: a line knows nothing of HTTP. What happens on it goes to its listener, an exchange
or, while it is idle, the pool. Addresses are raced as RFC 8305 says (uvloop has nothing for
that), the TCP connection only: a slow TLS handshake is no reason for another.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, Final, Protocol, cast

from facade.waits import Cohort
from facade.wire.gathered import Gathered
from facade.wire.site import Site

_HEAD_START: Final = 0.25  # seconds that an address has before the next is tried too

_Address = tuple[int, int, int, str, tuple[object, ...]]  # as getaddrinfo gives it


class Listener(Protocol):
    """Whom a line tells what happens. After `ended` there is nothing more to tell."""

    def received(self, line: Line, data: bytes, /) -> None: ...

    def ended(self, line: Line, error: Exception | None, /) -> None:
        """The upstream has closed: properly, if without an error."""


class Line(asyncio.Protocol):
    """One connection. `used`: an exchange has ended well on it."""

    transport: Gathered
    listener: Listener | None = None
    connected = used = False

    def __init__(self, cohort: Cohort, made: Callable[[Line], None]) -> None:
        self._cohort = cohort
        self._made = made
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = Gathered(cast(asyncio.Transport, transport), self._cohort)
        self.connected = True
        made = self._made
        del self._made  # whom it is made for need not live as long
        made(self)

    def data_received(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener.received(self, data)

    def eof_received(self) -> None:
        self._end(None if self._said_goodbye() else ConnectionResetError())

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionResetError())
        if not self.gone.done():
            self.gone.set_result(None)

    def close(self) -> None:
        """Now, whatever is under way; nobody is told."""
        self.listener = None
        self.transport.abort()

    def _end(self, error: Exception | None) -> None:
        listener = self.listener
        self.close()
        if listener is not None:
            listener.ended(self, error)

    def _said_goodbye(self) -> bool:
        """Whether an end of file was meant. Within TLS somebody on the way may have made it."""
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        with suppress(ssl.SSLError):
            return not tls.read(1)
        return False


async def connect(site: Site, cohort: Cohort, made: Callable[[Line], None]) -> None:
    """Make a line, which sends with its cohort, and tell `made`.

    Raises TimeoutError after the connect timeout, and OSErrors.
    """
    loop = asyncio.get_running_loop()
    line = Line(cohort, made)
    async with asyncio.timeout(site.connect_timeout):
        addresses = await loop.getaddrinfo(site.host, site.port, type=socket.SOCK_STREAM)
        meant = _meant(site.host, cast(Sequence[_Address], addresses))
        connected = await _first(_in_turn(meant))
        try:
            await loop.create_connection(lambda: line, sock=connected, **_tls(site))
        except BaseException as error:
            # uvloop closes a connection that it has just made without a word to its protocol.
            if line.connected:
                line.connection_lost(None)
            if site.encrypted and isinstance(error, ConnectionError):
                raise ssl.SSLEOFError("closed in the handshake") from error
            raise


def _meant(host: str, addresses: Sequence[_Address]) -> Sequence[_Address]:
    """The addresses that the name may have; localhost is this machine, whatever a resolver says.

    Source: https://www.rfc-editor.org/rfc/rfc6761#section-6.3
    """
    if host != "localhost":
        return addresses
    here = [each for each in addresses if ipaddress.ip_address(str(each[4][0])).is_loopback]
    if not here:
        raise OSError("the name leads to another machine")
    return here


def _tls(site: Site) -> dict[str, Any]:
    """The arguments of `create_connection`."""
    if not site.encrypted:
        return {}
    return {
        "ssl": site.tls,
        "server_hostname": site.host,
        "ssl_handshake_timeout": site.connect_timeout,
    }


def _in_turn(addresses: Sequence[_Address]) -> list[_Address]:
    """The addresses, the two families by turns."""
    first = [each for each in addresses if each[0] == addresses[0][0]]
    second = [each for each in addresses if each[0] != addresses[0][0]]
    return [each for each in chain(*zip_longest(first, second)) if each]


async def _first(addresses: Sequence[_Address]) -> socket.socket:
    """The first connection that is made. Raises the first failure if all fail."""
    tries: set[asyncio.Task[socket.socket]] = set()
    try:
        return await _race(addresses, tries)
    finally:
        for task in tries:
            task.add_done_callback(_close)
            task.cancel()
        if tries:
            await asyncio.wait(tries)


async def _race(
    addresses: Sequence[_Address], tries: set[asyncio.Task[socket.socket]]
) -> socket.socket:
    """`tries`: those that are under way, also afterwards."""
    left = list(reversed(addresses))
    failures: list[BaseException] = []
    while left or tries:
        if left:
            tries.add(asyncio.create_task(_connected(left.pop())))
        head_start = _HEAD_START if left else None
        await asyncio.wait(tries, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
        for task in [each for each in tries if each.done()]:
            tries.remove(task)
            failure = task.exception()
            if failure is None:
                return task.result()
            failures.append(failure)
    raise failures[0]


def _close(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connected(address: _Address) -> socket.socket:
    family, kind, protocol, _, where = address
    connecting = socket.socket(family, kind, protocol)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, where)
    except BaseException:
        connecting.close()
        raise
    return connecting
