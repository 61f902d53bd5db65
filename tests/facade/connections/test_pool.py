"""Which connection a request gets: a kept one, a fresh one instead of a stale one, or none yet."""

from __future__ import annotations

import asyncio

import pytest

from facade.waits import result_of
from facade.wire.upstream import ConnectionFault, Connections, Endpoint
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import (
    CHUNKED,
    OK,
    Peer,
    Script,
    Upstream,
    get,
    saying,
    saying_once,
    whole,
)


async def test_a_connection_is_kept_for_the_next_request(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url))
    assert [b"ok"] * 5 == [await get(connections) for _ in range(5)]
    assert 1 == len(upstream.peers)


async def test_connection_close_is_obeyed(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
    connections = connect(Endpoint(upstream.url))
    assert [b"ok"] * 3 == [await get(connections) for _ in range(3)]
    assert 3 == len(upstream.peers)
    async with asyncio.timeout(0.2):
        await upstream.peers[0].gone()


async def test_cookies_are_not_kept(serve: Serve, connect: Connect) -> None:
    head = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
    upstream = await serve(saying(head))
    connections = connect(Endpoint(upstream.url))
    assert [b"", b""] == [await get(connections), await get(connections)]
    first, second = upstream.peers[0].asked
    assert first == second


async def test_an_aborted_exchange_does_not_give_its_connection_back(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(CHUNKED + b"2\r\nok\r\n"))
    connections = connect(Endpoint(upstream.url))
    for number in (1, 2):
        exchange = await connections.open("GET", "/", b"", {})
        assert b"ok" == await result_of(exchange.read())
        exchange.abort()
        assert number == len(upstream.peers)


async def test_an_abort_after_the_end_leaves_the_connection_to_the_next_request(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url))
    for _ in range(2):
        exchange = await connections.open("GET", "/", b"", {})
        assert b"ok" == await whole(exchange)
        exchange.abort()
    assert 1 == len(upstream.peers)


async def test_a_connection_the_upstream_closed_while_idle_is_not_used(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying_once(OK))
    connections = connect(Endpoint(upstream.url))
    for number in (1, 2, 3):
        assert b"ok" == await get(connections)
        assert number == len(upstream.peers)
        await asyncio.sleep(0.02)  # for the upstream's close to arrive


