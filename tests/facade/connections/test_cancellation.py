"""Whoever gives up closes the socket, in every phase: the upstream sees it within 200 ms."""

from __future__ import annotations

import asyncio
import gc

import pytest

from facade.waits import Wait, result_of
from facade.wire.upstream import Endpoint, Exchange
from tests.facade.connections.authority import Authority
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import CHUNKED, OK, Peer, Script, Upstream, get, saying
from tests.facade.test_stepped import Work

_PIECE = CHUNKED + b"5\r\nhello\r\n"


async def _mute(peer: Peer) -> None:
    await peer.request()
    peer.reached.set()
    await peer.gone()


async def _mute_from_the_second_on(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK)
    await _mute(peer)


async def _mute_from_the_body_on(peer: Peer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.05)  # the system's buffers fill up
    peer.reached.set()
    await peer.gone()


async def _deaf(peer: Peer) -> None:
    await peer.reader.read(1)  # the beginning of TLS
    peer.reached.set()
    await peer.gone()


async def _beginning(peer: Peer) -> None:
    await peer.request()
    await peer.send(_PIECE)
    await peer.gone()


async def _reached(upstream: Upstream) -> None:
    await (await upstream.peer(1)).reached.wait()


async def _seen_closed(upstream: Upstream) -> None:
    """The upstream's one connection has been closed by its client."""
    async with asyncio.timeout(0.2):
        await (await upstream.peer(1)).left.wait()
    assert 1 == len(upstream.peers)


async def _ends(wait: object) -> None:
    assert isinstance(wait, asyncio.Future)
    with pytest.raises(asyncio.CancelledError):
        await wait


async def _reading(serve: Serve, connect: Connect) -> tuple[Upstream, Exchange]:
    """An exchange whose first piece was read."""
    upstream = await serve(_beginning)
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert b"hello" == await result_of(exchange.read())
    return upstream, exchange


_WAITS = {
    "in the TLS handshake": (_deaf, "https"),
    "while the request is sent": (_mute_from_the_body_on, "http"),
    "before the head": (_mute, "http"),
}


@pytest.mark.parametrize(("script", "scheme"), _WAITS.values(), ids=_WAITS)
async def test_while_it_opens(serve: Serve, connect: Connect, script: Script, scheme: str) -> None:
    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url.replace("http", scheme)))
    opening = connections.open("POST", "/", bytes(20_000_000), {})
    await _reached(upstream)
    opening.cancel()
    await _ends(opening)
    await _seen_closed(upstream)


@pytest.mark.parametrize("secure", [False, True])
async def test_after_any_number_of_steps_on_the_way(
    serve: Serve, connect: Connect, authority: Authority, secure: bool
) -> None:
    async def script(peer: Peer) -> None:
        if "GET /last HTTP/1.1" == (await peer.request()).line:
            await peer.send(OK)
        await peer.gone()

    upstream = await serve(script, authority.server() if secure else None)
    url = upstream.secure_url if secure else upstream.url
    connections = connect(Endpoint(url, connections=1, ca_file=authority.file))
    for steps in range(60):
        opening = connections.open("GET", "/", b"", {})
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        await _ends(opening)
    assert b"ok" == await get(connections, "/last")
    await connections.close()
    async with asyncio.timeout(0.5):
        await asyncio.wait(upstream.playing)


async def test_before_the_head_on_a_kept_connection(serve: Serve, connect: Connect) -> None:
    upstream = await serve(_mute_from_the_second_on)
    connections = connect(Endpoint(upstream.url))
    assert b"ok" == await get(connections)
    opening = connections.open("GET", "/", b"", {})
    await _reached(upstream)
    opening.cancel()
    await _ends(opening)
    await _seen_closed(upstream)


@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_in_mid_body_while_a_read_is_pending(
    serve: Serve, connect: Connect, how: str
) -> None:
    upstream, exchange = await _reading(serve, connect)
    reading = exchange.read()
    assert isinstance(reading, asyncio.Future)
    await asyncio.sleep(0.01)  # it is under way
    if how == "abort":
        exchange.abort()
    else:
        reading.cancel()
    await _ends(reading)
    await _seen_closed(upstream)


