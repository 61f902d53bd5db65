"""A live facade in this loop: the application and the server exactly as `facade serve` has them.

Only what waits in uvicorn's own loop (signals, its tick, its drain) is left out, so that a
test starts and stops one in a moment. What is left running afterwards fails the test.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from openai import AsyncOpenAI

from facade.config import Settings, load
from facade.serving import configured
from facade.wire.head import Remembered
from facade.wire.server import Protocol
from tests.fake_upstream import FakeUpstream

DIALECTS = ("ollama", "openai")
WAIT = 10.0  # seconds; a bound, never reached where all is well


def settings(folder: Path, text: str) -> Settings:
    """The settings of a file that says this."""
    file = folder / "facade.toml"
    file.write_text(text)
    return load({}, file)


def upstream(dialect: str, url: str, **more: str) -> str:
    """The table of an upstream that is called like its dialect; `more` is written as it is."""
    url = f"{url}/v1" if dialect == "openai" else url
    keys = {"dialect": f'"{dialect}"', "base_url": f'"{url}"', **more}
    return f"[upstreams.{dialect}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())


def both(fake: FakeUpstream, **more: str) -> str:
    """The fake as two upstreams, one of each dialect."""
    return "".join(upstream(dialect, fake.url, **more) for dialect in DIALECTS)


class Facade:
    """Where it listens, what it holds, and the upstream behind it."""

    def __init__(self, server: uvicorn.Server, port: int, fake: FakeUpstream) -> None:
        self.port = port
        self.fake = fake
        self._server = server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tasks(self) -> set[Any]:
        """Those of the requests that are under way."""
        return self._server.server_state.tasks

    @property
    def requests(self) -> int:
        """How many are under way."""
        return len(self.tasks)

    @property
    def bodies(self) -> int:
        """How many requests are under way whose body is not whole yet."""
        connections = self._server.server_state.connections
        ours = [each for each in connections if isinstance(each, Protocol)]
        return sum(each._reading is not None or bool(each._part) for each in ours)

    @property
    def remembered(self) -> list[Remembered]:
        """The heads that connections expect again."""
        connections = self._server.server_state.connections
        heads = [each._remembered for each in connections if isinstance(each, Protocol)]
        return [head for head in heads if head]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._server.server_state.connections)

    @property
    def of_a_head(self) -> int:
        """How many bytes have come of a head that is not whole yet."""
        connections = self._server.server_state.connections
        return max(each._head for each in connections if isinstance(each, Protocol))

    async def until(self, so: Callable[[], bool]) -> None:
        """Return when that is so; TimeoutError if it takes too long."""
        async with asyncio.timeout(WAIT):
            while not so():  # noqa: ASYNC110 - uvicorn tells nobody what changes in it
                await asyncio.sleep(0.002)

    async def idle(self) -> None:
        """Return when no request is under way."""
        await self.until(lambda: not self.requests)

    def sdk(self) -> AsyncOpenAI:
        """The official SDK without its retries; to be closed."""
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="sk-client", max_retries=0)


@asynccontextmanager
async def serving(
    said: Settings, fake: FakeUpstream, http: str | type[Protocol] = Protocol
) -> AsyncIterator[Facade]:
    """A facade with these settings, by ours or another server's `http`; afterwards no task of it
    may be left.
    """
    before = asyncio.all_tasks()
    server = uvicorn.Server(configured(said))
    server.config.http = http
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.startup(sockets=[listener])
    try:
        yield Facade(server, listener.getsockname()[1], fake)
    finally:
        await _stop(server)
        listener.close()
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=WAIT)
        assert set() == left


async def _stop(server: uvicorn.Server) -> None:
    for each in server.servers:
        each.close()
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    async with asyncio.timeout(WAIT):
        while server.server_state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody when they end
            await asyncio.sleep(0.002)
    await server.lifespan.shutdown()
