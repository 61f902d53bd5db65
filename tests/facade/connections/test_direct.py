"""What the direct client does beyond the port: at once, without a task, leaving nothing behind."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from facade.waits import result_of
from facade.wire import direct_pool
from facade.wire.direct_client import DirectConnections
from facade.wire.upstream import ConnectionFault, Endpoint, Exchange
from tests.facade.connections.authority import Authority
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import CHUNKED, OK, Peer, get, saying, saying_once, whole

_GARBAGE = "answered with what is not valid HTTP"


@pytest.fixture
def implementation() -> type[DirectConnections]:
    return DirectConnections


async def test_a_body_that_lies_here_is_read_without_waiting_and_in_one_piece(
    serve: Serve, connect: Connect
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in (CHUNKED, b"2\r\nhe\r\n", b"2\r\nll\r\n", b"1\r\no\r\n"):
            await peer.send(piece)
            await asyncio.sleep(0.01)  # each is a read of its own
        peer.reached.set()
        await peer.gone()

    upstream = await serve(script)
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    await upstream.peers[0].reached.wait()
    assert b"hello" == exchange.read()
    assert isinstance(exchange.read(), asyncio.Future)


async def test_what_lay_here_when_a_clock_ran_out_is_still_read(
    serve: Serve, connect: Connect
) -> None:
    """It may be all that was to come, but for the body's end."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"5\r\nhello\r\n")
        await peer.gone()

    upstream = await serve(script)
    opening = connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    exchange = await opening
    opening.cancel()
    await upstream.peers[0].left.wait()
    assert b"hello" == exchange.read()
    ended = exchange.read()
    assert isinstance(ended, asyncio.Future)
    assert ended.cancelled()


async def test_a_whole_reply_has_given_its_connection_back_before_it_is_read(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url, connections=1))
    exchanges = [await connections.open("GET", "/", b"", {}) for _ in range(3)]
    assert 1 == len(upstream.peers)
    exchanges[0].abort()  # harmless: nothing is under way any more
    assert [b"ok"] * 3 == [exchange.read() for exchange in exchanges]
    assert [b""] * 3 == [exchange.read() for exchange in exchanges]


async def test_a_kept_connection_needs_no_task(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url))
    assert b"ok" == await get(connections)
    before = asyncio.all_tasks()
    opening = connections.open("GET", "/", b"", {})
    assert before == asyncio.all_tasks()
    assert b"ok" == await whole(await opening)
    assert 1 == len(upstream.peers)


@pytest.mark.parametrize("reply", [OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"garbage", CHUNKED])
async def test_what_is_over_is_not_left_to_the_garbage_collector(
    serve: Serve, connect: Connect, reply: bytes
) -> None:
    async def watched() -> weakref.ref[Exchange] | None:
        try:
            exchange = await connections.open("GET", "/", b"", {})
            exchange.read()
            exchange.abort()
        except ConnectionFault:
            return None
        return weakref.ref(exchange)

    upstream = await serve(saying(reply))
    connections = connect(Endpoint(upstream.url))
    gc.collect()
    gc.disable()
    try:
        watches = [await watched() for _ in range(3)]
        await asyncio.sleep(0)
        assert [] == [watch() for watch in watches if watch is not None and watch() is not None]
        for watch in watches:
            assert (watch is None) == (reply == b"garbage")
    finally:
        gc.enable()


async def test_an_answer_that_does_not_wait_for_its_request_costs_the_connection(
    serve: Serve, connect: Connect
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        await peer.gone()

    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url))
    for number in (1, 2):
        exchange = await connections.open("POST", "/", bytes(30_000_000), {})
        assert b"ok" == await whole(exchange)
        assert number == len(upstream.peers)
        async with asyncio.timeout(0.5):
            await upstream.peers[-1].left.wait()


@pytest.mark.parametrize(("more", "count"), [("", 2), ("connection: keep-alive\r\n", 1)])
async def test_http_1_0_keeps_a_connection_only_if_it_says_so(
    serve: Serve, connect: Connect, more: str, count: int
) -> None:
    upstream = await serve(saying(f"HTTP/1.0 200 OK\r\n{more}content-length: 2\r\n\r\nok".encode()))
    connections = connect(Endpoint(upstream.url))
    assert [b"ok", b"ok"] == [await get(connections), await get(connections)]
    assert count == len(upstream.peers)


async def test_idle_connections_are_closed_in_time_without_another_request(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_pool, "KEEP_ALIVE", 0.05)
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url))
    for number in (1, 2):
        assert [b"ok", b"ok"] == [await get(connections), await get(connections)]
        assert number == len(upstream.peers)
        async with asyncio.timeout(1):
            await upstream.peers[-1].left.wait()


async def test_a_fault_is_told_as_often_as_it_is_asked_for(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying_once(CHUNKED + b"5\r\nhello\r\nzz\r\n"))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert b"hello" == await result_of(exchange.read())
    for _ in range(2):
        with pytest.raises(ConnectionFault, match=_GARBAGE):
            await result_of(exchange.read())


async def test_a_cut_is_heard_of_behind_what_nobody_has_read(
    serve: Serve, connect: Connect
) -> None:
    total = 5_000_000

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (total + 1))
        await peer.send(bytes(total))

    upstream = await serve(script)
    exchange: Exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    await asyncio.sleep(0.05)  # nobody reads
    received: list[bytes] = []
    with pytest.raises(ConnectionFault, match="in the middle of its answer"):
        await whole(exchange, received)
    assert total == len(b"".join(received))


async def test_closing_leaves_no_socket_of_tls_behind(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    upstream = await serve(saying(OK), authority.server())
    connections = connect(Endpoint(upstream.secure_url, ca_file=authority.file))
    gets = (get(connections) for _ in range(5))
    assert [b"ok"] * 5 == await asyncio.gather(*gets)
    await connections.close()
    async with asyncio.timeout(0.2):
        await asyncio.wait(upstream.playing)
    assert b"ok" == await get(connections)
