"""Upstreams that the direct client gives up on: read in two ways, or never at an end."""

from __future__ import annotations

import asyncio

import pytest

from facade.waits import result_of
from facade.wire.direct_client import DirectConnections
from facade.wire.upstream import ConnectionFault, Endpoint
from tests.facade.connections.authority import Authority
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import CHUNKED, OK, Peer, Script, get, saying, saying_once, whole

_GARBAGE = "answered with what is not valid HTTP"


@pytest.fixture
def implementation() -> type[DirectConnections]:
    return DirectConnections


_BEYOND = {
    "a byte": b"x",
    "half a reply": b"HTTP/1.1 200",
    "a whole reply": OK.replace(b"ok", b"no"),
    "a reply in chunks": CHUNKED + b"2\r\nno\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("beyond", _BEYOND.values(), ids=_BEYOND)
@pytest.mark.parametrize("reply", [OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n"])
async def test_bytes_beyond_the_end_are_nobodys_and_end_the_connection(
    serve: Serve, connect: Connect, reply: bytes, beyond: bytes, late: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply + (b"" if late else beyond))
        await peer.reached.wait()
        await peer.send(beyond)
        await peer.gone()

    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url))
    for number in (1, 2):
        exchange = await connections.open("GET", "/", b"", {})
        assert b"ok" == await whole(exchange)
        assert number == len(upstream.peers)
        upstream.peers[-1].reached.set()
        async with asyncio.timeout(0.2):
            await upstream.peers[-1].left.wait()


async def test_bytes_after_an_answer_to_head_end_the_connection(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(OK))
    connections = connect(Endpoint(upstream.url))
    for number in (1, 2):
        assert b"" == await whole(await connections.open("HEAD", "/", b"", {}))
        assert number == len(upstream.peers)


_HOSTILE = {
    "two framings": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    "two framings, reversed": CHUNKED[:-2] + b"content-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
    b"upgrade: x\r\n\r\n" + OK,
    "101 without a reason": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK,
    "a status below 100": b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok",
    "an interim answer with a body": b"HTTP/1.1 104 X\r\ncontent-length: 2\r\n\r\nno" + OK,
    "an interim answer in chunks": CHUNKED.replace(b"200", b"104") + b"0\r\n\r\n" + OK,
    "a folded header": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
    "bare line feeds": OK.replace(b"\r\n", b"\n"),
    "a negative length": OK.replace(b"2\r\n", b"-2\r\n"),
    "an endless length": OK.replace(b"2\r\n", b"9" * 30 + b"\r\n"),
}


@pytest.mark.parametrize("reply", _HOSTILE.values(), ids=_HOSTILE)
async def test_a_reply_that_can_be_read_in_two_ways_is_not_read(
    serve: Serve, connect: Connect, reply: bytes
) -> None:
    for slices in ([reply], [reply[at : at + 1] for at in range(len(reply))]):
        upstream = await serve(saying_once(*slices))
        with pytest.raises(ConnectionFault) as caught:
            await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
        assert f"127.0.0.1:{upstream.port} {_GARBAGE}" == str(caught.value)
        assert caught.value.sent


async def test_line_ends_before_a_reply_are_passed_over(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(b"\r\n\r\n" + OK))
    connections = connect(Endpoint(upstream.url))
    exchange = await connections.open("GET", "/", b"", {})
    assert {"content-length": "2"} == dict(exchange.headers)
    assert b"ok" == await whole(exchange)


_ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 1_000),
    "trailers": (CHUNKED + b"2\r\nok\r\n0\r\n", b"x: y\r\n" * 10_000),
    "one trailer": (CHUNKED + b"2\r\nok\r\n0\r\nx: ", b"x" * 65_536),
    "an extension of a chunk": (CHUNKED + b"2\r\nok\r\n2;x=", b"x" * 65_536),
}


@pytest.mark.parametrize(("begin", "piece"), _ENDLESS.values(), ids=_ENDLESS)
async def test_what_has_no_content_and_no_end_is_a_fault(
    serve: Serve, connect: Connect, begin: bytes, piece: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(begin)
        while True:
            await peer.send(piece)

    upstream = await serve(script)
    with pytest.raises(ConnectionFault, match="answered with over 65536 bytes without content"):
        await get(connect(Endpoint(upstream.url)))
    async with asyncio.timeout(0.2):
        await upstream.peers[0].left.wait()


async def _shuts(peer: Peer) -> None:
    """With the goodbye of TLS."""
    peer.writer.close()
    await peer.writer.wait_closed()


async def _drops(peer: Peer) -> None:
    """The connection below TLS is closed; who did it, nobody can know."""
    peer.writer.transport.abort()


@pytest.mark.parametrize("end", [_shuts, _drops])
async def test_a_body_that_ends_with_its_connection_needs_the_goodbye_of_tls(
    serve: Serve, connect: Connect, authority: Authority, end: Script
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await peer.reached.wait()
        await end(peer)

    upstream = await serve(script, authority.server())
    connections = connect(Endpoint(upstream.secure_url, ca_file=authority.file))
    exchange = await connections.open("GET", "/", b"", {})
    assert b"hello" == await result_of(exchange.read())
    upstream.peers[0].reached.set()
    if end is _shuts:
        assert b"" == await result_of(exchange.read())
    else:
        with pytest.raises(ConnectionFault, match="in the middle of its answer"):
            await result_of(exchange.read())
