"""Upstreams that are no upstreams: a clear error that names host and port, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from facade import discovery, upstreams
from facade.deadlines import Timeouts
from tests.api.asking import Answer, ask, chat
from tests.api.serving import serving, settings, upstream
from tests.facade.connections.authority import Authority
from tests.facade.connections.raw import OK, Peer, Script, Upstream, saying, saying_once
from tests.fake_upstream import FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

GARBAGE: Final = "answered with what is not valid HTTP"
OVERLONG: Final = "answered with over 65536 bytes without content"
HUNDRED_MB: Final = 100_000_000


@asynccontextmanager
async def _playing(script: Script, authority: Authority | None = None) -> AsyncIterator[Upstream]:
    played = Upstream(script)
    await played.start(authority.server() if authority else None)
    try:
        yield played
    finally:
        await played.stop()


async def _asked(url: str, dialect: str, fake: FakeUpstream, folder: Path) -> Answer:
    """A chat with that upstream, whose key and path are nobody's business."""
    text = upstream(dialect, f"{url}/hidden", api_key='"sk-hidden"')
    async with serving(settings(folder, text), fake) as facade:
        answer = await ask(facade, "POST", "/v1/chat/completions", chat(f"{dialect}/llama3.1"))
    assert b"hidden" not in answer.body
    assert "hidden" not in str(answer.headers)
    return answer


_REPLIES: Final = {
    "HTTP/0.9": (b"<html>hello</html>", "closed the connection|not valid HTTP"),
    "HTTP/0.9 with blank lines": (b"<html>hello</html>\r\n\r\n", GARBAGE),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", GARBAGE),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", GARBAGE),
}


@pytest.mark.parametrize(("reply", "said"), _REPLIES.values(), ids=_REPLIES)
async def test_an_upstream_that_speaks_something_else(
    fake: FakeUpstream, tmp_path: Path, dialect: str, reply: bytes, said: str
) -> None:
    async with _playing(saying_once(reply)) as played:
        answer = await _asked(played.url, dialect, fake, tmp_path)
    assert 502 == answer.status
    assert f"127.0.0.1:{played.port} " in answer.error["message"]
    assert any(each in answer.error["message"] for each in said.split("|"))


async def test_a_header_of_a_hundred_megabytes_is_not_read(
    fake: FakeUpstream, tmp_path: Path, dialect: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nx: ")
        while peer.sent < HUNDRED_MB:
            await peer.send(b"x" * 100_000)

    async with _playing(script) as played:
        answer = await _asked(played.url, dialect, fake, tmp_path)
    assert 502 == answer.status
    assert f"127.0.0.1:{played.port} {OVERLONG}" in answer.error["message"]
    assert max(peer.sent for peer in played.peers) < HUNDRED_MB / 5  # what the system holds


async def test_a_certificate_that_does_not_verify(
    fake: FakeUpstream, tmp_path: Path, dialect: str
) -> None:
    async with _playing(saying(OK), Authority(tmp_path)) as played:
        answer = await _asked(played.secure_url, dialect, fake, tmp_path)
    assert 503 == answer.status
    assert f"127.0.0.1:{played.port}: its certificate is not trusted" in answer.error["message"]
    assert [] == [asked for peer in played.peers for asked in peer.asked]


async def test_listings_wait_once_for_an_upstream_that_hangs(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_METADATA", Timeouts(total=0.3))
    monkeypatch.setattr(discovery, "_REFRESH_AT_MOST_EVERY", 0.0)
    async with FakeUpstream() as hung:
        hung.fault(faults.HangBeforeHeaders(), times=None, path="/api/tags")
        text = upstream("ollama", hung.url) + upstream("openai", fake.url)
        async with serving(settings(tmp_path, text), fake) as facade:
            first = await ask(facade, "GET", "/v1/models")
            monkeypatch.setattr(upstreams, "_METADATA", Timeouts(total=600))
            asked = len(hung.requests_to("/api/tags"))
            again = await ask(facade, "GET", "/v1/models")
            assert first.json["data"]
            assert again.json == first.json
            await hung.came(asked + 1, path="/api/tags")


async def test_a_model_that_nobody_describes_in_time_is_asked_all_the_same(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_METADATA", Timeouts(total=600))
    monkeypatch.setattr(discovery, "_PATIENCE", 0.1)
    fake.fault(faults.HangBeforeHeaders(), times=None, path="/api/show")
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    body = chat("ollama/llava", messages=[{"role": "user", "content": [part]}])
    async with serving(settings(tmp_path, upstream("ollama", fake.url)), fake) as facade:
        answer = await ask(facade, "POST", "/v1/chat/completions", body)
    assert 200 == answer.status
    assert fake.requests_to("/api/show")
