"""Every way a connection can fail is one ConnectionFault: what, where, and whether it was sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from facade.waits import result_of
from facade.wire.upstream import ConnectionFault, Connections, ConnectTimeout, Endpoint
from tests.facade.connections.conftest import Connect, Serve
from tests.facade.connections.raw import CHUNKED, OK, Peer, saying_once, whole

_CUT = "closed the connection in the middle of its answer"
_GARBAGE = "answered with what is not valid HTTP"
_UNANSWERED = "closed the connection before it answered"

_HEADS = {
    "nothing": (b"", _UNANSWERED),
    "cut in the status": (b"HTTP/1.1 20", _CUT),
    "cut in the headers": (b"HTTP/1.1 200 OK\r\ncontent-", _CUT),
    "cut after 100": (b"HTTP/1.1 100 Continue\r\n\r\n", _CUT),
    "garbage": (b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", _GARBAGE),
    "HTTP/0.9": (b"<html>hello</html>\r\n\r\n", _GARBAGE),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", _GARBAGE),
    "a header without a name": (b"HTTP/1.1 200 OK\r\n: x\r\n\r\n", _GARBAGE),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", _GARBAGE),
}


@pytest.mark.parametrize(("reply", "said"), _HEADS.values(), ids=_HEADS)
async def test_a_reply_without_a_good_head_is_a_fault(
    serve: Serve, connect: Connect, reply: bytes, said: str
) -> None:
    upstream = await serve(saying_once(reply))
    with pytest.raises(ConnectionFault) as caught:
        await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert (f"127.0.0.1:{upstream.port} {said}", True) == (str(caught.value), caught.value.sent)


_ENDLESS = {
    "one header": (b"HTTP/1.1 200 OK\r\nx: ", b"x" * 65536),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 10_000),
    "a line": (b"HTTP/1.1 200 ", b"x" * 65536),
}


@pytest.mark.parametrize(("begin", "piece"), _ENDLESS.values(), ids=_ENDLESS)
async def test_a_head_without_an_end_is_a_fault_and_read_no_further(
    serve: Serve, connect: Connect, begin: bytes, piece: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(begin)
        while True:
            await peer.send(piece)

    upstream = await serve(script)
    with pytest.raises(ConnectionFault, match=f"127.0.0.1:{upstream.port} answered with") as caught:
        await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert caught.value.sent
    async with asyncio.timeout(0.2):
        await upstream.peers[0].left.wait()
    assert upstream.peers[0].sent < 16 * 1024 * 1024  # what the system holds


_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"
_BODIES = {
    "content-length, nothing": (_LENGTH, b"", _CUT),
    "content-length, cut": (_LENGTH + b"hello", b"hello", _CUT),
    "chunked, nothing": (CHUNKED, b"", _CUT),
    "chunked, cut in a size": (CHUNKED + b"5\r\nhello\r\n5", b"hello", _CUT),
    "chunked, cut in a chunk": (CHUNKED + b"9\r\nhello", b"hello", _CUT),
    "chunked, no terminator": (CHUNKED + b"5\r\nhello\r\n", b"hello", _CUT),
    "chunked, half a terminator": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello", _CUT),
    "chunked, no size": (CHUNKED + b"5\r\nhello\r\nzz\r\nhello\r\n", b"hello", _GARBAGE),
    "chunked, a size too small": (CHUNKED + b"5\r\nhello!!\r\n0\r\n\r\n", b"hello", _GARBAGE),
}


@pytest.mark.parametrize(("reply", "before", "said"), _BODIES.values(), ids=_BODIES)
async def test_a_body_without_a_good_end_is_given_up_to_there_and_then_a_fault(
    serve: Serve, connect: Connect, reply: bytes, before: bytes, said: str
) -> None:
    upstream = await serve(saying_once(reply))
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    received: list[bytes] = []
    with pytest.raises(ConnectionFault) as caught:
        await whole(exchange, received)
    assert before == b"".join(received)
    assert (f"127.0.0.1:{upstream.port} {said}", True) == (str(caught.value), caught.value.sent)


_BEGUN = b"(the head is there)"


async def _exchanged(connections: Connections, path: str, received: list[bytes]) -> None:
    exchange = await connections.open("GET", path, b"", {})
    received.append(_BEGUN)
    await whole(exchange, received)


@pytest.mark.parametrize(
    "reply",
    [
        _LENGTH + b"123456789",
        CHUNKED + b"4;x=1\r\n1234\r\n5\r\n56789\r\n0\r\nx-sum: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK,
    ],
)
async def test_a_reply_that_is_cut_at_any_byte_is_a_fault_there(
    serve: Serve, connect: Connect, reply: bytes
) -> None:
    async def script(peer: Peer) -> None:
        at = len((await peer.request()).line.removeprefix("GET /").removesuffix(" HTTP/1.1"))
        await peer.send(reply[:at])

    upstream = await serve(script)
    connections = connect(Endpoint(upstream.url))
    begins = reply.index(b"\r\n\r\n", reply.index(b"200 OK")) + 4
    body = b"ok" if reply.endswith(b"ok") else b"123456789"
    for at in range(len(reply)):
        received: list[bytes] = []
        with pytest.raises(ConnectionFault, match=_CUT if at else _UNANSWERED) as caught:
            await _exchanged(connections, f"/{'x' * at}", received)
        assert caught.value.sent
        assert (at >= begins) == (received[:1] == [_BEGUN])
        assert body.startswith(b"".join(received[1:]))
    assert len(reply) == len(upstream.peers)


@pytest.mark.parametrize("reply", [_LENGTH, CHUNKED, b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_reset_in_mid_body_is_a_fault(serve: Serve, connect: Connect, reply: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)
        await peer.reached.wait()
        peer.reset()

    upstream = await serve(script)
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    upstream.peers[0].reached.set()
    with pytest.raises(ConnectionFault, match=_CUT) as caught:
        await whole(exchange)
    assert caught.value.sent


async def test_a_reset_before_the_answer_is_a_fault(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    upstream = await serve(script)
    with pytest.raises(ConnectionFault, match=_UNANSWERED) as caught:
        await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    assert caught.value.sent


async def test_an_answer_to_half_a_request_is_given(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(
            b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno"
        )
        peer.writer.write_eof()
        await peer.gone()

    upstream = await serve(script)
    exchange = await connect(Endpoint(upstream.url)).open("POST", "/", bytes(5_000_000), {})
    assert 413 == exchange.status
    assert b"no" == await whole(exchange)


async def test_a_refused_connection_was_not_sent(connect: Connect) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectionFault) as caught:
            await connect(Endpoint(f"http://127.0.0.1:{port}/v1")).open("GET", "/", b"", {})
    expected = f"cannot connect to 127.0.0.1:{port}: the connection was refused"
    assert (expected, False) == (str(caught.value), caught.value.sent)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid"])
async def test_a_name_that_does_not_resolve_was_not_sent(connect: Connect, host: str) -> None:
    with pytest.raises(ConnectionFault) as caught:
        await connect(Endpoint(f"http://{host}")).open("GET", "/", b"", {})
    expected = f"cannot connect to {host}:80: its name cannot be resolved"
    assert (expected, False) == (str(caught.value), caught.value.sent)


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full: a further one is not answered."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def test_a_connect_timeout_is_told_apart(full_port: int, connect: Connect) -> None:
    endpoint = Endpoint(f"http://127.0.0.1:{full_port}", connect_timeout=0.05)
    with pytest.raises(ConnectTimeout) as caught:
        await connect(endpoint).open("GET", "/", b"", {})
    expected = f"cannot connect to 127.0.0.1:{full_port}: no connection within 0.05 s"
    assert (expected, False) == (str(caught.value), caught.value.sent)


async def test_the_connect_timeout_holds_for_tls_too(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    upstream = await serve(script)
    endpoint = Endpoint(upstream.secure_url, connect_timeout=0.05)
    with pytest.raises(ConnectTimeout) as caught:
        await connect(endpoint).open("GET", "/", b"", {})
    assert not caught.value.sent
    async with asyncio.timeout(0.2):
        await upstream.peers[0].left.wait()


async def test_no_other_clock_runs(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.2)
        await peer.send(_LENGTH)
        await asyncio.sleep(0.2)
        await peer.send(b"123456789")

    upstream = await serve(script)
    endpoint = Endpoint(upstream.url, connect_timeout=0.05)
    assert b"123456789" == await whole(await connect(endpoint).open("GET", "/", b"", {}))


_UNSENDABLE = {
    "a line end in a value": ("GET", "/", {"x": "secret\n"}),
    "a header in a value": ("GET", "/", {"x": "secret\r\ny: z"}),
    "NUL in a value": ("GET", "/", {"x": "secret\0"}),
    "a value outside latin-1": ("GET", "/", {"x": "secret\u010d"}),
    "a line end in a name": ("GET", "/", {"x: secret\r\ny": "z"}),
    "a colon in a name": ("GET", "/", {"x:secret": "z"}),
    "no name": ("GET", "/", {"": "secret"}),
    "a line end in the path": ("GET", "/secret HTTP/1.1\r\nx: y", {}),
    "a bare line feed in the path": ("GET", "/secret\n", {}),
    "a blank in the path": ("GET", "/secret x", {}),
    "NUL in the path": ("GET", "/secret\0", {}),
    "a path outside ASCII": ("GET", "/secret\u010d", {}),
    "a line end in the method": ("GET / HTTP/1.1\r\nx: secret\r\n", "/", {}),
    "no method": ("", "/secret", {}),
}


@pytest.mark.parametrize(("method", "path", "headers"), _UNSENDABLE.values(), ids=_UNSENDABLE)
async def test_what_would_not_be_one_request_is_a_fault_and_never_sent(
    serve: Serve, connect: Connect, method: str, path: str, headers: dict[str, str]
) -> None:
    upstream = await serve(saying_once(OK))
    connections = connect(Endpoint(upstream.url))
    for _ in range(2):
        with pytest.raises(ConnectionFault, match=f"127.0.0.1:{upstream.port} was not") as caught:
            await connections.open(method, path, b"", headers)
        assert not caught.value.sent
        assert "secret" not in str(caught.value)
    assert [] == upstream.peers


async def test_nothing_is_read_ahead_of_the_reader(serve: Serve, connect: Connect) -> None:
    total = 64 * 1024 * 1024

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        for _ in range(total // 65536):
            await peer.send(bytes(65536))

    upstream = await serve(script)
    exchange = await connect(Endpoint(upstream.url)).open("GET", "/", b"", {})
    await result_of(exchange.read())
    peer = upstream.peers[0]
    before = -1
    while before != peer.sent:
        before = peer.sent
        await asyncio.sleep(0.1)
    assert peer.sent < total // 4  # the system's buffers, both sides together
    assert total - 65536 <= len(await whole(exchange))
