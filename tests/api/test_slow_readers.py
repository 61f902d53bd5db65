"""Clients that read slowly, or not at all: how much is read ahead for them, and when they are cut.

Every socket on the way has a buffer of its own, so the answers are far larger than all of them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from facade.wire.answer import READ_AHEAD
from tests.api.asking import DONE, Conversation, answer_of, chat, error_of, opened, request, rest_of
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import Answer as Sent
from tests.fake_upstream import FakeUpstream, Request, ndjson, sse

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
WORD: Final = "x" * 16_000
STALLED: Final = 0.25  # seconds without a byte more
AT_ONCE: Final = 0.2
SOCKETS: Final = 6 * 1024 * 1024  # bytes that the system may hold, nearly all before the facade
_HEAD: Final = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _endless(path: str, words: int) -> Sent:
    """A stream of so many words of 16 kB."""
    if path == "/api/chat":
        stamp = {"created_at": "2026-01-01T00:00:00Z"}
        (word,) = ndjson(stamp | {"message": {"content": WORD}, "done": False}).body
        end = ndjson(stamp | {"message": {"content": ""}, "done": True, "done_reason": "stop"}).body
        return Sent(200, {"content-type": "application/x-ndjson"}, (word,) * words + end, "chunked")
    choice = {"index": 0, "delta": {"content": WORD}, "finish_reason": None}
    (word,) = sse(_HEAD | {"choices": [choice]}, done=False).body
    end = sse(_HEAD | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).body
    return Sent(200, {"content-type": "text/event-stream"}, (word,) * words + end, "chunked")


@asynccontextmanager
async def _reader(facade: Facade, model: str) -> AsyncIterator[Conversation]:
    """A client that sent its request and takes at most some 100 kB unasked."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", facade.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=65_536)
    body = json.dumps(chat(model, stream=True)).encode()
    writer.write(request("POST", CHAT, body))
    try:
        yield Conversation(reader, writer)
    finally:
        writer.transport.abort()


async def _stalls(sent: Request) -> int:
    """How much the upstream had written when it could write no more."""
    written, since = sent.written, time.monotonic()
    while time.monotonic() - since < STALLED:
        await asyncio.sleep(0.02)
        if sent.written != written:
            written, since = sent.written, time.monotonic()
    return written


async def _takes(client: Conversation, size: int) -> None:
    """Let the client read so many bytes."""
    while size > 0:
        piece = await client.piece()
        assert piece, "the answer is over"
        size -= len(piece)


async def test_about_a_mebibyte_is_read_ahead_and_then_the_upstream_waits(
    facade: Facade, model: str, path: str
) -> None:
    facade.fake.script(path, _endless(path, 2000))
    async with _reader(facade, model) as client:
        sent = await facade.fake.came(path=path)
        assert 200 == (await client.head())[0]
        written = await _stalls(sent)
        assert READ_AHEAD < written < READ_AHEAD + SOCKETS
        assert sent.hung_up_at is None
        await _takes(client, READ_AHEAD + SOCKETS)  # more than was held: the upstream goes on
        assert await _stalls(sent) > READ_AHEAD + SOCKETS
        left_at = client.leave()
        assert await facade.fake.hung_up(sent, within=5) - left_at < AT_ONCE
    await facade.idle()


async def test_a_client_that_comes_back_gets_every_byte(
    facade: Facade, model: str, path: str
) -> None:
    facade.fake.script(path, _endless(path, 700))
    async with _reader(facade, model) as client:
        sent = await facade.fake.came(path=path)
        await _stalls(sent)
        answer = await answer_of(client)
    assert (200, True, DONE) == (answer.status, answer.complete, answer.events[-1])
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in answer.chunks)
    assert WORD * 700 == text


async def test_a_client_that_takes_nothing_is_cut_and_its_upstream_closed(
    fake: FakeUpstream, tmp_path: Path, model: str, path: str
) -> None:
    fake.script(path, _endless(path, 2000))
    text = f"[server]\nclient_idle = 0.5\n{both(fake)}"
    async with serving(settings(tmp_path, text), fake) as facade, _reader(facade, model) as client:
        sent = await fake.came(path=path)
        began = time.monotonic()
        assert await fake.hung_up(sent, within=10) - began >= 0.5
        await facade.idle()
        answer = await answer_of(client)
    assert not answer.complete
    assert b"[DONE]" not in answer.body
    assert b'"error"' not in answer.body
    assert sent.written < READ_AHEAD + SOCKETS


async def test_a_client_that_is_slow_but_moves_is_not_cut(
    fake: FakeUpstream, tmp_path: Path, model: str, path: str
) -> None:
    fake.script(path, _endless(path, 700))
    text = f"[server]\nclient_idle = 0.5\n{both(fake)}"
    async with serving(settings(tmp_path, text), fake) as facade, _reader(facade, model) as client:
        sent = await fake.came(path=path)
        await client.head()
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            await _takes(client, 128 * 1024)
            await asyncio.sleep(0.05)
        assert sent.hung_up_at is None
        answer = await rest_of(client)
    assert answer.endswith(b"data: [DONE]\n\n")


async def test_idle_stands_still_while_the_client_holds_us_up(
    fake: FakeUpstream, tmp_path: Path, model: str, path: str
) -> None:
    fake.script(path, _endless(path, 700))
    text = both(fake, timeouts="{idle = 0.2}")
    async with serving(settings(tmp_path, text), fake) as facade, _reader(facade, model) as client:
        sent = await fake.came(path=path)
        await _stalls(sent)
        await asyncio.sleep(0.1)
        answer = await answer_of(client)
    assert (True, DONE) == (answer.complete, answer.events[-1])


async def test_total_goes_on_while_the_client_holds_us_up(
    fake: FakeUpstream, tmp_path: Path, model: str, path: str
) -> None:
    fake.script(path, _endless(path, 2000))
    text = both(fake, timeouts="{total = 0.6}")
    async with serving(settings(tmp_path, text), fake) as facade, _reader(facade, model) as client:
        await asyncio.sleep(0.7)
        answer = await answer_of(client)
    assert answer.complete
    assert "upstream_timeout" == error_of(json.loads(answer.events[-1]))["code"]


async def test_a_whole_answer_that_nobody_takes_is_given_up(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    text = f"[server]\nclient_idle = 0.5\n{both(fake)}"
    body = {"model": "openai/nomic-embed-text", "input": ["a"] * 500, "encoding_format": "float"}
    async with (
        serving(settings(tmp_path, text), fake) as facade,
        opened(facade, "POST", "/v1/embeddings", body) as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
        await fake.came(path="/v1/embeddings")
        await facade.until(lambda: facade.requests == 1)
        await facade.idle()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert not (await answer_of(client)).complete
