"""The port to upstreams over httpx, which also goes through proxies.

Strategy: httpx does HTTP, one connection at a time (`facade.wire.httpx_line`); the pool is
ours. What httpx does runs in a task of the exchange, and who waits has a Wait of ours: given
up, it is done at once, while the task ends and the line is closed in the background.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

import httpx

from facade.waits import Wait
from facade.wire.faults import not_asked, not_local
from facade.wire.httpx_line import Line
from facade.wire.site import Site, check_line, sendable
from facade.wire.upstream import A_MOMENT, KEEP_ALIVE, ConnectionFault, Exchange

T = TypeVar("T")


class HttpxConnections:
    """The connections to one upstream. Raises ValueError for a URL that is none to httpx."""

    def __init__(self, site: Site) -> None:
        self._site = site
        try:
            self._url = httpx.URL(site.url)
        except httpx.InvalidURL as error:
            raise ValueError(f"base_url: {error}") from None
        self._extensions = {"timeout": {"connect": site.connect_timeout}}  # there is no other
        self._pool = _Pool(site)

    def open(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        local_only: bool = False,
    ) -> Wait[Exchange]:
        if local_only and not self._site.local:
            raise not_local(self._site)
        exchange = _Exchange(self._pool)
        try:
            return exchange.open(self._request(method, path, body, headers))
        except ValueError as error:
            return exchange.refuse(not_asked(self._site, error))

    def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> httpx.Request:
        """Raises ValueError for what cannot be sent."""
        check_line(method, path)
        wanted = {
            **({"content-type": "application/json"} if body else {}),
            **self._site.headers,
            **sendable(headers),
        }
        return httpx.Request(
            method,
            self._url.copy_with(raw_path=f"{self._site.path}{path}{self._site.query}".encode()),
            headers=httpx.Headers(wanted, encoding="latin-1"),
            content=body,
            extensions=self._extensions,
        )

    async def close(self) -> None:
        await self._pool.close()


class _Pool:
    """Lines: so many in use at a time, the idle ones kept for KEEP_ALIVE."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._places = asyncio.Semaphore(site.connections)
        self._idle: deque[tuple[float, Line]] = deque()  # with the time since when
        self._ending: set[asyncio.Task[None]] = set()
        self.exchanges: set[_Exchange] = set()

    async def take(self) -> Line:
        await self._places.acquire()
        now = asyncio.get_running_loop().time()
        while self._idle and now - self._idle[0][0] > KEEP_ALIVE:
            self.later(self._idle.popleft()[1].close())
        return self._idle.pop()[1] if self._idle else Line(self._site)

    def give_back(self, line: Line) -> None:
        self._idle.append((asyncio.get_running_loop().time(), line))
        self._places.release()

    async def discard(self, line: Line) -> None:
        await line.close()
        self._places.release()

    def later(self, ending: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        for exchange in tuple(self.exchanges):
            exchange.drop()
        while self._ending:
            await asyncio.wait(self._ending)
        while self._idle:
            await self._idle.pop()[1].close()


class _Wait(asyncio.Future[T]):
    """A Wait of an exchange. Cancelled, it aborts the exchange, also in the tick in which it
    is done: so nothing stays open for a caller who is cancelled before the result gets there.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._abort = abort

    def cancel(self, msg: object = None) -> bool:
        self._abort()
        return super().cancel(msg)


class _Exchange:
    """One request on one line. What it waits for runs in `_task`, one step at a time."""

    status: int
    headers: Mapping[str, str]

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._line: Line | None = None
        self._released = False
        self._task: asyncio.Task[object]

    def open(self, request: httpx.Request) -> Wait[Exchange]:
        self._pool.exchanges.add(self)
        return self._wait(self._open(request))

    def refuse(self, fault: ConnectionFault) -> Wait[Exchange]:
        wait: _Wait[Exchange] = _Wait(self.abort)
        wait.set_exception(fault)
        return wait

    def names(self, words: Sequence[str]) -> bool:
        return any(word in name for name in self.headers for word in words)

    def read(self) -> Wait[bytes]:
        return self._wait(self._read())

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._task = asyncio.create_task(self._run_out())
            self._task.add_done_callback(lambda _: self.drop())

    def abort(self) -> None:
        if not self._released:
            self.drop()

    def drop(self) -> None:
        """Abort, released or not."""
        if self in self._pool.exchanges:
            self._pool.exchanges.remove(self)
            self._task.cancel()
            self._pool.later(self._end(self._task))

    async def _open(self, request: httpx.Request) -> Exchange:
        self._line = await self._pool.take()
        response = await self._line.send(request)
        self.status = response.status_code
        self.headers = dict(response.headers)
        return self

    async def _read(self) -> bytes:
        if self._line is None:
            return b""
        if self not in self._pool.exchanges:
            raise asyncio.CancelledError
        piece = await self._line.read()
        if not piece:
            self._pool.exchanges.remove(self)
            self._pool.give_back(self._line)
            self._line = None
        return piece

    async def _run_out(self) -> None:
        with suppress(TimeoutError, ConnectionFault):
            async with asyncio.timeout(A_MOMENT):
                while await self._read():
                    pass

    async def _end(self, task: asyncio.Task[object]) -> None:
        await asyncio.wait({task})
        if self._line is not None:
            await self._pool.discard(self._line)

    def _wait(self, step: Coroutine[None, None, T]) -> Wait[T]:
        wait: _Wait[T] = _Wait(self.abort)
        task = asyncio.create_task(step)
        task.add_done_callback(functools.partial(self._settle, wait))
        self._task = task
        return wait

    def _settle(self, wait: Wait[T], task: asyncio.Task[T]) -> None:
        fault = None if task.cancelled() else task.exception()
        if fault or task.cancelled():
            self.drop()
        if wait.cancelled():
            return
        if task.cancelled():
            wait.cancel()
        elif fault:
            wait.set_exception(fault)
        else:
            wait.set_result(task.result())
