"""A request with an Idempotency-Key that is sent again: what both clients get, and who is asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from facade import idempotency
from tests.api.asking import (
    Answer,
    Json,
    answer_of,
    ask,
    chat,
    error_of,
    events,
    opened,
    rest_of,
)
from tests.api.chains import calls
from tests.api.serving import Facade, both, serving, settings
from tests.fake_upstream import FakeUpstream, Reply, faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT: Final = "/v1/chat/completions"
FACES: Final[dict[str, Json]] = {
    CHAT: chat("ollama/llama3.1"),
    "/v1/completions": {"model": "ollama/llama3.1", "prompt": "Hi"},
    "/v1/embeddings": {"model": "ollama/nomic-embed-text", "input": "Hi"},
}


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key of each test's own: the facade of the module remembers."""
    return f"key-of-{request.node.name}".replace(" ", "-")


def _replayed(answer: Answer) -> str | None:
    return answer.headers.get("idempotent-replayed")


@pytest.mark.parametrize(("path", "body"), FACES.items(), ids=FACES.keys())
async def test_an_answer_is_replayed_byte_by_byte(
    path: str, body: Json, facade: Facade, key: str
) -> None:
    first = await ask(facade, "POST", path, body, idempotency_key=key)
    again = await ask(facade, "POST", path, body, idempotency_key=key)
    assert (200, 200) == (first.status, again.status)
    assert first.body == again.body
    assert (None, "true") == (_replayed(first), _replayed(again))
    assert 1 == calls(facade.fake)
    for name in ("content-type", "x-facade-upstream", "x-facade-model", "x-facade-attempts"):
        assert first.headers[name] == again.headers[name]
    assert first.headers["x-request-id"] != again.headers["x-request-id"]


async def test_a_stream_is_replayed_from_its_beginning(
    facade: Facade, model: str, key: str
) -> None:
    body = chat(model, stream=True)
    first = await ask(facade, "POST", CHAT, body, idempotency_key=key)
    again = await ask(facade, "POST", CHAT, body, idempotency_key=key)
    assert first.chunks == again.chunks
    assert "true" == _replayed(again)
    assert 1 == calls(facade.fake)


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_comes_back_while_it_runs_gets_all_of_it(
    streamed: bool, facade: Facade, model: str, path: str, key: str
) -> None:
    fake = facade.fake
    fake.script(path, Reply("one two three"))
    fake.fault(faults.HangAfter(3) if streamed else faults.HangBeforeHeaders())
    body = chat(model, stream=streamed)
    async with opened(facade, "POST", CHAT, body, idempotency_key=key) as client:
        request = await fake.came(path=path)
        if streamed:
            await client.head()
            await client.piece()
        client.leave()
    await facade.idle()
    assert request.hung_up_at is None
    async with (
        opened(facade, "POST", CHAT, body, idempotency_key=key) as second,
        opened(facade, "POST", CHAT, body, idempotency_key=key) as third,
    ):
        await facade.until(lambda: facade.requests == 2)
        fake.release()
        answers = [await answer_of(client) for client in (second, third)]
    for answer in answers:
        assert (200, True, "true") == (answer.status, answer.complete, _replayed(answer))
        assert "one two three" == _text(answer)
    assert answers[0].body == answers[1].body
    assert 1 == calls(fake)


def _text(answer: Answer) -> str:
    if answer.headers["content-type"].startswith("application/json"):
        said: str = answer.json["choices"][0]["message"]["content"]
        return said
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in answer.chunks)


async def test_many_at_once_are_one_request(facade: Facade, model: str, key: str) -> None:
    asked = (ask(facade, "POST", CHAT, chat(model), idempotency_key=key) for _ in range(20))
    answers = await asyncio.gather(*asked)
    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.body for answer in answers})
    assert 1 == calls(facade.fake)


async def test_who_does_not_come_back_in_time_stops_the_upstream(
    facade: Facade, model: str, path: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "OUTLIVES", 0.05)
    fake = facade.fake
    fake.fault(faults.HangBeforeHeaders())
    async with opened(facade, "POST", CHAT, chat(model), idempotency_key=key) as client:
        request = await fake.came(path=path)
        left_at = client.leave()
    gone_at = await fake.hung_up(request, within=5)
    assert gone_at - left_at > 0.03
    fake.reset()
    anew = await ask(facade, "POST", CHAT, chat(model), idempotency_key=key)
    assert (200, None) == (anew.status, _replayed(anew))


async def test_one_who_stays_keeps_it_running(
    facade: Facade, model: str, path: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "OUTLIVES", 0.0)
    fake = facade.fake
    fake.script(path, Reply("still here"))
    fake.fault(faults.HangBeforeHeaders())
    async with (
        opened(facade, "POST", CHAT, chat(model), idempotency_key=key) as first,
        opened(facade, "POST", CHAT, chat(model), idempotency_key=key) as second,
    ):
        await facade.until(lambda: facade.requests == 2)
        await fake.came(path=path)
        first.leave()
        await facade.until(lambda: facade.requests == 1)
        fake.release()
        assert "still here" == _text(await answer_of(second))


OTHERS: Final[dict[str, tuple[str, Json, dict[str, str]]]] = {
    "another body": (CHAT, chat("ollama/llama3.1", seed=1), {}),
    "another path": ("/v1/completions", chat("ollama/llama3.1"), {}),
    "another wish": (CHAT, chat("ollama/llama3.1"), {"x_facade_wish": "x"}),
}


