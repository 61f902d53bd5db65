"""The fake upstream keeps its word on the wire: framing, ends, faults, hang-ups, the log."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trustme
import uvloop

from tests.fake_upstream import Answer, FakeUpstream, Pause, Reply, running
from tests.plain_client import CHAT, POST, ask, connect, once, raw

LINES = (b'{"n":1}\n', b'{"n":2}\n')


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with running() as fake:
        yield fake


@asynccontextmanager
async def posted(fake: FakeUpstream) -> AsyncIterator[asyncio.StreamReader]:
    """A chat that was sent; leaving hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
    writer.write(POST.replace(b"close", b"keep-alive"))
    try:
        yield reader
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("framing", "expected"),
    [
        ("length", b"content-length: 16\r\n\r\n" + b"".join(LINES)),
        ("chunked", b"\r\n\r\n8\r\n%b\r\n8\r\n%b\r\n0\r\n\r\n" % LINES),
        ("close", b"connection: close\r\n\r\n" + b"".join(LINES)),
    ],
)
def test_each_framing_is_as_http_has_it(fake: FakeUpstream, framing: str, expected: bytes) -> None:
    fake.script("/api/chat", Answer(body=LINES, framing=framing))  # type: ignore[arg-type] # parametrized
    came = raw(fake, POST).replace(b"connection: close\r\n", b"", framing != "close")
    assert came.startswith(b"HTTP/1.1 200 OK\r\n")
    assert came.endswith(expected)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_cut_answer_is_seen_as_cut(fake: FakeUpstream, framing: str) -> None:
    fake.script("/api/chat", Answer(body=LINES, framing=framing, ends="cut"))  # type: ignore[arg-type] # parametrized
    with pytest.raises(http.client.IncompleteRead) as seen:
        once(fake)
    assert b"".join(LINES) == seen.value.partial


def test_a_reset_answer_is_reset(fake: FakeUpstream) -> None:
    fake.script("/api/chat", Answer(body=LINES, ends="reset"))
    with pytest.raises(ConnectionResetError):
        once(fake)


def test_scripted_answers_come_in_order_and_then_the_polite_ones(fake: FakeUpstream) -> None:
    fake.script("/api/chat", Answer(429, {"retry-after": "7"}), Reply("Hello there"))
    assert (429, b"") == once(fake)
    status, body = once(fake, content={**CHAT, "stream": False})
    assert (200, "Hello there") == (status, json.loads(body)["message"]["content"])
    assert b"You" in once(fake)[1]


def test_a_reply_needs_a_path_that_renders_it(fake: FakeUpstream) -> None:
    with pytest.raises(ValueError, match="/api/tags takes Answers"):
        fake.script("/api/tags", Reply("Hello"))


def test_a_connection_is_kept_and_counted(fake: FakeUpstream) -> None:
    client = connect(fake)
    ask(client)
    ask(client)
    assert 1 == fake.open_connections
    client.close()
    once(fake)
    assert [1, 1, 2] == [request.connection for request in fake.requests]


def test_a_connection_is_closed_where_the_client_asks(fake: FakeUpstream) -> None:
    assert b"\r\nconnection: close\r\n" in raw(fake, POST)


def test_an_idle_connection_may_be_closed_after_an_answer(fake: FakeUpstream) -> None:
    fake.close_after = 1
    client = connect(fake)
    assert 200 == ask(client)[0]
    asyncio.run(fake.until(lambda: fake.open_connections == 0))
    assert client.sock is not None
    assert b"" == client.sock.recv(1)
    client.close()


def test_a_stale_connection_is_closed_by_the_next_request_unanswered(fake: FakeUpstream) -> None:
    fake.stale_after = 1
    fake.script("/api/chat", Answer(201), Answer(202))
    client = connect(fake)
    assert 201 == ask(client)[0]
    with pytest.raises(http.client.RemoteDisconnected):
        ask(client)
    client.close()
    assert 202 == once(fake)[0]
    assert [1, 1, 2] == [request.connection for request in fake.requests]


def test_the_log_has_a_request_as_it_came(fake: FakeUpstream) -> None:
    raw(fake, b'POST /api/chat?x=1 HTTP/1.1\r\nX-One: a\r\nx-one: b\r\nConnection: close\r\n'
        b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2;x=y\r\n1}\r\n0\r\n\r\n')  # fmt: skip
    request = fake.last
    assert ("POST", "/api/chat?x=1", "/api/chat") == (request.method, request.target, request.path)
    assert [("X-One", "a"), ("x-one", "b")] == request.raw_headers[:2]
    assert "b" == request.headers["x-one"]
    assert (b'{"a":1}', {"a": 1}) == (request.body, request.json)
    assert request.hung_up_at is None
    assert request.written > 0


