"""The five clocks, by the sentence that each says when it runs out. All values are small."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from facade import upstreams
from facade.deadlines import Timeouts
from tests.api.asking import Answer, Json, ask, chat, error_of
from tests.api.serving import DIALECTS, Facade, both, serving, settings, upstream
from tests.fake_upstream import Answer as Sent
from tests.fake_upstream import FakeUpstream, Pause, Reply, document, faults, ndjson

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
LOAD: Final = "the upstream took too long (the model was not loaded in time)"
FIRST: Final = "the upstream took too long (no content came in time)"
IDLE: Final = "the upstream took too long (it fell silent in mid-answer)"
TOTAL: Final = "the upstream took too long (the whole answer was not there in time)"
TOOLS: Final = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}


def timed(fake: FakeUpstream, folder: Path, **clocks: float) -> AbstractAsyncContextManager[Facade]:
    """A facade with these clocks, the others long."""
    said = ", ".join(f"{name} = {limit}" for name, limit in clocks.items())
    return serving(settings(folder, both(fake, timeouts=f"{{{said}}}")), fake)


def late(answer: Answer) -> str:
    """What a 504 says, or the error that ends a stream."""
    error = answer.error if answer.status == 504 else error_of(json.loads(answer.events[-1]))
    assert ("server_error", "upstream_timeout") == (error["type"], error["code"])
    message: str = error["message"]
    return message


# -- connect -------------------------------------------------------------------------------


@asynccontextmanager
async def _full() -> AsyncIterator[int]:
    """The port of a server that accepts no more connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port: int = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        yield port
        for each in waiting:
            each.close()


async def test_connect_bounds_the_connection(
    fake: FakeUpstream, tmp_path: Path, dialect: str
) -> None:
    async with _full() as port:
        url = f"http://127.0.0.1:{port}"
        text = upstream(dialect, url, timeouts="{connect = 0.2}")
        async with serving(settings(tmp_path, text), fake) as facade:
            answer = await ask(facade, "POST", CHAT, chat(f"{dialect}/m"))
    wanted = f"cannot connect to 127.0.0.1:{port}: no connection within 0.2 s"
    assert (504, wanted) == (answer.status, late(answer))


# -- load and first token ------------------------------------------------------------------


async def test_load_holds_while_the_model_is_not_loaded(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.fault(faults.HangBeforeHeaders(), times=None)
    fake.script("/api/ps", *[document({"models": []})] * 20)
    async with timed(fake, tmp_path, load=0.5, first_token=0.1) as facade:
        answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1", stream=True))
        assert (504, LOAD) == (answer.status, late(answer))
    assert fake.requests_to("/api/ps")


@pytest.mark.parametrize("name", ["llama3.1", "llama3.1:latest"])
async def test_first_token_holds_where_the_model_is_loaded(
    fake: FakeUpstream, tmp_path: Path, name: str
) -> None:
    fake.fault(faults.HangBeforeHeaders(), times=None)
    async with timed(fake, tmp_path, load=30, first_token=0.3) as facade:
        for streamed in (False, True):
            answer = await ask(facade, "POST", CHAT, chat(f"ollama/{name}", stream=streamed))
            assert (504, FIRST) == (answer.status, late(answer))


async def test_first_token_begins_when_the_model_has_been_loaded(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.fault(faults.HangBeforeHeaders(), times=None)
    fake.script("/api/ps", document({"models": []}))  # not yet; a second later it is
    async with timed(fake, tmp_path, load=30, first_token=0.2) as facade:
        answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))
        assert (504, FIRST) == (answer.status, late(answer))
    request = fake.requests_to("/api/chat")[0]
    first, _, third = fake.requests_to("/api/ps")  # not there, listed, there
    assert third.came_at - first.came_at >= 1.8
    assert request.hung_up_at is not None
    assert request.hung_up_at - third.came_at >= 0.2


@pytest.mark.parametrize(
    "unsaid", [faults.Status(500), faults.Html(), faults.CutBeforeHeaders()], ids=str
)
async def test_what_is_not_known_to_be_loaded_may_be_loading(
    fake: FakeUpstream, tmp_path: Path, unsaid: faults.Fault
) -> None:
    fake.fault(faults.HangBeforeHeaders(), times=None)
    fake.fault(unsaid, times=None, path="/api/ps")
    async with timed(fake, tmp_path, load=0.4, first_token=0.1) as facade:
        answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))
        assert (504, LOAD) == (answer.status, late(answer))