def _unfaithful(end: Script, stale: int = 1) -> Script:
    """The first `stale` connections answer once and meet their second request with `end`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.reached.wait()
        await peer.send(OK)
        if peer.number <= stale:
            await peer.request()
            await end(peer)
        else:
            await saying(OK)(peer)

    return script


async def _closes(peer: Peer) -> None:
    peer.writer.close()


async def _resets(peer: Peer) -> None:
    peer.reset()


async def _closes_in_the_head(peer: Peer) -> None:
    await peer.send(b"H")


async def _closes_after_100(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _open_idle(upstream: Upstream, connections: Connections, count: int) -> None:
    """Have `count` kept connections."""
    gets = [asyncio.create_task(get(connections)) for _ in range(count)]
    for number in range(1, count + 1):
        (await upstream.peer(number)).reached.set()
    assert [b"ok"] * count == await asyncio.gather(*gets)


@pytest.mark.parametrize("end", [_closes, _resets])
@pytest.mark.parametrize("stale", [1, 3])
async def test_a_kept_connection_that_ends_unanswered_is_replaced_once_by_a_fresh_one(
    serve: Serve, connect: Connect, end: Script, stale: int
) -> None:
    upstream = await serve(_unfaithful(end, stale))
    connections = connect(Endpoint(upstream.url))
    await _open_idle(upstream, connections, stale)
    opening = connections.open("POST", "/again", b"body", {})
    (await upstream.peer(stale + 1)).reached.set()
    assert b"ok" == await whole(await opening)
    again = [asked for peer in upstream.peers for asked in peer.asked if asked.body == b"body"]
    assert ["POST /again HTTP/1.1"] * 2 == [asked.line for asked in again]
    assert stale + 1 == len(upstream.peers)
    assert again[-1] == upstream.peers[-1].asked[-1]


@pytest.mark.parametrize("end", [_closes_in_the_head, _closes_after_100])
async def test_a_kept_connection_that_ends_after_one_byte_is_not_replaced(
    serve: Serve, connect: Connect, end: Script
) -> None:
    upstream = await serve(_unfaithful(end))
    connections = connect(Endpoint(upstream.url))
    await _open_idle(upstream, connections, 1)
    with pytest.raises(ConnectionFault, match="in the middle of its answer") as caught:
        await connections.open("POST", "/again", b"body", {})
    assert caught.value.sent
    assert 1 == len(upstream.peers)


async def test_the_fresh_one_is_not_replaced_in_turn(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.send(OK)
            await peer.request()

    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url))
    assert b"ok" == await get(connections)
    with pytest.raises(ConnectionFault, match="before it answered") as caught:
        await connections.open("POST", "/", b"body", {})
    assert caught.value.sent
    assert [2, 1] == [len(peer.asked) for peer in upstream.peers]


async def test_a_fresh_connection_that_ends_unanswered_is_not_replaced(
    serve: Serve, connect: Connect
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    upstream = await serve(script)
    with pytest.raises(ConnectionFault, match="before it answered"):
        await connect(Endpoint(upstream.url)).open("POST", "/", b"body", {})
    assert 1 == len(upstream.peers)


async def test_an_exchange_that_is_aborted_twice_makes_room_but_once(
    serve: Serve, connect: Connect
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.gone()

    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url, connections=1))
    exchange = await connections.open("GET", "/", b"", {})
    exchange.abort()
    exchange.abort()
    await connections.open("GET", "/", b"", {})
    queued = connections.open("GET", "/", b"", {})
    await asyncio.sleep(0.02)
    assert not queued.done()
    assert 2 == len(upstream.peers)


async def test_the_latest_used_connection_is_used_first(serve: Serve, connect: Connect) -> None:
    upstream = await serve(_unfaithful(_closes, stale=0))
    connections = connect(Endpoint(upstream.url))
    gets = {asyncio.create_task(get(connections)) for _ in range(3)}
    for number in (2, 3, 1):
        (await upstream.peer(number)).reached.set()
        # Which of them has this peer is not known: connections are accepted in any order.
        _, gets = await asyncio.wait(gets, return_when=asyncio.FIRST_COMPLETED)
    assert [b"ok"] * 4 == [await get(connections) for _ in range(4)]
    assert [5, 1, 1] == [len(peer.asked) for peer in upstream.peers]


async def test_requests_above_the_number_of_connections_wait_and_complete(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url, connections=3))
    assert [b"ok"] * 50 == await asyncio.gather(*(get(connections) for _ in range(50)))
    assert 3 == len(upstream.peers)


async def test_who_waits_for_a_connection_and_leaves_takes_none(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(_unfaithful(_closes, stale=0))
    connections = connect(Endpoint(upstream.url, connections=1))
    first = connections.open("GET", "/first", b"", {})
    leaving = connections.open("GET", "/leaving", b"", {})
    last = connections.open("GET", "/last", b"", {})
    peer = await upstream.peer(1)
    leaving.cancel()
    peer.reached.set()
    assert b"ok" == await whole(await first)
    assert b"ok" == await whole(await last)
    assert ["GET /first HTTP/1.1", "GET /last HTTP/1.1"] == [asked.line for asked in peer.asked]
    assert 1 == len(upstream.peers)


async def test_a_kept_connection_whose_upstream_is_gone_is_refused_unsent(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying_once(OK))
    connections = connect(Endpoint(upstream.url))
    assert b"ok" == await get(connections)
    upstream.refuse()
    await asyncio.sleep(0.02)  # for the upstream's close to arrive
    with pytest.raises(ConnectionFault, match="refused") as caught:
        await connections.open("POST", "/", b"body", {})
    assert not caught.value.sent


async def test_a_request_that_went_out_before_the_replacement_was_refused_may_have_been_seen(
    serve: Serve, connect: Connect
) -> None:
    async def closes(peer: Peer) -> None:
        upstream.refuse()
        peer.writer.close()

    upstream = await serve(_unfaithful(closes))
    connections = connect(Endpoint(upstream.url))
    await _open_idle(upstream, connections, 1)
    with pytest.raises(ConnectionFault, match="refused") as caught:
        await connections.open("POST", "/", b"body", {})
    assert caught.value.sent


@pytest.mark.parametrize("end", ["fault", "abort", "cancel"])
async def test_an_exchange_that_ends_badly_makes_room_for_the_next(
    serve: Serve, connect: Connect, end: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 4:
            await peer.send(OK)
        elif end != "cancel":
            await peer.send(CHUNKED)
        if end != "fault":
            await peer.gone()

    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url, connections=1))
    for number in (1, 2, 3):
        opening = connections.open("GET", "/", b"", {})
        if end == "cancel":
            await upstream.peer(number)
            opening.cancel()
        elif end == "abort":
            (await opening).abort()
        else:
            exchange = await opening
            with pytest.raises(ConnectionFault):
                await result_of(exchange.read())
    assert b"ok" == await get(connections)
    assert 4 == len(upstream.peers)
