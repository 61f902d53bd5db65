"""An exchange whose rest is of no use: its connection is kept if the body ends soon."""

from __future__ import annotations

import asyncio
import gc

import pytest

from facade.waits import result_of
from facade.wire.upstream import Connections, Endpoint, Exchange
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import CHUNKED, Peer, Upstream, saying

_PIECE = CHUNKED + b"5\r\nhello\r\n"
_END = b"5\r\nhello\r\n0\r\n\r\n"


async def _unending(peer: Peer) -> None:
    await peer.request()
    await peer.send(_PIECE)
    await peer.gone()


async def _begun(connections: Connections) -> Exchange:
    exchange = await connections.open("GET", "/", b"", {})
    assert (await result_of(exchange.read())).startswith(b"hello")
    return exchange


async def _seen_closed(upstream: Upstream) -> None:
    async with asyncio.timeout(0.2):
        await upstream.peers[0].left.wait()


@pytest.mark.parametrize("pieces", [(_PIECE + _END,), (_PIECE, _END)])
async def test_a_body_that_ends_soon_leaves_its_connection_to_the_next_request(
    serve: Serve, connect: Connect, pieces: tuple[bytes, ...]
) -> None:
    upstream = await serve(saying(*pieces))
    connections = connect(Endpoint(upstream.url, connections=1))
    for _ in range(3):
        exchange = await _begun(connections)
        exchange.release()
        exchange.release()
        exchange.abort()
    assert 1 == len(upstream.peers)


async def test_a_body_that_does_not_end_is_closed_and_makes_room(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(_unending)
    connections = connect(Endpoint(upstream.url, connections=1))
    (await _begun(connections)).release()
    await _begun(connections)
    await _seen_closed(upstream)
    assert 2 == len(upstream.peers)


async def test_a_body_that_is_cut_is_closed_makes_room_and_is_no_news(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(_PIECE)

    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url, connections=1))
    for number in (1, 2):
        (await _begun(connections)).release()
        assert number == len(upstream.peers)
    await asyncio.sleep(0.01)
    gc.collect()
    assert [] == caplog.messages


async def test_closing_does_not_wait_for_the_end(serve: Serve, connect: Connect) -> None:
    upstream = await serve(_unending)
    connections = connect(Endpoint(upstream.url))
    exchange = await _begun(connections)
    before = asyncio.all_tasks()
    exchange.release()
    await asyncio.sleep(0.01)  # it is under way
    await connections.close()
    assert asyncio.all_tasks() <= before
    await _seen_closed(upstream)


async def test_what_is_over_has_nothing_to_release(serve: Serve, connect: Connect) -> None:
    upstream = await serve(_unending)
    exchange = await _begun(connect(Endpoint(upstream.url)))
    exchange.abort()
    exchange.release()
    await _seen_closed(upstream)
