"""How a reply's head and body are given, in every framing HTTP/1.1 knows."""

from __future__ import annotations

import hashlib

import pytest

from facade.waits import result_of
from facade.wire.upstream import Endpoint
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import CHUNKED, OK, Peer, saying, saying_once, whole

_BODIES = {
    "content-length": (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "empty": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    "chunked": (CHUNKED + b"2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\n\r\n", b"hello"),
    "chunked with trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", b"hello"),
    "chunked and empty": (CHUNKED + b"0\r\n\r\n", b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", b""),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
    "after 103": (b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK, b"ok"),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", b"ok"),
}


@pytest.mark.parametrize(("reply", "body"), _BODIES.values(), ids=_BODIES)
async def test_a_body_ends_where_its_framing_says_and_its_connection_is_used_again(
    serve: Serve, connect: Connect, reply: bytes, body: bytes
) -> None:
    upstream = await serve(saying(reply))
    connections = connect(Endpoint(upstream.url))
    for _ in range(3):
        exchange = await connections.open("GET", "/", b"", {})
        assert body == await whole(exchange)
    assert 1 == len(upstream.peers)


@pytest.mark.parametrize(("reply", "body"), _BODIES.values(), ids=_BODIES)
async def test_a_reply_that_comes_byte_by_byte_is_the_same(
    serve: Serve, connect: Connect, reply: bytes, body: bytes
) -> None:
    upstream = await serve(saying(*(reply[at : at + 1] for at in range(len(reply)))))
    connections = connect(Endpoint(upstream.url))
    for _ in range(2):
        exchange = await connections.open("GET", "/", b"", {})
        assert body == await whole(exchange)
    assert 1 == len(upstream.peers)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_body_without_framing_ends_with_its_connection(
    serve: Serve, connect: Connect, version: str
) -> None:
    upstream = await serve(saying_once(f"HTTP/{version} 200 OK\r\n\r\n".encode(), b"hel", b"lo"))
    connections = connect(Endpoint(upstream.url))
    for number in (1, 2):
        assert b"hello" == await whole(await connections.open("GET", "/", b"", {}))
        assert number == len(upstream.peers)


async def test_the_answer_to_head_has_no_body_whatever_its_length_says(
    serve: Serve, connect: Connect
) -> None:
    upstream = await serve(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"))
    connections = connect(Endpoint(upstream.url))
    for _ in range(2):
        exchange = await connections.open("HEAD", "/", b"", {})
        assert "5" == exchange.headers["content-length"]
        assert b"" == await whole(exchange)
    assert 1 == len(upstream.peers)


async def test_trailers_are_no_headers(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(CHUNKED + b"2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert b"ok" == await whole(exchange)
    assert {"transfer-encoding": "chunked"} == dict(exchange.headers)


async def test_headers_of_interim_answers_are_not_those_of_the_answer(
    serve: Serve, connect: Connect
) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3
    upstream = await serve(saying(b"HTTP/1.1 100 Continue\r\n\r\n" + interim + OK))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert (200, {"content-length": "2"}) == (exchange.status, dict(exchange.headers))
    assert b"ok" == await whole(exchange)


async def test_interim_answers_that_nobody_knows_are_skipped(
    serve: Serve, connect: Connect
) -> None:
    interim = b"HTTP/1.1 104 Upload Resumption\r\nx: 1\r\n\r\n" * 2
    upstream = await serve(saying(interim + OK))
    connections = connect(Endpoint(upstream.url))
    for _ in range(2):
        exchange = await connections.open("GET", "/", b"", {})
        assert (200, {"content-length": "2"}) == (exchange.status, dict(exchange.headers))
        assert b"ok" == await whole(exchange)
    assert 1 == len(upstream.peers)


_HEAD = b"HTTP/1.1 200 OK\r\nX-Left:   3 \t\r\nempty:\r\ncontent-length: 50\r\n\r\n"
_LIKE_A_HEAD = b"\r\nHTTP/1.1 200 OK\r\nx-limit: 1\r\n\r\n".ljust(50)


@pytest.mark.parametrize("slices", [1, 7, 50, 1000])
async def test_a_head_is_the_same_however_it_comes_and_its_body_is_none_of_it(
    serve: Serve, connect: Connect, slices: int
) -> None:
    reply = b"HTTP/1.1 100 Continue\r\n\r\n" + _HEAD + _LIKE_A_HEAD
    pieces = (reply[at : at + slices] for at in range(0, len(reply), slices))
    upstream = await serve(saying(*pieces))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert {"x-left": "3", "empty": "", "content-length": "50"} == dict(exchange.headers)
    assert exchange.names(["limit", "x-l"])
    assert not exchange.names(["limit", "continue"])
    assert _LIKE_A_HEAD == await whole(exchange)


async def test_an_offer_of_another_protocol_is_ignored(serve: Serve, connect: Connect) -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n"
    upstream = await serve(saying(head + b"ok"))
    connections = connect(Endpoint(upstream.url))
    for _ in range(2):
        assert b"ok" == await whole(await connections.open("GET", "/", b"", {}))
    assert 1 == len(upstream.peers)


async def test_the_end_may_be_read_again(serve: Serve, connect: Connect) -> None:
    upstream = await serve(saying(OK))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert b"ok" == await whole(exchange)
    assert b"" == await result_of(exchange.read())


async def test_header_names_are_in_lower_case_and_repeated_ones_are_joined(
    serve: Serve, connect: Connect
) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-OdD-Case: A b\r\nvia: 1\r\nVIA: 2\r\nContent-Length: 0\r\n\r\n"
    upstream = await serve(saying(head))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert {"x-odd-case": "A b", "via": "1, 2", "content-length": "0"} == dict(exchange.headers)
    assert b"" == await whole(exchange)


@pytest.mark.parametrize("status", [201, 302, 401, 404, 429, 500, 503])
async def test_every_status_is_given_as_it_came_and_no_redirect_is_followed(
    serve: Serve, connect: Connect, status: int
) -> None:
    head = f"HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: 2\r\n\r\nok"
    upstream = await serve(saying_once(head.encode()))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert status == exchange.status
    assert b"ok" == await whole(exchange)
    assert 1 == len(upstream.peers)


async def test_pieces_are_given_as_they_arrive(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for piece in (b"one", b"two", b"three"):
            await peer.reached.wait()
            peer.reached.clear()
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")

    upstream = await serve(script)
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    peer = await upstream.peer(1)
    for piece in (b"one", b"two", b"three"):
        peer.reached.set()
        assert piece == await result_of(exchange.read())
    assert b"" == await result_of(exchange.read())


async def test_a_body_is_given_as_it_was_sent_even_if_it_is_called_compressed(
    serve: Serve, connect: Connect
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\n"
    upstream = await serve(saying(head + b"\x1f\x8bnot"))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert b"\x1f\x8bnot" == await whole(exchange)


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
async def test_five_megabytes_go_both_ways_unchanged(
    serve: Serve, connect: Connect, framing: str
) -> None:
    body = hashlib.shake_256(b"seed").digest(5_000_000)
    received = []

    async def script(peer: Peer) -> None:
        received.append((await peer.request()).body)
        if framing == "content-length":
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            return
        await peer.send(CHUNKED)
        for at in range(0, len(body), 99_999):
            piece = body[at : at + 99_999]
            await peer.send(b"%X\r\n%b\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")

    upstream = await serve(script)
    exchange = await connect(Endpoint(upstream.url)).open("POST", "/", body, {})
    answer = await whole(exchange)
    # Compared as truths: nobody wants to read the difference of five megabytes.
    assert [True] == [body == each for each in received]
    assert len(body) == len(answer)
    assert hashlib.sha256(body).hexdigest() == hashlib.sha256(answer).hexdigest()
