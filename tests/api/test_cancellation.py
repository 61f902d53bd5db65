"""The client leaves, in any phase: the upstream's socket is closed within 200 ms.

Measured by the fake's clock, from the close of the client's socket to when the fake saw its
own closed. Then nothing is left: no request, no task, no connection but those that are kept.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import pytest
from openai import AsyncOpenAI

from tests.api.asking import Json, ask, chat, opened
from tests.api.queues import behind
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import Answer, FakeUpstream, Pause, Reply, Request, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
AT_ONCE: Final = 0.2  # seconds
PHASES: Final[dict[str, tuple[faults.Fault, bool]]] = {
    "before the head, streamed": (faults.HangBeforeHeaders(), True),
    "before the head, whole": (faults.HangBeforeHeaders(), False),
    "before the first token, streamed": (faults.HangBeforeContent(), True),
    "before the first token, whole": (faults.HangBeforeContent(), False),
    "in mid-stream": (faults.HangAfter(2), True),
    "before the last token, whole": (faults.HangAfter(2), False),
    "in a slow trickle": (faults.DelayLines(0.05), True),
}


async def _left(fake: FakeUpstream, request: Request, left_at: float) -> None:
    gone_at = await fake.hung_up(request, within=5)
    assert gone_at - left_at < AT_ONCE


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(("fault", "streamed"), PHASES.values(), ids=PHASES.keys())
async def test_who_leaves_stops_the_upstream(
    fault: faults.Fault, streamed: bool, reset: bool, facade: Facade, path: str
) -> None:
    dialect = "ollama" if path == "/api/chat" else "openai"
    fake = facade.fake
    fake.fault(_fitting(fault, dialect, streamed))
    fake.script(path, Reply("a b c d e f g h i j " * 10))
    async with opened(facade, "POST", CHAT, chat(f"{dialect}/llama3.1", stream=streamed)) as client:
        request = await fake.came(path=path)
        if isinstance(fault, faults.HangAfter | faults.DelayLines) and streamed:
            assert 200 == (await client.head())[0]
            assert await client.piece()
        elif not isinstance(fault, faults.HangBeforeHeaders):
            await facade.until(lambda: request.written > 0)
        assert request.hung_up_at is None
        await _left(fake, request, client.leave(reset=reset))
    await facade.idle()
    assert [path] == [each.path for each in fake.requests]


def _fitting(fault: faults.Fault, dialect: str, streamed: bool) -> faults.Fault:
    """A whole answer that is one line has nothing after its first."""
    one_line = dialect == "openai" and not streamed
    return faults.HangBeforeContent() if one_line and isinstance(fault, faults.HangAfter) else fault


async def test_who_leaves_while_the_last_choice_is_made_stops_the_upstream(facade: Facade) -> None:
    fake = facade.fake
    fake.script("/api/chat", Reply("one"), faults.HangAfter(1).on(_words(), "/api/chat"))
    async with opened(facade, "POST", CHAT, chat("ollama/llama3.1", n=2, stream=True)) as client:
        request = await fake.came(2, path="/api/chat")
        await client.head()
        await _left(fake, request, client.leave())
    await facade.idle()


def _words() -> Answer:
    word = b'{"created_at":"2026-01-01T00:00:00Z","message":{"content":"w "},"done":false}\n'
    return Answer(200, {"content-type": "application/x-ndjson"}, (word,) * 5, "chunked")


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
async def test_who_leaves_a_completion_or_embeddings_stops_the_upstream(
    facade: Facade, dialect: str, path: str
) -> None:
    fake = facade.fake
    fake.fault(faults.HangBeforeHeaders())
    body = {"model": f"{dialect}/nomic-embed-text", "prompt": "Hi", "input": "Hi"}
    async with opened(facade, "POST", path, body) as client:
        request = await fake.came()
        await _left(fake, request, client.leave())
    await facade.idle()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_the_queue_is_gone_at_once(
    streamed: bool, reset: bool, fake: FakeUpstream, tmp_path: Path
) -> None:
    """And the one who runs is not touched; when both are gone no slot is in use."""
    fake.fault(faults.HangBeforeHeaders())
    operator = '[keys.operator]\nsecret = "sk-operator"\nadmin = true\n'
    key = {"authorization": "Bearer sk-operator"}
    body = chat("ollama/llama3.1", stream=streamed)
    async with (
        serving(settings(tmp_path, both(fake) + operator), fake) as facade,
        opened(facade, "POST", CHAT, body, **key) as running,
    ):
        request = await fake.came(path="/api/chat")
        async with opened(facade, "POST", CHAT, body, **key) as client:
            await _in_queue(facade, waiting=1, in_use=1)
            client.leave(reset=reset)
            async with asyncio.timeout(AT_ONCE):
                await facade.until(lambda: facade.requests == 1)
        await _in_queue(facade, waiting=0, in_use=1)
        assert request.hung_up_at is None
        await _left(fake, request, running.leave(reset=reset))
        await facade.idle()
        await _in_queue(facade, waiting=0, in_use=0)
    assert 1 == len(fake.requests_to("/api/chat"))


async def _in_queue(facade: Facade, *, waiting: int, in_use: int) -> None:
    """Return when it is so."""
    while True:
        answer = await ask(facade, "GET", "/api/admin/queue", authorization="Bearer sk-operator")
        lane = answer.json["upstreams"]["ollama"]["generation"]
        if (waiting, in_use) == (behind(lane), lane["in_use"]):
            return


async def test_who_leaves_while_a_model_is_described_asks_it_nothing(facade: Facade) -> None:
    fake = facade.fake
    fake.script("/api/show", Answer(pause=Pause()))
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    body = chat("ollama/llava", messages=[{"role": "user", "content": [part]}])
    async with opened(facade, "POST", CHAT, body) as client:
        request = await fake.came(path="/api/show")
        await _left(fake, request, client.leave())
    await facade.idle()
    assert [] == fake.requests_to("/api/chat")


async def test_who_leaves_while_targets_are_described_asks_them_nothing(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script("/api/show", Answer(pause=Pause()))
    said = both(fake) + '[models.any]\ntargets = ["ollama/llava", "openai/llava"]\n'
    tool = {"type": "function", "function": {"name": "f"}}
    async with serving(settings(tmp_path, said), fake) as facade:
        async with opened(facade, "POST", CHAT, chat("any", tools=[tool])) as client:
            request = await fake.came(path="/api/show")
            await _left(fake, request, client.leave())
        await facade.idle()
    assert [] == fake.requests_to("/api/chat")


async def test_who_leaves_while_models_are_listed_is_gone_at_once(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    """The listing itself goes on: others wait for it too."""
    listing = Answer(pause=Pause(), body=(b'{"models":[{"name":"nope"}]}',))
    fake.script("/api/tags", listing)
    async with serving(settings(tmp_path, both(fake)), fake) as facade:
        request = await fake.came(path="/api/tags")
        await _comes_and_goes(facade, "POST", CHAT)
        await _comes_and_goes(facade, "GET", "/v1/models")
        assert request.hung_up_at is None
        fake.release()
        await fake.came(path="/api/version")
    assert [] == fake.requests_to("/api/chat")


async def _comes_and_goes(facade: Facade, method: str, path: str) -> None:
    async with opened(facade, method, path, chat("nope")) as client:
        await facade.until(lambda: facade.requests == 1)
        client.leave()
        async with asyncio.timeout(AT_ONCE):
            await facade.idle()


async def test_a_loading_model_is_not_asked_for_any_more(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    """What asks each second whether the model is loaded ends with its request."""
    fake.fault(faults.HangBeforeHeaders())
    fake.models.loaded.clear()
    text = both(fake, timeouts="{first_token = 0.1, load = 30}")
    async with serving(settings(tmp_path, text), fake) as facade:
        async with opened(facade, "POST", CHAT, chat("ollama/llama3.1")) as client:
            chatting = await fake.came(path="/api/chat")
            await fake.came(path="/api/ps")
            await _left(fake, chatting, client.leave())
        await facade.idle()
        asked = len(fake.requests_to("/api/ps"))
        await asyncio.sleep(1.1)  # one more asking would have come by now
        assert asked == len(fake.requests_to("/api/ps"))


async def test_closing_a_stream_of_the_sdk_stops_the_upstream(
    facade: Facade, sdk: AsyncOpenAI, model: str, path: str
) -> None:
    fake = facade.fake
    fake.fault(faults.HangAfter(3))
    stream: Any = await sdk.chat.completions.create(**chat(model), stream=True)
    await anext(aiter(stream))
    request = await fake.came(path=path)
    left_at = time.monotonic()
    await stream.close()
    gone_at = await fake.hung_up(request, within=5)
    assert gone_at - left_at < AT_ONCE
    await facade.idle()


async def test_cancelling_a_call_of_the_sdk_stops_the_upstream(
    facade: Facade, sdk: AsyncOpenAI, model: str, path: str
) -> None:
    fake = facade.fake
    fake.fault(faults.HangBeforeHeaders())
    call = asyncio.create_task(sdk.chat.completions.create(**chat(model)))
    request = await fake.came(path=path)
    call.cancel()
    await _left(fake, request, time.monotonic())
    await facade.idle()


async def test_a_hundred_who_leave_at_once_leave_nothing_behind(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    faulty: list[tuple[faults.Fault, Json]] = [
        (_fitting(fault, dialect, streamed), chat(f"{dialect}/llama3.1", stream=streamed))
        for fault, streamed in PHASES.values()
        for dialect in ("ollama", "openai")
    ]
    async with serving(settings(tmp_path, both(fake, slots="8")), fake) as facade:
        await facade.idle()
        await fake.came(path="/api/version")
        before = len(asyncio.all_tasks()) - fake.open_connections
        for fault, body in faulty:
            fake.reset()
            fake.fault(fault, times=None)
            fake.script("/api/chat", *[Reply("a b c " * 50)] * 8)
            clients = [opened(facade, "POST", CHAT, body) for _ in range(8)]
            conversations = [await client.__aenter__() for client in clients]
            await fake.came(8)
            for conversation in conversations:
                conversation.leave()
            for client in clients:
                await client.__aexit__(None, None, None)
            await facade.idle()
            await facade.until(lambda: facade.connections == 0)
            await facade.until(lambda: len(asyncio.all_tasks()) - fake.open_connections <= before)
        # Whole answers that were over before are kept, and what asks for metadata.
        assert fake.open_connections <= 16
