"""What only the implementation over httpx has: its expiry, and that httpx's own fakes see it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from pytest_httpx import HTTPXMock

from facade.wire import httpx_client
from facade.wire.httpx_client import HttpxConnections
from facade.wire.site import site_of
from facade.wire.upstream import ConnectionFault, Endpoint
from tests.facade.connections.conftest import Serve
from tests.facade.connections.raw import OK, get, saying


async def test_a_connection_idle_for_too_long_is_closed_instead_of_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx_client, "KEEP_ALIVE", 0.05)
    upstream = await serve(saying(OK))
    connections = HttpxConnections(site_of(Endpoint(upstream.url)))
    for number in (1, 2):
        assert [b"ok", b"ok"] == [await get(connections), await get(connections)]
        assert number == len(upstream.peers)
        await asyncio.sleep(0.06)
    assert 2 == len(upstream.peers[0].asked)
    async with asyncio.timeout(0.2):
        await upstream.peers[0].left.wait()
    await connections.close()


async def test_the_fakes_of_pytest_httpx_answer_it(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(url="https://api.invalid/v1/models", content=b"[]")
    connections = HttpxConnections(site_of(Endpoint("https://api.invalid/v1")))
    assert b"[]" == await get(connections, "/models")
    httpx_mock.add_exception(httpx.ReadError("made up"))
    with pytest.raises(ConnectionFault, match=r"api\.invalid:443"):
        await get(connections, "/models")
    await connections.close()