def test_a_body_is_invited_where_the_client_expects_it(fake: FakeUpstream) -> None:
    came = raw(fake, POST.replace(b"content", b"expect: 100-continue\r\ncontent"))
    assert came.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404")


def test_what_is_not_http_is_a_400(fake: FakeUpstream) -> None:
    assert raw(fake, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_it_speaks_tls() -> None:
    authority = trustme.CA()
    theirs, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    with running(FakeUpstream(tls=theirs)) as fake:
        assert fake.url == f"https://127.0.0.1:{fake.port}"
        client = http.client.HTTPSConnection("127.0.0.1", fake.port, timeout=5, context=ours)
        assert 200 == ask(client)[0]
        client.close()


HANGS = {
    "before the head": (Answer(pause=Pause()), b""),
    "before the content": (Answer(body=(Pause(), *LINES), framing="chunked"), b"\r\n\r\n"),
    "in mid-stream": (Answer(body=(LINES[0], Pause()), framing="chunked"), LINES[0]),
    "in a long pause": (Answer(body=(LINES[0], Pause(60)), framing="chunked"), LINES[0]),
}


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("answer", "first"), HANGS.values(), ids=HANGS)
def test_a_hang_up_is_noticed_at_once(loop: type, answer: Answer, first: bytes) -> None:
    async def hang_up() -> None:
        async with FakeUpstream() as fake:
            fake.script("/api/chat", answer)
            async with posted(fake) as reader:
                request = await fake.came(path="/api/chat")
                if first:
                    await asyncio.wait_for(reader.readuntil(first), 5)
            assert await fake.hung_up(request, within=2) >= request.came_at
            await fake.until(lambda: fake.open_connections == 0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(hang_up())


async def test_a_hang_up_that_never_comes_is_a_timeout() -> None:
    async with FakeUpstream() as fake:
        fake.script("/api/chat", Answer(pause=Pause()))
        async with posted(fake):
            request = await fake.came()
            with pytest.raises(TimeoutError):
                await fake.hung_up(request, within=0.05)


async def test_a_reset_by_the_client_is_a_hang_up() -> None:
    async with FakeUpstream() as fake:
        fake.script("/api/chat", Answer(pause=Pause()))
        _, writer = await asyncio.open_connection("127.0.0.1", fake.port)
        writer.write(POST)
        request = await fake.came()
        linger = (1).to_bytes(4, sys.byteorder) + bytes(4)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await fake.hung_up(request, within=2)


async def test_a_client_that_leaves_after_its_answer_did_not_hang_up() -> None:
    async with FakeUpstream() as fake:
        async with posted(fake) as reader:
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        await fake.until(lambda: fake.open_connections == 0)
        assert fake.last.hung_up_at is None


async def test_a_released_answer_goes_on_also_when_released_too_early() -> None:
    async with FakeUpstream() as fake:
        fake.release()
        fake.script("/api/chat", Answer(body=(LINES[0], Pause(), LINES[1], Pause(), b"!")))
        async with posted(fake) as reader:
            await asyncio.wait_for(reader.readuntil(LINES[1]), 5)
            fake.release()
            assert b"!" == await asyncio.wait_for(reader.readexactly(1), 5)


async def test_a_client_that_does_not_read_stalls_the_answer() -> None:
    piece, many = b"x" * 65536, 1000
    async with FakeUpstream() as fake:
        fake.script("/api/chat", Answer(body=(piece,) * many))
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", fake.port))
        client.sendall(POST)
        request = await fake.came()
        before = -1
        while request.written > before:
            before = request.written
            await asyncio.sleep(0.05)
        assert len(piece) <= request.written < 20 * len(piece)
        client.close()
        await fake.hung_up(request, within=2)


def test_the_cli_ends_cleanly_when_interrupted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.fake_upstream", "--port", str(port)]
    command += ["--models", "mine=completion", "--fault", "status:418"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as fake:
        assert fake.stdout is not None
        assert f"http://127.0.0.1:{port}/v1; models: mine:latest" in fake.stdout.readline().decode()
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        assert 418 == ask(client)[0]
        client.close()
        fake.send_signal(signal.SIGINT)
        assert (0, b"") == (fake.wait(10), fake.communicate()[1])
