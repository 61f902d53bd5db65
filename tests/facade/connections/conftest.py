"""Every test here runs on both event loops and over every implementation, within ten seconds."""

from __future__ import annotations

import asyncio
import functools
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest
import uvloop

from facade.wire.direct_client import DirectConnections
from facade.wire.httpx_client import HttpxConnections
from facade.wire.site import Site, site_of
from facade.wire.upstream import Connections, Endpoint
from tests.facade.connections.authority import Authority
from tests.facade.connections.raw import Script, Upstream

Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
Test = Callable[..., Awaitable[None]]
Connect = Callable[[Endpoint], Connections]  # closed when the test is over

IMPLEMENTATIONS: dict[str, Callable[[Site], Connections]] = {
    "direct": DirectConnections,
    "httpx": HttpxConnections,
}


class Serve(Protocol):
    """Starts an upstream that plays the script."""

    async def __call__(self, script: Script, tls: ssl.SSLContext | None = None) -> Upstream: ...


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if not isinstance(item, pytest.Function) or here not in item.path.parents:
            continue
        if inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test: Test) -> Test:
    @functools.wraps(test)
    async def bounded(*arguments: object, **fixtures: object) -> None:
        async with asyncio.timeout(10):
            await test(*arguments, **fixtures)

    return bounded


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    upstreams = []

    async def start(script: Script, tls: ssl.SSLContext | None = None) -> Upstream:
        upstreams.append(Upstream(script))
        await upstreams[-1].start(tls)
        return upstreams[-1]

    yield start
    for upstream in upstreams:
        await upstream.stop()


@pytest.fixture(params=list(IMPLEMENTATIONS.values()), ids=list(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest) -> Callable[[Site], Connections]:
    chosen: Callable[[Site], Connections] = request.param
    return chosen


@pytest.fixture
async def connect(
    implementation: Callable[[Site], Connections], serve: Serve
) -> AsyncIterator[Connect]:
    made: list[Connections] = []

    def start(endpoint: Endpoint) -> Connections:
        made.append(implementation(site_of(endpoint)))
        return made[-1]

    yield start
    for connections in made:
        await connections.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
