"""The application under servers that are not ours: what counts holds by plain ASGI too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from facade.app import build
from tests.api.asking import answer_of, ask, chat, error_of, opened, request, rest_of, sent_raw
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream, Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
WORDS: Final = "one two three four "


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["httptools", "h11"])
async def other(
    request: pytest.FixtureRequest,
    upstreams: FakeUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Facade]:
    said = settings(tmp_path_factory.mktemp("facade"), both(upstreams))
    async with serving(said, upstreams, http=request.param) as facade:
        await ask(facade, "GET", "/v1/models")  # so that all is known that is asked at the start
        yield facade


@pytest.fixture
def facade(other: Facade, fake: FakeUpstream) -> Facade:
    """In the place of the one that has our server."""
    assert fake is other.fake
    return other


async def test_an_answer_is_whole(facade: Facade, model: str, path: str) -> None:
    facade.fake.script(path, Reply(WORDS))
    answer = await ask(facade, "POST", CHAT, chat(model))
    assert (200, True) == (answer.status, answer.complete)
    assert WORDS == answer.json["choices"][0]["message"]["content"]
    assert model.partition("/")[0] == answer.headers["x-facade-upstream"]


async def test_a_stream_is_whole(facade: Facade, model: str, path: str) -> None:
    facade.fake.script(path, Reply(WORDS))
    answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
    deltas = [choice["delta"] for chunk in answer.chunks for choice in chunk["choices"]]
    assert WORDS == "".join(delta.get("content") or "" for delta in deltas)


async def test_a_stream_that_is_cut_ends_in_an_error(facade: Facade, model: str, path: str) -> None:
    facade.fake.script(path, Reply(WORDS * 50))
    facade.fake.fault(faults.CutAfter(1500))
    answer = await ask(facade, "POST", CHAT, chat(model, stream=True))
    assert answer.complete
    assert error_of(json.loads(answer.events[-1]))["code"]
    assert "[DONE]" not in answer.events


async def test_what_is_refused_is_told_in_openais_form(facade: Facade) -> None:
    answer = await ask(facade, "POST", CHAT, b"{")
    assert (400, "invalid_json") == (answer.status, answer.error["code"])
    answer = await ask(facade, "DELETE", CHAT)
    assert (405, "method_not_allowed") == (answer.status, answer.error["code"])


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_stops_the_upstream(
    facade: Facade, model: str, path: str, streamed: bool
) -> None:
    facade.fake.fault(faults.HangBeforeContent())
    async with opened(facade, "POST", CHAT, chat(model, stream=streamed)) as client:
        request = await facade.fake.came(path=path)
        left_at = client.leave()
        assert await facade.fake.hung_up(request, within=5) - left_at < 0.2
    await facade.idle()


async def test_who_leaves_while_it_sends_reaches_no_model(facade: Facade, model: str) -> None:
    body = json.dumps(chat(model)).encode()
    sent = request("POST", CHAT, body, content_length=str(len(body) + 1))
    async with sent_raw(facade, sent):
        await facade.until(lambda: facade.requests == 1)
    await facade.idle()
    assert [] == facade.fake.requests


async def test_who_takes_nothing_is_cut(fake: FakeUpstream, tmp_path: Path) -> None:
    body = {"model": "openai/nomic-embed-text", "input": ["a"] * 500, "encoding_format": "float"}
    said = settings(tmp_path, "[server]\nclient_idle = 0.2\n" + both(fake))
    async with (
        serving(said, fake, http="httptools") as facade,
        opened(facade, "POST", "/v1/embeddings", body) as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
        await fake.came(path="/v1/embeddings")
        await facade.idle()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert not (await answer_of(client)).complete


async def test_a_server_that_stops_has_a_last_word(facade: Facade, model: str, path: str) -> None:
    facade.fake.fault(faults.HangAfter(2))
    async with opened(facade, "POST", CHAT, chat(model, stream=True)) as client:
        request = await facade.fake.came(path=path)
        await client.head()
        first = await client.piece()
        for task in list(facade.tasks):
            task.cancel("the server stops")
        rest = await rest_of(client)
    events = (first + rest).decode().removesuffix("\n\n").split("\n\n")
    assert "server_stopping" == error_of(json.loads(events[-1].removeprefix("data: ")))["code"]
    await facade.fake.hung_up(request, within=5)
    await facade.idle()


async def test_many_at_once_have_their_own_answers(facade: Facade, model: str, path: str) -> None:
    for number in range(40):
        facade.fake.script(path, Reply(f"{number} " * 50))
    answers = await asyncio.gather(
        *(ask(facade, "POST", CHAT, chat(model, stream=number % 2 == 0)) for number in range(40))
    )
    said = []
    for number, answer in enumerate(answers):
        if number % 2:
            said.append(answer.json["choices"][0]["message"]["content"])
        else:
            deltas = [choice["delta"] for chunk in answer.chunks for choice in chunk["choices"]]
            said.append("".join(delta.get("content") or "" for delta in deltas))
    assert {f"{number} " * 50 for number in range(40)} == set(said)


async def test_a_web_socket_is_closed(fake: FakeUpstream, tmp_path: Path) -> None:
    sent: list[Any] = []
    scope: Any = {
        "type": "websocket",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }

    async def receive() -> Any:  # noqa: ANN401 - an ASGI message
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        sent.append(message)

    await build(settings(tmp_path, both(fake)))(scope, receive, send)
    assert ["websocket.close"] == [message["type"] for message in sent]
