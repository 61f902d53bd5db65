"""The server: decides what each request is answered with, logs it, and watches who leaves.

One task a connection. The transport is always read, also while an answer is made or held back, so
a client that leaves is noticed at once; the task is cancelled then.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from tests.fake_upstream import control
from tests.fake_upstream.answers import Answer, Reply
from tests.fake_upstream.changes import Changes
from tests.fake_upstream.faults import Fault
from tests.fake_upstream.models import DEFAULT_MODELS, Model, Models
from tests.fake_upstream.plans import Plans
from tests.fake_upstream.wire import Request, play, read_request

# The system's own buffer is kept small, so that a client that does not read soon stalls the fake.
_SEND_BUFFER: Final = 65536
_LONGEST_HEAD: Final = 2**20
_NOT_HTTP: Final = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class FakeUpstream:
    """An upstream on loopback: `async with FakeUpstream() as fake`, or `with running() as fake`.

    What a test calls may be called from any thread and any event loop. `requests` are all that
    came, but for `/_fake/...`. With `close_after` a connection is closed, unannounced, after so
    many answers; with `stale_after` when one more request than so many has come on it.
    """

    def __init__(
        self,
        models: Iterable[Model] = DEFAULT_MODELS,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.models = Models(models)
        self.requests: list[Request] = []
        self.connections = 0  # ever made
        self.close_after: int | None = None
        self.stale_after: int | None = None
        self.port = port
        self._tls = tls
        self._plans = Plans()
        self._changes = Changes()
        self._open: set[_Connection] = set()
        self._loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server
        self._releases: asyncio.Semaphore

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._open)

    @property
    def last(self) -> Request:
        """The latest request, on whatever path."""
        return self.requests[-1]

    def requests_to(self, path: str) -> list[Request]:
        """The requests on that path, in order."""
        return [request for request in self.requests if request.path == path]

    def script(self, path: str, *answers: Answer | Reply) -> None:
        """Queue what the next requests on the path are answered with."""
        self._plans.script(path, *answers)

    def fault(self, fault: Fault, *, times: int | None = 1, path: str | None = None) -> None:
        """Let the fault befall the next request, or so many (None: all that follow).

        On that path; without one, on any call of a model, but not on listings, versions and such.
        """
        self._plans.fault(fault, times=times, path=path)

    def release(self) -> None:
        """Let one held answer go on; if none is held, the next one to be."""
        self._loop.call_soon_threadsafe(self._releases.release)

    def reset(self) -> None:
        """Forget scripts, faults and log. Held answers stay held."""
        self._plans.clear()
        self.requests.clear()

    async def until(self, so: Callable[[], bool], *, within: float = 5.0) -> None:
        """Return when `so()`, looked at whenever anything here changes; else TimeoutError."""
        await self._changes.until(so, within)

    async def came(
        self, number: int = 1, *, path: str | None = None, within: float = 5.0
    ) -> Request:
        """The request of that number (on that path), once it has come."""

        def so_far() -> list[Request]:
            return self.requests if path is None else self.requests_to(path)

        await self.until(lambda: len(so_far()) >= number, within=within)
        return so_far()[number - 1]

    async def hung_up(self, request: Request, *, within: float) -> float:
        """When the client of that request left before its answer was over."""
        await self.until(lambda: request.hung_up_at is not None, within=within)
        assert request.hung_up_at is not None
        return request.hung_up_at

    async def start(self) -> None:
        """Listen; `port` is known from here on."""
        self._loop = asyncio.get_running_loop()
        self._releases = asyncio.Semaphore(0)
        listening = socket.create_server(("127.0.0.1", self.port))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.port = listening.getsockname()[1]
        self._server = await self._loop.create_server(self._accept, sock=listening, ssl=self._tls)

    async def stop(self) -> None:
        """Stop listening, and break off what is open."""
        self._server.close()
        tasks = [connection.task for connection in self._open]
        for connection in list(self._open):
            connection.abort()
        await self.until(lambda: not self._open)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _accept(self) -> asyncio.StreamReaderProtocol:
        return _Connection(self).protocol

    def _log(self, request: Request) -> None:
        if not request.path.startswith("/_fake/"):
            self.requests.append(request)
            self._changes.tell()

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/_fake/"):
            return control.answer(self, request)
        return self._plans.answer(request, self.models)


class _Watched(asyncio.StreamReaderProtocol):
    """Calls `left` at once when the client closes, `closed` when the connection is gone."""

    def __init__(self, connection: _Connection) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_HEAD)
        super().__init__(reader, connection.opened)
        self._watcher = connection

    def eof_received(self) -> bool | None:
        self._watcher.left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watcher.left()
        self._watcher.closed()


class _Connection:
    def __init__(self, fake: FakeUpstream) -> None:
        self.protocol = _Watched(self)
        self._fake = fake
        self._answering: Request | None = None
        self.task: asyncio.Task[None]
        self._writer: asyncio.StreamWriter

    def opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._fake.connections += 1
        self._fake._open.add(self)
        self._writer = writer
        # Drained is what the system took. Not 0: a TLS transport would never be drained then.
        writer.transport.set_write_buffer_limits(high=1)
        serving = self._serve(reader, writer, self._fake.connections)
        self.task = asyncio.create_task(serving)

    def left(self) -> None:
        if self._answering is not None:
            self._answering.hung_up_at = time.monotonic()
            self._answering = None
            self._fake._changes.tell()
        self.task.cancel()

    def closed(self) -> None:
        self._fake._open.discard(self)
        self._fake._changes.tell()

    def abort(self) -> None:
        self._answering = None
        self._writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        fake, answers = self._fake, 0
        try:
            while answers != fake.close_after:
                request = await read_request(reader, writer, number)
                fake._log(request)
                if answers == fake.stale_after or not await self._play(request):
                    break
                answers += 1
            writer.close()
        except (ValueError, asyncio.LimitOverrunError):
            writer.write(_NOT_HTTP)
            writer.close()
        except (EOFError, ConnectionError):
            pass  # the client left between two requests, or in the middle of one
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _play(self, request: Request) -> bool:
        answer = self._fake._answer(request)
        self._answering = request
        keeps = await play(answer, request, self._writer, self._fake._releases.acquire)
        self._answering = None
        return keeps


@contextmanager
def running(fake: FakeUpstream | None = None) -> Iterator[FakeUpstream]:
    """Run the fake in a thread of its own, for clients that block or are other processes."""
    fake = fake or FakeUpstream()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake upstream", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(fake.start(), loop).result(10)
        try:
            yield fake
        finally:
            asyncio.run_coroutine_threadsafe(fake.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
