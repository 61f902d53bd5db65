"""A stream that is waited for gets comments; what comes after them is told in the stream.

Nobody here waits for a time: the upstream is held until the client has its comments.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import DONE, Conversation, Json, chat, error_of, events, opened, rest_of
from tests.api.chains import ALIAS, Pair
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import Answer, FakeUpstream, Pause, Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
OFTEN: Final = "keep_alive_comments = 0.04\n"
COMMENT: Final = b": keep-alive\n\n"
HELD: Final[dict[str, faults.Fault]] = {
    "before the head": faults.HangBeforeHeaders(),
    "before the content": faults.HangBeforeContent(),
}


@asynccontextmanager
async def _impatient(
    folder: Path, fake: FakeUpstream, server: str = OFTEN
) -> AsyncIterator[Facade]:
    async with serving(settings(folder, f"[server]\n{server}{both(fake)}"), fake) as facade:
        yield facade


async def _comments(client: Conversation, count: int = 2) -> bytes:
    """What is read until so many comments are there."""
    read = b""
    while read.count(COMMENT) < count:
        piece = await client.piece()
        assert piece, "the answer is over"
        read += piece
    return read


def _said(body: bytes) -> tuple[str, str]:
    """The text of a stream, and its last event."""
    *chunks, last = events(body)
    parsed: list[Json] = [json.loads(chunk) for chunk in chunks]
    deltas = [choice["delta"] for chunk in parsed for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas), last


@pytest.mark.parametrize("held", HELD.values(), ids=HELD.keys())
async def test_a_stream_that_is_waited_for_begins_with_comments(
    held: faults.Fault, fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    fake.script(path, Reply("all is well"))
    fake.fault(held)
    async with (
        _impatient(tmp_path, fake) as facade,
        opened(facade, "POST", CHAT, chat(model, stream=True)) as client,
    ):
        status, headers = await client.head()
        assert 200 == status
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["x-request-id"]
        body = await _comments(client)
        fake.release()
        body += await rest_of(client)
        assert ("all is well", DONE) == _said(body)


async def test_a_stream_that_waits_in_the_queue_gets_comments(
    fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    fake.fault(faults.HangBeforeHeaders())
    text = f"[server]\n{OFTEN}{both(fake, slots='1')}"
    async with (
        serving(settings(tmp_path, text), fake) as facade,
        opened(facade, "POST", CHAT, chat(model)),
    ):
        await fake.came(path=path)
        async with opened(facade, "POST", CHAT, chat(model, stream=True)) as waiting:
            assert 200 == (await waiting.head())[0]
            body = await _comments(waiting)
            fake.release()
            body += await rest_of(waiting)
            assert ("You said: Hi", DONE) == _said(body)
            assert b"x-facade-queue-ms: " in body


async def test_a_stream_that_pauses_gets_comments_between_its_events(
    fake: FakeUpstream, dialect: str, model: str, path: str, tmp_path: Path
) -> None:
    fake.script(path, Reply("one two three"))
    fake.fault(faults.HangAfter(3))
    async with (
        _impatient(tmp_path, fake) as facade,
        opened(facade, "POST", CHAT, chat(model, stream=True)) as client,
    ):
        _, headers = await client.head()
        assert dialect == headers["x-facade-upstream"]
        first = await client.piece()
        assert first.startswith(b"data: ")
        body = first + await _comments(client)
        fake.release()
        body += await rest_of(client)
        assert ("one two three", DONE) == _said(body)


async def test_an_answer_that_comes_soon_has_no_comment(
    fake: FakeUpstream, model: str, tmp_path: Path
) -> None:
    async with (
        _impatient(tmp_path, fake, "") as facade,
        opened(facade, "POST", CHAT, chat(model, stream=True)) as client,
    ):
        _, headers = await client.head()
        assert headers["x-facade-upstream"]
        assert b"data: " == (await rest_of(client))[:6]


async def test_who_does_not_stream_waits_for_the_head(
    fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    fake.fault(faults.HangBeforeHeaders(), times=2)
    async with (
        _impatient(tmp_path, fake) as facade,
        opened(facade, "POST", CHAT, chat(model)) as whole,
    ):
        await fake.came(path=path)
        async with opened(facade, "POST", CHAT, chat(model, stream=True)) as streamed:
            await streamed.head()
            await _comments(streamed, 3)
        assert b"" == whole._reader._buffer  # type: ignore[attr-defined] # it has nothing public
        fake.release()
        status, headers = await whole.head()
        assert (200, "application/json") == (status, headers["content-type"])


async def test_no_comment_comes_where_they_are_switched_off(
    fake: FakeUpstream, model: str, tmp_path: Path
) -> None:
    fake.fault(faults.Status(503))
    async with (
        _impatient(tmp_path, fake, "keep_alive_comments = 0\n") as facade,
        opened(facade, "POST", CHAT, chat(model, stream=True)) as client,
    ):
        assert 503 == (await client.head())[0]


async def test_another_target_still_answers_after_a_comment_and_a_comment_says_which(
    pair: Pair,
) -> None:
    pair.one.script(CHAT, Answer(503, pause=Pause()))
    pair.two.script(CHAT, Reply("from two"))
    async with (
        pair.serving(server=OFTEN, retries="0") as facade,
        opened(facade, "POST", CHAT, chat(ALIAS, stream=True)) as client,
    ):
        _, headers = await client.head()
        assert "x-facade-upstream" not in headers  # nobody knows yet
        body = await _comments(client)
        pair.one.release()
        body += await rest_of(client)
        assert ("from two", DONE) == _said(body)
        (served,) = [each for each in body.split(b"\n\n") if each.startswith(b": x-facade")]
        assert b"x-facade-upstream: two" in served
        assert b"x-facade-attempts: 2" in served
        assert b"x-facade-fallback: overloaded" in served
        assert body.index(served) < body.index(b"data: ")


async def test_after_a_comment_a_failure_is_an_event_of_the_stream(
    fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    fake.script(path, Answer(503, pause=Pause()))
    async with (
        _impatient(tmp_path, fake) as facade,
        opened(facade, "POST", CHAT, chat(model, stream=True)) as client,
    ):
        assert 200 == (await client.head())[0]
        body = await _comments(client)
        fake.release()
        (only,) = events(body + await rest_of(client))
        assert "server_overloaded" == error_of(json.loads(only))["code"]


async def test_an_early_failure_keeps_its_status_and_says_who_failed(
    fake: FakeUpstream, dialect: str, model: str, tmp_path: Path
) -> None:
    fake.fault(faults.Status(500))
    async with (
        _impatient(tmp_path, fake, "") as facade,
        opened(facade, "POST", CHAT, chat(model, stream=True)) as client,
    ):
        status, headers = await client.head()
        assert (500, dialect) == (status, headers["x-facade-upstream"])


async def test_what_is_held_back_to_its_end_is_waited_for_with_comments(pair: Pair) -> None:
    pair.one.script(CHAT, Reply("half of it"))
    pair.one.fault(faults.HangAfter(3))
    pair.one.fault(faults.NoEnd())
    pair.two.script(CHAT, Reply("all of it"))
    async with (
        pair.serving(server=OFTEN, retries="0", commit='"complete"') as facade,
        opened(facade, "POST", CHAT, chat(ALIAS, stream=True)) as client,
    ):
        assert 200 == (await client.head())[0]
        body = await _comments(client)
        pair.one.release()
        assert ("all of it", DONE) == _said(body + await rest_of(client))


async def test_who_leaves_between_comments_stops_the_upstream(
    fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    fake.fault(faults.HangBeforeHeaders())
    async with _impatient(tmp_path, fake) as facade:
        async with opened(facade, "POST", CHAT, chat(model, stream=True)) as client:
            request = await fake.came(path=path)
            await client.head()
            await _comments(client)
            left_at = client.leave()
            assert await fake.hung_up(request, within=5) - left_at < 0.2
        await facade.idle()


async def test_the_official_sdk_reads_through_comments(
    fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    fake.script(path, Reply("one two three"))
    fake.fault(faults.HangAfter(3))
    fake.fault(faults.HangBeforeHeaders())
    messages = chat(model)["messages"]
    async with _impatient(tmp_path, fake) as facade, facade.sdk() as sdk:
        # The SDK has its stream with the head, which a comment brings.
        stream = await sdk.chat.completions.create(model=model, messages=messages, stream=True)
        fake.release()
        said = ""
        async for chunk in stream:
            text = chunk.choices[0].delta.content if chunk.choices else None
            if text and not said:
                fake.release()
            said += text or ""
        assert "one two three" == said