@pytest.mark.parametrize(("path", "body", "headers"), OTHERS.values(), ids=OTHERS.keys())
async def test_the_same_key_with_another_request_is_a_conflict_that_no_sdk_retries(
    path: str, body: Json, headers: dict[str, str], facade: Facade, key: str
) -> None:
    await ask(facade, "POST", CHAT, chat("ollama/llama3.1"), idempotency_key=key)
    other = await ask(facade, "POST", path, body, idempotency_key=key, **headers)
    assert (409, "idempotency_key_reused") == (other.status, other.error["code"])
    assert "false" == other.headers["x-should-retry"]
    assert 1 == calls(facade.fake)


@pytest.mark.parametrize(
    "wrong", [" ", "a b", "k" * 256, "naïve"], ids=["blank", "two", "long", "ï"]
)
async def test_a_key_that_is_none_is_refused(wrong: str, facade: Facade, model: str) -> None:
    answer = await ask(facade, "POST", CHAT, chat(model), idempotency_key=wrong)
    assert (400, "invalid_idempotency_key") == (answer.status, answer.error["code"])
    assert 0 == calls(facade.fake)


async def test_the_longest_key_is_taken(facade: Facade, model: str) -> None:
    key = model[1] * 255
    for replayed in (None, "true"):
        answer = await ask(facade, "POST", CHAT, chat(model), idempotency_key=key)
        assert (200, replayed) == (answer.status, _replayed(answer))


async def test_failures_are_not_replayed(facade: Facade, model: str, path: str, key: str) -> None:
    facade.fake.fault(faults.Status(503))
    first = await ask(facade, "POST", CHAT, chat(model), idempotency_key=key)
    assert (503, "server_overloaded") == (first.status, first.error["code"])
    assert first.headers["x-facade-upstream"]
    again = await ask(facade, "POST", CHAT, chat(model), idempotency_key=key)
    assert (200, None) == (again.status, _replayed(again))
    assert 2 == calls(facade.fake)


async def test_a_stream_that_was_cut_is_not_replayed(
    facade: Facade, model: str, path: str, key: str
) -> None:
    body = chat(model, stream=True)
    facade.fake.script(path, Reply("one two three"))
    facade.fake.fault(faults.NoEnd())
    cut = await ask(facade, "POST", CHAT, body, idempotency_key=key)
    assert "upstream_incomplete" == error_of(json.loads(cut.events[-1]))["code"]
    again = await ask(facade, "POST", CHAT, body, idempotency_key=key)
    assert again.chunks
    assert _replayed(again) is None


async def test_all_who_listen_are_told_of_a_failure(
    facade: Facade, model: str, path: str, key: str
) -> None:
    fake = facade.fake
    fake.script(path, Reply("one two three"))
    fake.fault(faults.NoEnd())
    fake.fault(faults.HangAfter(2))
    body = chat(model, stream=True)
    async with (
        opened(facade, "POST", CHAT, body, idempotency_key=key) as first,
        opened(facade, "POST", CHAT, body, idempotency_key=key) as second,
    ):
        for client in (first, second):
            await client.head()
        fake.release()
        for client in (first, second):
            *_, last = events(await rest_of(client))
            assert "upstream_incomplete" == error_of(json.loads(last))["code"]
    assert 1 == calls(fake)


async def test_a_body_that_is_wrong_is_refused_each_time(facade: Facade, key: str) -> None:
    for _ in range(2):
        answer = await ask(facade, "POST", CHAT, b"{", idempotency_key=key)
        assert (400, None) == (answer.status, _replayed(answer))


async def test_each_caller_has_keys_of_its_own(fake: FakeUpstream, tmp_path: Path) -> None:
    keys = '[keys.ann]\nsecret = "sk-ann"\n[keys.bob]\nsecret = "sk-bob"\n'
    async with serving(settings(tmp_path, both(fake) + keys), fake) as facade:
        said = [
            _replayed(
                await ask(
                    facade,
                    "POST",
                    CHAT,
                    chat("ollama/llama3.1"),
                    idempotency_key="k-1",
                    authorization=f"Bearer {secret}",
                )
            )
            for secret in ("sk-ann", "sk-bob", "sk-ann")
        ]
    assert [None, None, "true"] == said
    assert 2 == calls(fake)


async def test_a_key_on_a_question_that_changes_nothing_is_overlooked(facade: Facade) -> None:
    answer = await ask(facade, "GET", "/v1/models", idempotency_key="a b")
    assert (200, None) == (answer.status, _replayed(answer))


async def test_a_facade_that_stops_ends_what_nobody_listens_to(
    fake: FakeUpstream, model: str, path: str, tmp_path: Path
) -> None:
    """`serving` fails where a task is left."""
    fake.fault(faults.HangBeforeHeaders())
    async with serving(settings(tmp_path, both(fake)), fake) as facade:
        async with opened(facade, "POST", CHAT, chat(model), idempotency_key="k") as client:
            request = await fake.came(path=path)
            client.leave()
        await facade.idle()
        assert request.hung_up_at is None
    await fake.hung_up(request, within=5)


async def test_the_official_sdk_sends_its_key_by_a_header(
    facade: Facade, model: str, key: str
) -> None:
    said: list[Any] = []
    async with facade.sdk() as sdk:
        for _ in range(2):
            raw = await sdk.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": "Hi"}],
                extra_headers={"Idempotency-Key": key},
            )
            said.append((raw.headers.get("idempotent-replayed"), raw.parse().id))
    assert [None, "true"] == [replayed for replayed, _ in said]
    assert said[0][1] == said[1][1]
