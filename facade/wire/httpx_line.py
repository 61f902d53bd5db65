"""A line: one of httpx's transports with room for one connection, whose sockets we make.

So it is known of each request whether its socket is fresh and whether a byte came back, which
decides on retries and faults, and httpx's own pool, which walks through all connections at
every request, has one to look at. All errors of httpx and what is below it end here.
"""

# ruff: noqa: ASYNC109 - httpcore's interfaces have a `timeout`

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import httpcore
import httpx

from facade.wire.faults import cut, garbled, not_reached
from facade.wire.site import Site
from facade.wire.upstream import ConnectionFault

_ONE: Final = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)


class Line(httpcore.AsyncNetworkBackend):
    """One connection, made when a request needs it and again where it was lost."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sockets = httpcore.AnyIOBackend()
        self._transport = httpx.AsyncHTTPTransport(site.tls, limits=_ONE, proxy=site.proxy)
        self._transport._pool._network_backend = self  # noqa: SLF001 - httpx has no argument for it
        self._body: AsyncIterator[bytes] | None = None
        self._reached = False  # the upstream itself, TLS included
        self._ended = False  # by the upstream
        self._fresh = self._sent = self._answered = False  # of the latest request

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The reply's head. A kept connection that ends unanswered is replaced, once."""
        self._fresh = self._sent = self._answered = False
        with self._faults():
            try:
                response = await self._transport.handle_async_request(request)
            except Exception:
                if self._fresh or self._answered or not self._sent:
                    raise
                response = await self._transport.handle_async_request(request)
            self._body = response.aiter_raw()
            return response

    async def read(self) -> bytes:
        with self._faults():
            return await anext(self._body, b"") if self._body else b""

    async def close(self) -> None:
        await self._transport.aclose()
        if self._body is not None:
            # Run out on the closed socket: a generator left in its middle would be finished by
            # tasks that the garbage collector starts.
            with suppress(Exception):
                async for _ in self._body:
                    pass

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._fresh = True
        self._reached = False
        until = asyncio.get_running_loop().time() + self._site.connect_timeout
        inner = await self._sockets.connect_tcp(host, port, timeout, local_address, socket_options)
        self._reached = not self._site.encrypted
        return _Stream(inner, self, until if self._site.encrypted else None)

    def secured(self) -> None:
        self._reached = True

    def told(self) -> None:
        self._sent = self._sent or self._reached

    def heard(self, piece: bytes) -> None:
        self._answered = self._answered or bool(piece)
        self._ended = not piece

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # nothing of a library leaks, whatever it is
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> ConnectionFault:
        if not self._reached:
            return not_reached(self._site, error, sent=self._sent)
        understood = self._ended or not isinstance(error, httpx.RemoteProtocolError)
        if understood or not self._answered:
            return cut(self._site, error, answered=self._answered)
        return garbled(self._site)


class _Stream(httpcore.AsyncNetworkStream):
    """A socket of a line; tells the line what comes. `until` (loop time) ends the way to TLS."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, line: Line, until: float | None) -> None:
        self._inner = inner
        self._line = line
        self._until = until

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        piece = await self._inner.read(max_bytes, self._left(timeout))
        self._line.heard(piece)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._line.told()
        await self._inner.write(buffer, self._left(timeout))

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            inner = await self._inner.start_tls(ssl_context, server_hostname, self._left(timeout))
        except BaseException:  # cancelled, httpcore would leave the socket open
            await self._inner.aclose()
            raise
        self._line.secured()
        return _Stream(inner, self._line, None)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)

    def _left(self, timeout: float | None) -> float | None:
        if self._until is None:
            return timeout
        return self._until - asyncio.get_running_loop().time()