async def test_in_mid_body_in_the_tick_in_which_a_read_begins(
    serve: Serve, connect: Connect
) -> None:
    upstream, exchange = await _reading(serve, connect)
    reading = exchange.read()
    exchange.abort()
    await _ends(reading)
    await _seen_closed(upstream)


async def test_in_mid_body_while_nobody_reads(serve: Serve, connect: Connect) -> None:
    upstream, exchange = await _reading(serve, connect)
    exchange.abort()
    await _seen_closed(upstream)


async def test_before_anything_of_the_body_was_read(serve: Serve, connect: Connect) -> None:
    upstream = await serve(_beginning)
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    exchange.abort()
    await _seen_closed(upstream)


async def test_twice(serve: Serve, connect: Connect) -> None:
    upstream, exchange = await _reading(serve, connect)
    exchange.abort()
    exchange.abort()
    await _seen_closed(upstream)
    exchange.abort()


async def test_a_read_after_the_abort_is_cancelled_too(serve: Serve, connect: Connect) -> None:
    upstream, exchange = await _reading(serve, connect)
    exchange.abort()
    await _ends(exchange.read())
    await _seen_closed(upstream)


async def test_by_ending_the_task_that_waits(serve: Serve, connect: Connect) -> None:
    upstream = await serve(_mute)
    task = asyncio.create_task(get(connect(Endpoint(upstream.url))))
    await _reached(upstream)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _seen_closed(upstream)


async def test_by_ending_the_task_that_waits_again_and_again(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(_mute)
    connections = connect(Endpoint(upstream.url, connections=1))
    opening = connections.open("GET", "/", b"", {})
    await _reached(upstream)
    for _ in range(5):
        opening.cancel()
        await asyncio.sleep(0)
    await _seen_closed(upstream)


async def _leave_when_done(opening: Wait[Exchange]) -> None:
    """Have a caller who is cancelled when the Wait is done, but before hearing of it."""

    async def call() -> None:
        await opening

    caller = asyncio.create_task(call())
    opening.add_done_callback(lambda _: caller.cancel())
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_by_leaving_in_the_tick_in_which_the_head_is_there(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(_beginning)
    await _leave_when_done(connect(Endpoint(upstream.url)).open("GET", "/", b"", {}))
    await _seen_closed(upstream)


async def test_by_leaving_in_the_tick_of_a_fault_which_nobody_need_hear_of(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    connections = connect(Endpoint((await serve(script)).url))
    await _leave_when_done(connections.open("GET", "/", b"", {}))
    gc.collect()
    assert [] == caplog.messages


async def test_by_leaving_without_a_task_in_the_tick_of_a_fault_which_nobody_need_hear_of(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async def call(opening: Wait[Exchange]) -> None:
        await opening

    opening = connect(Endpoint((await serve(script)).url)).open("GET", "/", b"", {})
    caller = Work()
    opening.add_done_callback(lambda _: caller.cancel())
    caller.begin(call(opening))
    await caller
    del opening
    gc.collect()
    assert [] == caplog.messages


async def test_nothing_is_left_to_the_garbage_collector(serve: Serve, connect: Connect) -> None:
    upstream, exchange = await _reading(serve, connect)
    exchange.abort()
    await _seen_closed(upstream)
    await asyncio.wait(upstream.playing)
    before = asyncio.all_tasks()
    del exchange
    gc.collect()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


async def test_closing_ends_what_is_under_way_in_every_phase(
    serve: Serve, connect: Connect
) -> None:
    mute, beginning, kept = [await serve(script) for script in (_mute, _beginning, saying(OK))]
    before = asyncio.all_tasks()
    full = connect(Endpoint(mute.url, connections=1))
    opening, queued = (full.open("GET", "/", b"", {}) for _ in range(2))
    await _reached(mute)
    begun = connect(Endpoint(beginning.url))
    _, read = [await begun.open("GET", "/", b"", {}) for _ in range(2)]
    assert b"hello" == await result_of(read.read())
    reading = read.read()
    idle = connect(Endpoint(kept.url))
    assert b"ok" == await get(idle)
    for connections in (full, begun, idle):
        await connections.close()
    scripts = mute.playing | beginning.playing | kept.playing
    assert before == asyncio.all_tasks() - scripts
    for wait in (opening, queued, reading, read.read()):
        await _ends(wait)
    async with asyncio.timeout(0.2):
        await asyncio.wait(scripts)