async def test_nobody_asks_what_is_loaded_once_content_comes(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.fault(faults.DelayLines(0.1))
    async with timed(fake, tmp_path, first_token=0.25, idle=1) as facade:
        fake.script("/api/chat", Reply("one two three four five"))
        assert 200 == (await ask(facade, "POST", CHAT, chat("ollama/llama3.1"))).status
    assert [] == fake.requests_to("/api/ps")


async def test_first_token_holds_at_once_where_nothing_tells_of_loading(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    for hang in (faults.HangBeforeHeaders(), faults.HangBeforeContent(), faults.HangAfter(1)):
        fake.reset()
        fake.fault(hang)
        async with timed(fake, tmp_path, load=30, first_token=0.2) as facade:
            answer = await ask(facade, "POST", CHAT, chat("openai/llama3.1", stream=True))
            assert (504, FIRST) == (answer.status, late(answer))


async def test_an_error_that_never_ends_is_bounded_too(
    fake: FakeUpstream, tmp_path: Path, path: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_SLOWEST_ERROR", Timeouts(total=600))
    fake.script(path, Sent(500, body=(b'{"error":', Pause()), framing="chunked"))
    async with timed(fake, tmp_path, first_token=0.2, load=0.2) as facade:
        answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
    assert (500, "upstream_error") == (answer.status, answer.error["code"])


# -- idle and total ------------------------------------------------------------------------


async def test_idle_bounds_silence_in_mid_answer(
    fake: FakeUpstream, tmp_path: Path, model: str
) -> None:
    fake.fault(faults.HangAfter(2), times=None)
    async with timed(fake, tmp_path, idle=0.3) as facade:
        answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
        assert (200, IDLE) == (answer.status, late(answer))
        if model.startswith("ollama"):
            whole = await ask(facade, "POST", CHAT, chat(model))
            assert (504, IDLE) == (whole.status, late(whole))


async def test_any_line_moves_the_idle_clock(
    fake: FakeUpstream, tmp_path: Path, path: str, model: str
) -> None:
    fake.fault(faults.DelayLines(0.12))
    fake.script(path, Reply("one two three four five six"))
    async with timed(fake, tmp_path, idle=0.4) as facade:
        answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
        assert answer.chunks


async def test_total_bounds_the_whole_answer(
    fake: FakeUpstream, tmp_path: Path, path: str, model: str
) -> None:
    fake.fault(faults.DelayLines(0.05), times=None)
    fake.script(path, *[Reply("word " * 100)] * 2)
    async with timed(fake, tmp_path, total=0.5) as facade:
        answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
        assert (200, TOTAL) == (answer.status, late(answer))
        if model.startswith("ollama"):
            whole = await ask(facade, "POST", CHAT, chat(model))
            assert (504, TOTAL) == (whole.status, late(whole))


# -- upstreams that are silent while they work ---------------------------------------------

WHOLE: Final = [
    ("openai", CHAT, {"messages": [{"role": "user", "content": "Hi"}]}),
    *((dialect, "/v1/embeddings", {"input": "Hi"}) for dialect in DIALECTS),
]


@pytest.mark.parametrize(("dialect", "path", "body"), WHOLE)
async def test_an_answer_in_one_piece_is_bound_by_total_alone_until_it_comes(
    fake: FakeUpstream, tmp_path: Path, dialect: str, path: str, body: Json
) -> None:
    body = {"model": f"{dialect}/nomic-embed-text", **body}
    async with timed(fake, tmp_path, first_token=0.1, idle=0.1, total=0.7) as facade:
        fake.fault(faults.DelayHeaders(0.25))
        assert 200 == (await ask(facade, "POST", path, body)).status
        fake.fault(faults.DelayContent(0.25))
        assert 200 == (await ask(facade, "POST", path, body)).status
        fake.fault(faults.HangBeforeContent())
        answer = await ask(facade, "POST", path, body)
        assert (504, TOTAL) == (answer.status, late(answer))


async def test_idle_bounds_silence_in_one_piece(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.script(CHAT, Sent(200, body=(b" ", Pause(0.4), b'{"id"', Pause()), framing="chunked"))
    async with timed(fake, tmp_path, idle=0.2, total=30) as facade:
        answer = await ask(facade, "POST", CHAT, chat("openai/m"))
    assert (504, IDLE) == (answer.status, late(answer))


_STAMP: Final = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
_TOKEN: Final = _STAMP | {
    "message": {"role": "assistant", "content": ""},
    "logprobs": [{"token": "x", "logprob": -0.1}],
    "done": False,
}
_CALL: Final = _STAMP | {
    "message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
    "done": True,
    "done_reason": "stop",
}
_BEATS: Final = [each for _ in range(16) for each in (_TOKEN, Pause(0.15))]


@pytest.mark.parametrize("streamed", [False, True])
async def test_tokens_of_a_buffered_call_are_its_heartbeat(
    fake: FakeUpstream, tmp_path: Path, streamed: bool
) -> None:
    fake.script("/api/chat", ndjson(*_BEATS, _CALL), ndjson(*_BEATS, _CALL))
    async with timed(fake, tmp_path, first_token=0.5, idle=0.5) as facade:
        with_tools = chat("ollama/llama3.1", stream=streamed) | TOOLS
        assert 200 == (await ask(facade, "POST", CHAT, with_tools)).status
        assert fake.requests_to("/api/chat")[0].json["logprobs"] is True
        without = chat("ollama/llama3.1", stream=streamed)
        answer = await ask(facade, "POST", CHAT, without)
        assert (504, FIRST) == (answer.status, late(answer))


async def test_a_heartbeat_that_stops_is_silence(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.script("/api/chat", ndjson(_TOKEN, _TOKEN, Pause()))
    async with timed(fake, tmp_path, first_token=30, idle=0.3) as facade:
        answer = await ask(facade, "POST", CHAT, chat("ollama/llama3.1", stream=True) | TOOLS)
        assert (504, IDLE) == (answer.status, late(answer))


async def test_where_there_is_no_heartbeat_only_load_and_total_hold(tmp_path: Path) -> None:
    async with FakeUpstream() as old:
        old.script("/api/version", document({"version": "0.9.0"}))
        async with timed(old, tmp_path, first_token=0.1, idle=0.1, load=5, total=1) as facade:
            await ask(facade, "GET", "/v1/models")
            old.script("/api/chat", ndjson(Pause(0.3), _CALL), ndjson(_TOKEN, Pause(0.3), _CALL))
            for _ in range(2):
                body = chat("ollama/llama3.1", stream=True) | TOOLS
                assert 200 == (await ask(facade, "POST", CHAT, body)).status
                assert "logprobs" not in old.requests_to("/api/chat")[-1].json
            old.fault(faults.HangBeforeHeaders(), times=None)
            answer = await ask(facade, "POST", CHAT, body)
            assert (504, TOTAL) == (answer.status, late(answer))
            old.models.loaded.clear()
            async with timed(old, tmp_path, first_token=0.1, load=0.4) as other:
                old.script("/api/version", document({"version": "0.9.0"}))
                answer = await ask(other, "POST", CHAT, body)
                assert (504, LOAD) == (answer.status, late(answer))


# -- metadata ------------------------------------------------------------------------------


async def test_metadata_that_hangs_holds_nobody_up_for_long(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 0.2
    monkeypatch.setattr(
        upstreams, "_METADATA", Timeouts(load=limit, first_token=limit, idle=limit, total=limit)
    )
    fake.fault(faults.HangBeforeHeaders(), times=None, path="/api/tags")
    fake.fault(faults.HangBeforeContent(), times=None, path="/api/show")
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    text = upstream("ollama", fake.url)
    async with serving(settings(tmp_path, text), fake) as facade:
        body = chat("llava", messages=[{"role": "user", "content": [part]}])
        assert 200 == (await ask(facade, "POST", CHAT, body)).status
        answer = await ask(facade, "GET", "/v1/models")
        assert (504, "upstream_timeout") == (answer.status, answer.error["code"])
    await asyncio.gather(*(fake.hung_up(each, within=5) for each in fake.requests_to("/api/tags")))
