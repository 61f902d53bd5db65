"""The second request of a connection, which is mostly read without the parser, is one like any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.api.asking import Conversation, answer_of, chat, error_of, request, sent_raw
from tests.api.serving import Facade, serving, settings
from tests.api.test_keys import with_keys
from tests.fake_upstream import FakeUpstream, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"


def _sent(model: str, text: str, **headers: str) -> bytes:
    said = chat(model)
    said["messages"][0]["content"] = text
    return request("POST", CHAT, json.dumps(said).encode(), **headers)


async def _again(client: Conversation, sent: bytes) -> int:
    client.writer.write(sent)
    return (await answer_of(client)).status


async def test_each_has_its_own_body(facade: Facade, model: str, path: str) -> None:
    texts = ["first", "b" * 1_000, "c" * 60_000, "d" * 300_000, "", "last"]
    async with sent_raw(facade, _sent(model, texts[0])) as client:
        assert 200 == (await answer_of(client)).status
        for text in texts[1:]:
            assert 200 == await _again(client, _sent(model, text))
    asked = [each.json["messages"][0]["content"] for each in facade.fake.requests_to(path)]
    assert texts == asked


async def test_the_sdk_sends_the_same_head_again(facade: Facade, model: str) -> None:
    async with facade.sdk() as sdk:
        for text in ("one", "two", "the third"):
            messages = [{"role": "user", "content": text}]
            await sdk.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
            heads = facade.remembered
            assert 1 == len(heads)
        await sdk.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
        assert heads == facade.remembered


async def test_a_key_is_asked_for_whenever_it_is_another(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    said = {"operator": 200, "agents": 404, "nobody": 401}
    asked = ["operator", "operator", "agents", "agents", "operator", "nobody", "operator"]
    async with serving(settings(tmp_path, with_keys(fake)), fake) as facade:
        sent = {
            key: _sent("ollama/llama3.1", "Hi", authorization=f"Bearer sk-{key}") for key in said
        }
        async with sent_raw(facade, sent["operator"]) as client:
            assert 200 == (await answer_of(client)).status
            assert [said[key] for key in asked] == [
                await _again(client, sent[key]) for key in asked
            ]


async def test_who_leaves_it_stops_the_upstream(facade: Facade, model: str, path: str) -> None:
    sent = _sent(model, "Hi")
    async with sent_raw(facade, sent) as client:
        assert 200 == (await answer_of(client)).status
        facade.fake.fault(faults.HangBeforeHeaders(), path=path)
        client.writer.write(sent)
        await facade.fake.came(2, path=path)
        asked = facade.fake.requests_to(path)[-1]
    await facade.fake.hung_up(asked, within=5)
    await facade.idle()


async def test_it_is_told_that_the_server_stops(facade: Facade, model: str, path: str) -> None:
    sent = _sent(model, "Hi")
    async with sent_raw(facade, sent) as client:
        assert 200 == (await answer_of(client)).status
        facade.fake.fault(faults.HangBeforeHeaders(), path=path)
        client.writer.write(sent)
        await facade.fake.came(2, path=path)
        for work in list(facade.tasks):
            work.cancel("the server stops")
        answer = await answer_of(client)
    assert (503, "server_stopping") == (answer.status, error_of(answer.json)["code"])
